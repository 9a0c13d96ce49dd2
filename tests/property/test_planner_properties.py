"""The planner against a fresh min-cut, against every candidate priced anew, and against laws of any sensible plan."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partitioner.cost import IDLE, Load
from partitioner.link import Link
from partitioner.optimize import mincut
from partitioner.optimize.constraints import Constraints, Infeasible
from partitioner.optimize.objectives import Deviation, Latency, Lexicographic, Throughput, Upload, Weighted
from partitioner.optimize.scan import choose
from partitioner.planner import Planner
from tests.property.test_cost_properties import links, profile_pairs
from tests.property.test_envelope_properties import random_model
from tests.split_problems import chain_wiring, random_wiring

CLOSE = 1e-9
loads = st.builds(Load, queue_s=st.floats(0, 3), slowdown=st.floats(1, 20))
objectives = st.sampled_from(
    [
        Latency(),
        Throughput(),
        Upload(),
        Deviation(),
        Weighted(((Latency(), 1.0), (Throughput(), 2.0))),
        Lexicographic((Latency(), Upload()), 0.1),
    ]
)


@pytest.mark.parametrize("seed", range(4))
def test_along_its_axis_the_plan_is_the_optimum(seed):
    generator = np.random.default_rng(seed)
    for _ in range(10):
        layers = int(generator.integers(2, 40))
        wiring = random_wiring(generator, layers, inputs=2) if generator.random() < 0.7 else chain_wiring(layers)
        model = random_model(generator, wiring, codecs=int(generator.integers(1, 4)))
        ratio, load = float(generator.choice([0.5, 1.0, 3.0])), Load(slowdown=float(generator.uniform(1, 5)))
        planner = Planner.from_additive(model, down_per_up=ratio, load=load)
        rates = 10.0 ** generator.uniform(2, 10, 20)
        for up_bytes_per_s in rates.tolist():
            rtt_s, queue_s = (float(generator.choice([0.0, 0.01, 0.3])) for _ in range(2))
            link = Link(up_bytes_per_s=up_bytes_per_s, down_bytes_per_s=ratio * up_bytes_per_s, rtt_s=rtt_s)
            found = planner.at(link, replace(load, queue_s=queue_s))
            loaded = replace(model, cloud_s=model.cloud_s * load.slowdown, fixed_s=model.fixed_s + rtt_s + queue_s)
            fresh = mincut.solve(loaded.at(1 / link.up_bytes_per_s, 1 / link.down_bytes_per_s))
            assert found.predicted_s == pytest.approx(fresh.price_s, rel=CLOSE)
            assert found.breakdown.total_s == found.predicted_s


@given(profile_pairs(), links, loads)
def test_the_plan_is_never_above_all_local_or_all_cloud(pair, link, load):
    planner = Planner.from_profiles(*pair, codecs=None)
    found = planner.at(link, load)
    prices_s = planner.everything.price(link, load)
    for candidate, price_s in zip(planner.everything.candidates, prices_s.tolist(), strict=True):
        if candidate.is_local or candidate.is_all_cloud:
            assert found.predicted_s <= price_s


@given(profile_pairs(), links, loads, objectives)
def test_what_was_left_out_is_never_missed(pair, link, load, objective):
    planner = Planner.from_profiles(*pair, codecs=None, objective=objective)
    everything = planner.everything
    if isinstance(objective, Lexicographic):
        latency_s = everything.price(link, load)
        near = latency_s <= latency_s.min() * 1.1
        found = planner.at(link, load)
        assert found.predicted_s <= latency_s.min() * 1.1
        assert found.candidate.up_bytes == everything.up_bytes[near].min()
    else:
        assert planner.at(link, load).score == objective.scores(everything, link, load).min()


@given(profile_pairs(), links, loads, objectives)
def test_of_equally_good_plans_the_fastest_is_chosen(pair, link, load, objective):
    planner = Planner.from_profiles(*pair, codecs=None, objective=objective)
    table = planner.everything
    latency_s, scores = table.price(link, load), objective.scores(table, link, load)
    if isinstance(objective, Lexicographic):
        kept = latency_s <= latency_s.min() * 1.1
        is_best = kept & (table.up_bytes == table.up_bytes[kept].min())
    else:
        is_best = scores == scores.min()
    assert planner.at(link, load).predicted_s == pytest.approx(latency_s[is_best].min(), rel=CLOSE)
    ranked = choose(table, link, load, objective=objective).ranked
    assert ranked[0].predicted_s == latency_s[is_best].min()
    for loser in ranked[1:]:
        if loser.score == ranked[0].score and not isinstance(objective, Latency):
            assert loser.why.startswith(f"as good by {objective.name}, +")


@given(profile_pairs(), links, loads, st.floats(1, 100), st.floats(1, 100))
def test_more_bandwidth_never_costs_latency(pair, link, load, up_factor, down_factor):
    planner = Planner.from_profiles(*pair, codecs=None)
    faster = Link(
        up_bytes_per_s=link.up_bytes_per_s * up_factor,
        down_bytes_per_s=link.down_bytes_per_s * down_factor,
        rtt_s=link.rtt_s,
    )
    assert planner.at(faster, load).predicted_s <= planner.at(link, load).predicted_s


def ordered(profile, *, name: str, is_falling: bool):
    """The profile of a sensible model: a deeper prefix takes longer, and what is left of it less."""
    times_s = sorted((getattr(cut, name).median_s for cut in profile.cuts), reverse=is_falling)
    cuts = tuple(
        replace(cut, **{name: replace(getattr(cut, name), median_s=time_s)})
        for cut, time_s in zip(profile.cuts, times_s, strict=True)
    )
    return replace(profile, cuts=cuts)


@given(profile_pairs(), links, loads, st.floats(0, 3), st.floats(1, 10))
def test_as_load_rises_work_never_leaves_the_device(pair, link, load, wait_s, factor):
    edge = ordered(pair[0], name="prefix", is_falling=False)
    cloud = ordered(pair[1], name="suffix", is_falling=True)
    planner = Planner.from_profiles(edge, cloud, codecs=("none",))
    busier = Load(queue_s=load.queue_s + wait_s, slowdown=load.slowdown * factor)
    for less, more in ((IDLE, load), (load, busier)):
        before, after = planner.at(link, less), planner.at(link, more)
        is_rounding = planner.frozen.price(link, more)[before.row] <= after.predicted_s * (1 + 1e-12)
        assert after.candidate.depth >= before.candidate.depth or is_rounding
    assert planner.at(link, Load(queue_s=0.0, slowdown=1.0)) == planner.at(link)


@given(profile_pairs(), st.floats(0.2, 5), st.floats(0, 1), loads, st.lists(st.floats(2, 10), max_size=5))
def test_the_table_holds_the_plan_of_every_rate(pair, ratio, rtt_s, load, exponents):
    planner = Planner.from_profiles(*pair, codecs=None)
    found = planner.table(down_per_up=ratio, rtt_s=rtt_s, load=load)
    assert found[0].from_up_bytes_per_s == 0
    assert found[-1].to_up_bytes_per_s == np.inf
    for before, after in pairwise(found):
        assert before.to_up_bytes_per_s == after.from_up_bytes_per_s > before.from_up_bytes_per_s
        assert before.to_s == pytest.approx(after.from_s, rel=CLOSE)
    for up_bytes_per_s in (10.0**exponent for exponent in exponents):
        [point] = [each for each in found if each.from_up_bytes_per_s <= up_bytes_per_s < each.to_up_bytes_per_s]
        link = Link(up_bytes_per_s=up_bytes_per_s, down_bytes_per_s=ratio * up_bytes_per_s, rtt_s=rtt_s)
        price_s = planner.everything.price(link, load)[planner.everything.candidates.index(point.candidate)]
        assert price_s == pytest.approx(planner.at(link, load).predicted_s, rel=CLOSE)
        assert point.to_s * (1 - CLOSE) <= price_s <= point.from_s * (1 + CLOSE)


@given(profile_pairs(), links, loads, st.floats(0.001, 10))
def test_a_deadline_is_kept_or_named(pair, link, load, deadline_s):
    planner = Planner.from_profiles(*pair, codecs=None, constraints=Constraints(deadline_s=deadline_s))
    fastest_s = float(planner.everything.price(link, load).min())
    if fastest_s <= deadline_s:
        assert planner.at(link, load).predicted_s == fastest_s
    else:
        with pytest.raises(Infeasible, match="no plan keeps --deadline") as refusal:
            planner.at(link, load)
        assert refusal.value.conflicts[0].nearest == fastest_s
    ratio = link.down_bytes_per_s / link.up_bytes_per_s
    for point in planner.table(down_per_up=ratio, rtt_s=link.rtt_s, load=load):
        if point.candidate is None:
            assert point.to_s >= deadline_s * (1 - CLOSE)
        else:
            assert point.from_s <= deadline_s * (1 + CLOSE)


@given(profile_pairs(), links, loads)
@settings(max_examples=50)
def test_the_front_is_what_nothing_beats(pair, link, load):
    planner = Planner.from_profiles(*pair, codecs=None)
    wanted = (Latency(), Throughput(), Upload(), Deviation())
    trades = planner.front(wanted, link, load)
    scores = np.stack([each.scores(planner.everything, link, load) for each in wanted], axis=1)
    unbeaten = {
        tuple(row) for row in scores.tolist() if not ((scores <= row).all(axis=1) & (scores < row).any(axis=1)).any()
    }
    assert {trade.scores for trade in trades} == unbeaten
    assert len(trades) == len(unbeaten)
