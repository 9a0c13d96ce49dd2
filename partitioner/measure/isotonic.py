"""Numbers that cannot decrease, from measurements that do: the nearest such numbers, by least squares. Pure.

Neighbours in the wrong order are replaced by their weighted mean until none is left (pool adjacent violators): O(n).

Source: Ayer et al., "An empirical distribution function for sampling with incomplete information", Annals of
Mathematical Statistics 1955.
"""

from __future__ import annotations

from collections.abc import Sequence


def isotonic(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The numbers that never decrease with the least sum of weighted squares of differences from ``values``.

    Args:
        weights: over 0, one per value.
    """
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        mean, total, count = value, weight, 1
        while blocks and blocks[-1][0] > mean:
            before, before_weight, before_count = blocks.pop()
            mean = (before * before_weight + mean * total) / (before_weight + total)
            total += before_weight
            count += before_count
        blocks.append((mean, total, count))
    return [mean for mean, _, count in blocks for _ in range(count)]
