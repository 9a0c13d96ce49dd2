"""The layer graph against what really crosses: ``subgraph.crossing`` of the same cut."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from partitioner.bundle import Bundle
from partitioner.graph import Graph
from partitioner.layergraph import INPUT, Flow, LayerGraph, layer_graph
from partitioner.segments import Cut, Cuts
from tests.closed_sets import closed_set
from tests.graphs import graph, node, value
from tests.models import CASES
from tests.models_more import MORE

PackedCase = Callable[[str], Bundle]
ALL = {**CASES, **MORE}


def tensor_bytes(cuts: Cuts, cut: Cut) -> int:
    """What crosses, but for what has no axes: a number is sent, or follows from the shapes."""
    return sum(each.nbytes(cuts.binding) for each in cut.crossing if each.shape)


@pytest.mark.parametrize("name", ALL)
def test_flows_cross_every_prefix_as_the_graph_says(name: str, packed_case: PackedCase) -> None:
    bundle = packed_case(name)
    cuts = Cuts(bundle.graph, bundle.digest)
    layers = cuts.layer_graph
    for cut in cuts.candidates:
        assert layers.is_closed(cut.edge_layers)
        sent = layers.crossing(cut.edge_layers)
        assert sum(flow.nbytes for flow in sent if flow.shape) == tensor_bytes(cuts, cut)
        down_bytes = sum(flow.nbytes for flow in layers.reply(cut.edge_layers))
        assert down_bytes == sum(each.nbytes(cuts.binding) for each in cuts.reply(cut))


@pytest.mark.parametrize("name", ALL)
def test_flows_cross_any_closed_set_as_the_graph_says(name: str, packed_case: PackedCase) -> None:
    bundle = packed_case(name)
    cuts = Cuts(bundle.graph, bundle.digest)
    layers = cuts.layer_graph
    generator = np.random.default_rng(11)
    for _ in range(20 if layers.layers else 0):
        edge = closed_set(layers, generator)
        cut = cuts.from_layers(layers.layers[index] for index in edge)
        sent = [flow for flow in layers.crossing(edge) if layers.reply(edge) and flow.shape]
        sent_bytes, real_bytes = sum(flow.nbytes for flow in sent), tensor_bytes(cuts, cut)
        assert sent_bytes == real_bytes or (sent_bytes > real_bytes and has_smaller_view(cuts.graph, cut, sent))
        assert [flow.name for flow in layers.reply(edge)] == list(cut.reply) or len(cut.reply) > 1
        assert {flow.name for flow in layers.reply(edge)} == set(cut.reply)


def has_smaller_view(made: Graph, cut: Cut, sent: list[Flow]) -> bool:
    """Whether a view crosses where the flow is its owner: the one case in which flows may say more."""
    owners = {made.root(each.name) for each in cut.crossing if made.root(each.name) != each.name}
    return any(flow.name in owners for flow in sent)


def diamond() -> LayerGraph:
    nodes = [node("a", "x"), node("b", "a"), node("c", "a", shape=(8,)), node("d", "b", "c", shape=(2,))]
    return layer_graph(graph(nodes, outputs=["d", "b"]), {})


def test_a_tensor_is_one_flow_however_many_read_it() -> None:
    made = diamond()
    assert [(flow.name, flow.producer, flow.consumers, flow.nbytes, flow.is_output) for flow in made.flows] == [
        ("x", INPUT, (0,), 16, False),
        ("a", 0, (1, 2), 16, False),
        ("b", 1, (3,), 16, True),
        ("c", 2, (3,), 32, False),
        ("d", 3, (), 8, True),
    ]
    assert made.predecessors == ((), (0,), (0,), (1, 2))
    assert not made.is_chain
    assert [flow.name for flow in made.crossing({0})] == ["a"]
    assert [flow.name for flow in made.reply({0, 1})] == ["d"]


def test_a_closed_set_is_the_closure_of_its_maximal_layers() -> None:
    made = diamond()
    assert [made.is_closed(edge) for edge in ({0}, {0, 2}, {2}, {0, 1, 3}, set())] == [True, True, False, False, True]
    for edge in ({0, 1}, {0, 2}, {0, 1, 2}, {0, 1, 2, 3}, set()):
        assert made.closure(made.maximal(edge)) == edge


def test_a_chain_has_prefixes_only() -> None:
    made = layer_graph(graph([node("a", "x"), node("b", "a"), node("c", "b", "a")], outputs=["c"]), {})
    assert made.is_chain


def test_a_layer_that_no_output_needs_reads_nothing() -> None:
    made = layer_graph(graph([node("a", "x"), node("dead", "x"), node("b", "a")], outputs=["b"]), {})
    dead = made.layers.index("relu#1")
    assert made.needed == frozenset(range(3)) - {dead}
    assert [flow.name for flow in made.crossing({0, 2})] == []


def test_views_count_once_and_halves_count_apart() -> None:
    half = [
        node("a", "x", shape=(8,)),
        node("left", "a", shape=(4,), kind="view", op="aten.slice.Tensor"),
        node("right", "a", shape=(4,), kind="view", op="aten.slice.Tensor"),
        node("b", "left"),
        node("c", "right"),
    ]
    made = layer_graph(graph(half, outputs=["b", "c"], inputs=[value("x", 8)]), {})
    assert [flow.name for flow in made.flows if flow.producer == 0] == ["left", "right"]
    beside = [*half[:2], node("b", "left"), node("c", "a", shape=(8,))]
    made = layer_graph(graph(beside, outputs=["b", "c"], inputs=[value("x", 8)]), {})
    assert ("a", 32) in [(flow.name, flow.nbytes) for flow in made.flows]
    assert "left" not in [flow.name for flow in made.flows]
