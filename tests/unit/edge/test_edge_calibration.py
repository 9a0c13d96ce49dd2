"""How long a radio is watched, by which meters, and that what it takes is found again, in simulated time."""

from __future__ import annotations

import math
import socket
from collections.abc import Callable
from typing import cast

import pytest

from edge import calibration
from edge.calibration import LINK_S, SHARES, Course, Watched, check_scope
from edge.client import Client
from edge.errors import NotCalibrated, WorkerLost
from edge.linkmeter import Echo
from edge.paced import TICK_S
from edge.radiofit import fit
from partitioner.energy import Scope
from partitioner.link import BYTES_PER_MBIT, Link
from partitioner.meters import MeterError, MeterInfo, Reading
from tests.simulated_boards import SimulatedBoard


class Idle:
    """A meter that is never asked."""

    def __init__(self, scope: Scope) -> None:
        self.info = MeterInfo(kind="test", source="a rail", scope=scope, period_s=0.1)

    def read(self) -> Reading:
        raise AssertionError

    def close(self) -> None:
        raise AssertionError


def test_a_step_lasts_until_a_slow_meter_has_told_often_enough() -> None:
    course = Course(step_s=4.0)
    assert (course.warm_s(0.01), course.read_s(0.01)) == (1.0, 4.0)
    assert (course.warm_s(1.0), course.read_s(1.0)) == (2.0, 20.0)


def test_the_time_that_it_takes_is_that_of_rests_steps_and_the_link() -> None:
    course = Course(idle_s=10.0, step_s=4.0, passes=3, up_mbit=(1.0, 2.0), down_mbit=())
    assert course.rates == 2 + len(SHARES)
    assert course.seconds(0.01) == pytest.approx(2 * 10.0 + LINK_S + 3 * (2 + len(SHARES)) * 5.0)


@pytest.mark.parametrize("scope", ["board", "unknown"])
def test_a_meter_of_the_board_sees_the_radio(scope: Scope) -> None:
    check_scope(Idle(scope))


@pytest.mark.parametrize("scope", ["package", "accelerator"])
def test_a_meter_of_a_part_does_not(scope: Scope) -> None:
    with pytest.raises(NotCalibrated, match=f"test covers the {scope} alone .a rail. and does not see the radio"):
        check_scope(Idle(scope))


MBIT = BYTES_PER_MBIT
REST_W, BASE_W, UP_W, DOWN_W = 2.0, 0.5, 0.2, 0.08
LINGERS_S = 0.06
"""How long after its last byte the radio takes what it does while it moves bytes."""
ROUND_TRIP_S = 0.02
CHUNK_S = 0.005
SHORTEST_S = 1e-4
"""Of a sleep: time goes on whatever happens."""


class Radio(SimulatedBoard):
    """A board with a radio, and a link that carries any rate: each probe's joules are spread over a tick."""

    def __init__(self, *, tail_s: float = 0.0, tail_w: float = 0.0, promotion_s: float = 0.0, **board: object) -> None:
        super().__init__(rest_w=REST_W, **board)  # type: ignore[arg-type]
        self._tail_s, self._tail_w, self._promotion_s = tail_s, tail_w, promotion_s
        self._moved_s = -math.inf
        self._flows: list[tuple[float, float]] = []
        self.dials = 0

    monotonic = SimulatedBoard.perf_counter

    def sleep(self, pause_s: float) -> None:
        left_s = max(pause_s, SHORTEST_S)
        while left_s > 0:
            now_s = self.perf_counter()
            self._flows = [flow for flow in self._flows if flow[0] > now_s]
            part_s = min(CHUNK_S, left_s)
            self.run(part_s, self.rest_w + self._over_w(now_s, part_s))
            left_s -= CHUNK_S

    def _over_w(self, now_s: float, part_s: float) -> float:
        silent_s = now_s - self._moved_s
        if silent_s <= LINGERS_S:
            return BASE_W + sum(power_w * min(1.0, (until_s - now_s) / part_s) for until_s, power_w in self._flows)
        return self._tail_w if silent_s <= LINGERS_S + self._tail_s else 0.0

    def probe(self, *, up_bytes: int, reply_bytes: int) -> Callable[[float], Echo | None]:
        self._moved_s = sent_s = self.perf_counter()
        self._flows.append((sent_s + TICK_S, (UP_W * up_bytes + DOWN_W * reply_bytes) / MBIT / TICK_S))
        arrived_s = sent_s + ROUND_TRIP_S

        def wait(timeout_s: float) -> Echo | None:
            late_s = arrived_s - self.perf_counter()
            if late_s > timeout_s:
                return None
            self.sleep(max(0.0, late_s))
            return Echo(sent_s=sent_s, arrived_s=arrived_s, up_bytes=up_bytes, down_bytes=reply_bytes)

        return wait

    def create_connection(self, address: tuple[str, int], timeout: float) -> socket.socket:
        is_asleep = self.perf_counter() - self._moved_s > LINGERS_S + self._tail_s
        self.dials += 1
        self.sleep(ROUND_TRIP_S + (self._promotion_s if is_asleep else 0.0))
        self._moved_s = self.perf_counter()
        return socket.socket()

    def __call__(self) -> Radio:
        return self

    def measure_link(self, *, budget_s: float) -> Link:
        self.sleep(budget_s)
        return Link(up_bytes_per_s=20 * MBIT, down_bytes_per_s=50 * MBIT, rtt_s=ROUND_TRIP_S)


