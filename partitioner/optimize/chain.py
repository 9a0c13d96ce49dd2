"""The best prefix of the layers, by running sums.

Moving the cut one layer to the right adds that layer's edge time and removes its cloud time; a flow crosses from its
producer to its last reader. So sums along the order price all n + 1 prefixes in O(n + m), whatever the graph, and where
every closed set is a prefix (a chain) the best of them is the optimum. Ties go to the earliest, which keeps the edge
device idle longest.

Source: Kang et al., "Neurosurgeon", ASPLOS 2017. Models that are not chains go to ``optimize.mincut``.
"""

from __future__ import annotations

import numpy as np

from partitioner.layergraph import INPUT
from partitioner.optimize.problem import FloatArray, IntArray, Split, SplitProblem


def prefix_prices(problem: SplitProblem, *, most_s: float = np.inf) -> FloatArray:
    """The price of keeping the first d layers, for d = 0..n: (n + 1,) seconds, infinite where a pinned layer leaves.

    Args:
        most_s: where a flow that crosses costs more, so is the price. What is added and taken off again leaves rounding
            behind, as much as it is large.
    """
    wiring = problem.wiring
    count = wiring.layers
    prices_s = np.concatenate([[0.0], np.cumsum(problem.edge_s)])
    prices_s += np.append(np.cumsum(problem.cloud_s[::-1])[::-1], 0.0)
    prices_s += _sums(problem.up_s, wiring.producer + 1, wiring.last_reader + 1, count, most_s)
    made = wiring.producer != INPUT
    down_s, first = problem.down_s[made], np.zeros(int(made.sum()), dtype=np.int64)
    prices_s += _sums(down_s, first, wiring.producer[made] + 1, count, most_s)
    last_needed = int(np.flatnonzero(wiring.needed)[-1]) + 1 if wiring.needed.any() else 0
    prices_s[:last_needed] += problem.fixed_s
    if problem.pinned.any():
        prices_s[: int(np.flatnonzero(problem.pinned)[-1]) + 1] = np.inf
    return prices_s


def solve(problem: SplitProblem) -> Split:
    """The cheapest prefix; the optimum of a chain."""
    prices_s = prefix_prices(problem, most_s=float(problem.edge_s.sum()))  # all-local is never above that
    depth = int(np.argmin(prices_s))
    edge = frozenset(range(depth))
    price_s = problem.price(edge)
    return Split(edge=edge, price_s=price_s, bound_s=price_s if problem.wiring.is_chain else 0.0)


def _sums(costs_s: FloatArray, begin: IntArray, end: IntArray, count: int, most_s: float) -> FloatArray:
    """For every depth, the sum of the costs whose half-open interval of depths holds it: (count + 1,).

    Infinite where one is over ``most_s``.
    """
    finite = np.isfinite(costs_s) & (costs_s <= most_s)
    changes_s, blocked = np.zeros(count + 2), np.zeros(count + 2, dtype=np.int64)
    np.add.at(changes_s, begin[finite], costs_s[finite])
    np.subtract.at(changes_s, end[finite], costs_s[finite])
    np.add.at(blocked, begin[~finite], 1)
    np.subtract.at(blocked, end[~finite], 1)
    return np.where(np.cumsum(blocked)[:-1] > 0, np.inf, np.cumsum(changes_s)[:-1])
