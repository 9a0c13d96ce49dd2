"""A segment as a part of an ONNX file: its inputs and outputs, and the sizes that are told rather than computed."""

from __future__ import annotations

from partitioner.dims import Dim, symbols_of
from partitioner.graph import Graph, Value, is_size
from partitioner.plan import Segment
from partitioner.runtimes.ort.names import sizes
from partitioner.runtimes.ort.onnxfile import OnnxFile, Part
from partitioner.subgraph import extract


def told_sizes(graph: Graph) -> dict[str, Dim]:
    """Every number that a part may be told, with its expression: by its value's name and by those of our own nodes."""
    nodes = {node.name: node.expression or 0 for node in graph.nodes if is_size(node, graph.from_data)}
    return {**nodes, **sizes(graph)}


def part_of(file: OnnxFile, graph: Graph, segment: Segment) -> Part:
    """Cut a segment out of the file.

    Raises:
        SegmentError: its names do not fit the graph, or the file cannot be cut there.
    """
    known = extract(graph, segment).known
    told = {
        name: Value(name=name, dtype="int64", shape=())
        for name, expression in told_sizes(graph).items()
        if symbols_of(expression) <= known
    }
    values = {name: graph.value_of(name) for name in segment.inputs}
    return file.part(values, segment.outputs, sizes=told)
