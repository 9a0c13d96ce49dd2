"""The additive split problem: which closed set of layers stays on the edge, where all costs add.

    price(E) = sum of edge_s over E + [anything left to the cloud: fixed_s + sum of cloud_s over the rest
               + up_s of every flow made in E (or given) that the rest reads, once each
               + down_s of every output that the rest makes]

``SplitProblem.price`` is the definition that every optimiser is checked against. Layer times do not really add, so the
answers are candidates that ``cost`` prices with measured times. Layers that no output needs must cost nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from partitioner.errors import PlanError
from partitioner.layergraph import INPUT, LayerGraph

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Wiring:
    """Who makes and who reads the flows, as arrays: ``producer`` (m,), and one (flow, layer) pair for each reader.

    ``needed`` (n,) marks layers that some output depends on. Layers are in topological order.
    """

    producer: IntArray
    reader_flow: IntArray
    reader_layer: IntArray
    needed: BoolArray

    @staticmethod
    def of(layers: int, producers: Sequence[int], consumers: Sequence[Collection[int]]) -> Wiring:
        """The wiring of ``layers`` layers that are all needed."""
        pairs = [(flow, layer) for flow, readers in enumerate(consumers) for layer in sorted(readers)]
        array = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        return Wiring(
            producer=np.array(producers, dtype=np.int64),
            reader_flow=array[:, 0].copy(),
            reader_layer=array[:, 1].copy(),
            needed=np.ones(layers, dtype=np.bool_),
        )

    @staticmethod
    def from_graph(graph: LayerGraph) -> Wiring:
        """The wiring of a layer graph; layers that no output needs read nothing."""
        needed = np.zeros(len(graph.layers), dtype=np.bool_)
        needed[sorted(graph.needed)] = True
        wiring = Wiring.of(
            len(graph.layers),
            [flow.producer for flow in graph.flows],
            [graph.needed.intersection(flow.consumers) for flow in graph.flows],
        )
        return Wiring(
            producer=wiring.producer,
            reader_flow=wiring.reader_flow,
            reader_layer=wiring.reader_layer,
            needed=needed,
        )

    @property
    def layers(self) -> int:
        """How many layers there are."""
        return len(self.needed)

    @property
    def flows(self) -> int:
        """How many flows there are."""
        return len(self.producer)

    @cached_property
    def last_reader(self) -> IntArray:
        """The last layer that reads each flow, its producer where none does: (m,)."""
        last: IntArray = self.producer.copy()
        np.maximum.at(last, self.reader_flow, self.reader_layer)
        return last

    @cached_property
    def edges(self) -> tuple[IntArray, IntArray]:
        """(layer, layer it depends on) for every reader of a flow that a layer makes."""
        made = self.producer[self.reader_flow]
        inner = made != INPUT
        return self.reader_layer[inner], made[inner]

    @cached_property
    def ancestors(self) -> tuple[int, ...]:
        """All that each layer depends on, as the bits of one number."""
        found = [0] * self.layers
        for layer, maker in sorted(zip(*(ends.tolist() for ends in self.edges), strict=True)):
            found[layer] |= found[maker] | 1 << maker
        return tuple(found)

    @cached_property
    def needs(self) -> tuple[IntArray, IntArray]:
        """The ``edges`` that do not follow from others."""
        found: list[tuple[int, int]] = []
        known = [0] * self.layers
        for layer, maker in sorted(set(zip(*(ends.tolist() for ends in self.edges), strict=True)), reverse=True):
            if not known[layer] >> maker & 1:
                known[layer] |= self.ancestors[maker]
                found.append((layer, maker))
        pairs = np.array(found, dtype=np.int64).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]

    @cached_property
    def waists(self) -> tuple[int, ...]:
        """Layers that depend on all before them and that all after them depend on."""
        found: list[int] = []
        shared = (1 << self.layers) - 1
        for layer in range(self.layers - 1, -1, -1):
            if shared >> layer & 1 and self.ancestors[layer] == (1 << layer) - 1:
                found.append(layer)
            shared &= self.ancestors[layer]
        return tuple(reversed(found))

    @cached_property
    def last_readers(self) -> tuple[IntArray, IntArray]:
        """(flow, layer) for the readers of each flow that no other reader of it depends on.

        They decide what crosses: where any reader is in the cloud, so is all that depends on it.
        """
        last: list[tuple[int, int]] = []
        covered = [0] * self.flows
        for flow, layer in sorted(
            zip(self.reader_flow.tolist(), self.reader_layer.tolist(), strict=True), reverse=True
        ):
            if not covered[flow] >> layer & 1:
                last.append((flow, layer))
            covered[flow] |= self.ancestors[layer]
        pairs = np.array(last, dtype=np.int64).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]

    @property
    def is_chain(self) -> bool:
        """Whether every closed set is a prefix: each layer depends on the one before it."""
        return len(self.waists) == self.layers

    def mask(self, edge: Collection[int]) -> BoolArray:
        """A set of layers as a mask (n,)."""
        mask = np.zeros(self.layers, dtype=np.bool_)
        mask[list(edge)] = True
        return mask

    def crosses(self, kept: BoolArray) -> BoolArray:
        """Which flows are made on the edge (or given) and read in the cloud: (m,)."""
        read = np.zeros(self.flows, dtype=np.bool_)
        read[self.reader_flow[~kept[self.reader_layer]]] = True
        return read & self.is_near(kept)

    def is_near(self, kept: BoolArray) -> BoolArray:
        """Which flows the edge has: (m,)."""
        near: BoolArray = np.append(kept, True)[self.producer]
        return near

    def is_closed(self, kept: BoolArray) -> bool:
        """Whether every layer that is kept has all that it depends on."""
        readers, made = self.edges
        return bool(np.all(kept[made] | ~kept[readers]))

    def is_local(self, kept: BoolArray) -> bool:
        """Whether the cloud has nothing to do."""
        return bool(np.all(kept | ~self.needed))


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitProblem:
    """Costs of one wiring, in seconds: ``edge_s`` and ``cloud_s`` (n,), ``up_s`` and ``down_s`` (m,), the latter two
    possibly infinite. ``fixed_s`` is paid once where anything is remote; ``pinned`` (n,) layers stay on the edge.

    Raises:
        PlanError: an array has another length, or a cost is negative or not a number.
    """

    wiring: Wiring
    edge_s: FloatArray
    cloud_s: FloatArray
    up_s: FloatArray
    down_s: FloatArray
    fixed_s: float = 0.0
    pinned: BoolArray

    def __post_init__(self) -> None:
        lengths = {"edge_s": self.wiring.layers, "cloud_s": self.wiring.layers, "pinned": self.wiring.layers}
        lengths |= {"up_s": self.wiring.flows, "down_s": self.wiring.flows}
        faults = [
            f"{name} has not {count} entries" for name, count in lengths.items() if len(getattr(self, name)) != count
        ]
        for name in ("edge_s", "cloud_s", "up_s", "down_s", "fixed_s"):
            costs_s = np.asarray(getattr(self, name))
            if not np.all(costs_s >= 0):
                faults.append(f"{name} is negative or not a number")
            elif name not in ("up_s", "down_s") and not np.all(np.isfinite(costs_s)):
                faults.append(f"{name} is infinite")
        if faults:
            raise PlanError(f"these costs cannot be split: {'; '.join(faults)}")

    def price(self, edge: Set[int]) -> float:
        """Seconds of a closed set of layers on the edge, infinite where it is not closed or lacks a pinned layer."""
        kept = self.wiring.mask(edge)
        if not self.wiring.is_closed(kept) or bool(np.any(self.pinned & ~kept)):
            return float("inf")
        near_s = float(self.edge_s[kept].sum())
        if self.wiring.is_local(kept):
            return near_s
        far_s = float(self.cloud_s[~kept].sum())
        up_s = float(self.up_s[self.wiring.crosses(kept)].sum())
        down_s = float(self.down_s[~self.wiring.is_near(kept)].sum())
        return near_s + far_s + up_s + down_s + self.fixed_s

    @property
    def all_local(self) -> frozenset[int]:
        """Every layer: always feasible."""
        return frozenset(range(self.wiring.layers))

    @cached_property
    def all_cloud(self) -> frozenset[int]:
        """As little as the pins allow: nothing, where nothing is pinned."""
        found = set(np.flatnonzero(self.pinned).tolist())
        readers, made = self.wiring.edges
        before: dict[int, list[int]] = {}
        for reader, maker in zip(readers.tolist(), made.tolist(), strict=True):
            before.setdefault(reader, []).append(maker)
        stack = list(found)
        while stack:
            for maker in before.get(stack.pop(), ()):
                if maker not in found:
                    found.add(maker)
                    stack.append(maker)
        return frozenset(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """An optimiser's answer: the closed set that stays on the edge, and its price.

    ``bound_s``: no closed set is cheaper than this, as far as the algorithm can tell (for a min-cut, its flow); equal
    to ``price_s`` where the answer is optimal.
    """

    edge: frozenset[int]
    price_s: float
    bound_s: float = 0.0
