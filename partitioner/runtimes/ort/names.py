"""Names of the values at which the exported graph can be cut.

A size has one value however many nodes compute it, named by its expression (``size(2*t + 1)``): a segment is told the
sizes it needs, and never walks back to the tensor that they were first read from.
"""

from __future__ import annotations

from partitioner.dims import Dim
from partitioner.graph import Graph, is_size


def size_name(expression: Dim) -> str:
    """The name of a size's value."""
    return f"size({expression})"


def input_sizes(graph: Graph) -> dict[str, tuple[str, int]]:
    """For each size of an input that varies, the name of its value: (input, axis)."""
    found: dict[str, tuple[str, int]] = {}
    for each in graph.inputs:
        for axis, dim in enumerate(each.value.shape):
            if isinstance(dim, str):
                found.setdefault(size_name(dim), (each.name, axis))
    return found


def sizes(graph: Graph) -> dict[str, Dim]:
    """Every size that follows from the inputs' shapes: its expression, by the name of its value."""
    found: dict[str, Dim] = {}
    for name, (owner, axis) in input_sizes(graph).items():
        found[name] = graph.values[owner].shape[axis]
    for node in graph.nodes:
        if is_size(node, graph.from_data) and node.expression is not None:
            found[size_name(node.expression)] = node.expression
    return found


def kept_values(graph: Graph) -> tuple[str, ...]:
    """Names of all values that some segment may begin or end with, the model's outputs first.

    Those are the outputs, what one layer makes and another reads, the owners of views, and the sizes.
    """
    found = dict.fromkeys(graph.output_names)
    layer_of = graph.layer_of
    for node in graph.nodes:
        for name in node.refs():
            if name in layer_of and layer_of[name] != layer_of.get(node.name):
                if graph.node[name].value is not None or graph.node[name].kind == "scalar":
                    found.update({name: None, graph.root(name): None})
    dropped = {node.name for node in graph.nodes if is_size(node, graph.from_data)} | set(graph.input_names)
    return (*(name for name in found if name not in dropped), *sizes(graph))
