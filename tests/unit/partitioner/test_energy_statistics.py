"""Intervals that hold the truth as often as they say, and the nearest numbers that never decrease."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from partitioner.measure.intervals import half_width, half_widths, student
from partitioner.measure.isotonic import isotonic

PUBLISHED = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262, 10: 2.228, 30: 2.042, 120: 1.980}
"""The 97.5 % points of Student's distribution, as every table of it has them."""


@pytest.mark.parametrize(("freedom", "point"), PUBLISHED.items())
def test_students_points_are_the_published_ones(freedom, point):
    assert student(freedom) == pytest.approx(point, abs=5e-4)


def test_many_degrees_of_freedom_come_to_the_normal_distribution():
    assert student(100_000) == pytest.approx(statistics.NormalDist().inv_cdf(0.975), abs=1e-4)


def test_the_interval_of_a_mean_by_hand():
    """1, 2, 3: standard deviation 1, standard error 1/sqrt(3)."""
    assert half_width([1.0, 2.0, 3.0]) == pytest.approx(4.3027 / math.sqrt(3), rel=1e-4)
    assert half_width([7.0]) == math.inf


@pytest.mark.parametrize("counts", [(3,), (3, 3, 3, 3), (5, 2, 3)])
def test_intervals_hold_the_truth_in_95_of_100_cases(counts):
    rng = np.random.default_rng(1)
    truths = [10.0, 0.3, 55.0, 2.0]
    held = total = 0
    for _ in range(3000):
        samples = [
            truth * (1 + 0.03 * rng.standard_normal(count)) for truth, count in zip(truths, counts, strict=False)
        ]
        intervals = half_widths(samples, [float(np.mean(values)) for values in samples])
        for truth, values, interval in zip(truths, samples, intervals, strict=False):
            held += abs(float(np.mean(values)) - truth) <= interval
            total += 1
    assert held / total == pytest.approx(0.95, abs=0.012)


@given(
    st.lists(st.tuples(st.floats(-50, 50), st.floats(0.1, 10)), min_size=1, max_size=12),
)
def test_isotonic_numbers_are_the_least_squares_ones(pairs):
    """By the min-max formula: the largest over beginnings of the least over ends of the weighted means."""
    values, weights = zip(*pairs, strict=True)
    found = isotonic(values, weights)
    assert found == sorted(found)

    def mean(begin: int, end: int) -> float:
        return float(np.average(values[begin:end], weights=weights[begin:end]))

    for index, value in enumerate(found):
        wanted = max(min(mean(low, high) for high in range(index + 1, len(values) + 1)) for low in range(index + 1))
        assert value == pytest.approx(wanted, abs=1e-9)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20))
def test_numbers_in_order_stay_as_they_are(values):
    values.sort()
    assert isotonic(values, [1.0] * len(values)) == values
