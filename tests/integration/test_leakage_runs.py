"""The shipped model gives away less with depth, by both figures, and a bound on them moves the cut."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from partitioner import zoo
from partitioner.bundle import Bundle
from partitioner.cli import main as plan
from partitioner.errors import InputError, PlanError
from partitioner.inputs import Sample, random_samples
from partitioner.leakage import LeakageProfile
from partitioner.measure import measure_steps
from partitioner.measure.leakage import leakage_steps
from partitioner.measure.leakage.network import train
from partitioner.profile import Profile, Timing
from partitioner.profiles import dump_profile, load_profile
from partitioner.runtimes.eager import open_engine
from partitioner.samples import SampleSet
from partitioner.segments import Cuts
from partitioner.zoo.digits_data import held_out

ROOT = Path(__file__).parents[2]
PLAN = "import sys; from partitioner.cli import main; sys.exit(main(sys.argv[1:]))"
DEPTHS = ("after:stem", "after:stage2.0", "after:mean")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return zoo.resolve("digits")


@pytest.fixture(scope="module")
def edge(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile of the shipped model with the leakage of three cuts in it, of every other held-out digit."""
    place = tmp_path_factory.mktemp("leakage")
    np.save(place / "digits.npy", held_out()[0][::2])
    steps = measure_steps(bundle, open_engine(bundle, device="cpu"), budget_s=0.5, is_judged=False)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            profile: Profile = steady(end.value)
            break
    dump_profile(profile, place / "edge.json")
    cuts = [word for name in DEPTHS for word in ("--cut", name)]
    flags = ["--samples", str(place / "digits.npy"), "--budget", "1ms", *cuts]
    written = ["--profile", str(place / "edge.json"), "-o", str(place / "edge.json")]
    assert plan(["leakage", str(bundle.path), *flags, *written]) == 0
    assert replace(load_profile(place / "edge.json"), leakage=None) == profile
    return place / "edge.json"


def steady(profile: Profile) -> Profile:
    """The profile with times by FLOPs alone, so that which cut is fastest is not the machine's mood."""

    def of(flops: int) -> Timing:
        return Timing(median_s=flops * 1e-9)

    return replace(
        profile,
        whole=of(profile.cuts[0].cloud_flops),
        cuts=tuple(
            replace(
                cut,
                prefix=of(cut.edge_flops),
                suffix=of(cut.cloud_flops),
                codecs=tuple(replace(cost, encode_s=0.0, decode_s=0.0) for cost in cut.codecs),
                reply_cost=replace(cut.reply_cost, encode_s=0.0, decode_s=0.0),
            )
            for cut in profile.cuts
        ),
    )


def leakage_in(path: Path) -> LeakageProfile:
    found = load_profile(path).leakage
    assert found is not None
    return found


def measured(bundle: Bundle, samples: SampleSet, **options: object) -> LeakageProfile:
    steps = leakage_steps(bundle, open_engine(bundle, device="cpu"), samples, **options)  # type: ignore[arg-type]
    while True:
        try:
            assert 0 <= next(steps) < 1
        except StopIteration as end:
            found: LeakageProfile = end.value
            return found


def pictures(count: int) -> SampleSet:
    return SampleSet(
        samples=tuple(
            Sample(name=str(index), source=each, nbytes_original=64) for index, each in enumerate(held_out()[0][:count])
        )
    )


