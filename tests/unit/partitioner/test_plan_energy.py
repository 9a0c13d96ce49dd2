from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from energetic_profiles import HEADS_J, LEAKS, LINK, leaking, metered
from synthetic_profiles import cloud_profile, edge_profile, timing

from partitioner.assumed import assumed_energy
from partitioner.cost import CandidateTable, Load, RadioUse
from partitioner.errors import UsageError
from partitioner.link import PRESETS, Link
from partitioner.optimize.constraints import Constraints, Infeasible
from partitioner.optimize.objectives import Energy, Latency, Lexicographic, objective_of
from partitioner.planner import Planner
from partitioner.profile import Profile
from partitioner.radio import RADIOS, RadioModel


def test_one_frame_by_hand():
    """after:block2 as it is: 16384 B up in 16.384 ms, 4000 B down in 2 ms; the worker and the way take 101.08 ms."""
    radio = RadioModel(
        name="toy", up_w_per_mbit=0.5, down_w_per_mbit=0.1, base_w=1.0, max_up_mbit=4, origin="measured", source=""
    )
    table = CandidateTable.from_profiles(metered(edge_profile()), cloud_profile(), radio=RadioUse(model=radio))
    row = next(row for row, each in enumerate(table.candidates) if (each.cut, each.codec) == ("after:block2", "none"))
    found = table.energy_breakdowns(LINK)[row]
    assert found.head_j == pytest.approx(0.11 + 5.0 * 0.008)
    assert found.codec_j == pytest.approx(5.0 * (0.0001 + 0.00001))
    assert found.up_j == pytest.approx(0.016384 * (1.0 + 0.5 * 4))  # 8 Mbit/s, priced at 4
    assert found.down_j == pytest.approx(0.002 * (1.0 + 0.1 * 16))
    waits_s = 0.1 + 0.00005 + 0.001 + 0.00002
    assert found.wait_j == pytest.approx(2.0 * (0.016384 + 0.002 + waits_s))
    assert found.awake_j == 0
    assert found.total_j == pytest.approx(sum((found.head_j, found.codec_j, found.up_j, found.down_j, found.wait_j)))
    assert found.origin == "modelled"
    local = table.energy_breakdowns(LINK)[len(table) - 1]
    assert (local.total_j, local.wait_j, local.up_j) == (pytest.approx(0.9 + 5.0 * 0.008), 0, 0)


def test_a_front_that_was_measured_stays_measured():
    edge = edge_profile()
    bare = metered(replace(edge, source=replace(edge.source, preprocess=None)))
    table = CandidateTable.from_profiles(bare, cloud_profile())
    origins = {
        each.cut: found.origin for each, found in zip(table.candidates, table.energy_breakdowns(LINK), strict=True)
    }
    assert origins["local"] == "measured"
    assert origins["after:block2"] == "assumed"  # what the network takes is taken for a part of idling
    fitted = replace(RADIOS["wifi"], origin="measured")
    table = CandidateTable.from_profiles(bare, cloud_profile(), radio=RadioUse(model=fitted))
    assert {found.origin for found in table.energy_breakdowns(LINK)} == {"measured", "modelled"}
    scaled = table.scaled(np.full(len(table), 1.5), np.ones(len(table)))
    assert {found.origin for found in scaled.energy_breakdowns(LINK)} == {"modelled"}
    assert scaled.energy(LINK)[-1] == pytest.approx(1.5 * table.energy(LINK)[-1])


def test_what_is_slower_and_sends_more_may_yet_take_less():
    """after:block1 beats after:stem in time and bytes; here its front takes more, and the objective must see it."""
    heads_j = {"cloud": 50.0, "after:stem": 0.001, "after:block1": 50.0, "after:block2": 60.0, "local": 70.0}
    edge = edge_profile()
    cuts = list(edge.cuts)
    cuts[1] = replace(cuts[1], prefix=timing(13.0))
    edge, cloud = metered(replace(edge, cuts=tuple(cuts)), heads_j), cloud_profile()
    by_latency = Planner.from_profiles(edge, cloud, codecs=("none",))
    assert by_latency.at(LINK).candidate.cut != "after:stem"
    planner = Planner.from_profiles(edge, cloud, codecs=("none",), objective=Energy())
    found = planner.at(LINK)
    assert found.candidate.cut == "after:stem"
    assert found.score == planner.everything.energy(LINK).min()
    within = Planner.from_profiles(edge, cloud, codecs=("none",), constraints=Constraints(max_energy_j=20))
    assert within.at(LINK).candidate.cut == "after:stem"


