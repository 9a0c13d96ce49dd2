from __future__ import annotations

import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partitioner.meters import MeterError, MeterForbidden, rapl
from partitioner.meters.sampling import Sampler, energy_between
from tests.recorded_boards import board, put

ZONE = "/sys/class/powercap/intel-rapl"
FIRST_UJ, SECOND_UJ, RANGE_UJ = 41936478219, 262143300000, 262143328850


def test_packages_alone_are_summed(tmp_path):
    meter = rapl.find(board("x86-server", tmp_path))
    assert (meter.info.source, meter.info.scope) == ("package-0 + package-1", "package")
    begin_j = meter.read().counter_j
    for zone in (":0:0", ":0:1", ":2", "-mmio:0"):
        put(tmp_path, f"{ZONE}{zone}/energy_uj", 5_000_000)
    assert meter.read().counter_j == begin_j
    put(tmp_path, f"{ZONE}:0/energy_uj", FIRST_UJ + 2_500_000)
    assert meter.read().counter_j == pytest.approx(begin_j + 2.5)


def test_a_counter_that_starts_over_goes_on(tmp_path):
    meter = rapl.find(board("x86-server", tmp_path))
    begin = meter.read()
    put(tmp_path, f"{ZONE}:1/energy_uj", 71_150)
    end = meter.read()
    assert end.counter_j - begin.counter_j == pytest.approx((RANGE_UJ - SECOND_UJ + 71_150) * 1e-6)
    assert energy_between([begin, end], begin.at_s, end.at_s) == pytest.approx(0.1)


@settings(max_examples=40)
@given(st.lists(st.integers(0, 90_000_000), max_size=30), st.integers(100_000_000, 400_000_000), st.data())
def test_joules_are_those_that_were_drawn_however_often_it_starts_over(draws_uj, range_uj, data):
    begin_uj = data.draw(st.integers(0, range_uj - 1))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        put(root, f"{ZONE}:0/name", "package-0")
        put(root, f"{ZONE}:0/max_energy_range_uj", range_uj)
        put(root, f"{ZONE}:0/energy_uj", begin_uj)
        meter = rapl.find(root)
        total_uj = begin_uj
        for drawn_uj in draws_uj:
            total_uj += drawn_uj
            put(root, f"{ZONE}:0/energy_uj", total_uj % range_uj)
            assert meter.read().counter_j == pytest.approx((total_uj - begin_uj) * 1e-6)


def test_it_says_how_long_it_may_go_unread(tmp_path):
    info = rapl.find(board("x86-server", tmp_path)).info
    assert info.safe_s == pytest.approx(RANGE_UJ * 1e-6 / 1000)
    put(tmp_path, f"{ZONE}:1/max_energy_range_uj", 65_712_999_613)
    put(tmp_path, f"{ZONE}:1/energy_uj", 1)
    assert rapl.find(tmp_path).info.safe_s == pytest.approx(65.7, abs=0.1)


def test_a_step_is_the_processors_unit_of_each_package(tmp_path):
    info = rapl.find(board("x86-server", tmp_path)).info
    assert info.step_j == pytest.approx(2 * 61.035e-6, rel=1e-4)
    assert info.step_w == 0
    assert info.period_s == pytest.approx(1e-3)


@pytest.mark.parametrize("after_uj", [0, FIRST_UJ - 1, FIRST_UJ - 10_000_000, FIRST_UJ + 2_000_000_000])
def test_a_counter_that_was_reset_is_no_turn_of_it(tmp_path, after_uj):
    meter = rapl.find(board("x86-server", tmp_path))
    put(tmp_path, f"{ZONE}:0/energy_uj", after_uj)
    with pytest.raises(MeterError, match=r"energy_uj went from 41936478219 to .*: it was reset"):
        meter.read()


