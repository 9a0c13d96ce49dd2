"""Energy and leakage of plans: by hand on round numbers, through the command line, and where nobody knows."""

from __future__ import annotations

import json
import pathlib
from dataclasses import replace

import numpy as np
import pytest
from synthetic_profiles import cloud_profile, edge_profile, timing

from partitioner.assumed import assumed_energy
from partitioner.cli import main
from partitioner.cost import CandidateTable, Load, RadioUse
from partitioner.energy import EnergyProfile, PrefixEnergy, Quantity
from partitioner.errors import UsageError
from partitioner.leakage import CutLeakage, LeakageProfile
from partitioner.link import PRESETS, Link
from partitioner.optimize.constraints import Constraints, Infeasible
from partitioner.optimize.objectives import Energy, Latency, Lexicographic, objective_of
from partitioner.planner import Planner
from partitioner.profile import Profile
from partitioner.profiles import dump_profile
from partitioner.radio import RADIOS, RadioModel

GOLDEN = pathlib.Path(__file__).parents[2] / "golden"
LINK = Link(up_bytes_per_s=1e6, down_bytes_per_s=2e6, rtt_s=0.1)
IDLE_W, ACTIVE_W = 2.0, 5.0
HEADS_J = {"cloud": 0.0, "after:stem": 0.03, "after:block1": 0.07, "after:block2": 0.11, "local": 0.9}
LEAKS = {"cloud": 1.0, "after:stem": 0.9, "after:block1": 0.5, "after:block2": 0.2}
ERRORS = {"cloud": 0.0, "after:stem": 0.1, "after:block1": 0.4, "after:block2": 0.8}


def measured(value: float) -> Quantity:
    return Quantity(value=value, origin="measured")


def metered(profile: Profile, heads_j: dict[str, float] = HEADS_J) -> Profile:
    """The profile with energies of its fronts that were measured one by one."""
    return replace(
        profile,
        energy=EnergyProfile(
            meter="csv",
            source="bench meter",
            scope="board",
            period_s=0.01,
            resolution_j=0.001,
            idle_w=measured(IDLE_W),
            active_w=measured(ACTIVE_W),
            whole_j=measured(heads_j["local"]),
            prefixes=tuple(
                PrefixEnergy(cut_id=cut.id, total_j=measured(heads_j[cut.name]), net_j=measured(heads_j[cut.name] / 2))
                for cut in profile.cuts
            ),
            layers=tuple(measured(heads_j["local"]) for _ in profile.layers),
        ),
    )


def leaking(profile: Profile, *, cuts: tuple[str, ...] = tuple(LEAKS), has_inverter: bool = True) -> Profile:
    """The profile with what some of its cuts give away."""
    found = tuple(
        CutLeakage(
            cut_id=cut.id,
            distance_correlation=LEAKS[cut.name],
            inversion_error=ERRORS[cut.name] if has_inverter else None,
        )
        for cut in profile.cuts
        if cut.name in cuts
    )
    return replace(profile, leakage=LeakageProfile(samples=64, inverter="none", cuts=found))


@pytest.fixture
def files(tmp_path):
    """Flags of two stored profiles; the device's has energy and leakage."""
    edge, cloud = tmp_path / "edge.json", tmp_path / "cloud.json"
    dump_profile(leaking(metered(edge_profile())), edge)
    dump_profile(cloud_profile(), cloud)
    return ["--edge", str(edge), "--cloud", str(cloud)]


def rounded(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.12g}")
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return {key: rounded(item) for key, item in value.items()} if isinstance(value, dict) else value


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


