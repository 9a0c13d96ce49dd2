from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from partitioner.meters import Meter, MeterError, MeterInfo, Reading
from partitioner.meters.sampling import (
    COUNTER_PAUSE_S,
    STUCK_PERIODS,
    Sampler,
    check_alive,
    check_told,
    energy_between,
    power_between,
)

ENOUGH_S = 10.0
POWER = MeterInfo(kind="fake", source="a rail", scope="board", period_s=0.01)
COUNTER = MeterInfo(kind="fake", source="a zone", scope="package", period_s=0.001, safe_s=3.0)


def powers(*points: tuple[float, float]) -> list[Reading]:
    return [Reading(begin_s=at_s - 0.001, end_s=at_s + 0.001, power_w=value) for at_s, value in points]


def counts(*points: tuple[float, float]) -> list[Reading]:
    return [Reading(begin_s=at_s - 0.001, end_s=at_s + 0.001, counter_j=value) for at_s, value in points]


class FakeMeter:
    """Reads what it is told on a clock of its own, and says when it has been read often enough."""

    def __init__(self, info: MeterInfo, read: Callable[[int], Reading], *, enough: int = 3) -> None:
        self.info, self._made, self._read, self._left = info, 0, read, enough
        self.enough = threading.Event()

    def read(self) -> Reading:
        self._made += 1
        if self._made >= self._left:
            self.enough.set()
        return self._read(self._made)

    def close(self) -> None:
        """Nothing is held."""


def test_a_constant_power_is_power_times_time():
    readings = powers((0, 5), (0.7, 5), (2, 5))
    assert energy_between(readings, 0.1, 1.6) == pytest.approx(7.5)
    assert power_between(readings, 0.1, 1.6) == pytest.approx(5)


def test_a_rise_is_the_area_under_it_and_the_ends_lie_on_the_line():
    readings = powers((0, 0), (2, 8), (4, 8))
    assert energy_between(readings, 0, 2) == pytest.approx(8)
    assert energy_between(readings, 0.5, 1) == pytest.approx(0.5 * (2 + 4) / 2)
    assert energy_between(readings, 1, 3) == pytest.approx((4 + 8) / 2 + 8)


def test_uneven_time_stamps_count_by_their_distance_not_their_number():
    busy, idle = [(0.1 * step, 10.0) for step in range(11)], [(101.0, 0.0)]
    assert power_between(powers(*busy, *idle), 0, 101) == pytest.approx((10 + 100 * 5) / 101)


def test_a_counter_is_a_difference_with_its_ends_between_readings():
    readings = counts((10, 1000.0), (11, 1020.0), (13, 1030.0))
    assert energy_between(readings, 10, 13) == pytest.approx(30)
    assert energy_between(readings, 10.5, 12) == pytest.approx(15)


def test_two_readings_of_one_moment_are_no_division_by_nothing():
    assert energy_between(powers((0, 2), (1, 2), (1, 6), (2, 6)), 0, 2) == pytest.approx(8)
    assert energy_between(counts((0, 0), (1, 4), (1, 4), (2, 5)), 0, 1) == pytest.approx(4)


