"""Medians, spread, and estimates for what was not measured. Pure."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from partitioner.profile import Timing

T = TypeVar("T")


def timing(samples_s: Sequence[float]) -> Timing:
    """Median and interquartile range."""
    ordered = sorted(samples_s)
    spread_s = 0.0
    if len(ordered) >= 2:
        low, _, high = statistics.quantiles(ordered, n=4, method="inclusive")
        spread_s = high - low
    return Timing(median_s=statistics.median(ordered), spread_s=spread_s, samples=len(ordered), how="measured")


def calibrate(estimates_s: Sequence[float], measured: Mapping[int, Timing]) -> list[Timing]:
    """A timing for every position: the measured one, or the estimate corrected as its measured neighbours were.

    The ratio of measured to estimated is interpolated linearly between the neighbours, and held beyond the last.
    """
    ratios = {i: each.median_s / estimates_s[i] for i, each in measured.items() if estimates_s[i] > 0}
    found: list[Timing] = []
    for index, estimate_s in enumerate(estimates_s):
        if index in measured:
            found.append(measured[index])
            continue
        ratio = _interpolate(ratios, index)
        near = measured[nearest(measured, index)] if measured else None
        relative = near.spread_s / near.median_s if near is not None and near.median_s > 0 else 0.0
        median_s = estimate_s * ratio
        found.append(Timing(median_s=median_s, spread_s=median_s * relative, samples=0, how="calibrated"))
    return found


def nearest(positions: Iterable[int], index: int) -> int:
    """The position closest to ``index``."""
    return min(positions, key=lambda position: abs(position - index))


def _interpolate(ratios: Mapping[int, float], index: int) -> float:
    below = max((i for i in ratios if i < index), default=None)
    above = min((i for i in ratios if i > index), default=None)
    if below is None or above is None:
        edge = above if below is None else below
        return 1.0 if edge is None else ratios[edge]
    share = (index - below) / (above - below)
    return ratios[below] + share * (ratios[above] - ratios[below])


def spread_out(items: Sequence[T]) -> list[T]:
    """The items reordered so that every prefix samples them evenly: the middle, the quarters, and so on."""
    order: list[T] = []
    ranges: deque[tuple[int, int]] = deque([(0, len(items))])
    while ranges:
        low, high = ranges.popleft()
        if low < high:
            middle = (low + high) // 2
            order.append(items[middle])
            ranges.append((low, middle))
            ranges.append((middle + 1, high))
    return order
