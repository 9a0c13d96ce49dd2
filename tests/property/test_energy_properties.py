"""Energies against the formula written out again, laws of any device, and plans against every candidate."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from partitioner.cost import CandidateTable, Load, RadioUse
from partitioner.energy import ORIGINS, EnergyProfile, PrefixEnergy, Quantity, weakest
from partitioner.link import Link
from partitioner.optimize.constraints import Constraints, Infeasible
from partitioner.optimize.objectives import Energy, Latency, Upload, Weighted
from partitioner.planner import Planner
from partitioner.profile import Profile
from partitioner.radio import NO_RADIO, RADIOS, RadioModel
from tests.property.test_cost_properties import links, profile_pairs
from tests.property.test_planner_properties import loads

CLOSE = 1e-9
origins = st.sampled_from(ORIGINS)
watts = st.floats(0, 50, allow_subnormal=False)
mbits = st.none() | st.floats(0.1, 1000)
seconds = st.floats(0, 20, allow_subnormal=False)
radios = st.builds(
    RadioModel,
    name=st.just("made up"),
    up_w_per_mbit=st.floats(0, 2),
    down_w_per_mbit=st.floats(0, 2),
    base_w=st.floats(0, 3),
    max_up_mbit=mbits,
    max_down_mbit=mbits,
    promotion_s=seconds,
    promotion_w=watts,
    tail_s=seconds,
    tail_w=watts,
    origin=origins,
    source=st.just(""),
) | st.sampled_from(tuple(RADIOS.values()))
single = st.builds(RadioUse, model=radios)
uses = st.builds(RadioUse, model=radios, frame_interval_s=st.none() | st.floats(0.01, 30))


@st.composite
def metered_pairs(draw, *, is_steady=False):
    """A pair of profiles whose edge has energy; a steady device draws no less at work than at rest."""
    edge, cloud = draw(profile_pairs())
    idle_w = draw(watts)
    active_w = idle_w + draw(watts) if is_steady else draw(watts)

    def quantity(value):
        return Quantity(value=value, origin=draw(origins))

    def prefix(cut):
        total_j = cut.prefix.median_s * (idle_w + draw(watts)) if is_steady else draw(st.floats(0, 100))
        return PrefixEnergy(cut_id=cut.id, total_j=quantity(total_j), net_j=quantity(total_j))

    energy = EnergyProfile(
        meter="made up",
        source="",
        scope="board",
        period_s=0.01,
        resolution_j=0.0,
        idle_w=quantity(idle_w),
        active_w=quantity(active_w),
        whole_j=quantity(1.0),
        prefixes=tuple(prefix(cut) for cut in edge.cuts),
        layers=(),
    )
    return replace(edge, energy=energy), cloud


def power_w(radio: RadioModel, mbit: float, *, is_up: bool) -> float:
    per_mbit, most = (radio.up_w_per_mbit, radio.max_up_mbit) if is_up else (radio.down_w_per_mbit, radio.max_down_mbit)
    return radio.base_w + per_mbit * (mbit if most is None or mbit <= most else most)


def frame_j(edge: Profile, cloud: Profile, candidate, link: Link, load: Load, use: RadioUse) -> float:
    """The formula of the design for one frame, with nothing shared with the code under test but the records."""
    energy = edge.energy
    near = next(cut for cut in edge.cuts if cut.id == candidate.cut_id)
    far = next(cut for cut in cloud.cuts if cut.id == candidate.cut_id)
    head_j = next(each for each in energy.prefixes if each.cut_id == near.id).total_j.value
    idle_w, active_w = energy.idle_w.value, energy.active_w.value
    prepare_s = edge.source.preprocess.median_s
    if near.name == "local":
        return head_j + active_w * prepare_s
    up = next(cost for cost in near.codecs if cost.codec == candidate.codec)
    there = next(cost for cost in far.codecs if cost.codec == candidate.codec)
    tail_s = far.suffix.median_s
    if candidate.codec == "source":
        tail_s, prepare_s = tail_s + cloud.source.preprocess.median_s, 0.0
    up_s, down_s = up.up_bytes / link.up_bytes_per_s, near.reply_cost.up_bytes / link.down_bytes_per_s
    others_s = link.rtt_s + load.queue_s + there.decode_s + load.slowdown * tail_s + far.reply_cost.encode_s
    busy_j = head_j + active_w * (prepare_s + up.encode_s + near.reply_cost.decode_s)
    radio_j = up_s * power_w(use.model, link.up_mbit, is_up=True)
    radio_j += down_s * power_w(use.model, link.down_mbit, is_up=False)
    return busy_j + radio_j + idle_w * (up_s + others_s + down_s) + awake_j(use, up_s + down_s, others_s)


def awake_j(use: RadioUse, moving_s: float, others_s: float) -> float:
    """Between two bursts a radio stays awake for its tail at most, and after longer pauses it wakes up anew."""
    if use.frame_interval_s is None:
        return 0.0
    rest_s = max(use.frame_interval_s - moving_s, 0.0)
    found = 0.0
    for pause_s in (min(others_s, rest_s), rest_s - min(others_s, rest_s)):
        found += min(pause_s, use.model.tail_s) * use.model.tail_w
        if pause_s > use.model.tail_s:
            found += use.model.promotion_s * use.model.promotion_w
    return found


@given(metered_pairs(), links, loads, uses)
def test_every_energy_equals_the_formula(pair, link, load, use):
    table = CandidateTable.from_profiles(*pair, codecs=None, radio=use)
    energies = table.energy(link, load)
    breakdowns = table.energy_breakdowns(link, load)
    assert len(energies) == len(table.candidates)
    for candidate, energy_j, breakdown in zip(table.candidates, energies.tolist(), breakdowns, strict=True):
        truth = frame_j(*pair, candidate, link, load, use)
        assert energy_j == pytest.approx(truth, rel=1e-9, abs=1e-12)
        terms = breakdown.to_json()
        assert terms.pop("total_j") == energy_j
        assert sum(terms.values()) == pytest.approx(truth, rel=1e-9, abs=1e-12)
        assert all(term_j >= 0 for term_j in terms.values())


@given(metered_pairs(), links, uses)
@settings(max_examples=50)
def test_an_energy_is_as_weak_as_what_it_is_made_of(pair, link, use):
    edge = pair[0]
    energy = edge.energy
    table = CandidateTable.from_profiles(*pair, codecs=None, radio=use)
    heads = {each.cut_id: each.total_j.origin for each in energy.prefixes}
    for row, breakdown in enumerate(table.energy_breakdowns(link)):
        candidate = table.candidates[row]
        near = next(cut for cut in edge.cuts if cut.id == candidate.cut_id)
        at_work_s = 0.0 if candidate.codec == "source" else edge.source.preprocess.median_s
        if not candidate.is_local:
            at_work_s += near.codec(candidate.codec).encode_s + near.reply_cost.decode_s
        expected = [heads[candidate.cut_id]]
        expected += ["modelled", energy.active_w.origin] if at_work_s > 0 else []
        expected += [] if candidate.is_local else ["modelled", energy.idle_w.origin, use.model.origin]
        assert breakdown.origin == weakest(*expected)


@given(metered_pairs(is_steady=True), links, loads, uses)
@settings(max_examples=50)
def test_a_device_that_is_never_off_takes_no_less_than_its_rest(pair, link, load, use):
    table = CandidateTable.from_profiles(*pair, codecs=None, radio=use)
    least_j = pair[0].energy.idle_w.value * table.price(link, load)
    assert (table.energy(link, load) >= least_j * (1 - CLOSE) - 1e-12).all()


@given(metered_pairs(), links, loads, single, st.integers(0, 10**6), st.floats(1, 10))
@settings(max_examples=50)
def test_more_bytes_a_slower_link_and_a_busier_worker_never_cost_less(pair, link, load, use, more, factor):
    edge, cloud = pair

    def energies_j(edge, cloud, link, load):
        table = CandidateTable.from_profiles(edge, cloud, codecs=None, radio=use)
        names = [(each.cut_id, each.codec) for each in table.candidates]
        return dict(zip(names, table.energy(link, load).tolist(), strict=True))

    def fatter(profile):
        return replace(
            profile,
            cuts=tuple(
                replace(
                    cut,
                    codecs=tuple(replace(cost, up_bytes=cost.up_bytes + more) for cost in cut.codecs),
                    reply_cost=replace(cut.reply_cost, up_bytes=cut.reply_cost.up_bytes + more),
                )
                for cut in profile.cuts
            ),
        )

    before = energies_j(edge, cloud, link, load)
    changed = (
        (fatter(edge), fatter(cloud), link, load),
        (edge, cloud, replace(link, up_bytes_per_s=link.up_bytes_per_s / factor), load),
        (edge, cloud, replace(link, down_bytes_per_s=link.down_bytes_per_s / factor), load),
        (edge, cloud, replace(link, rtt_s=link.rtt_s * factor), load),
        (edge, cloud, link, Load(queue_s=load.queue_s * factor, slowdown=load.slowdown * factor)),
    )
    for case in changed:
        after = energies_j(*case)
        assert all(after[name] >= before[name] * (1 - CLOSE) for name in before)


@given(radios, st.floats(1e3, 1e9), st.floats(1, 1e3))
@settings(max_examples=50)
def test_beyond_what_it_was_fitted_at_a_radio_draws_no_more(radio, bytes_per_s, factor):
    faster = bytes_per_s * factor
    for power, most, per_mbit in (
        (radio.up_w, radio.max_up_mbit, radio.up_w_per_mbit),
        (radio.down_w, radio.max_down_mbit, radio.down_w_per_mbit),
    ):
        if most is None or faster <= most * 125_000:
            rise_w = per_mbit * (faster - bytes_per_s) / 125_000
            assert power(faster) - power(bytes_per_s) == pytest.approx(rise_w, rel=1e-6, abs=1e-6)
        if most is not None and bytes_per_s >= most * 125_000:
            assert power(faster) == power(bytes_per_s) == radio.base_w + per_mbit * most


@given(radios, seconds, seconds, st.floats(0.01, 60), st.integers(2, 6))
@settings(max_examples=50)
def test_pauses_are_those_of_a_radio_that_is_watched(radio, moving_s, waiting_s, interval_s, frames):
    """The radio's life frame by frame, where a frame is answered before the next one comes."""
    assume(moving_s + waiting_s <= interval_s)
    bursts = []
    for frame in range(frames):
        begin_s = frame * interval_s
        bursts += [
            (begin_s, begin_s + moving_s / 2),
            (begin_s + moving_s / 2 + waiting_s, begin_s + moving_s + waiting_s),
        ]
    pauses_s = [after[0] - before[1] for before, after in pairwise([*bursts, (frames * interval_s, 0.0)])]
    assume(all(abs(pause_s - radio.tail_s) > 1e-6 for pause_s in pauses_s))
    watched_j = 0.0
    for pause_s in pauses_s:
        watched_j += radio.tail_w * min(pause_s, radio.tail_s)
        watched_j += radio.promotion_s * radio.promotion_w if pause_s > radio.tail_s else 0.0
    use = RadioUse(model=radio, frame_interval_s=interval_s)
    found = use.awake_j(np.array([moving_s]), np.array([waiting_s]))
    assert frames * float(found[0]) == pytest.approx(watched_j, rel=1e-6, abs=1e-9)


