"""``cleft-plan pack``: what it prints for machines, and one line for whatever is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from partitioner.bundle import Bundle
from partitioner.cli import main

USER = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.linear = torch.nn.Embedding(10, 4), torch.nn.Linear(4, 2)
    def forward(self, ids):
        return {"logits": self.linear(self.table(ids)).mean(1)}
def build():
    torch.manual_seed(0)
    return Net(), (torch.ones(2, 5, dtype=torch.int64),)
def image():
    torch.manual_seed(0)
    return torch.nn.Conv2d(3, 4, 3), (torch.zeros(1, 3, 8, 8),)
def bad():
    raise ValueError("no checkpoint")
"""
MODEL = "pack_cli_models:build"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = list(sys.path)
    (tmp_path / "pack_cli_models.py").write_text(USER)
    monkeypatch.chdir(tmp_path)
    sys.modules.pop("pack_cli_models", None)
    yield
    sys.path[:] = before


def test_the_answer_for_machines_keeps_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", MODEL, "-o", "b", "--json", "--dynamic", "ids=n,t:1..9"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert list(answer) == [
        "schema", "path", "name", "digest", "weights", "notes", "inputs", "outputs", "layers", "nodes", "bytes",
        "runtimes", "without",
    ]  # fmt: skip
    assert answer["schema"] == "cleft.pack/1"
    assert answer["inputs"] == [{"name": "ids", "dtype": "int64", "shape": ["n", "t"]}]
    assert answer["outputs"] == ["logits"]
    bundle = Bundle.open("b")
    assert (answer["digest"], answer["name"], answer["weights"]) == (bundle.digest, "build", "given")
    assert answer["bytes"] == sum(each.stat().st_size for each in bundle.path.iterdir() if each.name != "bundle.json")


def test_the_answer_for_people_names_digest_inputs_and_outputs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", MODEL, "-o", "b"]) == 0
    printed = capsys.readouterr()
    assert Bundle.open("b").digest in printed.out
    assert "ids: int64 2x5" in printed.out
    assert "logits" in printed.out
    assert all(line.startswith("note: ") for line in printed.err.splitlines())


def test_a_bundle_is_replaced_only_where_that_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", MODEL, "-o", "b"]) == 0
    assert fails(["pack", MODEL, "-o", "b"], capsys, says="--force") == 1
    assert main(["pack", MODEL, "-o", "b", "--force"]) == 0


def test_labels_and_preprocess_are_taken(capsys: pytest.CaptureFixture[str]) -> None:
    from partitioner import preprocess

    record = preprocess.imagenet(input="x", resize=8, interpolation="bilinear", mean=[0.0] * 3, std=[1.0] * 3)
    Path("labels.txt").write_text("cat\ndog\n")
    Path("preprocess.json").write_text(json.dumps({**record, "crop": [8, 8]}))
    arguments = [
        "pack",
        "pack_cli_models:image",
        "-o",
        "b",
        "--labels",
        "labels.txt",
        "--preprocess",
        "preprocess.json",
    ]
    assert main(arguments) == 0
    bundle = Bundle.open("b")
    assert bundle.labels == ("cat", "dog")
    assert bundle.preprocess is not None
    assert bundle.preprocess["input"] == bundle.graph.inputs[0].name


