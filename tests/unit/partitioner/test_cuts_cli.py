"""``cleft-plan cuts``: the list of cuts, for machines and for people."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from partitioner.bundle import Bundle
from partitioner.cli import main
from partitioner.segments import Cuts

PackedCase = Callable[[str], Bundle]


def listed(bundle: Bundle, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["cuts", str(bundle.path), "--json", *more]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_the_answer_for_machines_keeps_its_fields(packed_case: PackedCase, capsys: pytest.CaptureFixture[str]) -> None:
    answer = listed(packed_case("detector_three_scales"), capsys)
    assert list(answer)[:5] == ["schema", "model", "binding", "layers", "cuts"]
    assert answer["schema"] == "cleft.cuts/1"
    for cut in answer["cuts"]:
        assert list(cut)[:14] == [
            "id", "name", "aliases", "depth", "crossing", "up_bytes", "down_bytes", "reply", "edge_outputs",
            "edge_flops", "cloud_flops", "edge_weight_bytes", "cloud_weight_bytes", "edge_peak_bytes",
        ]  # fmt: skip
        assert sum(each["bytes"] for each in cut["crossing"]) == cut["up_bytes"]
        assert all(list(each) == ["name", "dtype", "shape", "bytes"] for each in cut["crossing"])
    assert [answer["cuts"][0]["name"], answer["cuts"][-1]["name"]] == ["cloud", "local"]


def test_names_and_ids_are_those_of_the_library(packed_case: PackedCase, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = packed_case("unet")
    cuts = Cuts(bundle.graph, bundle.digest).candidates
    answer = listed(bundle, capsys)
    assert [(each["id"], each["name"]) for each in answer["cuts"]] == [(cut.id, cut.name) for cut in cuts]


def test_three_scales_of_a_detector_cross_together(packed_case: PackedCase, capsys: pytest.CaptureFixture[str]) -> None:
    answer = listed(packed_case("detector_three_scales"), capsys)
    assert max(len(cut["crossing"]) for cut in answer["cuts"]) >= 3


def test_sizes_are_bound_as_asked(packed_case: PackedCase, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = packed_case("text_encoder")
    short, long = (listed(bundle, capsys, "--bind", f"t={length}", "--bind", "b=1") for length in (8, 64))
    assert short["binding"] == {"b": 1, "t": 8}
    assert long["cuts"][0]["up_bytes"] == 8 * short["cuts"][0]["up_bytes"]
    assert [each["name"] for each in short["cuts"]] == [each["name"] for each in long["cuts"]]


def test_people_see_a_row_per_cut(packed_case: PackedCase, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = packed_case("unet")
    assert main(["cuts", str(bundle.path)]) == 0
    printed = capsys.readouterr().out
    for cut in Cuts(bundle.graph, bundle.digest).candidates:
        assert cut.name in printed
        assert cut.id in printed


WRONG = {
    "a size that is not there": (["--bind", "z=3"], 2, "no size named 'z'"),
    "a size out of range": (["--bind", "t=65"], 2, "2..64"),
    "a size that is no number": (["--bind", "t=four"], 2, "whole number"),
    "a size of a strange digit": (["--bind", "t=²"], 2, "whole number"),
    "packing a bundle": (["--shape", "1x3"], 2, "packed already"),
    "an unknown flag": (["--fast"], 2, "--fast"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_line(case: str, packed_case: PackedCase, capsys: pytest.CaptureFixture[str]) -> None:
    more, code, says = WRONG[case]
    assert failed(["cuts", str(packed_case("text_encoder").path), *more], capsys, says) == code


@pytest.mark.parametrize("name", ["graph.json", "weights.safetensors", "bundle.json", "labels.json"])
def test_a_truncated_bundle_is_one_line(
    name: str, packed_case: PackedCase, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = Path(shutil.copytree(packed_case("unet").path, tmp_path / "b"))
    content = (copied / name).read_bytes()
    (copied / name).write_bytes(content[: len(content) // 2])
    assert failed(["cuts", str(copied)], capsys, name) == 1


def test_what_is_no_bundle_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert failed(["cuts", str(tmp_path)], capsys, "no bundle") == 1
    assert failed(["cuts", str(tmp_path / "nowhere")], capsys, "no such directory") == 1
    assert failed(["cuts"], capsys, "MODEL") == 2


def failed(arguments: list[str], capsys: pytest.CaptureFixture[str], says: str) -> int:
    capsys.readouterr()
    code = main(arguments)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1, printed.err
    assert says in printed.err
    assert "internal error" not in printed.err
    return code