@given(metered_pairs(), links, loads, uses, st.sampled_from([Energy(), Weighted(((Energy(), 1.0), (Latency(), 3.0)))]))
@settings(max_examples=50)
def test_the_most_frugal_plan_is_that_of_an_exhaustive_search(pair, link, load, use, objective):
    planner = Planner.from_profiles(*pair, codecs=None, objective=objective, radio=use)
    everything = planner.everything
    truth_j = [frame_j(*pair, each, link, load, use) for each in everything.candidates]
    scores = truth_j
    if isinstance(objective, Weighted):
        scores = [
            energy_j + 3.0 * price_s for energy_j, price_s in zip(truth_j, everything.price(link, load), strict=True)
        ]
    found = planner.at(link, load)
    assert found.score == objective.scores(everything, link, load).min()
    assert found.score == pytest.approx(min(scores), rel=1e-9, abs=1e-12)
    assert found.energy.total_j == pytest.approx(frame_j(*pair, found.candidate, link, load, use), rel=1e-9, abs=1e-12)
    trades = planner.front((Energy(), Latency()), link, load)
    pairs = list(
        zip(Energy().scores(everything, link, load).tolist(), everything.price(link, load).tolist(), strict=True)
    )
    unbeaten = {each for each in pairs if not any(a <= each[0] and b <= each[1] and (a, b) != each for a, b in pairs)}
    assert {trade.scores for trade in trades} == unbeaten