def test_input_early_late_by_both_figures(bundle: Bundle, edge: Path) -> None:
    cuts, known = Cuts(bundle.graph, bundle.digest), leakage_in(edge)
    found = [known.of(cuts.find(name).id) for name in ("cloud", *DEPTHS, "local")]
    chain = [each for each in found if each is not None]
    assert [each.how for each in chain] == ["defined", "measured", "measured", "measured", "defined"]
    assert (chain[0].distance_correlation, chain[0].inversion_error) == (1.0, 0.0)
    assert (chain[-1].distance_correlation, chain[-1].inversion_error) == (0.0, 1.0)
    for before, after in pairwise(chain):
        gap = before.distance_correlation - after.distance_correlation
        assert gap > max(before.interval, after.interval)
        assert before.inversion_error is not None
        assert after.inversion_error is not None
        assert after.inversion_error - before.inversion_error > max(before.inversion_interval, after.inversion_interval)
    assert chain[1].inversion_error is not None
    assert chain[1].inversion_error < 0.05, "24 channels of 8 x 8 hold a picture of 8 x 8"


def choose(edge: Path, capsys: pytest.CaptureFixture[str], *limits: str) -> dict[str, object]:
    """The best cut where the device is slow and the link fast, so that nothing but a limit keeps layers there."""
    both = ["--edge", str(edge), "--cloud", str(edge), "--edge-slowdown", "2000"]
    assert (
        plan(["cut", *both, "--uplink-mbit", "100", "--downlink-mbit", "100", "--rtt-ms", "1", *limits, "--json"]) == 0
    )
    chosen: dict[str, object] = json.loads(capsys.readouterr().out)["chosen"]
    return chosen


@pytest.mark.parametrize(
    ("flag", "figure", "bounds"),
    [
        ("--max-leakage", "leakage", (0.99, 0.95, 0.85, 0.1)),
        ("--min-inversion-error", "inversion_error", (0.001, 0.05, 0.3, 0.9)),
    ],
)
def test_a_bound_moves_the_cut(
    edge: Path, capsys: pytest.CaptureFixture[str], flag: str, figure: str, bounds: tuple[float, ...]
) -> None:
    cuts = load_profile(edge).cuts
    depth_of = {cut.id: cut.depth for cut in cuts}
    assert choose(edge, capsys)["cut"] == "cloud"
    depths = [0]
    for bound in bounds:
        chosen = choose(edge, capsys, flag, str(bound))
        depths.append(depth_of[str(chosen["cut_id"])])
        if chosen["cut"] != "local":
            value = chosen[figure]
            assert isinstance(value, float)
            assert value <= bound if flag == "--max-leakage" else value >= bound
    assert depths == sorted(depths)
    assert len(set(depths)) >= 4, f"{depths}: the cut moves with the bound"
    assert chosen["cut"] == "local"


def test_planning_knows_nothing_of_a_profile_without_figures(
    edge: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dump_profile(replace(load_profile(edge), leakage=None), tmp_path / "edge.json")
    both = ["--edge", str(tmp_path / "edge.json"), "--cloud", str(tmp_path / "edge.json")]
    assert plan(["cut", *both, "--link", "4g", "--max-leakage", "0.5"]) != 0
    assert "cleft-plan leakage" in capsys.readouterr().err


def test_figures_do_not_depend_on_memory_or_on_what_else_is_measured(bundle: Bundle) -> None:
    samples = pictures(40)
    options = {"budget_s": 1e-6, "network": train}
    alone = measured(bundle, samples, first=["after:stage3"], **options)
    beside = measured(bundle, samples, first=["after:stage3", "after:mean"], held_bytes=1, **options)
    (cut,) = [each for each in alone.cuts if each.how == "measured"]
    again = beside.of(cut.cut_id)
    assert again is not None
    assert again.distance_correlation == pytest.approx(cut.distance_correlation, rel=1e-9)
    assert cut.inversion_error is not None
    assert again.inversion_error is not None
    later = min(each.inversion_error for each in beside.cuts if each.how == "measured" and each.inversion_error)
    assert again.inversion_error == pytest.approx(min(cut.inversion_error, later), rel=1e-3)


def test_without_a_network_there_are_correlations_only(bundle: Bundle) -> None:
    found = measured(bundle, pictures(60))
    assert len(found.cuts) == len(Cuts(bundle.graph, bundle.digest).candidates)
    inner = [each for each in found.cuts if each.how == "measured"]
    assert [each.inversion_error for each in inner] == [None] * len(inner)
    assert found.inverter == "none"


def test_a_cut_through_branches_is_measured_when_it_is_asked_for(bundle: Bundle) -> None:
    name = "upto:stage2.0.skip.0"
    cut = Cuts(bundle.graph, bundle.digest).find(name)
    found = measured(bundle, pictures(30), budget_s=1e-6, first=[name]).of(cut.id)
    assert found is not None
    assert found.how == "measured"


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (pictures(19), "at least 20 inputs"),
        (SampleSet(samples=pictures(1).samples * 30), "all alike"),
    ],
)
def test_samples_that_tell_nothing_are_refused(bundle: Bundle, samples: SampleSet, words: str) -> None:
    with pytest.raises(InputError, match=words):
        measured(bundle, samples)


