"""Random split problems, and the definition of their price written out again."""

from __future__ import annotations

from collections.abc import Set

import numpy as np

from partitioner.layergraph import INPUT
from partitioner.optimize.problem import SplitProblem, Wiring

INF = float("inf")


def random_wiring(generator: np.random.Generator, layers: int, *, reach: int = 4, inputs: int = 1) -> Wiring:
    """A DAG in which every layer makes one flow or two, read by any number of the layers that follow closely."""
    producers, consumers = [], []
    for _ in range(inputs):
        producers.append(INPUT)
        consumers.append({int(each) for each in generator.integers(0, min(layers, reach), 2)} if layers else set())
    for layer in range(layers):
        for _ in range(int(generator.integers(1, 3))):
            after = np.arange(layer + 1, min(layers, layer + 1 + reach))
            readers = after[generator.random(len(after)) < generator.random()]
            producers.append(layer)
            consumers.append(set(readers.tolist()))
    return Wiring.of(layers, producers, consumers)


def chain_wiring(layers: int) -> Wiring:
    """Each layer reads the one before it alone."""
    return Wiring.of(layers, [INPUT, *range(layers)], [*({index} for index in range(layers)), set()])


def inception_wiring(layers: int) -> Wiring:
    """Blocks of four branches of one to four layers, each joined by a layer that all of the next block reads."""
    consumers: list[set[int]] = [{0}, set()]
    while len(consumers) + 11 <= layers + 1:
        join = len(consumers) - 2
        for length in (1, 2, 3, 4):
            before = join
            for _ in range(length):
                consumers[before + 1].add(len(consumers) - 1)
                before = len(consumers) - 1
                consumers.append(set())
            consumers[before + 1].add(join + 11)
        consumers.append(set())
    count = len(consumers) - 1
    return Wiring.of(count, [INPUT, *range(count)], consumers)


def towers_wiring(layers: int) -> Wiring:
    """Two chains with an input each, joined by the last layer."""
    height = max((layers - 1) // 2, 1)
    last = 2 * height
    readers = [{index + 2} if index + 2 < last else {last} for index in range(last)]
    return Wiring.of(last + 1, [INPUT, INPUT, *range(last + 1)], [{0}, {1}, *readers, set()])


def skipping_wiring(generator: np.random.Generator, layers: int, *, reach: int = 8) -> Wiring:
    """Each layer reads one or two of the few before it; the last reads what nobody else does."""
    consumers: list[set[int]] = [{0}, *(set() for _ in range(layers))]
    for layer in range(1, layers):
        for _ in range(1 + int(generator.random() < 0.4)):
            consumers[max(layer - int(generator.integers(0, reach)), 1)].add(layer)
    for readers in consumers[1:-1]:
        if not readers:
            readers.add(layers - 1)
    return Wiring.of(layers, [INPUT, *range(layers)], consumers)


def random_problem(
    generator: np.random.Generator, wiring: Wiring, *, digits: int | None = None, pins: float = 0.0
) -> SplitProblem:
    """Costs over several orders of magnitude, or few whole ones so that many are equal and zero."""

    def costs(count: int, scale_s: float) -> np.ndarray:
        if digits is not None:
            return generator.integers(0, digits, count).astype(np.float64)
        return scale_s * 10.0 ** generator.uniform(-3, 0, count) * (generator.random(count) < 0.9)

    outputs = generator.random(wiring.flows) < 0.2
    outputs[-1:] = True
    return SplitProblem(
        wiring=wiring,
        edge_s=costs(wiring.layers, 1.0),
        cloud_s=costs(wiring.layers, 0.2),
        up_s=costs(wiring.flows, 1.0),
        down_s=np.where(outputs, costs(wiring.flows, 0.3), 0.0),
        fixed_s=float(costs(1, 0.2)[0]),
        pinned=generator.random(wiring.layers) < pins,
    )


def price_by_hand(problem: SplitProblem, edge: Set[int]) -> float:
    """The price of a set of layers, flow by flow."""
    wiring = problem.wiring
    far = set(range(wiring.layers)) - edge
    readers: list[set[int]] = [set() for _ in range(wiring.flows)]
    for flow, layer in zip(wiring.reader_flow.tolist(), wiring.reader_layer.tolist(), strict=True):
        readers[flow].add(layer)
    total_s = sum(problem.edge_s[index] for index in edge) + sum(problem.cloud_s[index] for index in far)
    total_s += problem.fixed_s if far else 0.0
    for flow, producer in enumerate(wiring.producer.tolist()):
        if producer in far and readers[flow] & edge:
            return INF
        if producer not in far and readers[flow] & far:
            total_s += problem.up_s[flow]
        if producer in far:
            total_s += problem.down_s[flow]
    return INF if any(problem.pinned[index] for index in far) else float(total_s)
