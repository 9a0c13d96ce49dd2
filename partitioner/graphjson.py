"""``graph.json``: the graph as text, versioned, strict on the way in.

A reader in another language needs nothing but this schema. Arguments are JSON values; what JSON has no word for is an
object with one key: ``{"ref": name}``, ``{"dtype": "float32"}``, ``{"float": "inf"}``, ``{"branch": {...}}``. A file is
trusted for nothing: every reference must point backwards, every dtype and size must be known, and all faults are
reported at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast, get_args

from partitioner.dims import Dim, symbols_of
from partitioner.errors import BundleError
from partitioner.graph import (
    DTYPE_BYTES,
    Arg,
    Branch,
    Graph,
    Input,
    Layer,
    Node,
    NodeKind,
    Output,
    Ref,
    Special,
    SpecialKind,
    Symbol,
    Value,
    Weight,
)
from partitioner.records import Fields, RecordError, read

SCHEMA = "cleft.graph/1"
MAX_CHARS = 256 * 2**20
_MAX_DEPTH = 32
_SPECIAL_KINDS = frozenset(get_args(SpecialKind))


def dumps(graph: Graph, *, producer: Mapping[str, str]) -> str:
    """Canonical text of a graph: the same graph gives the same bytes. ``producer`` names the versions that captured
    it.
    """
    record = {
        "schema": SCHEMA,
        "producer": dict(producer),
        "symbols": [_plain(each) for each in graph.symbols],
        "inputs": [{**_value(each.value), "low": each.low, "high": each.high} for each in graph.inputs],
        "weights": [_weight(each) for each in graph.weights],
        "nodes": [_node(each) for each in graph.nodes],
        "outputs": [_plain(each) for each in graph.outputs],
        "tree": graph.tree,
        "layers": [{**_plain(each), "nodes": list(each.nodes)} for each in graph.layers],
    }
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)


def loads(text: str | bytes) -> Graph:
    """Read a graph.

    Raises:
        BundleError: the text is no graph of this schema; its faults are named.
    """
    try:
        return read(text, _read_graph, max_chars=MAX_CHARS)
    except RecordError as faults:
        raise BundleError(f"graph.json cannot be used: {faults}") from faults
    except RecursionError as error:
        raise BundleError("graph.json cannot be used: it is nested too deeply") from error


def _plain(record: Symbol | Output | Layer) -> dict[str, object]:
    return {name: getattr(record, name) for name in record.__slots__}


def _value(value: Value) -> dict[str, object]:
    return {"name": value.name, "dtype": value.dtype, "shape": list(value.shape)}


def _weight(weight: Weight) -> dict[str, object]:
    record = {**_value(weight.value), "key": weight.key, "dim_order": list(weight.dim_order)}
    if weight.is_trainable:
        record["is_trainable"] = True
    return record


def _node(node: Node) -> dict[str, object]:
    record: dict[str, object] = {"name": node.name, "op": node.op, "args": [_argument(arg) for arg in node.args]}
    if node.kwargs:
        record["kwargs"] = {name: _argument(arg) for name, arg in node.kwargs.items()}
    if node.kind != "compute":
        record["kind"] = node.kind
    if node.value is not None:
        record["dtype"], record["shape"] = node.value.dtype, list(node.value.shape)
    if node.expression is not None:
        record["expression"] = node.expression
    if node.module:
        record["module"] = node.module
    if node.flops:
        record["flops"] = node.flops
    if node.is_random:
        record["is_random"] = True
    return record


def _argument(arg: Arg) -> object:
    if isinstance(arg, Ref):
        return {"ref": arg.name}
    if isinstance(arg, Special):
        return {arg.kind: arg.text}
    if isinstance(arg, tuple):
        return [_argument(item) for item in arg]
    if isinstance(arg, Branch):
        return {
            "branch": {
                "inputs": list(arg.inputs),
                "nodes": [_node(node) for node in arg.nodes],
                "outputs": [_argument(item) for item in arg.outputs],
            }
        }
    return arg


def _read_graph(fields: Fields) -> Graph:
    schema = fields.text("schema")
    if schema != SCHEMA:
        fields.fault("schema", f"is {schema!r}, and this version of cleft reads {SCHEMA!r}: pack the model again")
    symbols = fields.records("symbols", _read_symbol)
    known_symbols = {symbol.name for symbol in symbols}
    inputs = fields.records("inputs", _read_input)
    weights = fields.records("weights", _read_weight)
    nodes = fields.records("nodes", _read_node)
    outputs = fields.records("outputs", _read_output)
    layers = fields.records("layers", _read_layer)
    graph = Graph(
        symbols=symbols,
        inputs=inputs,
        weights=weights,
        nodes=nodes,
        outputs=outputs,
        tree=_read_tree(fields, fields.raw("tree"), len(outputs)),
        layers=layers,
    )
    names = _check_order(fields, graph)
    for output in outputs:
        if output.name is not None and output.name not in names:
            fields.fault("outputs", f"name {output.name!r}, which nothing makes")
    for value in graph.values.values():
        _check_sizes(fields, value, known_symbols)
    placed = [name for layer in layers for name in layer.nodes]
    if len(set(placed)) != len(placed) or not set(placed) <= {node.name for node in nodes}:
        fields.fault("layers", "name a node twice, or one that does not exist")
    elif [node.name for node in nodes if node.name in set(placed)] != placed:
        fields.fault("layers", "are not in the order of the nodes")
    if len({layer.id for layer in layers}) != len(layers):
        fields.fault("layers", "use an id twice")
    return graph


def _check_order(fields: Fields, graph: Graph) -> set[str]:
    names: set[str] = set()
    for name in (*graph.input_names, *(weight.name for weight in graph.weights)):
        if name in names:
            fields.fault("inputs", f"or weights use the name {name!r} twice")
        names.add(name)
    for node in graph.nodes:
        late = [name for name in node.refs() if name not in names]
        if late or node.name in names:
            fields.fault(f"nodes.{node.name}", f"refers to {late[0]!r} before it is made" if late else "appears twice")
        names.add(node.name)
    return names


def _check_sizes(fields: Fields, value: Value, known: set[str]) -> None:
    try:
        unknown = {symbol for dim in value.shape for symbol in symbols_of(dim)} - known
    except BundleError as error:
        fields.fault(value.name, str(error))
        return
    if unknown:
        fields.fault(value.name, f"has sizes of unknown symbols {sorted(unknown)}")


def _read_symbol(fields: Fields) -> Symbol:
    high = fields.raw("high")
    return Symbol(
        name=fields.text("name"),
        low=fields.whole("low"),
        high=None if high is None else fields.whole("high"),
        example=fields.whole("example"),
        from_data=fields.flag("from_data"),
    )


def _read_value(fields: Fields) -> Value:
    return Value(
        name=fields.text("name"),
        dtype=fields.text("dtype", among=tuple(DTYPE_BYTES)),
        shape=tuple(_read_dim(fields, "shape", dim) for dim in fields.items("shape")),
    )


def _read_dim(fields: Fields, key: str, dim: object) -> Dim:
    if isinstance(dim, str) or (isinstance(dim, int) and not isinstance(dim, bool) and dim >= 0):
        return dim
    fields.fault(key, "holds something that is no size")
    return 0


def _read_input(fields: Fields) -> Input:
    return Input(value=_read_value(fields), low=fields.integer("low"), high=fields.integer("high"))


def _read_weight(fields: Fields) -> Weight:
    value = _read_value(fields)
    order = fields.wholes("dim_order")
    if order and sorted(order) != list(range(len(value.shape))):
        fields.fault("dim_order", "is no order of the axes")
        order = ()
    is_trainable = fields.flag("is_trainable") if fields.raw("is_trainable") is not None else False
    return Weight(value=value, key=fields.text("key"), dim_order=order, is_trainable=is_trainable)


def _read_node(fields: Fields) -> Node:
    name = fields.text("name")
    value = None
    if fields.raw("dtype") is not None:
        value = _read_value(fields)
    expression = fields.raw("expression")
    kind = fields.text("kind", among=get_args(NodeKind)) if fields.raw("kind") is not None else "compute"
    return Node(
        name=name,
        op=fields.text("op"),
        args=tuple(_read_argument(fields, item, 0) for item in fields.items("args")),
        kwargs={key: _read_argument(fields, item, 0) for key, item in fields.raw_object("kwargs").items()},
        kind=cast(NodeKind, kind),
        value=value,
        expression=None if expression is None else _read_dim(fields, "expression", expression),
        module=fields.text("module") if fields.raw("module") is not None else "",
        flops=_read_dim(fields, "flops", fields.raw("flops") or 0),
        is_random=fields.flag("is_random") if fields.raw("is_random") is not None else False,
    )


def _read_argument(fields: Fields, item: object, depth: int) -> Arg:
    if depth > _MAX_DEPTH:
        fields.fault("args", "are nested too deeply")
        return None
    if item is None or isinstance(item, bool | int | float | str):
        return item
    if isinstance(item, list):
        return tuple(_read_argument(fields, each, depth + 1) for each in item)
    if isinstance(item, dict) and len(item) == 1:
        [(key, content)] = item.items()
        if key == "ref" and isinstance(content, str):
            return Ref(content)
        if key in _SPECIAL_KINDS and isinstance(content, str):
            return Special(cast(SpecialKind, key), content)
        if key == "branch" and isinstance(content, dict):
            return fields.nested("branch", content, lambda inner: _read_branch(inner, depth + 1))
    fields.fault("args", "hold something that is no argument")
    return None


def _read_branch(fields: Fields, depth: int) -> Branch:
    branch = Branch(
        inputs=fields.texts("inputs"),
        nodes=fields.records("nodes", _read_node),
        outputs=tuple(_read_argument(fields, item, depth) for item in fields.items("outputs")),
    )
    names = set(branch.inputs)
    for node in branch.nodes:
        if any(ref not in names for ref in node.refs()):
            fields.fault(f"nodes.{node.name}", "refers to something the branch does not hold")
        names.add(node.name)
    return branch


def _read_output(fields: Fields) -> Output:
    name, constant = fields.raw("name"), fields.raw("constant")
    if constant is not None and not isinstance(constant, bool | int | float | str):
        fields.fault("constant", "is no plain value")
        constant = None
    return Output(path=fields.text("path"), name=None if name is None else fields.text("name"), constant=constant)


def _read_layer(fields: Fields) -> Layer:
    return Layer(id=fields.text("id"), path=fields.text("path"), kind=fields.text("kind"), nodes=fields.texts("nodes"))


def _read_tree(fields: Fields, tree: object, count: int, depth: int = 0) -> object:
    """A tree is an index, ``{"dict": [[key, tree], ...]}``, ``{"list": [...]}`` or ``{"tuple": [...]}``."""
    if isinstance(tree, int) and not isinstance(tree, bool) and 0 <= tree < count:
        return tree
    if isinstance(tree, dict) and len(tree) == 1 and depth < _MAX_DEPTH:
        [(kind, items)] = tree.items()
        if kind == "dict" and isinstance(items, list) and all(_is_pair(item) for item in items):
            return {"dict": [[key, _read_tree(fields, item, count, depth + 1)] for key, item in items]}
        if kind in ("list", "tuple") and isinstance(items, list):
            return {kind: [_read_tree(fields, item, count, depth + 1) for item in items]}
    fields.fault("tree", "does not fit the outputs")
    return {"list": []}


def _is_pair(item: object) -> bool:
    return isinstance(item, list) and len(item) == 2 and isinstance(item[0], str)
