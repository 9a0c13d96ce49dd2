"""The radio's fit over the real wire: a board whose sensor follows the bytes that a relay really carries.

The board's files are those of an INA3221. A thread of the test turns the relay's byte counts into watts with
coefficients of its own, which the command has to find again.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from edge.embedded import EmbeddedWorker
from partitioner.bundle import Bundle
from partitioner.radio import RadioModel
from partitioner.relay import Relay, Shape
from tests.recorded_boards import put

MBIT = 125_000.0
SENSOR = "sys/bus/i2c/devices/1-0040"
RAIL = f"{SENSOR}/hwmon/hwmon1"
SUPPLY_MV = 5000
IDLE_W = 2.0
UP_W, DOWN_W, BASE_W = 0.2, 0.08, 0.5
TAIL_S, TAIL_W = 0.5, 0.4
TICK_S = 0.008
WINDOW_TICKS = 6
TRIES = 4
"""Of a run whose figures are off because a busy machine held up a thread."""

CleftEdge = Callable[..., tuple[int, str, str]]


class RadioBoard:
    """Writes what the sensor shows: the rates of the last ticks in watts, or what the radio takes before it sleeps."""

    def __init__(self, root: Path, relay: Relay, *, tail_s: float = TAIL_S, is_stuck: bool = False) -> None:
        self._root, self._relay, self._tail_s, self._is_stuck = root, relay, tail_s, is_stuck
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="radio-board")
        put(root, f"{SENSOR}/name", "ina3221")
        put(root, f"{RAIL}/in1_label", "VDD_IN")
        put(root, f"{RAIL}/in1_input", SUPPLY_MV)
        put(root, f"{RAIL}/update_interval", round(TICK_S * 1e3))
        put(root, f"{RAIL}/samples", 1)
        self._show(IDLE_W)

    def __enter__(self) -> RadioBoard:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _show(self, power_w: float) -> None:
        put(self._root, f"{RAIL}/curr1_input", round(power_w / SUPPLY_MV * 1e6))

    def _run(self) -> None:
        seen = deque([(self._relay.carried_bytes, time.perf_counter())], maxlen=WINDOW_TICKS)
        awake_s = -self._tail_s
        while not self._ended.wait(TICK_S):
            (before, at_s), (now, now_s) = seen[0], (self._relay.carried_bytes, time.perf_counter())
            up, down = ((new - old) / MBIT / (now_s - at_s) for new, old in zip(now, before, strict=True))
            is_moving = up + down > 0.3
            awake_s = now_s if is_moving else awake_s
            over_w = TAIL_W if now_s - awake_s < self._tail_s else 0.0
            if is_moving:
                over_w = BASE_W + UP_W * up + DOWN_W * down
            if not self._is_stuck:
                self._show(IDLE_W + over_w)
            seen.append((now, now_s))


@pytest.fixture(scope="module")
def worker(digits: Bundle) -> Iterator[str]:
    with EmbeddedWorker(digits.path, arguments=("--threads", "1")) as made:
        yield made.target


@pytest.fixture
def relay(worker: str) -> Iterator[Relay]:
    host, _, port = worker.rpartition(":")
    with Relay((host, int(port)), Shape(up_bytes_per_s=20 * MBIT, down_bytes_per_s=40 * MBIT, delay_s=0.005)) as made:
        yield made


@pytest.fixture
def calibrate(cleft_edge: CleftEdge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CleftEdge:
    def run(relay: Relay, *more: str, rates: tuple[str, str] = ("2,6,12", "4,12,24")) -> tuple[int, str, str]:
        monkeypatch.setenv("CLEFT_SYSROOT", str(tmp_path))
        quick = ("--idle", "300ms", "--step", "160ms", "--passes", "1", "--up-mbit", rates[0], "--down-mbit", rates[1])
        return cleft_edge("calibrate-radio", relay.address, "--meter", "ina3221", *quick, *more)

    return run


def far_off(answer: dict[str, Any]) -> dict[str, float]:
    """The figures that are not within 10 % of the board's (its tail's length: 20), or known no better than to 20."""
    truths = {"up_w_per_mbit": UP_W, "down_w_per_mbit": DOWN_W, "base_w": BASE_W, "tail_s": TAIL_S, "tail_w": TAIL_W}
    return {
        field: answer[field]
        for field, truth in truths.items()
        if abs(answer[field] / truth - 1) > (0.2 if field == "tail_s" else 0.1)
        or not answer["intervals"].get(field, 0.0) < 0.2 * truth
    }


def test_the_coefficients_of_the_board_are_found(relay: Relay, tmp_path: Path, calibrate: CleftEdge) -> None:
    out = tmp_path / "radio.json"
    steady = ("--idle", "1s", "--step", "400ms", "--json", "--name", "board", "-o", str(out))
    with RadioBoard(tmp_path, relay):
        for _ in range(TRIES):
            code, stdout, stderr = calibrate(relay, *steady, rates=("2,5,8,12", "4,10,16,24"))
            if code == 0 and not far_off(json.loads(stdout)):
                break
    assert code == 0, stderr
    answer = json.loads(stdout)
    radio = RadioModel.loads(out.read_text())
    assert answer["schema"] == "cleft.radio/1"
    assert RadioModel.from_json(answer) == radio
    assert (radio.name, radio.origin) == ("board", "measured")
    assert not far_off(answer)
    assert answer["idle_w"]["value"] == pytest.approx(IDLE_W, rel=0.02)
    assert radio.max_up_mbit == pytest.approx(12, rel=0.1)
    assert radio.max_down_mbit == pytest.approx(24, rel=0.1)
    assert answer["moved_bytes"] == pytest.approx((27 + 54) * MBIT * 0.5, rel=0.15)


def test_a_table_says_the_same_to_people(relay: Relay, tmp_path: Path, calibrate: CleftEdge) -> None:
    with RadioBoard(tmp_path, relay, tail_s=0.0):
        for _ in range(TRIES):
            code, stdout, stderr = calibrate(relay)
            if code == 0:
                break
    assert code == 0, stderr
    assert "mW per Mbit/s" in stdout
    assert "read from ina3221 (rail VDD_IN)" in stdout
    assert "no tail of 0.1 s or more is seen" in stderr
    assert "no promotion is seen" in stderr


def test_a_stuck_sensor_is_refused_and_nothing_is_written(relay: Relay, tmp_path: Path, calibrate: CleftEdge) -> None:
    out = tmp_path / "radio.json"
    with RadioBoard(tmp_path, relay, is_stuck=True):
        code, stdout, stderr = calibrate(relay, "-o", str(out))
    assert (code, stdout) == (1, "")
    assert "ina3221 is stuck" in stderr
    assert not out.exists()


def test_rates_that_the_link_does_not_carry_are_told_of(relay: Relay, tmp_path: Path, calibrate: CleftEdge) -> None:
    with RadioBoard(tmp_path, relay, tail_s=0.0):
        code, _, stderr = calibrate(relay, rates=("30,60", "4,12"))
    assert code == 1
    assert "the rates up hardly differ" in stderr
    assert "give --up-mbit lower rates" in stderr


@pytest.mark.parametrize(
    ("meter", "target", "reason"),
    [
        ("auto", "127.0.0.1:1", "no meter was found: ina3221: no INA3221"),
        ("rapl", "127.0.0.1:1", "rapl covers the package alone .* does not see the radio"),
        ("csv:none.csv", "127.0.0.1:1", "csv: none.csv: No such file"),
    ],
)
def test_what_cannot_tell_a_radio_is_refused_at_once(
    cleft_edge: CleftEdge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meter: str, target: str, reason: str
) -> None:
    monkeypatch.setenv("CLEFT_SYSROOT", str(tmp_path))
    if meter == "rapl":
        for name, content in (("name", "package-0"), ("energy_uj", 5), ("max_energy_range_uj", 2**32)):
            put(tmp_path, f"sys/class/powercap/intel-rapl:0/{name}", content)
    code, stdout, stderr = cleft_edge("calibrate-radio", target, "--meter", meter)
    assert (code, stdout) == (1, "")
    assert re.search(reason, stderr)


def test_a_worker_that_is_not_there_is_told_of_before_any_rest(
    cleft_edge: CleftEdge, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("CLEFT_SYSROOT", str(tmp_path))
    put(tmp_path, f"{SENSOR}/name", "ina3221")
    for name, content in (("in1_label", "VDD_IN"), ("in1_input", 5000), ("curr1_input", 400)):
        put(tmp_path, f"{RAIL}/{name}", content)
    begun_s = time.monotonic()
    code, _, stderr = cleft_edge("calibrate-radio", "127.0.0.1:1", "--meter", "ina3221", "--idle", "60s")
    assert code == 1
    assert "no worker at 127.0.0.1:1" in stderr
    assert time.monotonic() - begun_s < 30


def test_a_worker_that_goes_away_ends_it(relay: Relay, tmp_path: Path, calibrate: CleftEdge) -> None:
    relay.reset_every(0.8)
    with RadioBoard(tmp_path, relay):
        code, _, stderr = calibrate(relay, "--step", "2s")
    assert code == 1
    assert "lost" in stderr
