"""The DAG of layers that is cut: which tensor each layer makes, which layers read it, and how many bytes it is.

A *flow* is a tensor that another layer reads or that is an output. It crosses a cut once, however many layers read it,
and once per storage: views that are read beside their owner are merged with it. Sizes and what depends on weights alone
are made again on the side that needs them and are no flows, but a number that depends on the data is one, of eight
bytes. A cut is a *closed* set of layers that stay on the edge: with a layer, all that it depends on.

What really crosses is decided by ``subgraph.crossing``; flows differ from it only in that a number that could be sent
for its eight bytes is left out where shapes tell it, and that views smaller than their owner may count as the owner.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from partitioner.dims import Binding
    from partitioner.graph import Graph

INPUT = -1
"""The producer of a model's input: no layer, always on the edge."""
UPTO = "upto:"
"""How the name of a closed set begins that is no prefix: the layers that end it follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A tensor between layers. ``producer`` is a layer's index or ``INPUT``; ``consumers`` are sorted, without repeats.

    An output comes down when its producer is in the cloud.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    producer: int
    consumers: tuple[int, ...]
    is_output: bool


@dataclass(frozen=True, kw_only=True)
class LayerGraph:
    """Layer ids in topological order, and the flows between them."""

    layers: tuple[str, ...]
    flows: tuple[Flow, ...]

    @cached_property
    def predecessors(self) -> tuple[tuple[int, ...], ...]:
        """For each layer, the layers whose flows it reads, sorted."""
        found: list[set[int]] = [set() for _ in self.layers]
        for flow in self.flows:
            if flow.producer != INPUT:
                for reader in flow.consumers:
                    found[reader].add(flow.producer)
        return tuple(tuple(sorted(each)) for each in found)

    @cached_property
    def is_chain(self) -> bool:
        """Whether every closed set is a prefix."""
        return all(index - 1 in self.predecessors[index] for index in range(1, len(self.layers)))

    @cached_property
    def needed(self) -> frozenset[int]:
        """Layers that some output depends on; the others are never run."""
        return self.closure(flow.producer for flow in self.flows if flow.is_output and flow.producer != INPUT)

    def is_closed(self, edge: Set[int]) -> bool:
        """Whether every layer of the set has all that it depends on in the set."""
        return all(before in edge for index in edge for before in self.predecessors[index])

    def closure(self, layers: Iterable[int]) -> frozenset[int]:
        """The smallest closed set that holds these layers."""
        found: set[int] = set()
        stack = list(layers)
        while stack:
            index = stack.pop()
            if index not in found:
                found.add(index)
                stack.extend(self.predecessors[index])
        return frozenset(found)

    def maximal(self, edge: Set[int]) -> tuple[int, ...]:
        """Layers of a closed set that no other layer of it depends on, sorted: its closure is the set again."""
        inner = {before for index in edge for before in self.predecessors[index]}
        return tuple(sorted(set(edge) - inner))

    def name_of(self, edge: Set[int]) -> str:
        """What a closed set that is no prefix is called: ``upto:A+B``, the layers that end it."""
        return UPTO + "+".join(self.layers[index] for index in self.maximal(edge))

    def id_of(self, edge: Set[int]) -> str:
        """The id of the cut that keeps these layers on the edge."""
        return closed_set_id(self.layers[index] for index in edge)

    def crossing(self, edge: Set[int]) -> tuple[Flow, ...]:
        """Flows made on the edge (or given) that a needed layer in the cloud reads."""
        far = self.needed - edge
        return tuple(
            flow
            for flow in self.flows
            if (flow.producer == INPUT or flow.producer in edge) and not far.isdisjoint(flow.consumers)
        )

    def reply(self, edge: Set[int]) -> tuple[Flow, ...]:
        """Outputs made in the cloud."""
        return tuple(
            flow for flow in self.flows if flow.is_output and flow.producer != INPUT and flow.producer not in edge
        )


def closed_set_id(layers: Iterable[str]) -> str:
    """Hash of layers that stay on the edge (first 12 hexadecimal digits of SHA-256 over their sorted ids)."""
    return hashlib.sha256("\n".join(sorted(layers)).encode()).hexdigest()[:12]


@dataclass(kw_only=True)
class _Storage:
    """The names of one storage that layers read across: who makes each, and who reads it."""

    owner: str
    makers: dict[str, int] = field(default_factory=dict)
    readers: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))


def layer_graph(graph: Graph, binding: Binding) -> LayerGraph:
    """The layers and flows of a model, sizes bound."""
    outputs = {name: maker for name in graph.output_names if (maker := _maker(graph, name)) not in (None, INPUT)}
    flows: list[Flow] = []
    named: set[str] = set()
    for storage in _storages(graph).values():
        for name, producer, readers in _split(graph, storage, binding):
            is_output = outputs.get(name) == producer
            flows.append(_flow(graph, binding, name, producer, readers, is_output=is_output))
            named |= {name} if is_output else set()
    flows += [
        _flow(graph, binding, name, maker, set(), is_output=True)
        for name, maker in outputs.items()
        if name not in named and maker is not None
    ]
    order = {name: index for index, name in enumerate((*graph.input_names, *graph.node))}
    flows.sort(key=lambda flow: (flow.producer, order[flow.name]))
    return LayerGraph(layers=tuple(layer.id for layer in graph.layers), flows=tuple(flows))


def _flow(graph: Graph, binding: Binding, name: str, producer: int, readers: Set[int], *, is_output: bool) -> Flow:
    from partitioner.dims import shape_of

    value = graph.value_of(name)
    return Flow(
        name=name,
        dtype=value.dtype,
        shape=shape_of(value.shape, binding),
        nbytes=value.nbytes(binding),
        producer=producer,
        consumers=tuple(sorted(readers)),
        is_output=is_output,
    )


def _storages(graph: Graph) -> dict[str, _Storage]:
    """What every layer reads of others, by the owner of its storage."""
    found: dict[str, _Storage] = {}
    for index, layer in enumerate(graph.layers):
        own = set(layer.nodes)
        for name in _reads(graph, [ref for node in layer.nodes for ref in graph.node[node].refs() if ref not in own]):
            maker = _maker(graph, name)
            if maker is None or maker == index:
                continue
            owner = _owner(graph, name)
            storage = found.setdefault(owner, _Storage(owner=owner))
            storage.makers[name] = maker
            storage.readers[name].add(index)
    return found


def _reads(graph: Graph, names: Iterable[str]) -> list[str]:
    """Tensors in layers, inputs, and numbers from data that these names stand for; what is replicated is walked."""
    from partitioner.graph import is_size

    found: dict[str, None] = {}
    seen: set[str] = set()
    stack = list(names)
    while stack:
        name = stack.pop()
        if name in seen:
            continue
        seen.add(name)
        node = graph.node.get(name)
        if node is None or name in graph.layer_of:
            if name not in graph.weight:
                found[name] = None
        elif node.kind == "scalar" and node.expression is not None:
            if not is_size(node, graph.from_data) and any(ref in graph.values for ref in node.refs()):
                found[name] = None
            elif not is_size(node, graph.from_data):
                stack.extend(node.refs())
        else:
            stack.extend(node.refs())
    return list(found)


def _maker(graph: Graph, name: str) -> int | None:
    """The layer that makes a tensor or number, ``INPUT``, or None where it is replicated.

    A number is made where the last of what it is computed from is.
    """
    makers: list[int] = []
    seen: set[str] = set()
    stack = [name]
    while stack:
        each = stack.pop()
        if each in graph.input_names:
            makers.append(INPUT)
        elif each in graph.layer_of:
            makers.append(graph.layer_of[each])
        elif each in graph.node and each not in seen:
            seen.add(each)
            stack.extend(graph.node[each].refs())
    return max(makers, default=None)


def _owner(graph: Graph, name: str) -> str:
    """The tensor that owns the storage of a name: the last one before a tuple where an operator made several."""
    owner = name
    while (node := graph.node.get(name)) is not None and node.kind == "view" and node.refs():
        name = node.refs()[0]
        owner = name if name in graph.values else owner
    return owner


def _split(graph: Graph, storage: _Storage, binding: Binding) -> list[tuple[str, int, set[int]]]:
    """The flows of one storage: (name, producer, readers).

    Names are kept apart where no cut sends more for it: where those made in one layer are together no larger than the
    owner, and all of them are read by nobody but the layer that makes the next. Otherwise the owner stands for all.
    """
    size_bytes = graph.value_of(storage.owner).nbytes(binding)
    groups: defaultdict[int, list[str]] = defaultdict(list)
    for name, maker in storage.makers.items():
        groups[maker].append(name)
    ordered = sorted(groups)
    is_apart = all(_bytes(graph, groups[maker], binding) <= size_bytes for maker in ordered) and all(
        storage.readers[name] == {after} for maker, after in pairwise(ordered) for name in groups[maker]
    )
    if is_apart:
        return [(name, storage.makers[name], storage.readers[name]) for name in storage.makers]
    made = _maker(graph, storage.owner)
    producer = ordered[0] if made is None else made
    return [(storage.owner, producer, set().union(*storage.readers.values()) - {producer})]


def _bytes(graph: Graph, names: Sequence[str], binding: Binding) -> int:
    return sum(graph.value_of(name).nbytes(binding) for name in names)