def test_inputs_of_several_sizes_are_refused(packed_case: Callable[[str], Bundle]) -> None:
    bundle = packed_case("text_encoder")
    values = [each.value for each in bundle.graph.inputs]
    sizes = dict(bundle.graph.example_binding)
    longer = {name: size + (name != "b") for name, size in sizes.items()}
    drawn = [*random_samples(15, values, binding=sizes), *random_samples(15, values, binding=longer)]
    with pytest.raises(InputError, match="different shapes"):
        measured(bundle, SampleSet(samples=tuple(drawn)))


def test_a_cut_that_is_none_is_refused(bundle: Bundle) -> None:
    with pytest.raises(PlanError, match="no cut 'after:nothing'"):
        measured(bundle, pictures(20), first=["after:nothing"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("BUNDLE", "-o", "x.json"), "give both or none"),
        (("BUNDLE", "--profile", "OTHER", "-o", "x.json"), "not of digits"),
        (("BUNDLE", "--profile", "missing.json", "-o", "x.json"), "missing.json"),
        (("UNKNOWN",), "give --samples DIR"),
        (("BUNDLE", "--samples", "nothing.npy"), "nothing.npy"),
        (("BUNDLE", "--profile", "EDGE", "-o", "no/such/place.json"), "-o no/such/place.json"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    bundle: Bundle,
    edge: Path,
    words: tuple[str, ...],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    packed_case: Callable[[str], Bundle],
) -> None:
    monkeypatch.chdir(tmp_path)
    dump_profile(replace(load_profile(edge), model_digest="0" * 64), tmp_path / "other.json")
    places = {
        "BUNDLE": str(bundle.path),
        "OTHER": "other.json",
        "EDGE": str(edge),
        "UNKNOWN": str(packed_case("text_encoder").path),
    }
    assert plan(["leakage", *(places.get(word, word) for word in words)]) != 0
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x.json").exists()


def test_the_shipped_model_brings_its_samples(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan(["leakage", "digits", "--budget", "1ms", "--cut", "after:mean", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["samples"]) == ("cleft.leakage/1", 360)
    hows = {cut["name"]: (cut["how"], cut["inversion_how"]) for cut in found["cuts"]}
    assert hows["cloud"] == hows["local"] == ("defined", "defined")
    assert hows["after:mean"] == ("measured", "measured")
    assert hows["after:stem"] == ("bounded", "bounded")


def test_where_torch_is_missing_correlations_are_left(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('there is no torch here')")
    done = subprocess.run(
        [sys.executable, "-c", PLAN, "leakage", str(bundle.path), "--runtime", "ort", "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "CLEFT_RUNTIME": "auto", "PYTHONPATH": f"{tmp_path}:{ROOT}"},
    )
    assert done.returncode == 0, done.stderr
    assert "cleft[torch]" in done.stderr
    found = json.loads(done.stdout)["cuts"]
    assert {cut["how"] for cut in found} == {"defined", "measured"}
    assert {cut["inversion_error"] for cut in found} == {0.0, 1.0, None}