def test_a_radio_that_has_no_time_to_sleep_may_be_worth_more_bytes():
    """At an interval just over tail and burst, a longer burst leaves no pause after which to wake up."""
    radio = RadioModel(
        name="sleepy", up_w_per_mbit=0, down_w_per_mbit=0, base_w=0.1, promotion_s=1, promotion_w=50, tail_s=1,
        origin="assumed", source="",
    )  # fmt: skip
    edge, cloud = metered(edge_profile(), HEADS_J | {"local": 500.0}), cloud_profile()
    cut = edge.cuts[3]
    fat = replace(cut.codecs[0], codec="none+zstd", up_bytes=cut.codecs[0].up_bytes + 100_000)
    edge = replace(edge, cuts=(*edge.cuts[:3], replace(cut, codecs=(*cut.codecs, fat)), edge.cuts[4]))
    cloud = replace(cloud, cuts=edge.cuts)
    use = RadioUse(
        model=radio, frame_interval_s=1.0 + 0.101 + 0.05
    )  # tail, then wait and burst of the thin one, and more
    planner = Planner.from_profiles(edge, cloud, objective=Energy(), constraints=Constraints(min_depth=6), radio=use)
    energies = planner.everything.energy(LINK)
    assert planner.at(LINK).score == energies[planner.allowed(LINK)].min()
    assert planner.at(LINK).candidate.codec == "none+zstd"


def test_runtimes_of_which_one_was_metered():
    edge = edge_profile()
    other = replace(edge, runtime=replace(edge.runtime, name="ort"))
    planner = Planner.from_profiles((other, metered(edge)), cloud_profile(), objective=Energy())
    table = planner.everything
    known = [not np.isnan(energy_j) for energy_j in table.energy(LINK)]
    assert known == [each.edge_runtime == "eager" for each in table.candidates]
    assert planner.at(LINK).candidate.edge_runtime == "eager"
    lexicographic = Planner.from_profiles(
        (other, metered(edge)), cloud_profile(), objective=Lexicographic((Energy(), Latency()), 0.1)
    )
    assert lexicographic.at(LINK).candidate.edge_runtime == "eager"
    within = Planner.from_profiles((other, metered(edge)), cloud_profile(), constraints=Constraints(max_energy_j=9))
    assert within.at(LINK).candidate.edge_runtime == "eager"


def test_what_nobody_knows_is_asked_for_in_vain():
    edge, cloud = edge_profile(), cloud_profile()
    with pytest.raises(UsageError, match="no energy: measure it with `cleft-plan profile MODEL --energy auto`"):
        Planner.from_profiles(edge, cloud, objective=Energy()).at(LINK)
    with pytest.raises(UsageError, match="--max-energy: the device's profile has no energy"):
        Planner.from_profiles(edge, cloud, constraints=Constraints(max_energy_j=1)).at(LINK)
    with pytest.raises(UsageError, match="--max-leakage: no profile says what a cut gives away"):
        Planner.from_profiles(edge, cloud, constraints=Constraints(max_leakage=0.5))
    untrained = leaking(edge, has_inverter=False)
    with pytest.raises(UsageError, match="--min-inversion-error: no inverter was trained"):
        Planner.from_profiles(untrained, cloud, constraints=Constraints(min_inversion_error=0.5))
    table = CandidateTable.from_profiles(edge, cloud)
    assert np.isnan(table.energy(LINK)).all()
    assert set(table.energy_breakdowns(LINK)) == {None}


def test_the_nearest_energy_that_works_is_named():
    planner = Planner.from_profiles(
        metered(edge_profile()), cloud_profile(), constraints=Constraints(max_energy_j=0.01)
    )
    with pytest.raises(Infeasible, match=r"no plan keeps --max-energy 0.01J; the nearest that works") as refusal:
        planner.at(LINK)
    least_j = planner.everything.energy(LINK).min()
    assert refusal.value.conflicts[0].nearest == least_j
    said_j = float(str(refusal.value).rpartition("--max-energy ")[2].removesuffix("J"))
    assert least_j <= said_j <= least_j * 1.002


