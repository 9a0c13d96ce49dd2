"""Bias-corrected distance correlation of two samples, from their distance matrices.

The plain statistic is far over 0 for independent samples of many dimensions (0.9 and more for pictures); centring as in
the unbiased estimate of the squared distance covariance takes that away. What is returned is the root of the corrected
squared correlation, 0 where that is negative. It still spreads with the choice of samples, by about one over their
number where nothing depends on anything: the interval is a jackknife's, all leave-one-out estimates in O(n²) from the
sums that the estimate is made of.

Source: Székely and Rizzo, "The distance correlation t-test of independence in high dimension", Journal of Multivariate
Analysis 2013 (section 3); the sums are those of Huo and Székely, "Fast computing for distance covariance",
Technometrics 2016; Efron and Stein, "The jackknife estimate of variance", Annals of Statistics 1981.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

LEAST_SAMPLES = 5
"""Of which any four give an estimate when one is left out."""
_SPREAD_OF_95 = 1.96
_ROUNDING = 1e-20
"""Of a squared distance variance whose mean distance is 1: below it, all distances are equal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlation:
    """An estimate and half of its 95 % interval."""

    value: float
    interval: float


def distance_correlation(first: FloatArray, second: FloatArray) -> Correlation | None:
    """The correlation of two samples of the same n individuals; None where distances that are all equal tell nothing.

    A sample that does not vary at all is independent of everything: 0.

    Args:
        first: (n, n) distances between the individuals, symmetric with a diagonal of zeros; n is at least 5.
        second: likewise, of the other sample.
    """
    if first.max() == 0 or second.max() == 0:
        return Correlation(value=0.0, interval=0.0)
    first, second = _centred(first), _centred(second)
    covariance, variances = _Sums(first, second), (_Sums(first, first), _Sums(second, second))
    if min(each.whole for each in variances) <= _ROUNDING:
        return None
    squared = covariance.whole / math.sqrt(variances[0].whole * variances[1].whole)
    scale = np.sqrt(np.maximum(variances[0].without_one * variances[1].without_one, _ROUNDING**2))
    without_one = covariance.without_one / scale
    count = len(first)
    error = math.sqrt((count - 1) / count * float(((without_one - without_one.mean()) ** 2).sum()))
    value, low, high = (_root(squared + sign * _SPREAD_OF_95 * error) for sign in (0, -1, 1))
    return Correlation(value=value, interval=max(high - value, value - low))


def _centred(distances: FloatArray) -> FloatArray:
    """Distances over their mean, less 1 off the diagonal: what a constant adds to all of them cancels in the sums."""
    count = len(distances)
    scaled: FloatArray = distances / (distances.sum() / (count * (count - 1))) - 1.0
    np.fill_diagonal(scaled, 0.0)
    return scaled


class _Sums:
    """The unbiased squared distance covariance of all individuals, and without each of them."""

    def __init__(self, first: FloatArray, second: FloatArray) -> None:
        product = first * second
        rows, other_rows, product_rows = first.sum(axis=1), second.sum(axis=1), product.sum(axis=1)
        total, other_total = rows.sum(), other_rows.sum()
        products, row_products = product_rows.sum(), rows @ other_rows
        count = len(first)
        self.whole = float(_covariance(count, products, row_products, total * other_total))
        self.without_one: FloatArray = _covariance(
            count - 1,
            products - 2 * product_rows,
            row_products - second @ rows - first @ other_rows + product_rows - rows * other_rows,
            (total - 2 * rows) * (other_total - 2 * other_rows),
        )


def _covariance(count: int, products: FloatArray, row_products: FloatArray, totals: FloatArray) -> FloatArray:
    return (products - 2 * row_products / (count - 2) + totals / ((count - 1) * (count - 2))) / (count * (count - 3))


def _root(squared: float) -> float:
    return math.sqrt(min(1.0, max(0.0, squared)))
