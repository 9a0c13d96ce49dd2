"""The min-cut against every closed set of thousands of random graphs; its own flow certifies the larger ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from partitioner.errors import PlanError
from partitioner.layergraph import INPUT
from partitioner.optimize import chain, exhaustive, maxflow, mincut
from partitioner.optimize.blocks import Block, blocks
from partitioner.optimize.problem import SplitProblem, Wiring
from tests.split_problems import (
    chain_wiring,
    inception_wiring,
    price_by_hand,
    random_problem,
    random_wiring,
    skipping_wiring,
    towers_wiring,
)

GRAPHS = 400
CLOSE = 1e-9


def is_close(a: float, b: float, scale_s: float = 0.0) -> bool:
    return a == b or abs(a - b) <= CLOSE * max(abs(a), abs(b), scale_s) + 1e-300


def check(problem: SplitProblem) -> None:
    """The min-cut is a closed set, costs what its flow says, and no closed set is cheaper."""
    best, found = exhaustive.solve(problem), mincut.solve(problem)
    assert problem.wiring.is_closed(problem.wiring.mask(found.edge))
    assert is_close(found.price_s, best.price_s)
    assert is_close(found.bound_s, found.price_s)
    assert is_close(price_by_hand(problem, found.edge), found.price_s)
    assert found.price_s <= problem.price(problem.all_local) + CLOSE
    assert found.price_s <= problem.price(problem.all_cloud) * (1 + CLOSE)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("digits", [None, 2, 4], ids=["spread", "zero-or-one", "equal"])
def test_the_min_cut_is_the_cheapest_closed_set(seed: int, digits: int | None) -> None:
    generator = np.random.default_rng([seed, digits or 0])
    for _ in range(GRAPHS):
        layers, inputs = int(generator.integers(1, 9)), int(generator.integers(1, 4))
        wiring = random_wiring(generator, layers, reach=int(generator.integers(1, 6)), inputs=inputs)
        check(random_problem(generator, wiring, digits=digits, pins=float(generator.choice([0.0, 0.0, 0.3]))))


@given(st.data())
def test_the_min_cut_is_the_cheapest_closed_set_of_any_graph(data: st.DataObject) -> None:
    layers = data.draw(st.integers(0, 6))
    producers = data.draw(st.lists(st.integers(INPUT, layers - 1), min_size=1, max_size=8))
    consumers = [
        data.draw(st.sets(st.integers(producer + 1, layers - 1), max_size=layers)) if producer + 1 < layers else set()
        for producer in producers
    ]
    seconds = st.one_of(st.integers(0, 3).map(float), st.floats(0, 1e6), st.floats(0, 1e-9))

    def costs(count: int, each: st.SearchStrategy[float] = seconds) -> np.ndarray:
        return np.array(data.draw(st.lists(each, min_size=count, max_size=count)), dtype=np.float64)

    problem = SplitProblem(
        wiring=Wiring.of(layers, producers, consumers),
        edge_s=costs(layers),
        cloud_s=costs(layers),
        up_s=costs(len(producers), st.one_of(seconds, st.just(float("inf")))),
        down_s=costs(len(producers)),
        fixed_s=float(costs(1)[0]),
        pinned=np.array(data.draw(st.lists(st.booleans(), min_size=layers, max_size=layers)), dtype=np.bool_),
    )
    best, found = exhaustive.solve(problem), mincut.solve(problem)
    total_s = float(problem.edge_s.sum() + problem.cloud_s.sum() + problem.down_s.sum())
    finite_s = float(problem.up_s[np.isfinite(problem.up_s)].sum())
    assert abs(found.price_s - best.price_s) <= 1e-12 * (total_s + finite_s)
    assert abs(found.bound_s - best.price_s) <= 1e-12 * (total_s + finite_s)


@pytest.mark.parametrize("seed", range(3))
def test_all_three_agree_on_chains(seed: int) -> None:
    generator = np.random.default_rng(seed)
    for _ in range(200):
        wiring = chain_wiring(int(generator.integers(1, 12)))
        problem = random_problem(generator, wiring, pins=float(generator.choice([0.0, 0.2])))
        assert wiring.is_chain
        prices_s = [chain.solve(problem), mincut.solve(problem), exhaustive.solve(problem)]
        assert is_close(prices_s[0].price_s, prices_s[2].price_s)
        assert is_close(prices_s[1].price_s, prices_s[2].price_s)
        assert prices_s[0].bound_s == prices_s[0].price_s


def test_running_sums_price_every_prefix_of_any_graph() -> None:
    generator = np.random.default_rng(5)
    for _ in range(300):
        wiring = random_wiring(generator, int(generator.integers(0, 12)), inputs=int(generator.integers(1, 4)))
        problem = random_problem(generator, wiring, pins=float(generator.choice([0.0, 0.2])))
        for depth, price_s in enumerate(chain.prefix_prices(problem).tolist()):
            assert is_close(price_s, problem.price(frozenset(range(depth))), 1e-3)


@pytest.mark.parametrize("kind", [chain_wiring, inception_wiring, towers_wiring])
def test_what_costs_a_million_years_hides_no_microsecond(kind) -> None:
    generator = np.random.default_rng(6)
    for _ in range(30):
        found = random_problem(generator, kind(13))
        small = {name: getattr(found, name) * 1e-4 for name in ("edge_s", "up_s", "down_s", "fixed_s")}
        small["up_s"][generator.random(found.wiring.flows) < 0.4] = 3e13
        problem = replace(found, **small, cloud_s=found.cloud_s * 5e-4)
        assert is_close(mincut.solve(problem).price_s, exhaustive.solve(problem).price_s)


def test_a_large_graphs_cut_is_worth_its_flow() -> None:
    generator = np.random.default_rng(9)
    for _ in range(30):
        wiring = random_wiring(generator, int(generator.integers(100, 400)), reach=8, inputs=2)
        problem = random_problem(generator, wiring, pins=0.01)
        found = mincut.solve(problem)
        assert wiring.is_closed(wiring.mask(found.edge))
        assert is_close(found.bound_s, found.price_s)
        assert found.price_s <= chain.solve(problem).price_s * (1 + CLOSE)


def dads() -> SplitProblem:
    """a (edge 10, cloud 1) -> b (edge 1, cloud 10); the input costs 2 to send, what lies between nothing."""
    return SplitProblem(
        wiring=chain_wiring(2),
        edge_s=np.array([10.0, 1.0]),
        cloud_s=np.array([1.0, 10.0]),
        up_s=np.array([2.0, 0.0, 0.0]),
        down_s=np.zeros(3),
        pinned=np.zeros(2, dtype=np.bool_),
    )


def test_no_layer_comes_back_from_the_cloud_for_free() -> None:
    """The published graph of DADS, which lacks the arcs back, says 4."""
    for solve in (mincut.solve, chain.solve, exhaustive.solve):
        assert solve(dads()).price_s == 11.0
    network = mincut.network(dads(), Block(begin=0, end=2, bound_s=0.0))
    back = (network.tails < 2) & (network.heads < network.tails)
    assert network.tails[back].tolist() == [1]
    published = maxflow.Network(
        nodes=network.nodes,
        source=network.source,
        sink=network.sink,
        tails=network.tails[~back],
        heads=network.heads[~back],
        capacity_s=network.capacity_s[~back],
    )
    assert maxflow.min_cut(published).flow_s + 2.0 == 4.0


def test_a_tensor_that_many_read_is_sent_once() -> None:
    wiring = Wiring.of(3, [INPUT, 0, 1, 2], [{0}, {1, 2}, set(), set()])
    problem = SplitProblem(
        wiring=wiring,
        edge_s=np.array([1.0, 9.0, 9.0]),
        cloud_s=np.array([1.0, 1.0, 1.0]),
        up_s=np.array([50.0, 5.0, 0.0, 0.0]),
        down_s=np.zeros(4),
        pinned=np.zeros(3, dtype=np.bool_),
    )
    assert mincut.solve(problem).price_s == 1 + 5 + 1 + 1


def test_what_may_not_be_sent_stays() -> None:
    problem = dads()
    held = SplitProblem(
        wiring=problem.wiring,
        edge_s=problem.edge_s,
        cloud_s=np.zeros(2),
        up_s=np.array([np.inf, np.inf, np.inf]),
        down_s=np.zeros(3),
        pinned=np.zeros(2, dtype=np.bool_),
    )
    assert mincut.solve(held).edge == held.all_local
    assert mincut.solve(held).price_s == 11.0


@pytest.mark.parametrize("total_s", [1e-200, 1e-12, 1.0, 1e9, 1e300])
def test_capacities_of_any_size_are_scaled_within_their_sum(total_s: float) -> None:
    generator = np.random.default_rng(2)
    capacity_s = np.where(generator.random(4000) < 0.1, np.inf, total_s * generator.random(4000))
    ends = generator.integers(0, 500, (2, 4000))
    network = maxflow.Network(nodes=500, source=0, sink=1, tails=ends[0], heads=ends[1], capacity_s=capacity_s)
    whole, step_s, infinite = maxflow.scaled(network)
    finite = np.isfinite(capacity_s)
    for side in ends:
        sums = np.zeros(500, dtype=object)
        for end, capacity in zip(side.tolist(), whole.tolist(), strict=True):
            sums[end] += capacity
        assert max(sums) < 2**62
    assert infinite > int(whole[finite].sum())
    assert np.allclose(whole[finite] * step_s, capacity_s[finite], rtol=0, atol=step_s)
    assert step_s * 4000 <= 1e-12 * float(capacity_s[finite].sum())


def test_capacities_without_a_sum_are_refused() -> None:
    ends = np.array([0, 0]), np.array([1, 1])
    network = maxflow.Network(nodes=2, source=0, sink=1, tails=ends[0], heads=ends[1], capacity_s=np.full(2, 1e308))
    with pytest.raises(PlanError, match="cannot be cut"):
        maxflow.min_cut(network)


def test_a_network_that_only_infinite_arcs_separate_has_an_infinite_flow() -> None:
    ends = np.array([0, 2]), np.array([2, 1])
    network = maxflow.Network(nodes=3, source=0, sink=1, tails=ends[0], heads=ends[1], capacity_s=np.full(2, np.inf))
    assert maxflow.min_cut(network).flow_s == np.inf


@pytest.mark.parametrize("share", [0.3, 0.7, 1.0])
def test_where_much_may_not_be_sent_the_rest_is_still_cut(share: float) -> None:
    """Blocks through which nothing may be sent are passed over."""
    generator = np.random.default_rng(15)
    for _ in range(40):
        for wiring in (*branched(generator, 14), random_wiring(generator, 8)):
            problem = random_problem(generator, wiring)
            problem.up_s[generator.random(wiring.flows) < share] = np.inf
            found = mincut.solve(problem)
            assert is_close(found.price_s, exhaustive.solve(problem).price_s)
            assert is_close(found.bound_s, found.price_s)


def test_costs_that_make_no_sense_are_refused() -> None:
    good = dads()
    with pytest.raises(PlanError, match=r"up_s has not 3 entries; edge_s is negative or not a number"):
        SplitProblem(
            wiring=good.wiring,
            edge_s=np.array([np.nan, 1.0]),
            cloud_s=good.cloud_s,
            up_s=np.zeros(2),
            down_s=good.down_s,
            pinned=good.pinned,
        )


def test_a_graph_of_too_many_closed_sets_is_not_enumerated() -> None:
    wiring = Wiring.of(12, [INPUT], [range(12)])
    problem = random_problem(np.random.default_rng(0), wiring)
    with pytest.raises(PlanError, match="more than 100 closed sets"):
        exhaustive.solve(problem, max_sets=100)
    assert len(set(exhaustive.closed_sets(wiring))) == 2**12


def branched(generator: np.random.Generator, layers: int) -> list[Wiring]:
    return [inception_wiring(layers), towers_wiring(layers), skipping_wiring(generator, layers, reach=3)]


def test_block_by_block_is_as_good_as_all_at_once() -> None:
    generator = np.random.default_rng(12)
    for _ in range(25):
        for wiring in branched(generator, int(generator.integers(13, 120))):
            problem = random_problem(generator, wiring, pins=float(generator.choice([0.0, 0.02])))
            found = mincut.solve(problem)
            whole = mincut.through(problem, Block(begin=0, end=wiring.layers, bound_s=0.0))
            least_s = min(whole.price_s, problem.price(problem.all_local))
            assert is_close(found.price_s, least_s)
            assert is_close(found.bound_s, found.price_s)


def test_a_waist_is_ordered_with_every_layer() -> None:
    generator = np.random.default_rng(13)
    for _ in range(60):
        for wiring in (*branched(generator, 14), random_wiring(generator, 9), chain_wiring(5)):
            sets = list(exhaustive.closed_sets(wiring))
            for layer in range(wiring.layers):
                below, above = frozenset(range(layer + 1)), frozenset(range(layer))
                is_waist = all(below <= edge if layer in edge else edge <= above for edge in sets)
                assert is_waist == (layer in wiring.waists)


def test_no_closed_set_through_a_block_is_under_its_bound() -> None:
    generator = np.random.default_rng(14)
    for _ in range(40):
        for wiring in branched(generator, 14):
            problem = random_problem(generator, wiring)
            for block in blocks(problem):
                before, after = frozenset(range(block.begin)), frozenset(range(block.end))
                for edge in exhaustive.closed_sets(wiring):
                    if before <= edge < after:
                        assert problem.price(edge) >= block.bound_s * (1 - CLOSE)


def test_what_follows_from_other_dependencies_is_left_out() -> None:
    wiring = Wiring.of(4, [INPUT, 0, 1, 2], [{0}, {1, 2, 3}, {2}, {3}])
    assert sorted(zip(*(ends.tolist() for ends in wiring.needs), strict=True)) == [(1, 0), (2, 1), (3, 2)]
    assert sorted(zip(*(ends.tolist() for ends in wiring.last_readers), strict=True)) == [
        (0, 0),
        (1, 3),
        (2, 2),
        (3, 3),
    ]
    assert wiring.waists == (0, 1, 2, 3)
