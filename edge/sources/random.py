"""Inputs that are made up: random numbers in the model's own shapes, the same for the same seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from edge.sources.kinds import Drawn
from partitioner.graph import Graph
from partitioner.inputs import Sample, random_samples


class Random:
    """``count`` random inputs by the name ``random[i]``; the i-th is drawn with ``seed + i``."""

    is_live = False

    def __init__(self, graph: Graph, count: int, *, seed: int) -> None:
        self.count = count
        self._graph = graph
        self._seed = seed

    def __iter__(self) -> Iterator[Drawn]:
        for index in range(self.count):
            sample = replace(random_input(self._graph, seed=self._seed + index), name=f"random[{index}]")
            yield Drawn(name=sample.name, sample=sample)


def random_input(graph: Graph, *, seed: int) -> Sample:
    """One random input, of the sizes and within the integers that the model was captured with."""
    ranges = {each.name: (each.low, each.high + 1) for each in graph.inputs}
    values = [each.value for each in graph.inputs]
    return random_samples(1, values, binding=graph.example_binding, ranges=ranges, seed=seed)[0]