@pytest.mark.parametrize(
    ("asked", "cuts"),
    [
        ({"max_leakage": 1.0}, {"cloud", "after:stem", "after:block1", "after:block2", "local"}),
        ({"max_leakage": 0.6}, {"after:block1", "after:block2", "local"}),
        ({"max_leakage": 0.1}, {"local"}),
        ({"min_inversion_error": 0.4}, {"after:block1", "after:block2", "local"}),
        ({"min_inversion_error": 40.0}, {"local"}),
        ({"max_leakage": 0.6, "min_inversion_error": 0.5}, {"after:block2", "local"}),
    ],
)
def test_what_leaks_more_is_refused_and_nothing_leaks_from_the_device_alone(asked, cuts):
    planner = Planner.from_profiles(leaking(edge_profile()), cloud_profile(), constraints=Constraints(**asked))
    assert {each.cut for each in planner.feasible.candidates} == cuts


def test_a_stricter_bound_moves_the_cut_deeper():
    fast = Link(up_bytes_per_s=1e9, down_bytes_per_s=1e9, rtt_s=0.0)
    depths = [
        Planner.from_profiles(leaking(edge_profile()), cloud_profile(), constraints=Constraints(max_leakage=bound))
        .at(fast)
        .candidate.depth
        for bound in (1.0, 0.9, 0.5, 0.2, 0.0)
    ]
    assert depths == sorted(depths)
    assert len(set(depths)) >= 4


def test_a_cut_without_a_figure_counts_as_its_neighbours_do():
    some = leaking(edge_profile(), cuts=("after:stem", "after:block2"))
    table = CandidateTable.from_profiles(some, cloud_profile())
    known = {each.cut: (each.leakage.distance_correlation, each.leakage.how) for each in table.candidates}
    assert known["after:block1"] == (LEAKS["after:stem"], "bounded")
    assert known["cloud"][0] == 1.0
    by_the_worker = CandidateTable.from_profiles(edge_profile(), leaking(cloud_profile()))
    assert by_the_worker.leakage.tolist()[:2] == [1.0, 1.0]


def test_assumed_energy_is_power_times_time_and_says_so():
    profile = replace(edge_profile(), layers=edge_profile().layers * 3)
    found = assumed_energy(profile, idle_w=2, active_w=5, source="a sheet")
    assert [each.total_j.value for each in found.prefixes] == pytest.approx(
        [5 * cut.prefix.median_s for cut in profile.cuts]
    )
    assert [each.net_j.value for each in found.prefixes] == pytest.approx(
        [3 * cut.prefix.median_s for cut in profile.cuts]
    )
    assert found.whole_j.value == pytest.approx(5 * 0.16)
    assert [each.value for each in found.layers] == pytest.approx([5 * 0.16 / 3] * 3)
    origins = {each.total_j.origin for each in found.prefixes} | {each.origin for each in found.layers}
    assert origins | {found.idle_w.origin, found.active_w.origin, found.whole_j.origin} == {"assumed"}
    assert Profile.loads(replace(profile, energy=found).dumps()).energy == found
    for idle_w, active_w in ((-1, 5), (5, 2), (0, 0), (1, float("inf")), (float("nan"), 5)):
        with pytest.raises(UsageError, match="a device does not take"):
            assumed_energy(profile, idle_w=idle_w, active_w=active_w, source="")


def test_objectives_read_energy():
    assert objective_of("energy") == Energy()
    assert objective_of("weighted:latency=1,energy=0.5").name == "weighted:latency=1,energy=0.5"
    table = CandidateTable.from_profiles(metered(edge_profile()), cloud_profile())
    mixed = objective_of("weighted:latency=1,energy=0.5").scores(table, PRESETS["4g"], Load(queue_s=0.1))
    load = Load(queue_s=0.1)
    assert mixed == pytest.approx(table.price(PRESETS["4g"], load) + 0.5 * table.energy(PRESETS["4g"], load))
