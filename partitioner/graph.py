"""The operator graph of one model, as data: torch-free, immutable, in topological order.

Nodes name operators and refer to earlier values by name; there is no code in it. A *layer* is a run of nodes that
nobody would cut inside. Two kinds of node belong to no layer, because every segment that needs them computes them
again: *scalars* (sizes and arithmetic on them) and *free* nodes, which depend on weights alone (``arange``, a
normalised weight). What they cost is little, and sending them would cost more.

A view shares its base's storage: of several views of one tensor it is the base that crosses, and the views are made
again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from partitioner.dims import Binding, Dim, evaluate, shape_of, symbols_of

DTYPE_BYTES = {
    "bool": 1,
    "uint8": 1,
    "int8": 1,
    "uint16": 2,
    "int16": 2,
    "float16": 2,
    "bfloat16": 2,
    "uint32": 4,
    "int32": 4,
    "float32": 4,
    "uint64": 8,
    "int64": 8,
    "float64": 8,
    "complex64": 8,
    "complex128": 16,
}

NodeKind = Literal["compute", "pointwise", "norm", "view", "scalar"]
"""``view`` shares storage with its first tensor argument; ``scalar`` makes a number; the rest make new tensors."""

SpecialKind = Literal["dtype", "device", "layout", "memory_format", "float", "complex"]


@dataclass(frozen=True, slots=True)
class Ref:
    """An argument that is an earlier node, an input or a weight."""

    name: str


@dataclass(frozen=True, slots=True)
class Special:
    """An argument that JSON has no word for; ``text`` is its name (``float32``, ``inf``, ``contiguous_format``)."""

    kind: SpecialKind
    text: str


@dataclass(frozen=True, slots=True)
class Branch:
    """An argument that is a graph of its own: the body of a conditional or a loop."""

    inputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Arg, ...]


Arg = None | bool | int | float | str | Ref | Special | Branch | tuple["Arg", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A tensor that flows in the graph; ``dtype`` is numpy's name (``bfloat16`` too), sizes may be symbolic."""

    name: str
    dtype: str
    shape: tuple[Dim, ...]

    def nbytes(self, binding: Binding) -> int:
        """Size in bytes under a binding of the symbols."""
        count = 1
        for dim in self.shape:
            count *= dim if isinstance(dim, int) else evaluate(dim, binding)
        return count * DTYPE_BYTES[self.dtype]


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbol:
    """A size that varies: the range it was captured for, and the size it was captured with.

    ``from_data`` marks a size that depends on the data (the number of detections), not on the shapes of the inputs.
    """

    name: str
    low: int
    high: int | None
    example: int
    from_data: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A tensor that the user gives. ``low`` and ``high`` bound the integers of the example it was captured with."""

    value: Value
    low: int = 0
    high: int = 1

    @property
    def name(self) -> str:
        """The name of its value."""
        return self.value.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """A parameter, buffer or constant. ``key`` finds it in the weights file; shared weights share a key.

    ``dim_order`` lists its axes from the slowest to the fastest in memory, empty where that is row-major.
    ``is_trainable`` marks a parameter that takes gradients: torch picks other kernels for it, also in inference.
    """

    value: Value
    key: str
    dim_order: tuple[int, ...] = ()
    is_trainable: bool = False

    @property
    def name(self) -> str:
        """The name of its value."""
        return self.value.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One operator call. Its result is a tensor (``value``), a number (``expression`` says which size), or a tuple
    (neither).
    """

    name: str
    op: str
    args: tuple[Arg, ...] = ()
    kwargs: Mapping[str, Arg] = field(default_factory=dict)
    kind: NodeKind = "compute"
    value: Value | None = None
    expression: Dim | None = None
    module: str = ""
    flops: Dim = 0
    is_random: bool = False
    _refs: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        named = (name for arg in (*self.args, *self.kwargs.values()) for name in refs_in(arg))
        object.__setattr__(self, "_refs", tuple(named))

    def refs(self) -> tuple[str, ...]:
        """Names this node depends on, with repeats."""
        return self._refs


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One leaf of what the model returns: a tensor or number by name, or a constant. ``path`` is where (``logits``,
    ``boxes.0``).
    """

    path: str
    name: str | None = None
    constant: bool | int | float | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """The unit of planning. ``id`` is made of module path and call index, stable across captures."""

    id: str
    path: str
    kind: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A model. Nodes are in an order in which they can run, the nodes of a layer together, the layers in topological
    order.

    ``tree`` rebuilds what the model returns: an index into ``outputs``, ``{"list": [...]}``, ``{"tuple": [...]}`` or
    ``{"dict": [[key, tree], ...]}`` in the model's own order.
    """

    symbols: tuple[Symbol, ...]
    inputs: tuple[Input, ...]
    weights: tuple[Weight, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Output, ...]
    tree: object
    layers: tuple[Layer, ...]

    @cached_property
    def node(self) -> Mapping[str, Node]:
        """Nodes by name."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def values(self) -> Mapping[str, Value]:
        """Every tensor by name: inputs, weights and results."""
        found = {each.name: each.value for each in self.inputs}
        found.update({each.name: each.value for each in self.weights})
        found.update({node.name: node.value for node in self.nodes if node.value is not None})
        return found

    def value_of(self, name: str) -> Value:
        """A tensor by name; a number is a tensor of no axes."""
        return self.values.get(name) or Value(name=name, dtype="int64", shape=())

    @cached_property
    def weight(self) -> Mapping[str, Weight]:
        """Weights by the name of their value."""
        return {weight.name: weight for weight in self.weights}

    @cached_property
    def input_names(self) -> tuple[str, ...]:
        """Names of the tensors the user gives, in order."""
        return tuple(each.name for each in self.inputs)

    @cached_property
    def output_names(self) -> tuple[str, ...]:
        """Distinct names among the outputs, in order."""
        return tuple(dict.fromkeys(output.name for output in self.outputs if output.name is not None))

    @cached_property
    def layer_of(self) -> Mapping[str, int]:
        """Index of the layer that a node belongs to; scalars and free nodes are absent."""
        return {name: index for index, layer in enumerate(self.layers) for name in layer.nodes}

    @cached_property
    def from_data(self) -> frozenset[str]:
        """Names of the symbols that depend on data."""
        return frozenset(symbol.name for symbol in self.symbols if symbol.from_data)

    @cached_property
    def example_binding(self) -> dict[str, int]:
        """The sizes that the model was captured with."""
        return {symbol.name: symbol.example for symbol in self.symbols}

    def root(self, name: str) -> str:
        """The value that owns the storage of ``name``: itself, unless it is a view."""
        while True:
            node = self.node.get(name)
            if node is None or node.kind != "view":
                return name
            base = next(iter(node.refs()), None)
            if base is None:
                return name
            name = base

    def flops_of(self, layer: Layer, binding: Binding) -> int:
        """Floating-point operations of a layer (a multiply and an add count as two)."""
        return sum(shape_of([self.node[name].flops for name in layer.nodes], binding))


def refs_in(arg: Arg) -> Iterator[str]:
    """Names that an argument refers to."""
    if isinstance(arg, Ref):
        yield arg.name
    elif isinstance(arg, tuple):
        for item in arg:
            yield from refs_in(item)


def free_names(nodes: tuple[Node, ...], inputs: tuple[str, ...], from_data: frozenset[str]) -> frozenset[str]:
    """Names of the nodes that depend on weights and sizes alone, and so belong to no layer."""
    dependent = set(inputs)
    free: set[str] = set()
    for node in nodes:
        if is_size(node, from_data):
            continue
        if node.is_random or any(name in dependent for name in node.refs()):
            dependent.add(node.name)
        else:
            free.add(node.name)
    return frozenset(free)


def is_size(node: Node, from_data: frozenset[str]) -> bool:
    """Whether a node is a number that follows from the inputs' shapes, so that no side has to compute it."""
    return node.kind == "scalar" and node.expression is not None and not symbols_of(node.expression) & from_data
