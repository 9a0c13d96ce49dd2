"""Distance correlation against its definition, and on samples whose dependence is known."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from partitioner.measure.leakage.correlation import distance_correlation

FloatArray = npt.NDArray[np.float64]


def distances(rows: FloatArray) -> FloatArray:
    return np.sqrt(((rows[:, np.newaxis] - rows[np.newaxis]) ** 2).sum(axis=-1))


def u_centred(matrix: FloatArray) -> FloatArray:
    """Definition 2 of Székely and Rizzo, "Partial distance correlation", one element at a time."""
    count = len(matrix)
    centred = np.zeros_like(matrix)
    for i in range(count):
        for j in range(count):
            if i != j:
                centred[i, j] = (
                    matrix[i, j]
                    - matrix[i].sum() / (count - 2)
                    - matrix[:, j].sum() / (count - 2)
                    + matrix.sum() / ((count - 1) * (count - 2))
                )
    return centred


def by_definition(first: FloatArray, second: FloatArray) -> float:
    """The bias-corrected squared distance correlation."""
    a, b = u_centred(first), u_centred(second)
    return float((a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum()))


def plain(first: FloatArray, second: FloatArray) -> float:
    """The statistic without correction: doubly centred matrices."""
    a, b = (each - each.mean(0) - each.mean(1)[:, np.newaxis] + each.mean() for each in (first, second))
    return math.sqrt(float((a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum())))


def drawn(seed: int, count: int, size: int) -> FloatArray:
    return np.random.default_rng(seed).standard_normal((count, size))


def estimate(first: FloatArray, second: FloatArray) -> tuple[float, float]:
    found = distance_correlation(distances(first), distances(second))
    assert found is not None
    return found.value, found.interval


@pytest.mark.parametrize("seed", range(20))
def test_it_is_the_definition(seed: int) -> None:
    count = 5 + seed
    x = drawn(seed, count, 3)
    y = x[:, :2] ** 2 + 0.3 * drawn(seed + 100, count, 2)
    squared = by_definition(distances(x), distances(y))
    assert estimate(x, y)[0] == pytest.approx(math.sqrt(max(0.0, squared)), abs=1e-9)


def test_the_interval_is_that_of_leaving_each_out() -> None:
    x = drawn(0, 24, 4)
    y = np.abs(x) + 0.5 * drawn(1, 24, 4)
    a, b = distances(x), distances(y)
    without = [
        by_definition(np.delete(np.delete(a, k, 0), k, 1), np.delete(np.delete(b, k, 0), k, 1)) for k in range(24)
    ]
    error = math.sqrt(23 / 24 * sum((each - sum(without) / 24) ** 2 for each in without))
    squared = by_definition(a, b)
    high, low = (math.sqrt(min(1.0, max(0.0, squared + sign * 1.96 * error))) for sign in (1, -1))
    value, interval = estimate(x, y)
    assert interval == pytest.approx(max(high - value, value - low), rel=1e-9)


@pytest.mark.parametrize("scale", [1e-150, 1e-3, 1.0, 1e6, 1e140])
def test_a_turned_scaled_and_moved_copy_is_1(scale: float) -> None:
    x = drawn(2, 60, 12)
    turn, _ = np.linalg.qr(drawn(3, 12, 12))
    value, interval = estimate(x, (x @ turn) * scale + scale)
    assert value == pytest.approx(1.0, abs=1e-9)
    assert interval < 1e-3


def test_independent_samples_of_many_dimensions_are_about_0_where_the_plain_statistic_is_not() -> None:
    values, plains = [], []
    for seed in range(20):
        a, b = distances(drawn(seed, 50, 400)), distances(drawn(seed + 1000, 50, 300))
        found = distance_correlation(a, b)
        assert found is not None
        values.append(by_definition(a, b))
        assert found.value - found.interval <= 0.05
        plains.append(plain(a, b))
    assert abs(float(np.mean(values))) < 4 * float(np.std(values)) / math.sqrt(20), "the squared estimate has no bias"
    assert min(plains) > 0.9


def test_more_samples_narrow_the_interval_and_it_holds_the_value_of_very_many() -> None:
    def pair(seed: int, count: int) -> tuple[FloatArray, FloatArray]:
        x = drawn(seed, count, 5)
        return x, np.maximum(x @ drawn(7, 5, 4), 0.0) + 0.7 * drawn(seed + 5000, count, 4)

    truth, _ = estimate(*pair(99, 1500))
    widths = {}
    for count in (25, 100, 400):
        found = [estimate(*pair(seed, count)) for seed in range(20 if count < 400 else 5)]
        widths[count] = float(np.mean([interval for _, interval in found]))
        covered = sum(abs(value - truth) <= interval for value, interval in found)
        assert covered >= 0.75 * len(found), f"{covered} of {len(found)} intervals of {count} samples hold {truth}"
    assert widths[25] > 1.6 * widths[100] > 2.5 * widths[400]


def test_what_does_not_vary_tells_nothing() -> None:
    value = distance_correlation(distances(drawn(4, 30, 3)), np.zeros((30, 30)))
    assert value is not None
    assert (value.value, value.interval) == (0.0, 0.0)


def test_where_all_are_equally_far_apart_nothing_can_be_told() -> None:
    apart = 3.7 * (1.0 - np.eye(30))
    assert distance_correlation(distances(drawn(5, 30, 3)), apart) is None
