"""An ONNX model that can be cut anywhere between named values.

The bundle's ``model.onnx`` is the whole graph with our value names; its weights are references into
``weights.safetensors`` beside it, so there is no second copy of them and ONNX Runtime maps them from the file. A part
is found as a segment is (``subgraph``): back from the outputs until an input is met. Cutting copies a few hundred short
byte strings, which takes about a millisecond.

An ``Identity`` is another name of the same value: a part that is given one name is given the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from partitioner.bundle import WEIGHTS
from partitioner.dims import Dim
from partitioner.errors import BundleError, SegmentError
from partitioner.graph import Value
from partitioner.runtimes.ort import wire

_ELEMENT_TYPES = {
    "float32": 1,
    "uint8": 2,
    "int8": 3,
    "uint16": 4,
    "int16": 5,
    "int32": 6,
    "int64": 7,
    "bool": 9,
    "float16": 10,
    "float64": 11,
    "uint32": 12,
    "uint64": 13,
    "complex64": 14,
    "complex128": 15,
    "bfloat16": 16,
}
_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_NAME, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 2, 5, 11, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_OP, _NODE_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_TENSOR_NAME, _TENSOR_EXTERNAL = 8, 13


@dataclass(frozen=True, slots=True)
class _Node:
    raw: bytes
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A model cut out of the whole: ``model`` is its file's bytes.

    ``feeds`` pairs a name of ours with the ONNX input that takes it. ``fetches`` pairs a wanted name with the ONNX
    output that makes it; ``passed`` names what is wanted and given.
    """

    model: bytes
    feeds: tuple[tuple[str, str], ...]
    fetches: tuple[tuple[str, str], ...]
    passed: tuple[tuple[str, str], ...]


class OnnxFile:
    """The nodes, initializers and names of one ONNX model."""

    def __init__(self, model: bytes) -> None:
        self._head: list[bytes] = []
        self._nodes: list[_Node] = []
        self._initializers: dict[str, bytes] = {}
        self.inputs: set[str] = set()
        graph = b""
        for number, value, raw in wire.fields(model):
            if number == _MODEL_GRAPH:
                graph = wire.message(value)
            else:
                self._head.append(raw)
        for number, value, raw in wire.fields(graph):
            if number == _GRAPH_NODE:
                self._nodes.append(_read_node(wire.message(value), raw))
            elif number == _GRAPH_INITIALIZER:
                self._initializers[_read_tensor(wire.message(value))] = raw
            elif number == _GRAPH_INPUT:
                self.inputs.add(_first_text(wire.message(value), 1))
        self._maker = {name: index for index, node in enumerate(self._nodes) for name in node.outputs}
        self._alias = {
            node.outputs[0]: node.inputs[0]
            for node in self._nodes
            if node.op == "Identity" and len(node.inputs) == len(node.outputs) == 1
        }

    def part(self, given: Mapping[str, Value], wanted: Sequence[str], *, sizes: Mapping[str, Value]) -> Part:
        """Cut out what computes the wanted values.

        Args:
            given: values by name that come in.
            sizes: numbers by name that come in where they are needed.

        Raises:
            SegmentError: something wanted depends on what is not given, or does not exist.
        """
        at_hand = {self._root(name): name for name in (*sizes, *given)}
        passed = {name: at_hand[root] for name in wanted if (root := self._root(name)) in at_hand}
        fetched = [name for name in wanted if name not in passed]
        needed, read = self._walk(fetched, at_hand)
        values = {**sizes, **given}
        feeds = [(at_hand[name], name) for name in at_hand if name in read]
        graph = [wire.nested(_GRAPH_NAME, "part")]
        graph += [self._nodes[index].raw for index in sorted(needed)]
        graph += [raw for name, raw in self._initializers.items() if name in read]
        graph += [wire.nested(_GRAPH_INPUT, value_info(onnx_name, values[name])) for name, onnx_name in feeds]
        graph += [wire.nested(_GRAPH_OUTPUT, wire.nested(1, name)) for name in fetched]
        return Part(
            model=b"".join([*self._head, wire.nested(_MODEL_GRAPH, b"".join(graph))]),
            feeds=tuple(feeds),
            fetches=tuple((name, name) for name in fetched),
            passed=tuple(passed.items()),
        )

    def _root(self, name: str) -> str:
        while name in self._alias:
            name = self._alias[name]
        return name

    def _walk(self, wanted: Iterable[str], at_hand: Mapping[str, str]) -> tuple[set[int], set[str]]:
        """Indices of the nodes that run, and every name that is read."""
        needed: set[int] = set()
        read: set[str] = set()
        stack = list(wanted)
        while stack:
            name = stack.pop()
            if name in read:
                continue
            read.add(name)
            if name in at_hand or name in self._initializers or not name:
                continue
            index = self._maker.get(name)
            if index is None:
                what = "input" if name in self.inputs else "value"
                raise SegmentError(f"ONNX Runtime cannot run this segment: it needs the {what} {name!r}")
            if index not in needed:
                needed.add(index)
                stack.extend(self._nodes[index].inputs)
        return needed, read


