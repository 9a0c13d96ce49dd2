"""Where a graph narrows to one layer, and what lies between such places.

A *waist* is a layer that depends on all before it and that all after it depend on: a closed set holds it and all before
it, or neither it nor anything after it. So every closed set is a prefix but for the layers between two neighbouring
waists, a *block*. In a chain every layer is a waist, skips or not; in residual and Inception networks blocks are a few
layers each. A block whose lower bound is over a known price need not be looked at.

Waists are found once for a wiring, in O(n m / 64); bounding every block takes O(n + m).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from partitioner.layergraph import INPUT
from partitioner.optimize.problem import FloatArray, IntArray, SplitProblem


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The layers from ``begin`` to ``end`` (exclusive), at least two; those before are kept, those after are not.

    No closed set through it is cheaper than ``bound_s``.
    """

    begin: int
    end: int
    bound_s: float


def blocks(problem: SplitProblem) -> list[Block]:
    """Every block through which a closed set may lie that is no prefix, the one of the least bound first."""
    wiring = problem.wiring
    count = wiring.layers
    ends = np.array([-1, *wiring.waists, count], dtype=np.int64)
    pins = np.flatnonzero(problem.pinned)
    is_wide = (np.diff(ends) > 2) & (ends[1:] > (pins[-1] if len(pins) else -1))
    begins, ends = ends[:-1][is_wide] + 1, ends[1:][is_wide]
    if not len(begins):
        return []
    kept_s, either_s = (
        np.append(0.0, np.cumsum(costs_s)) for costs_s in (problem.edge_s, np.minimum(problem.edge_s, problem.cloud_s))
    )
    left_s = np.append(np.cumsum(problem.cloud_s[::-1])[::-1], 0.0)
    made = wiring.producer != INPUT
    down_s = np.zeros(count + 1)
    np.add.at(down_s, wiring.producer[made], problem.down_s[made])
    down_s = np.cumsum(down_s[::-1])[::-1]
    bounds_s = kept_s[begins] + either_s[ends] - either_s[begins] + left_s[ends] + down_s[ends]
    bounds_s += np.where((begins > 0) & (ends < count), _least_crossing_s(problem, begins, ends), 0.0)
    order = np.argsort(bounds_s, kind="stable")
    found = zip(begins[order].tolist(), ends[order].tolist(), bounds_s[order].tolist(), strict=True)
    return [Block(begin=begin, end=end, bound_s=bound_s) for begin, end, bound_s in found]


def _least_crossing_s(problem: SplitProblem, begins: IntArray, ends: IntArray) -> FloatArray:
    """The cheapest flow made by each block or the waist before it: on the way from waist to waist one must cross."""
    wiring = problem.wiring
    inner = wiring.reader_flow[wiring.producer[wiring.reader_flow] != INPUT]
    least_s = np.full(wiring.layers + 1, np.inf)
    np.minimum.at(least_s, wiring.producer[inner], problem.up_s[inner])
    spans = np.stack([begins - 1, ends], axis=1).ravel()
    found: FloatArray = np.minimum.reduceat(least_s, np.maximum(spans, 0))[::2]
    return found
