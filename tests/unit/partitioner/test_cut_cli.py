from __future__ import annotations

import json
import pathlib
from dataclasses import replace

import pytest
from synthetic_profiles import cloud_profile, edge_profile

from partitioner.cli import main

GOLDEN = pathlib.Path(__file__).parents[2] / "golden"
PROFILES = ["--edge", str(GOLDEN / "edge.json"), "--cloud", str(GOLDEN / "cloud.json")]
FIGURES = ["--uplink-mbit", "5.85", "--downlink-mbit", "13.76", "--rtt-ms", "40"]


@pytest.fixture
def answer(capsys):
    """Run ``cleft-plan cut --json`` and read what it printed."""

    def run(*flags: str) -> dict:
        assert main(["cut", *PROFILES, *flags, "--json"]) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        return json.loads(captured.out)

    return run


def rounded(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.12g}")
    if isinstance(value, list):
        return [rounded(item) for item in value]
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return value


def test_the_stored_profiles_are_the_synthetic_ones():
    assert (GOLDEN / "edge.json").read_text() == edge_profile().dumps()
    assert (GOLDEN / "cloud.json").read_text() == cloud_profile().dumps()


def test_machine_output_is_stable(answer):
    assert rounded(answer("--link", "4g", "--max-deviation", "1")) == rounded(
        json.loads((GOLDEN / "cut.json").read_text())
    )


def test_human_output_is_stable(capsys):
    assert main(["cut", *PROFILES, "--link", "4g", "--max-deviation", "1"]) == 0
    assert capsys.readouterr().out == (GOLDEN / "cut.txt").read_text()


def test_the_chosen_candidate_is_the_first_and_the_fastest(answer):
    found = answer(*FIGURES)
    assert found["schema"] == "cleft.cut/2"
    assert found["candidates"][0] == found["chosen"]
    assert found["chosen"]["predicted_s"] == min(entry["predicted_s"] for entry in found["candidates"])
    for entry in found["candidates"]:
        terms = [value for name, value in entry["breakdown"].items() if name != "total_s"]
        assert sum(terms) == pytest.approx(entry["predicted_s"], rel=1e-12)
        assert entry["breakdown"]["total_s"] == entry["predicted_s"]


def test_a_preset_and_its_figures_choose_alike(answer):
    by_figures, by_name = answer(*FIGURES), answer("--link", "4g")
    assert by_figures["candidates"] == by_name["candidates"]


def test_a_figure_overrides_its_preset(answer):
    link = answer("--link", "4g", "--rtt-ms", "7")["link"]
    assert link == {"name": "4g, changed", "up_bytes_per_s": 731_250, "down_bytes_per_s": 1_720_000, "rtt_s": 0.007}


def test_lossy_codecs_need_leave(answer, capsys):
    assert {entry["codec"] for entry in answer("--link", "4g")["candidates"]} == {"none", "source"}
    for flags in (["--codecs", "none,int8"], ["--max-accuracy-drop", "0"], ["--min-accuracy", "0.9"]):
        assert main(["cut", *PROFILES, "--link", "4g", *flags]) == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        assert "--max-deviation" in line or "--sample-labels" in line
    assert "int8" in {entry["codec"] for entry in answer("--link", "4g", "--max-deviation", "0.01")["candidates"]}
    assert "int8" not in {entry["codec"] for entry in answer("--link", "4g", "--max-deviation", "0.009")["candidates"]}


def test_an_accuracy_that_the_exact_model_has_not_is_told(capsys, tmp_path):
    labelled = tmp_path / "edge.json"
    labelled.write_text(replace(edge_profile(), accuracy=0.9).dumps())
    flags = ["cut", "--edge", str(labelled), *PROFILES[2:], "--link", "4g", "--json", "--min-accuracy"]
    for least, warnings in (("0.9", 0), ("0.91", 1)):
        assert main([*flags, least]) == 0
        captured = capsys.readouterr()
        assert captured.err.count("the exact model answers only 90.00% rightly") == warnings
        assert {entry["codec"] for entry in json.loads(captured.out)["candidates"]} == {"none", "source"}


def test_top_keeps_the_best_and_both_extremes(answer):
    kept = answer("--link", "4g", "--top", "1")["candidates"]
    assert {entry["cut"] for entry in kept} == {"after:block2", "cloud", "local"}
    assert len(kept) == 3


def test_a_slower_device_keeps_less(answer):
    assert answer("--link", "4g")["chosen"]["cut"] == "after:block2"
    assert answer("--link", "4g", "--edge-slowdown", "20")["chosen"]["cut"] == "cloud"
    assert answer("--link", "4g", "--edge-slowdown", "0.1")["chosen"]["cut"] == "local"


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (PROFILES, 2, "give --uplink-mbit, --downlink-mbit, --rtt-ms, or --link 3g|4g|wifi"),
        ([*PROFILES, "--uplink-mbit", "1"], 2, "give --downlink-mbit, --rtt-ms"),
        ([*PROFILES, "--link", "5g"], 2, "invalid choice: '5g'"),
        ([*PROFILES, *FIGURES[:-1], "nan"], 2, "--rtt-ms: 'nan'"),
        ([*PROFILES, *FIGURES[:-1], "-1"], 2, "--rtt-ms: '-1'"),
        ([*PROFILES, "--link", "4g", "--uplink-mbit", "0"], 2, "--uplink-mbit: '0'"),
        ([*PROFILES, "--link", "4g", "--codecs", "int3"], 2, "there is no codec int3 (did you mean int"),
        ([*PROFILES, "--link", "4g", "--codecs", "int4", "--max-deviation", "1"], 2, "no profile has codec int4"),
        ([*PROFILES, "--link", "4g", "--input-bytes", "0"], 2, "the original input's size is 0 bytes"),
        ([*PROFILES, "--link", "4g", "--top", "3", "--all"], 2, "not allowed with"),
        ([*PROFILES[:2], "--link", "4g"], 2, "--cloud"),
        ([*PROFILES[:3], "nowhere.json", "--link", "4g"], 1, "nowhere.json: No such file"),
        ([*PROFILES[:3], str(GOLDEN / "cut.json"), "--link", "4g"], 1, "schema is 'cleft.cut/2'"),
        ([*PROFILES[:3], str(GOLDEN / "cut.txt"), "--link", "4g"], 1, "not JSON"),
    ],
)
def test_what_cannot_be_answered_is_one_line(capsys, argv, code, says):
    assert main(["cut", *argv]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert says in captured.err
    assert captured.err.count("\n") == 1


def test_profiles_of_two_models_are_refused(capsys, tmp_path):
    other = tmp_path / "other.json"
    other.write_text(cloud_profile().dumps().replace("5f5f", "6a6a"))
    assert main(["cut", *PROFILES[:3], str(other), "--link", "4g"]) == 1
    assert "do not belong together" in capsys.readouterr().err
