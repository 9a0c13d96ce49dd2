"""The best closed set of layers of any graph, as a minimum cut.

The source's side stays on the edge. A layer left to the cloud cuts the arc from the source (its cloud time and its
outputs' way down), one kept cuts the arc to the sink (its edge time). Each flow has a vertex of its own, fed by its
producer through an arc of its crossing time and feeding every reader through an infinite one: many readers, paid once.
An infinite arc back from each reader to the producer keeps the set closed: without it a layer could go to the cloud and
its successor come back for free (the published graph of DADS gives 4 on its own counter-example, where 11 is the
optimum). The flow certifies the cut. What is paid once for anything remote is no arc: all-local is compared apart.

Cost: 0.5 ms for 100 layers, a few ms for 1,000 (see ``tests/benchmarks/test_optimisers.py``).
Sources: Hu et al., "DADS", INFOCOM 2019; Picard, "Maximal closure of a graph", Management Science 1976.
"""

from __future__ import annotations

import numpy as np

from partitioner.layergraph import INPUT
from partitioner.optimize.maxflow import Network, min_cut
from partitioner.optimize.problem import Split, SplitProblem


def solve(problem: SplitProblem) -> Split:
    """The cheapest closed set, and the flow that proves it.

    Raises:
        PlanError: the extra ``mincut`` is not installed.
    """
    count = problem.wiring.layers
    offset_s = float(np.minimum(problem.edge_s, problem.cloud_s).sum())
    cut = min_cut(network(problem))
    edge = frozenset(np.flatnonzero(cut.near[:count]).tolist())
    local = problem.all_local
    split = Split(edge=edge, price_s=problem.price(edge), bound_s=cut.flow_s + offset_s)
    if problem.wiring.is_local(problem.wiring.mask(edge)):
        return split
    remote_s, local_s = split.bound_s + problem.fixed_s, problem.price(local)
    if split.price_s <= local_s:
        return Split(edge=edge, price_s=split.price_s, bound_s=min(remote_s, local_s))
    return Split(edge=local, price_s=local_s, bound_s=min(remote_s, local_s))


def network(problem: SplitProblem) -> Network:
    """Layers are nodes 0..n-1, flows n..n+m-1, then source and sink; costs that both sides pay are left out."""
    wiring = problem.wiring
    count, flows = wiring.layers, wiring.flows
    source, sink = count + flows, count + flows + 1
    layers, vertices = np.arange(count), np.arange(count, count + flows)
    common_s = np.minimum(problem.edge_s, problem.cloud_s)
    made = wiring.producer != INPUT
    far_s = problem.cloud_s - common_s
    np.add.at(far_s, wiring.producer[made], problem.down_s[made])
    far_s[problem.pinned] = np.inf
    readers, makers = wiring.edges
    tails = [
        np.full(count, source),
        layers,
        np.where(made, wiring.producer, source),
        vertices[wiring.reader_flow],
        readers,
    ]
    heads = [layers, np.full(count, sink), vertices, wiring.reader_layer, makers]
    capacity_s = [far_s, problem.edge_s - common_s, problem.up_s, np.full(len(wiring.reader_flow), np.inf)]
    capacity_s.append(np.full(len(readers), np.inf))
    joined_s = np.concatenate(capacity_s)
    used = joined_s > 0
    return Network(
        nodes=count + flows + 2,
        source=source,
        sink=sink,
        tails=np.concatenate(tails)[used],
        heads=np.concatenate(heads)[used],
        capacity_s=joined_s[used],
    )