@given(metered_pairs(), links, loads, uses, st.floats(0.01, 300), st.sampled_from([Latency(), Upload()]))
@settings(max_examples=50)
def test_within_a_limit_on_energy_the_best_is_found_or_the_nearest_named(pair, link, load, use, most_j, objective):
    asked = Constraints(max_energy_j=most_j)
    planner = Planner.from_profiles(*pair, codecs=None, objective=objective, constraints=asked, radio=use)
    everything = planner.everything
    energies = everything.energy(link, load)
    kept = energies <= most_j
    if kept.any():
        found = planner.at(link, load)
        assert found.score == objective.scores(everything, link, load)[kept].min()
        assert found.energy.total_j <= most_j
        assert planner.allowed(link, load).tolist() == kept.tolist()
    else:
        with pytest.raises(Infeasible, match="no plan keeps --max-energy") as refusal:
            planner.at(link, load)
        assert refusal.value.conflicts[0].nearest == energies.min()


@given(metered_pairs(), st.floats(0.2, 5), st.floats(0, 1), loads, single, st.data())
@settings(max_examples=60)
def test_the_table_holds_the_plan_of_every_rate_within_its_limits(pair, ratio, rtt_s, load, use, data):
    objective = data.draw(st.sampled_from([Energy(), Latency()]))
    asked = Constraints(
        max_energy_j=data.draw(st.none() | st.floats(0.1, 300)), deadline_s=data.draw(st.none() | st.floats(0.1, 30))
    )
    planner = Planner.from_profiles(*pair, codecs=None, objective=objective, constraints=asked, radio=use)
    points = planner.table(down_per_up=ratio, rtt_s=rtt_s, load=load)
    assert (points[0].from_up_bytes_per_s, points[-1].to_up_bytes_per_s) == (0, np.inf)
    for before, after in pairwise(points):
        assert before.to_up_bytes_per_s == after.from_up_bytes_per_s
        assert before.candidate is not after.candidate
    for exponent in data.draw(st.lists(st.floats(2, 10), min_size=3, max_size=6)):
        rate = 10.0**exponent
        ends = [end for point in points for end in (point.from_up_bytes_per_s, point.to_up_bytes_per_s)]
        assume(all(abs(rate - end) > 1e-6 * rate for end in ends))
        link = Link(up_bytes_per_s=rate, down_bytes_per_s=ratio * rate, rtt_s=rtt_s)
        [point] = [each for each in points if each.from_up_bytes_per_s < rate < each.to_up_bytes_per_s]
        try:
            found = planner.at(link, load)
        except Infeasible:
            assert point.candidate is None
            continue
        row = planner.everything.candidates.index(point.candidate)
        score = objective.scores(planner.everything, link, load)[row]
        assert score == pytest.approx(found.score, rel=1e-6, abs=1e-12)
        energy_j = planner.everything.energy(link, load)[row]
        assert point.to_j * (1 - CLOSE) - 1e-12 <= energy_j
        assert point.from_j is None or energy_j <= point.from_j * (1 + CLOSE) + 1e-12


