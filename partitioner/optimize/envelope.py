"""The best closed set for every uplink rate at once.

A closed set with its codecs is a line in the seconds that a byte takes (``additive``), so the best price over all rates
is the lower envelope of exponentially many lines, and a min-cut finds the lowest line at any one rate. Begin with the
lowest at an infinite rate and on a dead link; ask at the crossing of two neighbours: whatever lies below goes between
them, and if nothing does, the crossing is a breakpoint. k pieces take at most 2k + 1 min-cuts. Along this axis the
ratio of the rates down and up, the round trip and the load are fixed. All-local is the line of no bytes: the round trip
is paid by the others alone.

The envelope is concave, so where the optimum at a crossing is close to what is known, it is as close on all of both
neighbours' spans. So the search goes on where it may be farthest off, and can stop early with a bound on what is lost.

Source: Eisner and Severance, "Mathematical techniques for efficient record segmentation", JACM 1976.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from partitioner.optimize import mincut
from partitioner.optimize.additive import AdditiveModel, Line
from partitioner.optimize.hull import lower_envelope
from partitioner.optimize.problem import Split, SplitProblem

_CLOSE = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The line that is lowest while a byte takes ``begin_s_per_byte`` to ``end_s_per_byte``."""

    line: Line
    begin_s_per_byte: float
    end_s_per_byte: float


def envelope(
    model: AdditiveModel,
    *,
    down_per_up: float = 1.0,
    tolerance: float = 0.0,
    patience: int = 0,
    solve: Callable[[SplitProblem], Split] = mincut.solve,
) -> tuple[Span, ...]:
    """The spans in order of seconds per byte: from the fastest link to a dead one.

    Args:
        down_per_up: how many times faster the way down is than the way up.
        tolerance: at no rate is the answer's price over the optimum by more than this share of it. A tangle of random
            layers may have hundreds of spans, of which a few dozen come within 0.1 % of all.
        patience: so many min-cuts are made all the same before less than the optimum is good enough.
        solve: any optimiser; with ``chain.solve`` the envelope of the prefixes.
    """

    def lowest(s_per_byte: float) -> Line:
        split = solve(model.at(s_per_byte, s_per_byte / down_per_up))
        return model.line(split.edge, up_s_per_byte=s_per_byte, down_per_up=down_per_up)

    fastest, dead = lowest(0.0), lowest(np.inf)
    lines = [fastest, dead]
    cuts = 2
    heap: list[tuple[float, int, Line, Line]] = [(-math.inf, cuts, fastest, dead)]
    while heap:
        gap, _, left, right = heapq.heappop(heap)
        if -gap <= tolerance and cuts >= patience:
            break
        if left.nbytes <= right.nbytes or left.offset_s >= right.offset_s:
            continue
        crossing = (right.offset_s - left.offset_s) / (left.nbytes - right.nbytes)
        found = lowest(crossing)
        cuts += 1
        known_s, best_s = left.price(crossing), found.price(crossing)
        if best_s < known_s * (1 - _CLOSE):
            lines.append(found)
            gap = 1 - known_s / best_s if best_s else -math.inf
            heapq.heappush(heap, (gap, 2 * cuts, left, found))
            heapq.heappush(heap, (gap, 2 * cuts + 1, found, right))
    pieces = lower_envelope(np.array([line.offset_s for line in lines]), np.array([line.nbytes for line in lines]))
    return tuple(
        Span(line=lines[piece.row], begin_s_per_byte=piece.begin, end_s_per_byte=piece.end) for piece in pieces
    )
