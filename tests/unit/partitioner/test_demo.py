"""The demonstration says what was measured, also where splitting loses."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from synthetic_profiles import cloud_profile, edge_profile

from partitioner import children, demo
from partitioner.cli.demo import NOTES, answer, show
from partitioner.demo import networks
from partitioner.errors import CleftError
from partitioner.link import PRESETS


def rows(local_s: float, cloud_s: float, split_s: float, chosen: networks.Role) -> list[networks.NetworkRow]:
    times: dict[networks.Role, tuple[str, float]] = {
        "all-local": ("local", local_s),
        "all-cloud": ("cloud", cloud_s),
        "split": ("after:a", split_s),
    }
    return [
        networks.NetworkRow(
            model="net",
            link="4g",
            role=role,
            cut=cut,
            codec="none",
            is_chosen=role == chosen,
            is_exact=True,
            predicted_s=measured_s,
            measured_s=measured_s,
            up_bytes=0,
            answers=("class 1",),
            is_same_answer=True,
            max_rel_diff=0.0,
        )
        for role, (cut, measured_s) in times.items()
    ]


@pytest.mark.parametrize(
    ("times", "chosen", "says"),
    [
        (
            (0.4, 0.3, 0.1),
            "split",
            "splitting after:a wins: 3.00x as fast as all-cloud; the planner chose the split, the fastest",
        ),
        (
            (0.2, 0.3, 0.1),
            "all-local",
            "splitting after:a wins: 2.00x as fast as all-local; the planner chose all-local, "
            "100% slower than the fastest",
        ),
        (
            (0.104, 0.3, 0.1),
            "split",
            "splitting after:a is hardly faster than all-local (1.04x): not worth it; "
            "the planner chose the split, the fastest",
        ),
        (
            (0.05, 0.3, 0.1),
            "split",
            "splitting does not win: all-local is 2.00x as fast as the best split (after:a); "
            "the planner chose the split, 100% slower than the fastest",
        ),
        (
            (0.6, 0.2, 0.3),
            "all-cloud",
            "splitting does not win: all-cloud is 1.50x as fast as the best split (after:a); "
            "the planner chose all-cloud, the fastest",
        ),
    ],
)
def test_a_verdict_is_the_measured_gain(times: tuple[float, float, float], chosen: networks.Role, says: str) -> None:
    (found,) = networks.verdicts(rows(*times, chosen))
    assert found.text == says
    assert found.gain == pytest.approx(min(times[:2]) / times[2])
    assert found.regret >= 0


def test_only_exact_codecs_have_to_give_the_same_answer() -> None:
    rounded = [dataclasses.replace(row, is_exact=False, is_same_answer=False) for row in rows(0.4, 0.3, 0.1, "split")]
    assert demo.Demonstration(digits=(), networks=tuple(rounded), verdicts=()).is_right
    exact = [dataclasses.replace(row, is_exact=True) for row in rounded]
    assert not demo.Demonstration(digits=(), networks=tuple(exact), verdicts=()).is_right


def test_each_model_and_link_has_its_own_verdict() -> None:
    four = rows(0.4, 0.3, 0.1, "split")
    three = [dataclasses.replace(row, link="3g") for row in rows(0.1, 0.3, 0.2, "all-local")]
    assert [(found.link, found.gain) for found in networks.verdicts([*four, *three])] == [
        ("4g", pytest.approx(3.0)),
        ("3g", pytest.approx(0.5)),
    ]


def test_the_answer_for_machines_is_json_with_its_schema() -> None:
    three = rows(0.4, 0.3, 0.1, "split")
    found = demo.Demonstration(digits=(), networks=tuple(three), verdicts=tuple(networks.verdicts(three)))
    read = json.loads(json.dumps(answer(found, took_s=1.0), allow_nan=False))
    assert read["schema"] == "cleft.demo/1"
    assert set(read["networks"]["rows"][0]) == {field.name for field in dataclasses.fields(networks.NetworkRow)}
    assert read["networks"]["weights"] == "random"


@pytest.mark.parametrize(("is_edge_noisy", "is_cloud_noisy"), [(False, False), (True, False), (True, True)])
def test_predictions_by_noisy_profiles_are_warned_of(
    is_edge_noisy: bool, is_cloud_noisy: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    edge = dataclasses.replace(edge_profile(), noisy=is_edge_noisy, noise_ratio=0.4)
    cloud = dataclasses.replace(cloud_profile(), noisy=is_cloud_noisy, noise_ratio=0.3)
    monkeypatch.setattr(networks, "device_profile", lambda *_, **__: edge.dumps())
    monkeypatch.setattr(networks, "worker_profile", lambda *_, **__: cloud.dumps())
    monkeypatch.setattr(networks, "_warm", lambda *_, **__: pytest.fail("profiled"))
    notes: list[str] = []
    with pytest.raises(pytest.fail.Exception, match="profiled"):
        next(networks.answers("zoo:net", ("127.0.0.1", 1), lambda what: None, notes.append))
    said = " ".join(notes)
    assert said.startswith("net: predictions may be off") == is_edge_noisy
    assert ("the device's (40.0 %)" in said, "the worker's (30.0 %)" in said) == (is_edge_noisy, is_cloud_noisy)
    three = rows(0.4, 0.3, 0.1, "split")
    found = demo.Demonstration(digits=(), networks=tuple(three), verdicts=(), notes=tuple(notes))
    assert answer(found, took_s=1.0)["notes"] == [*NOTES, *notes]
    show(found, took_s=1.0)
    assert capsys.readouterr().out.count("predictions may be off") == len(notes)


@pytest.mark.parametrize("wrong", [{"is_same_answer": False}, {"max_rel_diff": 1e-3}])
def test_an_answer_that_differs_makes_it_wrong(wrong: dict[str, object]) -> None:
    three = rows(0.4, 0.3, 0.1, "split")
    assert demo.Demonstration(digits=(), networks=tuple(three), verdicts=()).is_right
    three[2] = dataclasses.replace(three[2], **wrong)  # type: ignore[arg-type]
    assert not demo.Demonstration(digits=(), networks=tuple(three), verdicts=()).is_right


def test_slow_links_are_sampled_less_so_that_the_demonstration_ends() -> None:
    photographs = [networks._photograph(*place) for place in networks.PHOTOGRAPHS]
    repeats = [networks._repeats(PRESETS[name], photographs) for name in ("3g", "4g", "wifi")]
    assert repeats == sorted(repeats)
    assert repeats[0] == 1
    assert repeats[-1] == 3


def test_a_photograph_that_is_not_installed_is_one_line() -> None:
    with pytest.raises(CleftError, match=r"cat\.jpg comes with skimage, which is not installed"):
        networks._photograph("skimage", "data/cat.jpg")


def test_the_winner_is_the_largest_score() -> None:
    assert demo.top1({"output": np.array([[0.1, 3.0, -1.0]])}) == "class 1"


def test_a_child_that_fails_is_one_line() -> None:
    with pytest.raises(CleftError, match=r"^edge run --model no:such:thing .* failed: cleft-edge: error: ") as caught:
        children.device(["--model", "no:such:thing", "--random", "1"])
    assert "\n" not in str(caught.value)


def test_a_worker_that_cannot_start_is_one_line() -> None:
    with pytest.raises(CleftError, match="the worker did not start: ") as caught, children.worker(["no:such:thing"]):
        pass
    assert "\n" not in str(caught.value)
