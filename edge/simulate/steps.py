"""A quantity over time: constant between steps, and repeated for ever.

Of a rate, the running sum of bytes is piecewise linear, so how much moves in an interval and when a number of bytes
will have moved are both a look-up: O(log n) however long the interval. A rate may be zero for a while.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise

from partitioner.errors import UsageError


class Steps:
    """``values[i]`` from ``starts_s[i]`` to the next start; after ``period_s`` it begins again.

    Raises:
        UsageError: there is no step, they do not begin at 0 and rise to the period, or a value is negative.
    """

    __slots__ = ("_sums", "period_s", "starts_s", "values")

    def __init__(self, starts_s: Sequence[float], values: Sequence[float], *, period_s: float) -> None:
        ends_s = (*starts_s[1:], period_s)
        if not starts_s or len(starts_s) != len(values) or starts_s[0] != 0 or not math.isfinite(period_s):
            raise UsageError("steps need as many starts as values, the first at 0, and a finite period")
        if any(end_s <= start_s for start_s, end_s in zip(starts_s, ends_s, strict=True)):
            raise UsageError("steps must start one after the other, and before the period ends")
        if any(not 0 <= value < math.inf for value in values):
            raise UsageError("a step's value is negative or not finite")
        self.starts_s = tuple(starts_s)
        self.values = tuple(values)
        self.period_s = period_s
        spans = (end_s - start_s for start_s, end_s in zip(starts_s, ends_s, strict=True))
        self._sums = (0.0, *accumulate(span_s * value for span_s, value in zip(spans, values, strict=True)))

    @staticmethod
    def constant(value: float) -> Steps:
        """The same at all times."""
        return Steps((0.0,), (value,), period_s=1.0)

    @property
    def mean(self) -> float:
        """Mean over time."""
        return self._sums[-1] / self.period_s

    @property
    def least(self) -> float:
        """The smallest value."""
        return min(self.values)

    def at(self, now_s: float) -> float:
        """The value at a time of 0 or later."""
        return self.values[bisect_right(self.starts_s, now_s % self.period_s) - 1]

    def sum(self, until_s: float) -> float:
        """The integral from 0."""
        rounds, within_s = divmod(until_s, self.period_s)
        step = bisect_right(self.starts_s, within_s) - 1
        return rounds * self._sums[-1] + self._sums[step] + (within_s - self.starts_s[step]) * self.values[step]

    def when_s(self, start_s: float, amount: float) -> float:
        """The first time at which the integral since ``start_s`` is ``amount``; infinite where it never is."""
        if amount <= 0:
            return start_s
        if self._sums[-1] <= 0:
            return math.inf
        rounds, left = divmod(self.sum(start_s) + amount, self._sums[-1])
        if left <= 0:  # exactly whole rounds: the last moment at which anything moved
            rounds, left = rounds - 1, self._sums[-1]
        step = bisect_left(self._sums, left) - 1
        return max(
            start_s,
            rounds * self.period_s + self.starts_s[step] + (left - self._sums[step]) / self.values[step],
        )

    def scaled(self, factor: float) -> Steps:
        """The same with every value times ``factor``."""
        return Steps(self.starts_s, [value * factor for value in self.values], period_s=self.period_s)

    def merged(self) -> Steps:
        """The same with equal neighbours made one step."""
        kept = [0, *(index for index, (before, after) in enumerate(pairwise(self.values), 1) if before != after)]
        return Steps([self.starts_s[i] for i in kept], [self.values[i] for i in kept], period_s=self.period_s)
