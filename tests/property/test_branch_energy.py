"""Cuts through branches that take least from the device, against every closed set of small random models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from partitioner.cost import Load, RadioUse
from partitioner.cost.unmeasured import with_cuts
from partitioner.energy import EnergyProfile, PrefixEnergy, Quantity
from partitioner.layergraph import INPUT, Flow, LayerGraph
from partitioner.link import Link
from partitioner.optimize import mincut
from partitioner.optimize.additive import AdditiveModel
from partitioner.optimize.exhaustive import closed_sets
from partitioner.optimize.objectives import Energy
from partitioner.optimize.problem import Wiring
from partitioner.planner import Planner
from partitioner.profile import (
    CodecCost,
    CutProfile,
    DeviceInfo,
    LayerProfile,
    Profile,
    RuntimeRecord,
    SourceProfile,
    TensorSpec,
    Timing,
)
from partitioner.radio import NO_RADIO, RADIOS

LAYERS = 15
FEWEST_SETS, MOST_SETS = 150, 1500
RATES = 10
NOTHING = CodecCost(codec="none", up_bytes=0, encode_s=0.0, decode_s=0.0, deviation=0.0)


def quantity(value: float) -> Quantity:
    return Quantity(value=float(value), origin="measured")


def random_graph(generator: np.random.Generator, layers: int) -> LayerGraph:
    """Every layer makes one flow for some of the few after it, or reads the input; what nobody reads is an output."""
    flows: list[Flow] = []
    for producer in range(INPUT, layers):
        after = np.arange(producer + 1, min(layers, producer + 7))
        readers = after[generator.random(len(after)) < 0.25].tolist()
        nbytes = 4 * int(10 ** generator.uniform(2, 4.5))
        if producer == INPUT:
            readers, nbytes = sorted({0, 1, 2, *readers}), 300_000
        flows.append(
            Flow(
                name=f"t{producer}",
                dtype="float32",
                shape=(nbytes // 4,),
                nbytes=nbytes,
                producer=producer,
                consumers=tuple(readers),
                is_output=not readers,
            )
        )
    fed = {reader for flow in flows for reader in flow.consumers}
    flows[0] = replace(flows[0], consumers=tuple(sorted({*flows[0].consumers, *(set(range(layers)) - fed)})))
    return LayerGraph(layers=tuple(f"l{index}" for index in range(layers)), flows=tuple(flows))


def additive_profile(graph: LayerGraph, layers_s: np.ndarray, layers_j: np.ndarray) -> Profile:
    """A device whose layer times and energies add up, and whose codec costs nothing."""

    def specs(flows):
        return tuple(
            TensorSpec(name=each.name, dtype=each.dtype, shape=each.shape, nbytes=each.nbytes) for each in flows
        )

    def cost(flows):
        return replace(NOTHING, up_bytes=sum(flow.nbytes for flow in flows))

    sent, reply = graph.crossing(frozenset()), graph.reply(frozenset())
    whole_s = float(layers_s.sum())
    cloud = CutProfile(
        id=graph.id_of(frozenset()), name="cloud", depth=0, crossing=specs(sent), reply=specs(reply),
        edge_flops=0, cloud_flops=0, edge_weight_bytes=0, cloud_weight_bytes=0, edge_peak_bytes=0, cloud_peak_bytes=0,
        prefix=Timing(median_s=0.0), suffix=Timing(median_s=whole_s), codecs=(cost(sent),), reply_cost=cost(reply),
    )  # fmt: skip
    bare = Profile(
        model_digest="a" * 64,
        model_name="random",
        weights="random",
        device=DeviceInfo(name="d", machine="m", cpu="c", cores=1),
        runtime=RuntimeRecord(name="eager", device="cpu", threads=1, versions={}),
        binding={},
        layers=tuple(
            LayerProfile(
                id=name,
                name=name,
                kind="k",
                forward=Timing(median_s=float(layer_s)),
                flops=0,
                weight_bytes=0,
                output_bytes=0,
            )
            for name, layer_s in zip(graph.layers, layers_s, strict=True)
        ),
        flows=graph.flows,
        cuts=(cloud,),
        whole=Timing(median_s=whole_s),
        source=SourceProfile(kind="tensor", nbytes=sum(flow.nbytes for flow in sent), how="measured"),
        peak_rss_bytes=0,
        noise_ratio=0.0,
        noisy=False,
        created="2026-01-01T00:00:00Z",
    )
    grown = with_cuts(bare, graph, [frozenset(range(depth)) for depth in range(1, len(graph.layers) + 1)])
    local = replace(
        grown.cuts[-1], name="local", crossing=(), reply=(), codecs=(), tensor_codecs=(), reply_cost=NOTHING
    )
    cuts = (*grown.cuts[:-1], local)
    before_j = np.concatenate([[0.0], np.cumsum(layers_j)])
    energy = EnergyProfile(
        meter="made up",
        source="",
        scope="board",
        period_s=0.01,
        resolution_j=0.0,
        idle_w=quantity(1.5),
        active_w=quantity(6.0),
        whole_j=quantity(before_j[-1]),
        prefixes=tuple(
            PrefixEnergy(cut_id=cut.id, total_j=quantity(before_j[cut.depth]), net_j=quantity(before_j[cut.depth]))
            for cut in cuts
        ),
        layers=tuple(quantity(each) for each in layers_j),
    )
    return replace(grown, cuts=cuts, energy=energy)


def pair_of(generator: np.random.Generator, layers: int = LAYERS) -> tuple[LayerGraph, Profile, Profile]:
    graph = random_graph(generator, layers)
    edge_s = 10 ** generator.uniform(-3, -1, layers)
    edge = additive_profile(graph, edge_s, edge_s * generator.uniform(2, 9, layers))
    return graph, edge, additive_profile(graph, edge_s / 20, edge_s)


def gaps(seed: int, use: RadioUse, *, models: int = 2) -> list[float]:
    """How much more the planner's choice takes than the best of all closed sets, at random rates."""
    generator = np.random.default_rng(seed)
    found = []
    while len(found) < RATES * models:
        graph, edge, cloud = pair_of(generator)
        sets = list(closed_sets(Wiring.from_graph(graph)))
        if not FEWEST_SETS < len(sets) < MOST_SETS:
            continue
        load = Load(slowdown=float(generator.uniform(1, 4)))
        planned = Planner.from_profiles(edge, cloud, objective=Energy(), radio=use, load=load, down_per_up=2.0)
        everything = Planner.from_profiles(
            edge, cloud, objective=Energy(), radio=use, load=load, down_per_up=2.0, closed_sets=sets
        )
        assert len(planned.everything) <= len(everything.everything)
        for rate in 10 ** generator.uniform(4, 8, RATES):
            link = Link(up_bytes_per_s=rate, down_bytes_per_s=2 * rate, rtt_s=0.01)
            best_j = everything.everything.energy(link, load).min()
            found.append(planned.at(link, load).score / best_j - 1)
    return found