def test_machine_output_tells_every_term(files, capsys):
    flags = ["--link", "wifi", "--objective", "energy", "--frame-interval", "2s", "--json"]
    assert main(["cut", *files, *flags]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["radio"] == {"name": "wifi", "origin": "assumed"}
    assert found["frame_interval_s"] == 2.0
    for entry in found["candidates"]:
        terms = dict(entry["energy"])
        assert terms.pop("total_j") == entry["energy_j"] == entry["score"]
        assert sum(terms.values()) == pytest.approx(entry["energy_j"], rel=1e-12)
        assert entry["energy_origin"] == ("modelled" if entry["cut"] == "local" else "assumed")
        assert entry["predicted"] is False
        if entry["cut"] == "local":
            assert (entry["leakage"], entry["inversion_error"]) == (0.0, 1.0)
        else:
            assert (entry["leakage"], entry["inversion_error"]) == (LEAKS[entry["cut"]], ERRORS[entry["cut"]])
    assert found["chosen"]["energy_j"] == min(entry["energy_j"] for entry in found["candidates"])


def test_human_output_with_energy_and_leakage_is_stable(files, capsys):
    assert main(["cut", *files, "--link", "4g", "--objective", "energy", "--max-leakage", "0.95"]) == 0
    assert capsys.readouterr().out == (GOLDEN / "cut_energy.txt").read_text()


def test_leakage_that_was_not_measured_says_so(tmp_path, capsys):
    edge, cloud = tmp_path / "edge.json", tmp_path / "cloud.json"
    dump_profile(leaking(edge_profile(), cuts=("after:stem", "after:block2")), edge)
    dump_profile(cloud_profile(), cloud)
    assert main(["cut", "--edge", str(edge), "--cloud", str(cloud), "--link", "4g", "--codecs", "none"]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.startswith("after:block1"))
    assert row.split()[7:10] == ["kB", "~0.900", ">=0.100"]
    assert any(line.startswith("note: ~ and >= before a leakage") for line in lines)


def test_a_table_by_energy_agrees_with_cut(files, capsys):
    assert main(["table", *files, "--objective", "energy", "--radio", "4g", "--rtt-ms", "40", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["objective"], found["radio"]["name"]) == ("energy", "4g")
    for mbit in (0.05, 0.8, 3.0, 5.85, 30.0):
        [point] = [
            each
            for each in found["breakpoints"]
            if each["from_up_bytes_per_s"] <= mbit * 125e3
            and (each["to_up_bytes_per_s"] is None or mbit * 125e3 < each["to_up_bytes_per_s"])
        ]
        link = ["--uplink-mbit", str(mbit), "--downlink-mbit", str(2 * mbit), "--rtt-ms", "40", "--radio", "4g"]
        assert main(["cut", *files, *link, "--objective", "energy", "--json"]) == 0
        chosen = json.loads(capsys.readouterr().out)["chosen"]
        assert (point["cut"], point["codec"]) == (chosen["cut"], chosen["codec"])
        assert point["to_j"] <= chosen["energy_j"] * (1 + 1e-9)
        assert point["from_j"] is None or chosen["energy_j"] <= point["from_j"] * (1 + 1e-9)


def test_a_radio_comes_from_a_file(files, tmp_path, capsys):
    radio = replace(RADIOS["wifi"], name="bench", origin="measured", intervals={"base_w": 0.01})
    path = tmp_path / "radio.json"
    path.write_text(radio.dumps())
    assert RadioModel.loads(path.read_text()) == radio
    assert main(["cut", *files, "--link", "4g", "--radio", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["radio"] == {"name": "bench", "origin": "measured"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": "cleft.radio/9"}, "not 'cleft.radio/1'"),
        ({"base_w": -1}, "base_w is -1, not a number of 0 or more"),
        ({"origin": "guessed"}, 'origin is "guessed"'),
        ({"intervals": {"base_w": "wide"}}, "intervals.base_w is no number"),
        ({"intervals": {"colour": 1}}, "intervals.colour"),
        ({"tail_w": None}, "tail_w is null"),
        ({"max_up_mbit": 0}, "max_up_mbit is 0, not null or a number over 0"),
    ],
)
def test_a_faulty_radio_file_is_refused_in_one_line(files, tmp_path, capsys, change, said):
    path = tmp_path / "radio.json"
    path.write_text(json.dumps(RADIOS["4g"].to_json() | change))
    assert main(["cut", *files, "--link", "4g", "--radio", str(path)]) == 1
    refusal = capsys.readouterr().err
    assert said in refusal
    assert refusal.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--radio", "5g"], "give none, 3g, 4g, wifi, or a file"),
        (["--max-energy", "2MJ"], "is not an energy such as 0.5J"),
        (["--max-energy", "0J"], "is not an energy such as 0.5J"),
        (["--max-leakage", "1.5"], "is not a number from 0 to 1"),
        (["--min-inversion-error", "1.5"], "is not a number from 0 to 1"),
        (["--radio", ""], "give none, 3g, 4g, wifi, or a file"),
        (["--frame-interval", "0s"], "is not a duration"),
        (["--edge-power", "idle=5W,active=2W"], "less at work than at rest"),
        (["--edge-power", "toaster"], "there is no sheet of 'toaster'"),
        (["--max-energy", "1mJ"], "the nearest that works, with the rest kept: --max-energy"),
    ],
)
def test_nonsense_is_refused_in_one_line(files, capsys, flags, said):
    try:
        code = main(["cut", *files, "--link", "4g", *flags])
    except SystemExit as stop:
        code = stop.code
    assert code != 0
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_over_all_rates_frames_are_single(files, capsys):
    flags = ["--objective", "energy", "--radio", "4g", "--frame-interval", "1s"]
    assert main(["table", *files, *flags]) == 2
    assert "leave out --frame-interval" in capsys.readouterr().err
    assert main(["table", *files, "--radio", "4g", "--frame-interval", "1s"]) == 0


def test_power_takes_the_place_of_what_was_measured(files, capsys):
    assert (
        main(["cut", *files, "--link", "4g", "--edge-power", "idle=1W,active=4W", "--edge-slowdown", "2", "--json"])
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert {entry["energy_origin"] for entry in found["candidates"]} == {"assumed"}
    local = next(entry for entry in found["candidates"] if entry["cut"] == "local")
    assert local["energy_j"] == pytest.approx(4 * 2 * 0.168)
    assert any("is assumed (given: 1 W idle, 4 W active)" in note for note in found["notes"])


def test_predicted_times_are_marked(tmp_path, capsys):
    edge = edge_profile()
    cuts = tuple(replace(cut, prefix=replace(cut.prefix, how="predicted")) for cut in edge.cuts)
    path, cloud = tmp_path / "edge.json", tmp_path / "cloud.json"
    dump_profile(replace(edge, cuts=cuts), path)
    dump_profile(cloud_profile(), cloud)
    assert main(["cut", "--edge", str(path), "--cloud", str(cloud), "--link", "4g"]) == 0
    text = capsys.readouterr().out
    assert "ms^" in text
    assert "^ a compute time of this row is predicted" in text
    assert main(["table", "--edge", str(path), "--cloud", str(cloud)]) == 0
    assert "ms^" in capsys.readouterr().out


def test_objectives_read_energy():
    assert objective_of("energy") == Energy()
    assert objective_of("weighted:latency=1,energy=0.5").name == "weighted:latency=1,energy=0.5"
    table = CandidateTable.from_profiles(metered(edge_profile()), cloud_profile())
    mixed = objective_of("weighted:latency=1,energy=0.5").scores(table, PRESETS["4g"], Load(queue_s=0.1))
    load = Load(queue_s=0.1)
    assert mixed == pytest.approx(table.price(PRESETS["4g"], load) + 0.5 * table.energy(PRESETS["4g"], load))


def test_what_a_limit_on_leakage_is_worth_is_said(files, capsys):
    assert main(["cut", *files, "--link", "4g", "--json"]) == 0
    assert any("an indicator and no guarantee" in note for note in json.loads(capsys.readouterr().out)["notes"])
    assert main(["table", *files, "--max-leakage", "0.6"]) == 0
    assert "one on an indicator, and no guarantee" in capsys.readouterr().out


def test_a_radio_without_a_known_energy_changes_nothing_and_that_is_said(tmp_path, capsys):
    edge, cloud = tmp_path / "edge.json", tmp_path / "cloud.json"
    dump_profile(edge_profile(), edge)
    dump_profile(cloud_profile(), cloud)
    pair = ["--edge", str(edge), "--cloud", str(cloud), "--link", "4g"]
    for flags in (["--radio", "wifi"], ["--frame-interval", "1s"]):
        assert main(["cut", *pair, *flags]) == 0
        assert "change nothing: the device's profile has no energy" in capsys.readouterr().err
        assert main(["cut", *pair, *flags, "--edge-power", "idle=1W,active=2W"]) == 0
        assert capsys.readouterr().err == ""


def test_of_several_runtimes_one_may_have_no_energy(tmp_path, capsys):
    """The fastest way to run all of it here is one whose energy nobody knows; the known one is compared with."""
    edge = edge_profile()
    fast = replace(edge, runtime=replace(edge.runtime, name="ort"), whole=timing(0.01))
    fast = replace(fast, cuts=tuple(replace(cut, prefix=timing(cut.prefix.median_s / 2)) for cut in fast.cuts))
    words = ["cut", "--link", "4g", "--objective", "energy", "--pareto", "latency,energy"]
    for side, name, profile in (("edge", "a", metered(edge)), ("edge", "b", fast), ("cloud", "c", cloud_profile())):
        dump_profile(profile, tmp_path / name)
        words += [f"--{side}", str(tmp_path / name)]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "the device alone takes 940 mJ~" in found["verdict"]
    energies = [each["scores"]["energy"] for each in found["front"]]
    assert energies[0] is None
    assert energies[-1] == pytest.approx(found["chosen"]["energy_j"])
    assert main(words) == 0
    assert "e+" not in capsys.readouterr().out
