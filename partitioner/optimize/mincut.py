"""The best closed set of layers of any graph, as a minimum cut.

The source's side stays on the edge. A layer left to the cloud cuts the arc from the source (its cloud time and its
outputs' way down), one kept cuts the arc to the sink (its edge time). Each flow has a vertex of its own, fed by its
producer through an arc of its crossing time and feeding every reader through an infinite one: many readers, paid once.
An infinite arc back from each reader to the producer keeps the set closed: without it a layer could go to the cloud and
its successor come back for free (the published graph of DADS gives 4 on its own counter-example, where 11 is the
optimum). The flow certifies the cut. What is paid once for anything remote is no arc: all-local is compared apart, and
so is every prefix, whose best price bounds the capacities and with them the rounding.

Cost: about 1 ms for 100 layers, 10 ms for 1,000 (``tests/benchmarks/test_optimisers.py``).
Sources: Hu et al., "DADS", INFOCOM 2019; Picard, "Maximal closure of a graph", Management Science 1976.
"""

from __future__ import annotations

import numpy as np

from partitioner.layergraph import INPUT
from partitioner.optimize import chain
from partitioner.optimize.maxflow import Network, min_cut
from partitioner.optimize.problem import Split, SplitProblem


def solve(problem: SplitProblem) -> Split:
    """The cheapest closed set, the smallest of equal ones, and the flow that proves it."""
    offset_s = float(np.minimum(problem.edge_s, problem.cloud_s).sum())
    known = chain.solve(problem)
    cut = min_cut(network(problem, most_s=2 * known.price_s))
    edge = frozenset(np.flatnonzero(cut.near[: problem.wiring.layers]).tolist())
    bound_s = cut.flow_s + offset_s
    if not problem.wiring.is_local(problem.wiring.mask(edge)):
        bound_s = min(bound_s + problem.fixed_s, problem.price(problem.all_local))
    found = Split(edge=edge, price_s=problem.price(edge), bound_s=bound_s)
    return found if found.price_s <= known.price_s else Split(edge=known.edge, price_s=known.price_s, bound_s=bound_s)


def network(problem: SplitProblem, *, most_s: float = np.inf) -> Network:
    """Layers are nodes 0..n-1, then flows that several layers read, source and sink; a flow that one layer reads is an
    arc. What both sides pay alike is left out. Costs over ``most_s`` are never worth paying and count as that.
    """
    wiring = problem.wiring
    count = wiring.layers
    is_shared = np.bincount(wiring.reader_flow, minlength=wiring.flows) > 1
    vertex = np.cumsum(is_shared) - 1 + count
    source = count + int(is_shared.sum())
    sink = source + 1
    layers = np.arange(count)
    common_s = np.minimum(problem.edge_s, problem.cloud_s)
    is_made = wiring.producer != INPUT
    origin = np.where(is_made, wiring.producer, source)
    far_s = problem.cloud_s - common_s
    np.add.at(far_s, wiring.producer[is_made], problem.down_s[is_made])
    far_s[problem.pinned] = np.inf
    flow = wiring.reader_flow
    readers, makers = wiring.edges
    arcs = (
        (np.full(count, source), layers, far_s),
        (layers, np.full(count, sink), problem.edge_s - common_s),
        (origin[is_shared], vertex[is_shared], problem.up_s[is_shared]),
        (
            np.where(is_shared[flow], vertex[flow], origin[flow]),
            wiring.reader_layer,
            np.where(is_shared[flow], np.inf, problem.up_s[flow]),
        ),
        (readers, makers, np.full(len(readers), np.inf)),
    )
    tails, heads, capacity_s = (np.concatenate(column) for column in zip(*arcs, strict=True))
    capacity_s = np.where(np.isfinite(capacity_s), np.minimum(capacity_s, most_s), np.inf)
    return Network(nodes=sink + 1, source=source, sink=sink, tails=tails, heads=heads, capacity_s=capacity_s)