@pytest.mark.parametrize("seed", range(2))
def test_where_time_is_all_that_a_byte_costs_the_plan_is_the_optimum(seed):
    assert max(gaps(seed, RadioUse(model=NO_RADIO))) < 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_on_larger_models_the_plan_is_the_minimum_cut_in_joules(seed):
    generator = np.random.default_rng(seed)
    graph, edge, cloud = pair_of(generator, 40)
    idle_w, load, rtt_s = edge.energy.idle_w.value, Load(slowdown=2.5), 0.02
    planner = Planner.from_profiles(edge, cloud, objective=Energy(), load=load, down_per_up=2.0)
    joules = AdditiveModel.plain(
        Wiring.from_graph(graph),
        edge_s=[each.value for each in edge.energy.layers],
        cloud_s=[idle_w * load.slowdown * layer.forward.median_s for layer in cloud.layers],
        nbytes=[flow.nbytes for flow in graph.flows],
        reply_bytes={index: flow.nbytes for index, flow in enumerate(graph.flows) if flow.is_output},
        fixed_s=idle_w * rtt_s,
    )
    chosen = set()
    for rate in 10 ** generator.uniform(4, 8, 40):
        link = Link(up_bytes_per_s=rate, down_bytes_per_s=2 * rate, rtt_s=rtt_s)
        found = planner.at(link, load)
        least = mincut.solve(joules.at(idle_w / rate, idle_w / rate / 2))
        assert found.score == pytest.approx(least.price_s, rel=1e-9)
        chosen.add(found.candidate.cut)
    assert len(chosen) > 1


