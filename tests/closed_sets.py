"""Random closed sets of a layer graph."""

from __future__ import annotations

import numpy as np

from partitioner.layergraph import LayerGraph


def closed_set(graph: LayerGraph, generator: np.random.Generator) -> frozenset[int]:
    """What a few random layers and all they depend on are; every closed set may come."""
    count = len(graph.layers)
    ends = generator.choice(count, size=int(generator.integers(0, min(count, 4) + 1)), replace=False)
    return graph.closure(int(index) for index in ends)


def sideways_sets(graph: LayerGraph, generator: np.random.Generator, *, count: int) -> list[frozenset[int]]:
    """At most ``count`` different closed sets that are no prefix and leave an output to make."""
    found: dict[frozenset[int], None] = {}
    for _ in range(20 * count):
        edge = closed_set(graph, generator)
        if edge != frozenset(range(len(edge))) and graph.reply(edge):
            found[edge] = None
    return list(found)[:count]
