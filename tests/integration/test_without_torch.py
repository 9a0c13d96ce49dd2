"""An edge and a worker with ONNX Runtime are processes without torch, small ones, that answer like the whole model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge.embedded import EmbeddedWorker
from partitioner import zoo
from partitioner.bundle import Bundle
from partitioner.difference import relative_difference
from partitioner.runtimes import check
from partitioner.runtimes.eager import open_engine
from partitioner.segments import Cuts

MOST_BYTES = 120e6
ROOT = Path(__file__).parents[2]
EDGE = """
import json, pathlib, sys
from edge.cli import main
code = main(sys.argv[1:])
status = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
heavy = [name for name in ("torch", "onnx", "onnxscript", "scipy", "importlib.metadata") if name in sys.modules]
print(json.dumps({"rss_bytes": int(status["VmRSS"].split()[0]) * 1024, "heavy": heavy}))
sys.exit(code)
"""


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return zoo.resolve("torchvision:mobilenet_v2")


@pytest.fixture
def without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Children that cannot import torch, or the packages that export."""
    for name in ("torch", "onnx", "onnxscript"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise ImportError('there is no {name} here')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")


def test_an_edge_and_a_worker_need_no_torch(bundle: Bundle, without_torch: None, tmp_path: Path) -> None:
    inputs = check.read_inputs(bundle)
    np.savez(tmp_path / "input.npz", **inputs)
    with EmbeddedWorker(bundle.path, arguments=["--runtime", "ort", "--threads", "1"]) as worker:
        argv = ["run", "--model", str(bundle.path), "--runtime", "ort", "--cloud", worker.target, "--json"]
        argv += ["--cut", "after:features.7", "--repeat", "10", "--input", str(tmp_path / "input.npz")]
        argv += ["--save", str(tmp_path / "out.npz")]
        done = subprocess.run(
            [sys.executable, "-c", EDGE, *argv],
            capture_output=True,
            text=True,
            timeout=100,
            env={**os.environ, "CLEFT_RUNTIME": "auto"},
            check=False,
        )
    assert done.returncode == 0, done.stderr
    *answers, process = (json.loads(line) for line in done.stdout.splitlines())
    assert {(each["cut"], each["where"]) for each in answers} == {("after:features.7", "split")}
    whole = open_engine(bundle, device="cpu").segment(Cuts(bundle.graph, bundle.digest).whole())(inputs)
    (output,) = bundle.graph.outputs
    assert output.name is not None
    with np.load(tmp_path / "out.npz") as saved:
        assert relative_difference(saved[output.path], whole[output.name]) < check.TOLERANCE
    print(f"an edge with a MobileNetV2 front, ONNX Runtime, no torch: {process['rss_bytes'] / 1e6:.0f} MB of RSS")
    assert process["heavy"] == []
    assert process["rss_bytes"] < MOST_BYTES


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--model", "BUNDLE", "--cut", "local", "--random", "1", "--check", "--post", "builtins:len"],
        ["run", "--model", "BUNDLE", "--cut", "cloud", "--codec", "source+zstd", "--input", "PIXELS"],
        ["advise", "BUNDLE", "--budget", "3s", "--fresh"],
    ],
)
def test_no_way_to_answer_needs_torch(words: list[str], bundle: Bundle, without_torch: None, tmp_path: Path) -> None:
    np.save(tmp_path / "pixels.npy", np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8))
    places = {"BUNDLE": str(bundle.path), "PIXELS": str(tmp_path / "pixels.npy")}
    argv = [*(places.get(word, word) for word in words), "--runtime", "ort", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", EDGE, *argv],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "CLEFT_RUNTIME": "auto"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    process = json.loads(done.stdout.splitlines()[-1])
    assert process["heavy"] == []
    assert process["rss_bytes"] < 1.75 * MOST_BYTES  # whatever cuts were made ready to be measured
