"""Every closed set of a small graph, priced one by one: the oracle of the other optimisers.

Layers are decided in topological order: one may be kept if all that it depends on is. Each closed set is met once, so
the cost is their number (n + 1 for a chain, up to 2^n for n layers that do not depend on each other) times one price.
"""

from __future__ import annotations

from collections.abc import Iterator

from partitioner.errors import PlanError
from partitioner.optimize.problem import Split, SplitProblem, Wiring

MAX_SETS = 200_000


def solve(problem: SplitProblem, *, max_sets: int = MAX_SETS) -> Split:
    """The cheapest closed set; of equal ones the first met, which keeps fewer layers of the early branches.

    Raises:
        PlanError: there are more than ``max_sets``.
    """
    priced = [(problem.price(edge), edge) for edge in closed_sets(problem.wiring, max_sets=max_sets)]
    price_s, edge = min(priced, key=lambda each: each[0])
    return Split(edge=edge, price_s=price_s, bound_s=price_s)


def closed_sets(wiring: Wiring, *, max_sets: int = MAX_SETS) -> Iterator[frozenset[int]]:
    """Every closed set, once.

    Raises:
        PlanError: there are more than ``max_sets``.
    """
    before: list[set[int]] = [set() for _ in range(wiring.layers)]
    for reader, maker in zip(*(ends.tolist() for ends in wiring.edges), strict=True):
        before[reader].add(maker)
    found = 0
    stack: list[tuple[int, frozenset[int]]] = [(0, frozenset())]
    while stack:
        index, edge = stack.pop()
        if index == wiring.layers:
            found += 1
            if found > max_sets:
                raise PlanError(f"a graph with more than {max_sets} closed sets is not enumerated: use the min-cut")
            yield edge
            continue
        if before[index] <= edge:
            stack.append((index + 1, edge | {index}))
        stack.append((index + 1, edge))
