"""Whether a segment's tensors have one leading axis of rows, so that frames may be laid one behind the other.

Either every tensor that goes in or comes out has the same symbol there and nowhere else, or every one was captured with
a literal 1. In the second case the sizes that the graph names itself stand in the way: a ``view`` to ``(1, 512)`` is
rewritten to ``(rows, 512)``, and what reduces or sorts along that axis is refused. Neither proves anything: rows may
still be mixed on the way, by a flip or a product of matrices, so whoever runs frames together compares with running
them apart first.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from partitioner.dims import symbols_of
from partitioner.graph import Arg, Branch, Graph, Node, Ref, Value
from partitioner.subgraph import Subgraph

ROWS = "cleft.rows"
"""Name of the number of rows in a rewritten graph; no value of a captured graph has a dot in its name."""

_SIZED = frozenset({
    "aten.view.default", "aten._unsafe_view.default", "aten.reshape.default", "aten.expand.default"
})  # fmt: skip

_ALONG = frozenset({
    *("amax", "amin", "max", "min", "aminmax", "argmax", "argmin", "median", "nanmedian", "mode", "kthvalue", "topk"),
    *("mean", "sum", "nansum", "prod", "any", "all", "var", "std", "var_mean", "std_mean", "logsumexp", "norm"),
    *("linalg_vector_norm", "softmax", "_softmax", "log_softmax", "_log_softmax", "cumsum", "cumprod", "cummax"),
    *("cummin", "logcumsumexp", "sort", "argsort"),
})  # fmt: skip
"""Operators that make one number of several along the axes that they are told, by their second argument or ``dim``."""
_OF_NORM = frozenset({"norm", "linalg_vector_norm"})
"""These are told by their third."""

Leading = Literal["symbol", "one"]


def leading_of(graph: Graph, subgraph: Subgraph) -> Leading | None:
    """What the leading axis of all that goes in and comes out is; None where rows cannot be laid together."""
    values = (*subgraph.inputs, *(graph.value_of(name) for name in subgraph.outputs))
    firsts = {value.shape[0] if value.shape else None for value in values}
    if not subgraph.inputs or len(firsts) != 1 or any(_is_opaque(node) for node in subgraph.nodes):
        return None
    if any(node.kind == "scalar" for node in _dependent(subgraph)):
        return None
    first = next(iter(firsts))
    if first == 1:
        return "one"
    is_alone = isinstance(first, str) and first.isidentifier()
    if not is_alone or any(first in symbols_of(dim) for value in values for dim in value.shape[1:]):
        return None
    made = (node.value for node in _dependent(subgraph) if node.value is not None)
    return "symbol" if all(any(first in symbols_of(dim) for dim in value.shape) for value in made) else None


def with_rows(graph: Graph, subgraph: Subgraph) -> tuple[Node, ...] | None:
    """The nodes of a segment captured with one row, for any number of rows (``ROWS``); None where that is unclear."""
    dependent = {node.name: node for node in _dependent(subgraph)}
    if any(node.value is not None and not _is_row(node.value) for node in dependent.values()):
        return None
    if not all(name in dependent for name in subgraph.outputs if name in graph.node):
        return None
    if any(_is_across_rows(graph, node) for node in dependent.values()):
        return None
    return tuple(
        _rewritten(node) if node.op in _SIZED and (node.name in dependent or node.op == "aten.expand.default") else node
        for node in subgraph.nodes
    )


def _dependent(subgraph: Subgraph) -> list[Node]:
    """The nodes whose results hang on what comes in."""
    names = {value.name for value in subgraph.inputs}
    found: list[Node] = []
    for node in subgraph.nodes:
        if not names.isdisjoint(node.refs()):
            names.add(node.name)
            found.append(node)
    return found


def _rewritten(node: Node) -> Node:
    size = node.args[1] if len(node.args) > 1 else None
    if not isinstance(size, tuple) or not size or size[0] != 1 or isinstance(size[0], bool):
        return node
    args: tuple[Arg, ...] = (node.args[0], (Ref(ROWS), *size[1:]), *node.args[2:])
    return dataclasses.replace(node, args=args)


def _is_row(value: Value) -> bool:
    return bool(value.shape) and value.shape[0] == 1


def _is_across_rows(graph: Graph, node: Node) -> bool:
    """Whether a node may take several rows together, where random inputs need not show it: behind a threshold, say."""
    name = node.op.split(".")[1] if node.op.count(".") else node.op
    if name not in _ALONG or not node.args or not isinstance(node.args[0], Ref):
        return False
    place = 2 if name in _OF_NORM else 1
    given = node.kwargs.get("dim", node.args[place] if len(node.args) > place else None)
    if name in ("kthvalue", "topk"):
        given = node.kwargs.get("dim", node.args[2] if len(node.args) > 2 else -1)
    elif name in ("sort", "argsort") and given is None:
        given = -1
    rank = len(graph.value_of(node.args[0].name).shape)
    axes = given if isinstance(given, tuple) else (given,)
    return not axes or any(not isinstance(axis, int) or axis in (0, -rank) for axis in axes)


def _is_opaque(node: Node) -> bool:
    """Whether a node's work may hang on its values: randomness, or a body that runs or does not."""
    return node.is_random or any(isinstance(arg, Branch) for arg in (*node.args, *node.kwargs.values()))