def watched(radio: Radio, monkeypatch: pytest.MonkeyPatch, course: Course) -> Watched:
    for name, stand_in in (("time", radio), ("Sampler", radio.sampler), ("socket", radio)):
        monkeypatch.setattr(calibration, name, stand_in)
    return calibration.watch("10.0.0.1:1", radio, course, dial=cast("Callable[[], Client]", radio))


@pytest.mark.parametrize(
    ("board", "course"),
    [
        ({"period_s": 0.01}, Course(up_mbit=(2.0, 5.0, 8.0, 12.0), down_mbit=(4.0, 10.0, 16.0, 24.0))),
        ({"period_s": 0.02, "is_counter": True}, Course(up_mbit=(2.0, 12.0), down_mbit=(4.0, 24.0))),
        ({"period_s": 1.0}, Course(idle_s=40.0)),
    ],
)
def test_the_coefficients_of_a_radio_are_found(
    monkeypatch: pytest.MonkeyPatch, board: dict[str, object], course: Course
) -> None:
    is_quick = course.idle_s < 40.0
    tail_s, tail_w = (0.5, 0.4) if is_quick else (11.6, 1.0)
    radio = Radio(tail_s=tail_s, tail_w=tail_w, promotion_s=0.26, **board)
    seen = watched(radio, monkeypatch, course)
    fitted = fit(seen.observed, name="board")
    found = fitted.radio
    assert found.up_w_per_mbit == pytest.approx(UP_W, rel=0.02)
    assert found.down_w_per_mbit == pytest.approx(DOWN_W, rel=0.02)
    assert found.base_w == pytest.approx(BASE_W, rel=0.02)
    assert fitted.idle_w.value == pytest.approx(REST_W, rel=0.01)
    assert found.tail_s == pytest.approx(tail_s + LINGERS_S, rel=0.05, abs=1.5 * radio.info.period_s)
    assert found.tail_w == pytest.approx(tail_w, rel=0.1)
    assert found.promotion_s == pytest.approx(0.26, rel=0.05)
    assert radio.perf_counter() == pytest.approx(course.seconds(radio.info.period_s), rel=0.1, abs=3.0)
    if not is_quick:
        assert seen.link is not None
        assert found.max_up_mbit == pytest.approx(0.9 * 20.0, rel=0.02)


def test_a_meter_that_says_the_same_all_the_time_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    radio = Radio(period_s=0.01, tell=lambda count, truth: 4.0)
    with pytest.raises(MeterError, match="told is stuck"):
        watched(radio, monkeypatch, Course(up_mbit=(2.0, 12.0), down_mbit=(4.0, 24.0)))


def test_a_worker_that_falls_silent_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    radio = Radio(period_s=0.01)
    monkeypatch.setattr(radio, "probe", lambda **sizes: lambda timeout_s: None)
    with pytest.raises(WorkerLost, match="no answer to a probe"):
        watched(radio, monkeypatch, Course(step_s=20.0, up_mbit=(2.0, 12.0), down_mbit=(4.0, 24.0)))
