"""The Pareto front: what nothing else is at least as good as in every way, and better in one.

Two objectives are one sort and a running minimum, O(n log n). With more, rows sorted by their first score are compared
with the front so far in one vectorised step each, O(n * front): whoever dominates a row sorts before it.

Source: Kung, Luccio and Preparata, "On finding the maxima of a set of vectors", JACM 1975.
"""

from __future__ import annotations

import numpy as np

from partitioner.cost import FloatArray, IntArray


def front(scores: FloatArray) -> IntArray:
    """Rows of an (n, k) array that no other row dominates, less is better; by their first score.

    Of rows that are equal the first stays.
    """
    order = np.lexsort((np.arange(len(scores)), *scores.T[::-1]))
    ranked = scores[order]
    if scores.shape[1] <= 2:
        last = ranked[:, -1]
        before = np.minimum.accumulate(np.concatenate(([np.inf], last[:-1])))
        is_first = np.arange(len(order)) == 0
        chosen: IntArray = order[(last < before) | is_first]
        return chosen
    found = np.empty_like(ranked)
    kept: list[int] = []
    for row, values in enumerate(ranked):
        if not (found[: len(kept)] <= values).all(axis=1).any():
            found[len(kept)] = values
            kept.append(row)
    rest: IntArray = order[np.array(kept, dtype=np.int64)]
    return rest