@pytest.mark.parametrize("content", [-1, RANGE_UJ + 1])
def test_a_count_out_of_its_range_is_refused(tmp_path, content):
    meter = rapl.find(board("x86-server", tmp_path))
    put(tmp_path, f"{ZONE}:0/energy_uj", content)
    with pytest.raises(MeterError, match="out of its range"):
        meter.read()


def test_a_range_of_nothing_is_refused(tmp_path):
    put(board("x86-server", tmp_path), f"{ZONE}:0/max_energy_range_uj", 0)
    with pytest.raises(MeterError, match="turns of it cannot be told"):
        rapl.find(tmp_path)


def test_dies_of_one_package_are_all_counted(tmp_path):
    for number in range(2):
        put(tmp_path, f"{ZONE}:{number}/name", f"package-0-die-{number}")
        put(tmp_path, f"{ZONE}:{number}/energy_uj", 7)
        put(tmp_path, f"{ZONE}:{number}/max_energy_range_uj", RANGE_UJ)
    assert rapl.find(tmp_path).info.source == "package-0-die-0 + package-0-die-1"


@pytest.mark.parametrize("name", ["orin-nano", "laptop"])
def test_no_package_is_a_reason(tmp_path, name):
    with pytest.raises(MeterError, match=r"no packages under .*: this is no x86"):
        rapl.find(board(name, tmp_path))


def test_a_package_that_vanishes_is_an_error_not_a_smaller_sum(tmp_path):
    meter = rapl.find(board("x86-server", tmp_path))
    shutil.rmtree(tmp_path / "sys/class/powercap/intel-rapl:1")
    with pytest.raises(MeterError, match=r"intel-rapl:1/energy_uj: No such file"):
        meter.read()


def test_joules_between_marks_are_those_drawn_while_it_is_sampled(tmp_path):
    root = board("x86-server", tmp_path)
    meter, power_w, written = rapl.find(root), 35.0, [(0.0, 0)]
    begun_s, ended, busy = time.perf_counter(), threading.Event(), threading.Event()

    def draw() -> None:
        while not ended.wait(0.001):
            drawn_uj = int(power_w * (time.perf_counter() - begun_s) * 1e6)
            put(root, f"{ZONE}:1/energy_uj", (SECOND_UJ + drawn_uj) % RANGE_UJ)
            written.append((time.perf_counter(), drawn_uj))
            if len(written) % 50 == 0:
                busy.set()

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        with Sampler(meter) as sampler:
            begin_s = sampler.mark()
            busy.clear()
            assert busy.wait(10)
            end_s = sampler.mark()
            readings = sampler.readings()
    finally:
        ended.set()
        thread.join()

    def bounds_j(mark_s: float) -> tuple[float, float]:
        """What was in the file before the reading, and what was not before its end."""
        (reading,) = (each for each in readings if each.at_s == mark_s)
        before = [drawn_uj for written_s, drawn_uj in written if written_s <= reading.begin_s]
        after = [drawn_uj for written_s, drawn_uj in written if written_s >= reading.end_s]
        return max(before, default=0) * 1e-6, min(after, default=float("inf")) * 1e-6

    (begin_least_j, begin_most_j), (end_least_j, end_most_j) = bounds_j(begin_s), bounds_j(end_s)
    found_j = energy_between(readings, begin_s, end_s)
    assert 0 < end_least_j - begin_most_j <= found_j * (1 + 1e-9)
    assert found_j <= (end_most_j - begin_least_j) * (1 + 1e-9)


@contextmanager
def as_somebody_else() -> Iterator[None]:
    """Not as root, who may read everything."""
    own = os.geteuid()
    if own == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(own)


def test_a_counter_for_root_alone_says_what_to_do():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
        root = board("x86-server", Path(folder))
        for zone in (root / "sys/class/powercap").glob("intel-rapl*/energy_uj"):
            zone.chmod(0)
        with as_somebody_else(), pytest.raises(MeterForbidden, match="energy_uj may not be read: run as root, or give"):
            rapl.find(root)