WRONG: dict[str, tuple[list[str], int, str]] = {
    "no output": (["pack", MODEL], 2, "-o"),
    "no model": (["pack", "-o", "b"], 2, "MODEL"),
    "an unknown flag": (["pack", MODEL, "-o", "b", "--quick"], 2, "--quick"),
    "an unknown model": (["pack", "torchvision:resnet19", "-o", "b"], 1, "resnet19"),
    "no spec at all": (["pack", "resnet18", "-o", "b"], 2, "none of"),
    "a bad shape": (["pack", MODEL, "-o", "b", "--shape", "2xx5"], 2, "--shape"),
    "a shape that does not fit": (["pack", MODEL, "-o", "b", "--shape", "2x5"], 1, "torch.export cannot capture"),
    "a bad size": (["pack", MODEL, "-o", "b", "--dynamic", "ids"], 2, "--dynamic"),
    "an input that is not there": (["pack", MODEL, "-o", "b", "--dynamic", "x=n"], 2, "ids"),
    "a model that raises": (["pack", "pack_cli_models:bad", "-o", "b"], 1, "no checkpoint"),
    "labels that are not there": (["pack", MODEL, "-o", "b", "--labels", "nosuch"], 2, "nosuch"),
    "labels that are a folder": (["pack", MODEL, "-o", "b", "--labels", "."], 2, "--labels"),
    "preprocess that is no JSON": (["pack", MODEL, "-o", "b", "--preprocess", "pack_cli_models.py"], 2, "--preprocess"),
    "a file in the way": (["pack", MODEL, "-o", "pack_cli_models.py"], 1, "pack_cli_models.py"),
    "a file in the way, forced": (["pack", MODEL, "-o", "pack_cli_models.py", "--force"], 1, "is a file, no bundle"),
    "a place below a file": (["pack", MODEL, "-o", "pack_cli_models.py/b"], 1, "pack_cli_models.py"),
    "a program nobody trusts": (["pack", "program.pt2", "-o", "b"], 2, "--trust"),
    "a program that is none": (["pack", "program.pt2", "-o", "b", "--trust"], 1, "program.pt2"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_line(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, code, says = WRONG[case]
    Path("program.pt2").write_bytes(b"PK\x03\x04 not a program")
    assert fails(arguments, capsys, says=says) == code
    assert not Path("b").exists()
    assert Path("pack_cli_models.py").read_text() == USER


def test_a_bundle_is_not_packed_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", MODEL, "-o", "b"]) == 0
    capsys.readouterr()
    assert fails(["pack", "b", "-o", "c"], capsys, says="bundle already") == 2


def test_a_record_at_fault_is_refused_once(capsys: pytest.CaptureFixture[str]) -> None:
    Path("record.json").write_text('{"schema": "cleft.preprocess/1", "mode": "CMYK"}')
    arguments = ["pack", "pack_cli_models:image", "-o", "b", "--preprocess", "record.json"]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("cleft-plan: error: the preprocess record is refused: ")
    assert said.count("preprocess record") == 1


def test_a_directory_that_is_no_bundle_is_not_called_one(capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos").mkdir()
    assert fails(["pack", "photos", "-o", "c"], capsys, says="photos is no bundle: it holds no bundle.json") == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_cannot_be_written_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path("closed").mkdir(mode=0o500)
    assert fails(["pack", MODEL, "-o", "closed/b"], capsys, says="cannot write") == 1


def test_a_whole_process_prints_json_and_nothing_else(tmp_path: Path) -> None:
    torch.export.save(torch.export.export(torch.nn.ReLU(), (torch.ones(2),)), "program.pt2")
    script = "import sys; from partitioner.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", script, "pack", "program.pt2", "--trust", "-o", "b", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["schema"] == "cleft.pack/1"


def fails(arguments: list[str], capsys: pytest.CaptureFixture[str], *, says: str) -> int:
    """The exit code of a command that fails with one line on stderr and nothing on stdout."""
    capsys.readouterr()
    code = main(arguments)
    printed = capsys.readouterr()
    assert code != 0
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1, printed.err
    assert says in printed.err
    assert "Traceback" not in printed.err
    assert "internal error" not in printed.err
    return code


def test_records_that_do_not_fit_the_model_are_refused_at_packing(capsys: pytest.CaptureFixture[str]) -> None:
    from partitioner import preprocess

    record = preprocess.imagenet(resize=16, crop=16)
    Path("large.json").write_text(json.dumps(record))
    assert main(["pack", "pack_cli_models:image", "-o", "b", "--preprocess", "large.json"]) == 2
    assert "makes float32 1x3x16x16, and the model takes float32 1x3x8x8" in capsys.readouterr().err
    Path("labels.txt").write_text("a\nb\n")
    assert main(["pack", "digits", "-o", "b", "--labels", "labels.txt"]) == 2
    assert "names 2 classes; the model scores 10" in capsys.readouterr().err
    assert not Path("b").exists()


def test_runtimes_are_chosen_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", MODEL, "-o", "all"]) == 0
    assert "runs in eager, ort" in capsys.readouterr().out
    assert main(["pack", MODEL, "-o", "bare", "--runtimes", "eager"]) == 0
    assert "runs in eager\n" in capsys.readouterr().out
    everything, bare = Bundle.open("all"), Bundle.open("bare")
    assert everything.digest == bare.digest
    assert not (bare.path / "model.onnx").exists()
    assert main(["pack", MODEL, "-o", "none", "--runtimes", "abacus"]) == 2
    assert "abacus" in capsys.readouterr().err


def test_a_model_that_cannot_be_exported_is_packed_and_says_why(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("partitioner.zoo.runtime_files._EXPORTER", ("no_such_exporter",))
    assert main(["pack", MODEL, "-o", "b"]) == 0
    printed = capsys.readouterr()
    assert "runs in eager\n" in printed.out
    assert "no file for the runtime ort: no_such_exporter was not installed" in printed.err
    assert Bundle.open("b").runtimes == ("eager",)