@given(metered_pairs(), links, loads, uses, st.floats(1, 20))
@settings(max_examples=50)
def test_a_slower_device_of_the_same_power_takes_as_many_times_more(pair, link, load, use, factor):
    edge, cloud = pair
    slowed = edge.slowed(factor)
    found = CandidateTable.from_profiles(slowed, cloud, codecs=None, radio=use)
    whole = CandidateTable.from_profiles(edge, cloud, codecs=None, radio=use)
    for row, candidate in enumerate(found.candidates):
        truth = frame_j(slowed, cloud, candidate, link, load, use)
        assert found.energy(link, load)[row] == pytest.approx(truth, rel=1e-9, abs=1e-12)
        assert found.head_j[row] == pytest.approx(factor * whole.head_j[row], rel=1e-9)
        assert found.energy_breakdowns(link, load)[row].origin != "measured"


def test_the_published_radios_draw_what_is_published():
    published = {"3g": (868.98, 122.12, 817.88), "4g": (438.39, 51.97, 1288.04), "wifi": (283.17, 137.01, 132.86)}
    for name, (up_mw, down_mw, base_mw) in published.items():
        radio = RADIOS[name]
        assert radio.up_w(125_000) == pytest.approx((base_mw + up_mw) * 1e-3)
        assert radio.down_w(125_000) == pytest.approx((base_mw + down_mw) * 1e-3)
        assert radio.origin == "assumed"
    assert NO_RADIO.up_w(1e9) == NO_RADIO.down_w(1e9) == 0
    asleep_j = {
        "3g": 0.582 * 0.659 + 8.1 * 0.804,
        "4g": 0.26 * 1.211 + 11.6 * 1.06,
        "wifi": 0.079 * 0.124 + 0.238 * 0.119,
    }
    for name, expected_j in asleep_j.items():
        assert RADIOS[name].around_j(0.1, 60.0) == pytest.approx(expected_j)
        assert RADIOS[name].around_j(0.1, 0.3) == pytest.approx(0.2 * RADIOS[name].tail_w)
        assert RADIOS[name].around_j(0.4, 0.3) == 0
