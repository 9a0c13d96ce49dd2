"""A torch module that does what a bundle's graph says and returns every value that a cut may need.

The exporter of another runtime takes torch modules. Rebuilding one from ``graph.json`` keeps our own names: what the
module returns, in ``names``, is every value that a segment may begin or end with, so that each of them is a named value
in the exported graph. Operators come from the eager runtime's allow-list: no code is made, and none is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from partitioner.errors import ModelError
from partitioner.graph import Arg, Branch, Graph, Node, Ref, Special, is_size
from partitioner.runtimes.eager.operators import lookup
from partitioner.runtimes.ort.names import input_sizes, kept_values, size_name


@dataclass(frozen=True, kw_only=True)
class Rebuilt:
    """``module`` returns the values called ``names``; ``weight_names`` finds a graph's weight by its attribute."""

    module: torch.fx.GraphModule
    names: tuple[str, ...]
    weight_names: dict[str, str]


def rebuild(graph: Graph, weights: dict[str, torch.Tensor], *, allow_ops: tuple[str, ...] = ()) -> Rebuilt:
    """Rebuild a graph over its weights (by the names of their values).

    Raises:
        UnsupportedOperator: an operator is on no allow-list.
        ModelError: an argument means nothing to this torch.
    """
    root = torch.nn.Module()
    made = torch.fx.Graph()
    crossing = kept_values(graph)
    builder = _Builder(root, made, allow_ops, copied=frozenset(crossing), from_data=graph.from_data)
    for each in graph.inputs:
        builder.values[each.name] = made.placeholder(each.name)
    for name, (owner, axis) in input_sizes(graph).items():
        builder.values[name] = made.call_function(torch.ops.aten.sym_size.int, (builder.values[owner], axis))
    attributes: dict[str, str] = {}
    for index, (name, tensor) in enumerate(weights.items()):
        attribute = f"weight_{index}"
        attributes[attribute] = name
        root.register_buffer(attribute, tensor.detach())
        builder.values[name] = made.get_attr(attribute)
    builder.add(graph.nodes)
    names = tuple(name for name in crossing if name in builder.values)
    made.output(tuple(builder.values[name] for name in names))
    return Rebuilt(module=torch.fx.GraphModule(root, made), names=names, weight_names=attributes)


class _Builder:
    """``copied`` views are copied, or what reads them would be exported as reading what they are views of."""

    def __init__(
        self,
        root: torch.nn.Module,
        made: torch.fx.Graph,
        allow_ops: tuple[str, ...],
        *,
        copied: frozenset[str] = frozenset(),
        from_data: frozenset[str] = frozenset(),
    ) -> None:
        self.values: dict[str, torch.fx.Node] = {}
        self._root = root
        self._made = made
        self._allow_ops = allow_ops
        self._copied = copied
        self._from_data = from_data

    def add(self, nodes: tuple[Node, ...]) -> None:
        for node in nodes:
            args = [self._argument(arg) for arg in node.args]
            keywords = {key: self._argument(arg) for key, arg in node.kwargs.items()}
            found = self._made.call_function(self._function(node.op), tuple(args), keywords)
            if node.name in self._copied and node.kind == "view" and node.value is not None:
                found = self._made.call_function(torch.ops.aten.clone.default, (found,))
            self.values[node.name] = found
            if is_size(node, self._from_data) and node.expression is not None:
                self.values.setdefault(size_name(node.expression), found)

    def _function(self, op: str) -> Callable[..., object]:
        if op in ("cond", "while_loop"):
            return getattr(torch.ops.higher_order, op)  # type: ignore[no-any-return]
        return lookup(op, allowed=self._allow_ops)

    def _argument(self, arg: Arg) -> torch.fx.node.Argument:
        if isinstance(arg, Ref):
            return self.values[arg.name]
        if isinstance(arg, tuple):
            return [self._argument(item) for item in arg]
        if isinstance(arg, Special):
            return _special(arg)
        if isinstance(arg, Branch):
            return self._branch(arg)
        return arg

    def _branch(self, branch: Branch) -> torch.fx.Node:
        made = torch.fx.Graph()
        inner = _Builder(torch.nn.Module(), made, self._allow_ops)
        for name in branch.inputs:
            inner.values[name] = made.placeholder(name)
        inner.add(branch.nodes)
        made.output(tuple(inner._argument(output) for output in branch.outputs))
        name = f"branch_{len(dict(self._root.named_children()))}"
        self._root.add_module(name, torch.fx.GraphModule(inner._root, made))
        return self._made.get_attr(name)


def _special(arg: Special) -> torch.fx.node.Argument:
    if arg.kind == "device":
        return torch.device("cpu")
    if arg.kind == "float":
        return float(arg.text)
    if arg.kind == "complex":
        return complex(arg.text)
    found = getattr(torch, arg.text, None) if arg.text.isidentifier() else None
    if not isinstance(found, torch.dtype | torch.layout | torch.memory_format):
        raise ModelError(f"the graph names {arg.text!r}, which this torch does not know")
    return found
