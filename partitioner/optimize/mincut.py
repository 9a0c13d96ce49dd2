"""The best closed set of layers of any graph, as a minimum cut.

The source's side stays on the edge. A layer left to the cloud cuts the arc from the source (its cloud time and its
outputs' way down), one kept cuts the arc to the sink (its edge time). Each flow has a vertex of its own, fed by its
producer through an arc of its crossing time and feeding its readers through infinite ones: many readers, paid once.
An infinite arc back from each reader to the producer keeps the set closed: without it a layer could go to the cloud and
its successor come back for free (the published graph of DADS gives 4 on its own counter-example, where 11 is the
optimum). The flow certifies the cut.

Prefixes are priced by running sums, and a cut is made only of blocks (``blocks``) that may hold something cheaper. What
is paid once for anything remote is no arc: all-local is a prefix.

Cost: 1,000 layers with skips take a few ms (``tests/benchmarks/test_optimisers.py``).
Sources: Hu et al., "DADS", INFOCOM 2019; Picard, "Maximal closure of a graph", Management Science 1976.
"""

from __future__ import annotations

import numpy as np

from partitioner.optimize import chain
from partitioner.optimize.blocks import Block, blocks
from partitioner.optimize.maxflow import Network, min_cut
from partitioner.optimize.problem import Split, SplitProblem


def solve(problem: SplitProblem) -> Split:
    """The cheapest closed set, and the flow that proves it; of equal ones a prefix, the earliest."""
    best = chain.solve(problem)
    bound_s = best.price_s
    for block in blocks(problem):
        if block.bound_s >= best.price_s:
            break
        found = through(problem, block, most_s=2 * best.price_s)
        bound_s = min(bound_s, found.bound_s)
        if found.price_s < best.price_s:
            best = found
    return Split(edge=best.edge, price_s=best.price_s, bound_s=bound_s)


def through(problem: SplitProblem, block: Block, *, most_s: float = np.inf) -> Split:
    """The cheapest closed set that holds all before a block, nothing after it and what it likes of it.

    Its price is infinite where every one sends what may not be sent.

    Args:
        most_s: costs over this are never worth paying.
    """
    cut = min_cut(network(problem, block, most_s=most_s))
    if np.isinf(cut.flow_s):
        return Split(edge=frozenset(range(block.begin)), price_s=cut.flow_s, bound_s=cut.flow_s)
    inner = np.flatnonzero(cut.near[: block.end - block.begin]) + block.begin
    edge = frozenset((*range(block.begin), *inner.tolist()))
    return Split(edge=edge, price_s=problem.price(edge), bound_s=cut.flow_s + _alike_s(problem, block))


def network(problem: SplitProblem, block: Block, *, most_s: float = np.inf) -> Network:
    """The block's layers are nodes 0, 1, ..., then come flows, source and sink; what all sets pay alike is left out.

    A flow that is read after the block crosses wherever its producer is kept. Of the readers in the block those count
    that no other reader depends on; if that is one, as around a skip, the flow is an arc.
    """
    wiring, begin, end = problem.wiring, block.begin, block.end
    count = end - begin
    layers = np.arange(count)
    common_s = np.minimum(problem.edge_s, problem.cloud_s)
    far_s, near_s = (problem.cloud_s - common_s)[begin:end], (problem.edge_s - common_s)[begin:end]
    is_inner = (wiring.producer >= begin) & (wiring.producer < end)
    np.add.at(far_s, wiring.producer[is_inner] - begin, problem.down_s[is_inner])
    far_s[problem.pinned[begin:end]] = np.inf
    goes_on = is_inner & (wiring.last_reader >= end)
    np.add.at(near_s, wiring.producer[goes_on] - begin, problem.up_s[goes_on])
    flow, reader = wiring.last_readers
    is_here = (wiring.last_reader[flow] < end) & (reader >= begin)
    flow, reader = flow[is_here], reader[is_here]
    is_shared = np.bincount(flow, minlength=wiring.flows) > 1
    source = count + int(is_shared.sum())
    sink = source + 1
    vertex = np.cumsum(is_shared) - 1 + count
    origin = np.where(wiring.producer < begin, source, wiring.producer - begin)
    readers, makers = wiring.needs
    is_within = (makers >= begin) & (readers < end)
    arcs = (
        (np.full(count, source), layers, far_s),
        (layers, np.full(count, sink), near_s),
        (origin[is_shared], vertex[is_shared], problem.up_s[is_shared]),
        (
            np.where(is_shared[flow], vertex[flow], origin[flow]),
            reader - begin,
            np.where(is_shared[flow], np.inf, problem.up_s[flow]),
        ),
        (readers[is_within] - begin, makers[is_within] - begin, np.full(int(is_within.sum()), np.inf)),
    )
    tails, heads, capacity_s = (np.concatenate(column) for column in zip(*arcs, strict=True))
    capacity_s = np.where(np.isfinite(capacity_s), np.minimum(capacity_s, most_s), np.inf)
    return Network(nodes=sink + 1, source=source, sink=sink, tails=tails, heads=heads, capacity_s=capacity_s)


def _alike_s(problem: SplitProblem, block: Block) -> float:
    """What every closed set through a block pays, whatever it keeps of it."""
    wiring, begin, end = problem.wiring, block.begin, block.end
    passes = (wiring.producer < begin) & (wiring.last_reader >= end)
    inner_s = np.minimum(problem.edge_s, problem.cloud_s)[begin:end].sum()
    outer_s = problem.edge_s[:begin].sum() + problem.cloud_s[end:].sum() + problem.up_s[passes].sum()
    return float(inner_s + outer_s + problem.down_s[wiring.producer >= end].sum() + problem.fixed_s)
