from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from edge.errors import WorkerLost
from edge.linkmeter import Echo
from edge.probing import BUDGET_BYTES, MOST_BYTES, REFILL_BYTES_PER_S, TRAIN, Budget, Prober
from edge.steering import Steering
from edge.telemetry import Counters
from partitioner.cost import IDLE, Load
from partitioner.link import Link
from tests.steered import KIND, TARGET, planner_of

PLANNER = planner_of()


@dataclass
class FakeWorker:
    """Echoes as a link of this rate would, in simulated time."""

    mbit: float
    rtt_s: float = 0.01
    now_s: float = 0.0
    unacked_bytes: int = 0
    target: str = TARGET
    is_silent: bool = False
    error: Exception | None = None
    asked: list[tuple[int, int]] = field(default_factory=list)
    free_s: float = 0.0

    def now(self) -> float:
        return self.now_s

    def probe(self, *, up_bytes: int, reply_bytes: int) -> Callable[[float], Echo | None]:
        if self.error is not None:
            raise self.error
        self.asked.append((up_bytes, reply_bytes))
        sent_s = self.now_s
        self.free_s = max(self.free_s, sent_s) + up_bytes / (self.mbit * 125_000.0)
        arrived_s = self.free_s + self.rtt_s

        def wait(timeout_s: float) -> Echo | None:
            if self.is_silent:
                self.now_s += timeout_s
                return None
            self.now_s = max(self.now_s, arrived_s)
            return Echo(sent_s=sent_s, arrived_s=arrived_s, up_bytes=up_bytes, down_bytes=reply_bytes)

        return wait


class Scene:
    """A session whose link was as fast as this when it was measured, and is another now."""

    def __init__(self, believed_mbit: float, mbit: float, *, load: Load = IDLE) -> None:
        self.worker = FakeWorker(mbit)
        self.counters = Counters()
        self.steering = Steering(counters=self.counters, now=self.worker.now)
        self.steering.prior(TARGET, Link.from_mbit(believed_mbit, 2 * believed_mbit, 10))
        self.prober = Prober(
            self.steering,
            lambda: self.worker,
            counters=self.counters,
            load_of=lambda worker: load,
            now=self.worker.now,
        )

    def request(self) -> str:
        return self.steering.choose(KIND, PLANNER, target=TARGET).candidate.cut

    def second(self) -> str:
        self.worker.now_s += 1.0
        cut = self.request()
        self.prober.look()
        return cut


def test_a_link_that_is_back_is_noticed_within_three_seconds():
    scene = Scene(2.0, 50.0)
    assert scene.request() == "local"
    cuts = [scene.second() for _ in range(4)]
    assert cuts[-1] != "local"
    assert scene.counters.snapshot()["probes"] >= 1


def test_a_second_train_confirms_what_the_first_one_tells_and_one_second_is_enough():
    scene = Scene(2.0, 50.0)
    scene.second()
    assert len(scene.worker.asked) == 1 + 2 * TRAIN
    assert sum(up for up, _ in scene.worker.asked) <= MOST_BYTES
    assert scene.request() != "local"


def test_a_train_that_tells_nothing_new_is_alone():
    scene = Scene(2.0, 2.0)
    scene.second()
    assert len(scene.worker.asked) == 1 + TRAIN


def test_a_second_costs_at_most_sixteen_kibibytes_and_less_on_a_slow_link():
    scene = Scene(2.0, 2.0)
    for _ in range(30):
        scene.worker.asked.clear()
        scene.second()
        assert sum(up + down for up, down in scene.worker.asked) <= MOST_BYTES
    slow = Scene(0.13, 0.13)
    slow.request()
    slow.second()
    assert 0 < sum(up for up, _ in slow.worker.asked) <= 2048


def test_frames_that_tell_are_probed_for_the_round_trip_alone():
    scene = Scene(50.0, 50.0)
    scene.request()
    for _ in range(5):
        scene.second()
    assert scene.worker.asked == [(0, 0)] * 5
    assert scene.counters.snapshot()["probes"] == 0


def test_nothing_is_asked_while_payload_is_under_way_nor_without_requests():
    scene = Scene(50.0, 50.0)
    scene.prober.look()
    scene.request()
    scene.worker.unacked_bytes = 1000
    scene.prober.look()
    scene.worker.unacked_bytes = 0
    scene.worker.now_s += 60.0
    scene.prober.look()
    assert scene.worker.asked == []


def test_a_silent_link_is_left_alone_after_one_message_and_thought_no_better_of():
    scene = Scene(2.0, 50.0)
    scene.request()
    scene.worker.is_silent = True
    before = scene.steering.estimate(TARGET).link.up_mbit
    scene.second()
    assert scene.worker.asked == [(0, 0)]
    assert scene.steering.estimate(TARGET).link.up_mbit <= 1.01 * before


def test_a_session_that_breaks_while_probing_breaks_nothing_else():
    scene = Scene(2.0, 50.0)
    scene.request()
    scene.worker.error = WorkerLost(TARGET, reason="gone")
    scene.second()


def test_a_busy_worker_is_asked_for_its_load_where_that_is_why_nothing_is_sent():
    scene = Scene(50.0, 50.0, load=IDLE)
    scene.request()
    scene.steering.note_load(TARGET, Load(queue_s=3.0))
    assert scene.second() == "local"
    cuts = [scene.second() for _ in range(15)]
    assert cuts[-1] == "cloud"


def test_the_budget_is_spent_and_refills_slowly():
    budget = Budget(now_s=0.0)
    spent = sum(MOST_BYTES for second in range(3600) if budget.take(MOST_BYTES, float(second)))
    assert spent == pytest.approx(BUDGET_BYTES + 3600 * REFILL_BYTES_PER_S, rel=0.01)


def test_the_thread_ends_when_it_is_told_to():
    scene = Scene(50.0, 50.0)
    scene.prober.start()
    scene.prober.close()
    scene.prober.close()


def test_an_echo_that_stood_in_line_behind_payload_is_no_round_trip() -> None:
    scene = Scene(2.0, 2.0)
    scene.request()
    probe = scene.worker.probe

    def behind_payload(*, up_bytes: int, reply_bytes: int) -> Callable[[float], Echo | None]:
        wait = probe(up_bytes=up_bytes, reply_bytes=reply_bytes)

        def passed(timeout_s: float) -> Echo | None:
            scene.worker.now_s += 0.7
            scene.worker.unacked_bytes = 0
            echo = wait(timeout_s)
            assert echo is not None
            return Echo(sent_s=echo.sent_s, arrived_s=scene.worker.now_s, up_bytes=0, down_bytes=0)

        return passed

    scene.worker.unacked_bytes = 200_000
    scene.worker.probe = behind_payload  # type: ignore[method-assign]
    scene.prober._echo(scene.worker)
    assert scene.steering.estimate(TARGET).link.rtt_s < 0.02
