"""What the commands say of energy and leakage, and what they refuse."""

from __future__ import annotations

import json
import pathlib
from dataclasses import replace

import pytest
from energetic_profiles import ERRORS, LEAKS, leaking, metered
from synthetic_profiles import cloud_profile, edge_profile, timing

from partitioner.cli import main
from partitioner.profiles import dump_profile
from partitioner.radio import RADIOS, RadioModel

GOLDEN = pathlib.Path(__file__).parents[2] / "golden"


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


def test_what_a_limit_on_leakage_is_worth_is_said(files, capsys):
    assert main(["cut", *files, "--link", "4g", "--json"]) == 0
    assert any("an indicator and no guarantee" in note for note in json.loads(capsys.readouterr().out)["notes"])
    assert main(["table", *files, "--max-leakage", "0.6"]) == 0
    assert "one on an indicator, and no guarantee" in capsys.readouterr().out


def test_a_damaged_radio_is_one_line_where_nobody_knows_energy(tmp_path, capsys):
    edge, cloud, radio = (tmp_path / name for name in ("edge.json", "cloud.json", "radio.json"))
    dump_profile(edge_profile(), edge)
    dump_profile(cloud_profile(), cloud)
    radio.write_text("{")
    assert main(["cut", "--edge", str(edge), "--cloud", str(cloud), "--link", "4g", "--radio", str(radio)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


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