@given(
    st.lists(st.tuples(st.floats(0.01, 2), st.floats(0, 100)), min_size=2, max_size=12),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_energy_is_the_integral_of_the_line_through_the_readings(steps, one, other):
    times_s = [sum(step for step, _ in steps[: number + 1]) for number in range(len(steps))]
    readings = powers(*zip(times_s, (value for _, value in steps), strict=True))
    length_s = times_s[-1] - times_s[0]
    begin_s, end_s = sorted((times_s[0] + one * length_s, times_s[0] + other * length_s))
    if end_s - begin_s < 1e-6:
        return

    grid_s = np.array(sorted({begin_s, end_s, *(each for each in times_s if begin_s < each < end_s)}))
    values_w = np.interp(grid_s, times_s, [value for _, value in steps])
    wanted_j = float(np.diff(grid_s) @ (values_w[1:] + values_w[:-1])) / 2
    middle_s = (begin_s + end_s) / 2
    found_j = energy_between(readings, begin_s, end_s)
    assert found_j == pytest.approx(wanted_j, rel=1e-6, abs=1e-6)
    halves_j = energy_between(readings, begin_s, middle_s) + energy_between(readings, middle_s, end_s)
    assert found_j == pytest.approx(halves_j)


@pytest.mark.parametrize(("begin_s", "end_s"), [(-0.1, 1), (0.5, 2.1), (1, 1), (1.5, 0.5), (5, 6)])
def test_an_interval_that_was_not_covered_is_refused(begin_s, end_s):
    for readings in (powers((0, 5), (2, 5)), counts((0, 5), (2, 6))):
        with pytest.raises(MeterError, match="mark its begin and its end"):
            energy_between(readings, begin_s, end_s)


def test_no_readings_are_no_energy_of_zero():
    with pytest.raises(MeterError, match="not read over the whole"):
        energy_between([], 0, 1)
    with pytest.raises(MeterError, match="not read over the whole"):
        energy_between(powers((0, 5)), 0, 1)


def test_a_sensor_that_never_moves_is_stuck():
    span_s = STUCK_PERIODS * POWER.period_s
    still = powers(*((span_s * step / 10, 5.0) for step in range(11)))
    with pytest.raises(MeterError, match="fake is stuck: a rail told the same"):
        check_alive(still, POWER)
    check_alive([*still[:-1], *powers((span_s, 5.04))], POWER)


def test_a_sensor_that_had_no_time_to_move_is_not_called_stuck():
    check_alive(powers((0, 5), (0.05, 5), (STUCK_PERIODS * POWER.period_s * 0.9, 5)), POWER)
    check_alive([], POWER)


@pytest.mark.parametrize(
    ("readings", "words"),
    [
        (powers((0, 5), (1, -0.4)), "negative power of -0.4 W"),
        (powers((0, 5), (1, float("nan"))), "no number"),
        (powers((0, float("inf")), (1, 5)), "no number"),
        (counts((0, 5), (1, 4.999)), "counts backward"),
        (counts((0, 5), (1, float("nan"))), "no number"),
        (counts((0, 5), (1, 5), (2, 5)), "is stuck"),
    ],
)
def test_what_cannot_be_is_refused(readings, words):
    with pytest.raises(MeterError, match=words):
        check_alive(readings, POWER if readings[0].power_w is not None else COUNTER)


def test_a_board_at_rest_may_tell_the_same_and_a_counter_may_not():
    check_told(powers((0, 5), (1, 5), (2, 5)), POWER)
    with pytest.raises(MeterError, match="is stuck"):
        check_told(counts((0, 5), (1, 5), (2, 5)), COUNTER)


def test_marks_cover_what_lies_between_them():
    meter = FakeMeter(POWER, lambda made: powers((float(made), 3.0))[0], enough=6)
    with Sampler(meter) as sampler:
        begin_s = sampler.mark()
        assert meter.enough.wait(ENOUGH_S)
        end_s = sampler.mark()
        readings = sampler.readings()
    assert [each.at_s for each in readings] == sorted(each.at_s for each in readings)
    assert energy_between(readings, begin_s, end_s) == pytest.approx(3.0 * (end_s - begin_s))
    assert end_s - begin_s >= 4


def test_the_thread_ends_with_its_block_and_reads_no_more():
    meter = FakeMeter(POWER, lambda made: powers((float(made), 3.0))[0])
    with Sampler(meter) as sampler:
        assert meter.enough.wait(ENOUGH_S)
    assert sampler.readings() == sampler.readings()
    assert not [each for each in threading.enumerate() if each.name == "cleft-meter"]


def test_what_is_forgotten_is_what_no_later_interval_needs():
    meter = FakeMeter(POWER, lambda made: powers((float(made), 3.0 + made))[0], enough=8)
    with Sampler(meter) as sampler:
        assert meter.enough.wait(ENOUGH_S)
        sampler.mark()
    whole = sampler.readings()
    sampler.forget(5.5)
    kept = sampler.readings()
    assert kept == whole[4:], "those from 5 s on"
    assert energy_between(kept, 5.5, 7.25) == pytest.approx(energy_between(whole, 5.5, 7.25))
    for before_s in (0.0, 5.0):
        sampler.forget(before_s)
        assert sampler.readings() == kept


def failing(error: Exception) -> FakeMeter:
    def read(made: int) -> Reading:
        if made >= 3:
            raise error
        return powers((float(made), 3.0))[0]

    return FakeMeter(POWER, read)


@pytest.mark.parametrize("error", [MeterError("the rail is gone"), OSError("the rail is gone")])
def test_what_fails_on_the_thread_is_raised_to_whoever_asks(error):
    meter = failing(error)
    with Sampler(meter) as sampler:
        assert meter.enough.wait(ENOUGH_S)
        with pytest.raises(MeterError, match="the rail is gone"):
            sampler.mark()
        with pytest.raises(MeterError, match="the rail is gone"):
            sampler.readings()


def test_a_meter_that_cannot_be_read_at_all_is_refused_at_the_begin():
    def read(made: int) -> Reading:
        raise MeterError(f"refused {made}")

    with pytest.raises(MeterError, match="refused 1"), Sampler(FakeMeter(POWER, read)):
        raise AssertionError("the block must not begin")


def test_a_counter_is_not_trusted_over_a_gap_in_which_it_may_have_wrapped():
    meter = FakeMeter(COUNTER, lambda made: counts((float(made) if made < 3 else 20.0, float(made)))[0])
    with Sampler(meter) as sampler:
        assert meter.enough.wait(ENOUGH_S)
        with pytest.raises(MeterError, match="may have wrapped"):
            sampler.mark()


@pytest.mark.parametrize(
    ("info", "made", "pause_s"),
    [
        (POWER, powers, 0.005),
        (MeterInfo(kind="fake", source="a rail", scope="board", period_s=0.0), powers, 0.001),
        (COUNTER, counts, COUNTER_PAUSE_S),
        (MeterInfo(kind="fake", source="a zone", scope="board", period_s=0.1), counts, 0.1),
    ],
)
def test_it_reads_twice_a_period_or_as_rarely_as_a_counter_allows(info, made, pause_s):
    meter: Meter = FakeMeter(info, lambda number: made((float(number), 1.0))[0])
    with Sampler(meter) as sampler:
        assert sampler._pause_s() == pytest.approx(pause_s)