@pytest.mark.parametrize("name", ["3g", "4g", "wifi"])
def test_over_a_radio_the_plan_is_close_to_the_optimum(name):
    found = gaps(3, RadioUse(model=RADIOS[name]))
    print(
        f"\n{name}: mean gap {np.mean(found):.3%}, largest {max(found):.2%}, {sum(gap > 1e-9 for gap in found)} missed"
    )
    assert np.mean(found) < 0.01


def test_a_cut_through_branches_takes_what_its_layers_take():
    graph, edge, cloud = pair_of(np.random.default_rng(7))
    layers_j = np.array([each.value for each in edge.energy.layers])
    sets = [each for each in closed_sets(Wiring.from_graph(graph)) if each and not graph.needed <= each]
    planner = Planner.from_profiles(edge, cloud, closed_sets=sets, codecs=("none",))
    table = planner.everything
    branches = [row for row, each in enumerate(table.candidates) if each.edge_layers is not None]
    assert branches
    origins = table.energy_breakdowns(Link(up_bytes_per_s=1e6, down_bytes_per_s=1e6, rtt_s=0.0))
    for row in branches:
        assert table.head_j[row] == pytest.approx(layers_j[sorted(table.candidates[row].edge_layers)].sum())
        assert origins[row].origin != "measured"
    halved = replace(
        edge,
        energy=replace(
            edge.energy,
            prefixes=tuple(
                replace(each, total_j=each.total_j.times(0.5), net_j=each.net_j.times(0.25))
                for each in edge.energy.prefixes
            ),
        ),
    )
    found = with_cuts(halved, graph, [table.candidates[row].edge_layers for row in branches]).energy.prefixes
    for each, row in zip(found[-len(branches) :], branches, strict=True):
        assert each.total_j.value == pytest.approx(table.head_j[row] / 2)
        assert each.net_j.value == pytest.approx(table.head_j[row] / 4)
        assert each.total_j.origin == "modelled"


@pytest.mark.parametrize("seed", range(3))
def test_who_keeps_more_layers_never_takes_less(seed):
    generator = np.random.default_rng(seed)
    graph, edge, _ = pair_of(generator)
    jumps_j = np.maximum.accumulate(
        [each.total_j.value * generator.uniform(0.3, 1.5) for each in edge.energy.prefixes]
    ).tolist()
    fronts = tuple(
        replace(each, total_j=quantity(total_j), net_j=quantity(total_j / 3))
        for each, total_j in zip(edge.energy.prefixes, jumps_j, strict=True)
    )
    known = {frozenset(range(cut.depth)) for cut in edge.cuts}
    sets = [each for each in closed_sets(Wiring.from_graph(graph)) if each not in known and not graph.needed <= each]
    grown = with_cuts(replace(edge, energy=replace(edge.energy, prefixes=fronts)), graph, sets)
    found = {
        **{frozenset(range(cut.depth)): each for cut, each in zip(edge.cuts, fronts, strict=True)},
        **dict(zip(sets, grown.energy.prefixes[len(fronts) :], strict=True)),
    }
    pairs = [(less, more) for less in found for more in found if less < more]
    assert len(pairs) > 1000
    assert all(found[less].total_j.value <= found[more].total_j.value * (1 + 1e-9) for less, more in pairs)
    assert all(found[less].net_j.value <= found[more].net_j.value * (1 + 1e-9) for less, more in pairs)
