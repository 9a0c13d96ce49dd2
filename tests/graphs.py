"""Small graphs without torch, grouped into layers as a capture would group them."""

from __future__ import annotations

from collections.abc import Sequence

from partitioner import layers
from partitioner.dims import Dim
from partitioner.graph import Graph, Input, Node, NodeKind, Output, Ref, Symbol, Value, Weight


def value(name: str, *shape: Dim, dtype: str = "float32") -> Value:
    return Value(name=name, dtype=dtype, shape=shape)


def node(
    name: str,
    *sources: str,
    shape: Sequence[Dim] = (4,),
    kind: NodeKind = "compute",
    op: str = "aten.relu.default",
    module: str = "",
    flops: Dim = 1,
) -> Node:
    """A node that makes a tensor from others."""
    made = value(name, *shape)
    args = tuple(Ref(source) for source in sources)
    return Node(name=name, op=op, args=args, kind=kind, value=made, module=module, flops=flops)


def size(name: str, source: str, expression: Dim) -> Node:
    """A node that reads a size of a tensor."""
    return Node(name=name, op="aten.sym_size.int", args=(Ref(source), 0), kind="scalar", expression=expression)


def graph(
    nodes: Sequence[Node],
    *,
    outputs: Sequence[str],
    inputs: Sequence[Value] = (value("x", 4),),
    weights: Sequence[Weight] = (),
    symbols: Sequence[Symbol] = (),
) -> Graph:
    """A graph whose nodes are grouped and ordered."""
    leaves = tuple(Output(path=str(index), name=name) for index, name in enumerate(outputs))
    binding = {symbol.name: symbol.example for symbol in symbols}
    from_data = frozenset(symbol.name for symbol in symbols if symbol.from_data)
    ordered, grouped = layers.group(nodes, inputs, leaves, binding, from_data)
    return Graph(
        symbols=tuple(symbols),
        inputs=tuple(Input(value=each) for each in inputs),
        weights=tuple(weights),
        nodes=ordered,
        outputs=leaves,
        tree={"tuple": list(range(len(leaves)))},
        layers=grouped,
    )
