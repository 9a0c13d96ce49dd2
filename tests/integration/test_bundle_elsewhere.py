"""A bundle runs where nobody has the model's code, and what is no bundle runs nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from partitioner.errors import UsageError
from partitioner.zoo import ModelRequest, resolve_request

MODEL = """
import pathlib
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(8, 16), torch.nn.Linear(16, 4)

    def forward(self, x):
        return {"y": self.second(self.first(x).relu()), "mean": x.mean()}


def build():
    torch.manual_seed(3)
    return Net(), (torch.ones(2, 8),)
"""
RUN = """
import json, sys
import numpy as np
from partitioner.bundle import Bundle
from partitioner.runtimes.eager import open_engine
from partitioner.segments import Cuts

bundle = Bundle.open(sys.argv[1])
cuts = Cuts(bundle.graph, bundle.digest)
x = np.linspace(-1, 1, 16, dtype=np.float32).reshape(2, 8)
answers = []
for cut in cuts.candidates:
    head, tail = cuts.segments(cut)
    made = open_engine(bundle, device="cpu").segment(head)({"x": x})
    if tail is not None:
        made |= open_engine(bundle, device="cpu").segment(tail)({v.name: made[v.name] for v in cut.crossing})
    answers.append([made[name].tolist() for name in bundle.graph.output_names])
assert "elsewhere_model" not in sys.modules
print(json.dumps(answers))
"""


def test_a_bundle_runs_without_the_code_of_its_model(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "elsewhere").mkdir()
    source = tmp_path / "code" / "elsewhere_model.py"
    source.write_text(MODEL)
    pack = [sys.executable, "-m", "partitioner.cli", "pack", "elsewhere_model:build", "-o", str(tmp_path / "bundle")]
    script = f"import sys; from partitioner.cli import main; sys.exit(main({pack[3:]!r}))"
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path / "code", check=True, capture_output=True, timeout=60)
    namespace: dict[str, object] = {}
    exec(compile(MODEL, "model", "exec"), namespace)
    module, _ = namespace["build"]()  # type: ignore[operator]
    source.unlink()
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path / "bundle")],
        cwd=tmp_path / "elsewhere",
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    x = torch.linspace(-1, 1, 16).reshape(2, 8)
    with torch.no_grad():
        truth = module(x)
    answers = json.loads(done.stdout)
    assert len(answers) > 2
    for answer in answers:
        np.testing.assert_allclose(answer[0], truth["y"].numpy(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(answer[1], truth["mean"].numpy(), rtol=1e-5, atol=1e-6)


class Marker(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.relu()


def test_an_untrusted_program_is_refused_without_being_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, marker = tmp_path / "program.pt2", tmp_path / "marker"
    torch.save({"x": _Touch(marker)}, path)

    def opened(*_: object, **__: object) -> None:
        marker.touch()

    monkeypatch.setattr(torch.export, "load", opened)
    for spec in (path, Path("program.pt2")):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UsageError, match="--trust"):
            resolve_request(ModelRequest(spec=str(spec)))
    assert not marker.exists()


def test_a_trusted_program_is_packed(tmp_path: Path) -> None:
    program = torch.export.export(Marker(), (torch.ones(2, 3),))
    torch.export.save(program, tmp_path / "program.pt2")
    bundle = resolve_request(ModelRequest(spec=str(tmp_path / "program.pt2"), is_trusted=True))
    assert [each.name for each in bundle.graph.inputs] == ["x"]
    assert bundle.manifest.weights == "given"


class _Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return (Path.touch, (self.path,))