def _read_node(node: bytes, raw: bytes) -> _Node:
    inputs: list[str] = []
    outputs: list[str] = []
    op = ""
    for number, value, _ in wire.fields(node):
        if number == _NODE_INPUT:
            inputs.append(wire.text(value))
        elif number == _NODE_OUTPUT:
            outputs.append(wire.text(value))
        elif number == _NODE_OP:
            op = wire.text(value)
        elif number == _NODE_ATTRIBUTE:
            inputs.extend(_captured(wire.message(value)))
    return _Node(raw, op, tuple(inputs), tuple(name for name in outputs if name))


def _captured(attribute: bytes) -> set[str]:
    """Names that the bodies of a conditional or loop read from around them; tensors are checked for where they lie."""
    read: set[str] = set()
    for number, value, _ in wire.fields(attribute):
        if number in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
            _read_tensor(wire.message(value))
        if number in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
            made: set[str] = set()
            inner: set[str] = set()
            for kind, part, raw in wire.fields(wire.message(value)):
                if kind == _GRAPH_NODE:
                    node = _read_node(wire.message(part), raw)
                    inner.update(node.inputs)
                    made.update(node.outputs)
                elif kind == _GRAPH_INITIALIZER:
                    made.add(_read_tensor(wire.message(part)))
                elif kind == _GRAPH_INPUT:
                    made.add(_first_text(wire.message(part), 1))
                elif kind == _GRAPH_OUTPUT:
                    inner.add(_first_text(wire.message(part), 1))
            read |= inner - made
    return read - {""}


def _read_tensor(tensor: bytes) -> str:
    """The name of an initializer; its data may lie in the bundle's weights and nowhere else."""
    name = ""
    for number, value, _ in wire.fields(tensor):
        if number == _TENSOR_NAME:
            name = wire.text(value)
        elif number == _TENSOR_EXTERNAL:
            entry = wire.message(value)
            if _first_text(entry, 1) == "location" and _first_text(entry, 2) != WEIGHTS:
                raise BundleError(f"the ONNX file refers to {_first_text(entry, 2)!r}, which is no file of a bundle")
    return name


def _first_text(message: bytes, wanted: int) -> str:
    return next((wire.text(value) for number, value, _ in wire.fields(message) if number == wanted), "")


def value_info(name: str, value: Value) -> bytes:
    """What a model says of one of its inputs."""
    shape = b"".join(wire.nested(1, _dimension(dim)) for dim in value.shape)
    tensor = wire.number(1, _ELEMENT_TYPES[value.dtype]) + wire.nested(2, shape)
    return wire.nested(1, name) + wire.nested(2, wire.nested(1, tensor))


def _dimension(dim: Dim) -> bytes:
    return wire.number(1, dim) if isinstance(dim, int) else wire.nested(2, dim)
