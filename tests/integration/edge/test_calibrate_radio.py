"""The radio's fit over the real wire: a meter that counts what a radio would take for the bytes that a relay carries.

It counts at each reading, with coefficients of its own, which the command has to find again: no thread's lateness is in
its figures. How closely they are found is shown in simulated time, too (``test_edge_calibration``).
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.embedded import EmbeddedWorker
from partitioner.bundle import Bundle
from partitioner.meters import MeterInfo, Reading, finding
from partitioner.meters.finding import Kind
from partitioner.radio import RadioModel
from partitioner.relay import Relay, Shape
from tests.recorded_boards import put

MBIT = 125_000.0
SENSOR = "sys/bus/i2c/devices/1-0040"
RAIL = f"{SENSOR}/hwmon/hwmon1"
IDLE_W = 2.0
UP_W, DOWN_W, BASE_W = 0.2, 0.08, 0.5
TAIL_S, TAIL_W = 0.5, 0.4
LINGERS_S = 0.1
"""For how long after its last byte the radio takes what it does while it moves bytes."""

CleftEdge = Callable[..., tuple[int, str, str]]


class RadioMeter:
    """Joules so far: at rest, while bytes move, for each byte, and in the tail."""

    def __init__(
        self, relay: Relay, *, tail_s: float = TAIL_S, is_stuck: bool = False, cut_at_bytes: float = math.inf
    ) -> None:
        self.info = MeterInfo(kind="relay", source="its bytes", scope="board", period_s=0.008)
        self._relay, self._tail_s, self._is_stuck, self._cut_at_bytes = relay, tail_s, is_stuck, cut_at_bytes
        self._carried = relay.carried_bytes
        self._moved_s = -math.inf
        self._last_s = time.perf_counter()
        self._joules = 0.0

    def read(self) -> Reading:
        now_s, carried = time.perf_counter(), self._relay.carried_bytes
        if sum(carried) > self._cut_at_bytes:
            self._relay.reset()
        up, down = ((new - old) / MBIT for new, old in zip(carried, self._carried, strict=True))
        self._moved_s = now_s if up + down > 0 else self._moved_s
        silent_s = now_s - self._moved_s
        over_w = BASE_W if silent_s <= LINGERS_S else TAIL_W if silent_s <= self._tail_s else 0.0
        if not self._is_stuck:
            self._joules += (now_s - self._last_s) * (IDLE_W + over_w) + UP_W * up + DOWN_W * down
        self._last_s, self._carried = now_s, carried
        return Reading(begin_s=now_s, end_s=now_s, counter_j=self._joules)

    def close(self) -> None:
        """Nothing is held."""


METERS: list[RadioMeter] = []


def radio_meter(root: Path) -> RadioMeter:
    return METERS[-1]


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
def calibrate(cleft_edge: CleftEdge, monkeypatch: pytest.MonkeyPatch) -> CleftEdge:
    monkeypatch.setattr(finding, "KINDS", (Kind(name="relay", maker=f"{__name__}:radio_meter"),))

    def run(
        relay: Relay, *more: str, rates: tuple[str, str] = ("2,6,12", "4,12,24"), **meter: Any
    ) -> tuple[int, str, str]:
        METERS[:] = [RadioMeter(relay, **meter)]
        quick = ("--idle", "300ms", "--step", "160ms", "--passes", "1", "--up-mbit", rates[0], "--down-mbit", rates[1])
        return cleft_edge("calibrate-radio", relay.address, "--meter", "relay", *quick, *more)

    return run


def test_the_coefficients_of_the_radio_are_found(relay: Relay, tmp_path: Path, calibrate: CleftEdge) -> None:
    out = tmp_path / "radio.json"
    steady = ("--idle", "900ms", "--step", "300ms", "--json", "--name", "board", "-o", str(out))
    code, stdout, stderr = calibrate(relay, *steady)
    assert code == 0, stderr
    answer = json.loads(stdout)
    radio = RadioModel.loads(out.read_text())
    assert answer["schema"] == "cleft.radio/1"
    assert RadioModel.from_json(answer) == radio
    assert (radio.name, radio.origin) == ("board", "measured")
    for field, truth in {"up_w_per_mbit": UP_W, "down_w_per_mbit": DOWN_W, "base_w": BASE_W}.items():
        assert getattr(radio, field) == pytest.approx(truth, rel=0.1)
        assert radio.intervals[field] < 0.2 * truth
    assert radio.tail_s == pytest.approx(TAIL_S, abs=0.15)
    assert radio.tail_w == pytest.approx(TAIL_W, rel=0.1)
    assert answer["idle_w"]["value"] == pytest.approx(IDLE_W, rel=0.02)
    assert 6 < (radio.max_up_mbit or 0) < 15
    assert 8 < (radio.max_down_mbit or 0) < 30
    assert answer["moved_bytes"] > (20 + 40) * MBIT * 0.3


def test_a_table_says_the_same_to_people(relay: Relay, calibrate: CleftEdge) -> None:
    code, stdout, stderr = calibrate(relay, tail_s=0.0)
    assert code == 0, stderr
    assert "mW per Mbit/s" in stdout
    assert "read from relay (its bytes)" in stdout
    assert re.search("no tail of 0.1 s or more is seen|no promotion is seen", stderr)


def test_a_stuck_sensor_is_refused_and_nothing_is_written(relay: Relay, tmp_path: Path, calibrate: CleftEdge) -> None:
    out = tmp_path / "radio.json"
    code, stdout, stderr = calibrate(relay, "-o", str(out), is_stuck=True)
    assert (code, stdout) == (1, "")
    assert "relay is stuck" in stderr
    assert not out.exists()


def test_rates_that_the_link_does_not_carry_are_told_of(relay: Relay, calibrate: CleftEdge) -> None:
    code, _, stderr = calibrate(relay, rates=("30,60", "4,12"), tail_s=0.0)
    assert code == 1
    assert "the rates up hardly differ" in stderr
    assert "give --up-mbit lower rates" in stderr


@pytest.mark.parametrize(
    ("meter", "target", "reason"),
    [
        ("auto", "127.0.0.1:1", "no meter was found: ina3221: no INA3221.* rapl: covers the package alone.*--meter"),
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


def test_a_worker_that_goes_away_ends_it(relay: Relay, calibrate: CleftEdge) -> None:
    code, _, stderr = calibrate(relay, "--step", "2s", cut_at_bytes=100_000)
    assert code == 1
    assert "lost" in stderr
