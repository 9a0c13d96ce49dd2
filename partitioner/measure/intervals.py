"""How sure a mean is: 95 % intervals after Student. Pure.

Of many small samples whose spread is alike in proportion to something, such as their means, the spread is estimated
from all together: three values alone say little about it.

Source: Abramowitz and Stegun, "Handbook of Mathematical Functions", 26.7.3 and 26.7.4, for whole degrees of freedom.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence

_SHARE = 0.95
_HALVINGS = 60


@functools.lru_cache(maxsize=1024)
def student(freedom: int) -> float:
    """How many standard errors on either side of a mean hold the truth in 95 of 100 cases."""
    low, high = 0.0, math.pi / 2
    for _ in range(_HALVINGS):
        angle = (low + high) / 2
        low, high = (low, angle) if _within(angle, freedom) > _SHARE else (angle, high)
    return math.sqrt(freedom) * math.tan(low)


def half_width(values: Sequence[float]) -> float:
    """Half of the 95 % interval of the mean; infinite for fewer than two values."""
    if len(values) < 2:
        return math.inf
    return student(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))


def half_widths(samples: Sequence[Sequence[float]], scales: Sequence[float]) -> list[float]:
    """The same for each of several samples that spread alike in proportion to their scales.

    Infinite where none of them has two values.
    """
    freedom = sum(len(values) - 1 for values in samples)
    if freedom == 0:
        return [math.inf] * len(samples)
    squares = 0.0
    for values, scale in zip(samples, scales, strict=True):
        mean = statistics.fmean(values)
        squares += sum(((value - mean) / scale) ** 2 for value in values)
    share = student(freedom) * math.sqrt(squares / freedom)
    return [share * scale / math.sqrt(len(values)) for values, scale in zip(samples, scales, strict=True)]


def _within(angle: float, freedom: int) -> float:
    """The chance that the tangent of an angle, times the root of ``freedom``, is not exceeded either way."""
    sine, cosine = math.sin(angle), math.cos(angle)
    is_odd = freedom % 2 == 1
    term = cosine if is_odd else 1.0
    total = 0.0 if freedom == 1 else term
    for number in range(3 if is_odd else 2, freedom - 1, 2):
        term *= cosine * cosine * ((number - 1) / number)
        total += term
    return 2 / math.pi * (angle + sine * total) if is_odd else sine * total
