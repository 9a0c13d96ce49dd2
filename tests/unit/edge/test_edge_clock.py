from __future__ import annotations

import time

import pytest

from edge.clock import DeviceClock
from partitioner.errors import UsageError


def busy(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def test_a_step_on_the_machine_as_it_is_takes_as_long_as_its_work() -> None:
    with DeviceClock().step() as step:
        busy(0.01)
    assert 0.01 <= step.seconds < 0.1
    assert DeviceClock().note == ""


def test_an_emulated_device_takes_the_multiple_of_the_work_and_says_so() -> None:
    clock = DeviceClock(slowdown=5)
    start = time.perf_counter()
    with clock.step() as step:
        busy(0.01)
    took_s = time.perf_counter() - start
    assert step.seconds >= 0.05
    assert step.seconds == pytest.approx(took_s, abs=0.01)
    assert "5x slower" in clock.note
    assert "waits 4x" in clock.note


@pytest.mark.parametrize("slowdown", [0.5, 0, -1, float("nan"), float("inf"), 1e6])
def test_a_slowdown_that_makes_no_sense_is_refused(slowdown: float) -> None:
    with pytest.raises(UsageError):
        DeviceClock(slowdown=slowdown)
