"""``cleft-plan fit`` and what plans with it, on made-up devices, on the shipped fits and on the shipped model."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from partitioner import zoo
from partitioner.bundle import Bundle
from partitioner.cli import main
from partitioner.cli.predicting import structure_from
from partitioner.predict import fit
from partitioner.profile import ALL_LOCAL, Profile
from partitioner.profiles import dump_profile, load_fit

sys.path.append(str(Path(__file__).parents[1] / "unit" / "partitioner"))
from lawful_device import network, profile_of, profiles

FITS = sorted((Path(__file__).parents[2] / "deploy" / "fits").glob("*.json"))
LINK = ("--uplink-mbit", "10", "--downlink-mbit", "20", "--rtt-ms", "5")


@pytest.fixture
def run(capsys):
    def run(*words: str, code: int = 0):
        assert main(list(words)) == code
        return capsys.readouterr()

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Profiles of a device's models, and of one that is to be predicted: of the worker, and some of the device."""
    for profile in profiles(6):
        dump_profile(profile, tmp_path / f"{profile.model_name}.json")
    (tmp_path / "device.fit").write_text(fit(profiles(6)).dumps())
    true = profile_of(network(100), "new")
    dump_profile(true.slowed(0.1), tmp_path / "cloud.json")
    dump_profile(true, tmp_path / "edge.json")
    return tmp_path


@pytest.fixture(scope="module")
def digits() -> Bundle:
    return zoo.resolve("digits")


def test_a_fit_is_shown_and_written(run, folder):
    given = [str(folder / f"net{seed}.json") for seed in range(6)]
    printed = run("fit", *given, "-o", str(folder / "new.fit")).out
    assert "net4" in printed
    assert "in the median of 6" in printed
    assert "all-local, as frames find it" in printed
    assert load_fit(folder / "new.fit") == load_fit(folder / "device.fit")
    answer = json.loads(run("fit", *given, "--json").out)
    assert answer["schema"] == "cleft.fit/1"
    assert [model["name"] for model in answer["models"]] == [f"net{seed}" for seed in range(6)]


def test_a_device_that_never_ran_the_model_is_planned_for(run, folder):
    fit_file, cloud = str(folder / "device.fit"), str(folder / "cloud.json")
    answer = json.loads(run("cut", "--predict", fit_file, "--cloud", cloud, *LINK, "--json").out)
    wanted = json.loads(run("cut", "--edge", str(folder / "edge.json"), "--cloud", cloud, *LINK, "--json").out)
    assert answer["chosen"]["cut"] == wanted["chosen"]["cut"]
    assert any("the edge's times: predicted from 6 models" in note for note in answer["notes"])
    assert "^" in run("cut", "--predict", fit_file, "--cloud", cloud, *LINK).out
    table = json.loads(run("table", "--predict", fit_file, "--cloud", cloud, "--json").out)
    assert any("predicted from 6 models" in note for note in table["notes"])


def test_a_worker_is_predicted_too_and_a_measured_edge_stands(run, folder):
    fit_file, edge = str(folder / "device.fit"), str(folder / "edge.json")
    both = ("--edge", edge, "--predict", fit_file, "--predict-cloud", fit_file)
    notes = json.loads(run("cut", *both, *LINK, "--json").out)["notes"]
    assert any("the edge's times: calibrated by" in note for note in notes)
    assert any("the cloud's times: predicted from" in note for note in notes)


def test_what_is_missing_or_wrong_is_said(run, folder):
    fit_file, cloud, edge = (str(folder / name) for name in ("device.fit", "cloud.json", "edge.json"))
    assert "--predict FIT" in run("cut", "--cloud", cloud, *LINK, code=2).err
    assert "--predict-cloud FIT" in run("cut", "--edge", edge, *LINK, code=2).err
    assert "--bundle DIR" in run("cut", "--predict", fit_file, "--predict-cloud", fit_file, *LINK, code=2).err
    assert "cleft-plan fit" in run("cut", "--predict", "/no/such.fit", "--cloud", cloud, *LINK, code=1).err
    assert "schema" in run("cut", "--predict", edge, "--cloud", cloud, *LINK, code=1).err
    assert "different models at least" in run("fit", edge, cloud, code=2).err


def test_the_shipped_fits_are_good_enough_to_ship():
    assert len(FITS) >= 2
    for path in FITS:
        found = load_fit(path)
        assert len({model.architecture for model in found.models}) >= 12
        assert found.median_error <= 0.15


@pytest.mark.parametrize("path", FITS, ids=lambda path: path.name)
def test_a_shipped_fit_plans_a_model_from_its_bundle_alone(run, digits, path):
    asked = ("--predict", str(path), "--predict-cloud", str(path), "--bundle", str(digits.path))
    answer = json.loads(run("cut", *asked, *LINK, "--json").out)
    assert {each["cut"] for each in answer["candidates"]} >= {"cloud", ALL_LOCAL}
    assert 0 < answer["chosen"]["predicted_s"] < 0.1
    assert any("outside" in note for note in answer["notes"])  # it is far smaller than what was fitted


def test_a_bundle_says_what_a_profile_of_it_does(run, digits, tmp_path):
    run("profile", str(digits.path), "--budget", "1s", "-o", str(tmp_path / "profile.json"))
    measured = Profile.loads((tmp_path / "profile.json").read_bytes())
    known = structure_from(digits, digits.graph.example_binding)
    for mine, wanted in zip(known.layers, measured.layers, strict=True):
        assert (mine.id, mine.kind, mine.flops, mine.window, mine.groups) == (
            wanted.id,
            wanted.kind,
            wanted.flops,
            wanted.window,
            wanted.groups,
        )
    for mine, wanted in zip(known.cuts, measured.cuts, strict=True):
        assert (mine.id, mine.crossing, mine.reply, mine.edge_peak_bytes) == (
            wanted.id,
            wanted.crossing,
            wanted.reply,
            wanted.edge_peak_bytes,
        )
    assert known.flows == measured.flows
    assert known.source.nbytes == measured.source.nbytes
    assert {layer.window for layer in known.layers if layer.kind.startswith("conv2d")} <= {1, 9}
    assert Profile.loads(known.dumps()) == known


def test_verifying_with_a_fit_that_has_seen_the_model_is_refused(run, digits, tmp_path):
    run("profile", str(digits.path), "--budget", "1s", "--runtime", "eager", "-o", str(tmp_path / "digits.json"))
    seen = Profile.loads((tmp_path / "digits.json").read_bytes())
    others = [replace(each, device=seen.device, runtime=seen.runtime) for each in profiles(3)]
    (tmp_path / "seen.fit").write_text(fit([*others, seen]).dumps())
    said = run("verify", str(digits.path), "--predict", str(tmp_path / "seen.fit"), code=2).err
    assert "was made of digits too" in said
    said = run("verify", str(digits.path), "--predict", str(tmp_path / "seen.fit"), "--runtime", "ort", code=2).err
    assert "of the runtime eager, not ort" in said
