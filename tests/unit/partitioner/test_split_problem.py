"""The additive split problem: its price against the formula flow by flow, its wiring against the layer graph."""

from __future__ import annotations

import numpy as np

from partitioner.layergraph import layer_graph
from partitioner.optimize.additive import AdditiveModel, Option
from partitioner.optimize.problem import SplitProblem, Wiring
from tests.graphs import graph, node
from tests.split_problems import price_by_hand, random_problem, random_wiring


def test_a_set_costs_what_its_layers_and_flows_add_up_to() -> None:
    generator = np.random.default_rng(1)
    for _ in range(200):
        wiring = random_wiring(generator, int(generator.integers(1, 9)), inputs=2)
        problem = random_problem(generator, wiring, pins=0.1)
        for _ in range(10):
            edge = frozenset(np.flatnonzero(generator.random(wiring.layers) < 0.5).tolist())
            assert np.isclose(problem.price(edge), price_by_hand(problem, edge), rtol=1e-12, atol=0)


def test_all_local_and_all_cloud_are_always_feasible() -> None:
    generator = np.random.default_rng(2)
    for _ in range(100):
        wiring = random_wiring(generator, int(generator.integers(0, 9)))
        problem = random_problem(generator, wiring, pins=0.3)
        assert np.isfinite(problem.price(problem.all_local))
        assert np.isfinite(problem.price(problem.all_cloud))
        assert (problem.all_cloud == frozenset()) == (not problem.pinned.any())


def test_a_layer_that_no_output_needs_is_free_to_be_anywhere() -> None:
    layers = layer_graph(graph([node("a", "x"), node("dead", "a"), node("b", "a")], outputs=["b"]), {})
    wiring = Wiring.from_graph(layers)
    dead = [index for index in range(3) if index not in layers.needed]
    assert np.flatnonzero(~wiring.needed).tolist() == dead
    costs_s = np.where(wiring.needed, 1.0, 0.0)
    problem = SplitProblem(
        wiring=wiring,
        edge_s=costs_s,
        cloud_s=costs_s,
        up_s=np.ones(wiring.flows),
        down_s=np.zeros(wiring.flows),
        fixed_s=5.0,
        pinned=np.zeros(3, dtype=np.bool_),
    )
    assert problem.price(layers.needed) == problem.price(problem.all_local) == 2.0
    assert problem.price(frozenset({0})) == 1 + 1 + 1 + 5


def test_the_wiring_crosses_what_the_layer_graph_does() -> None:
    nodes = [node("a", "x"), node("b", "a"), node("c", "a", shape=(8,)), node("d", "b", "c"), node("e", "c")]
    layers = layer_graph(graph(nodes, outputs=["d", "b", "e"]), {})
    wiring = Wiring.from_graph(layers)
    for edge in (set(), {0}, {0, 1}, {0, 2}, {0, 1, 2}, {0, 1, 2, 3}, {0, 2, 4}):
        crossing = [layers.flows[index].name for index in np.flatnonzero(wiring.crosses(wiring.mask(edge)))]
        assert crossing == [flow.name for flow in layers.crossing(edge)]
        assert wiring.is_closed(wiring.mask(edge)) == layers.is_closed(edge)


def test_each_flow_takes_the_codec_that_is_cheapest_at_the_rate() -> None:
    wiring = Wiring.of(1, [-1, 0], [{0}, set()])
    model = AdditiveModel(
        wiring=wiring,
        edge_s=np.array([1.0]),
        cloud_s=np.array([0.0]),
        options=((Option(nbytes=1000), Option(codec="int8", nbytes=250, work_s=0.003)), ()),
        replies={1: Option(nbytes=10, work_s=0.001)},
        pinned=np.zeros(1, dtype=np.bool_),
    )
    fast, slow = 1e-6, 1e-4
    assert model.at(fast, 0.0).up_s.tolist() == [1000 * fast, np.inf]
    assert model.at(slow, 0.0).up_s[0] == 0.003 + 250 * slow
    assert model.line(frozenset(), up_s_per_byte=fast, down_per_up=2.0).codecs == {0: "none"}
    line = model.line(frozenset(), up_s_per_byte=slow, down_per_up=2.0)
    assert (line.codecs, line.nbytes, line.offset_s) == ({0: "int8"}, 255.0, 0.004)
    assert line.price(slow) == model.at(slow, slow / 2).price(frozenset())
    assert model.at(np.inf, np.inf).price(frozenset()) == np.inf
    assert model.at(np.inf, np.inf).price(frozenset({0})) == 1.0
