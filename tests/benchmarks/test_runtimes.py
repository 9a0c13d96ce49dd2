"""How the runtimes compare: time of the whole model on one thread, what a chain of blocks costs, and peak memory.

Times are taken turn by turn in one process, so that a noisy machine's drift falls on all alike, and the fastest tenth
counts; memory is the peak of a child process that opens the bundle with one runtime and runs it. ``CLEFT_BENCH=full``
measures every network at its own size, with the bounds that the product promises.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from partitioner import zoo
from partitioner.bundle import Bundle
from partitioner.difference import relative_difference
from partitioner.runtimes import EAGER, ORT, check
from partitioner.runtimes.eager import open_engine as open_eager
from partitioner.runtimes.ort import open_engine as open_ort
from partitioner.segments import Cuts

IS_FULL = os.environ.get("CLEFT_BENCH") == "full"
NETWORKS = (
    "mobilenet_v2",
    "resnet18",
    "squeezenet1_1",
    "shufflenet_v2_x1_0",
    "googlenet",
    "densenet121",
    "alexnet",
    "vit_b_16",
)
BOUND = {"mobilenet_v2": 0.8, "resnet18": 0.8}
"""Most of eager's time that ONNX Runtime may take."""
CHAIN_BOUND = 1.15
ROUNDS = 40 if IS_FULL else 3
BUDGET_S = 25.0
ROOT = Path(__file__).parents[2]
CHILD = """
import json, pathlib, sys
from partitioner.bundle import Bundle
from partitioner.runtimes import check
from partitioner.runtimes.opening import load
from partitioner.segments import Cuts
bundle = Bundle.open(sys.argv[1])
engine = load(bundle, sys.argv[2], device="cpu", threads=1, allow_ops=())
segment = engine.segment(Cuts(bundle.graph, bundle.digest).whole())
segment.settle()
for _ in range(5):
    segment(check.read_inputs(bundle))
status = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
print(json.dumps({"peak_bytes": int(status["VmHWM"].split()[0]) * 1024, "torch": "torch" in sys.modules}))
"""


@pytest.mark.benchmark
@pytest.mark.timeout(900)
def test_onnx_runtime_beside_eager() -> None:
    bundles = [zoo.resolve(f"torchvision:{name}") for name in NETWORKS] if IS_FULL else [zoo.resolve("digits")]
    rows = [_measured(bundle) for bundle in bundles]
    print()
    print("network              eager ms   ort ms   ort/eager   chain/one   blocks   eager MB   ort MB")
    for name, eager_s, ort_s, chain_s, blocks, eager_bytes, ort_bytes in rows:
        print(
            f"{name:20} {eager_s * 1e3:8.2f} {ort_s * 1e3:8.2f} {ort_s / eager_s:11.2f} {chain_s / ort_s:11.2f} "
            f"{blocks:8} {eager_bytes / 1e6:10.0f} {ort_bytes / 1e6:8.0f}"
        )
    for name, eager_s, ort_s, chain_s, _, eager_bytes, ort_bytes in rows:
        assert ort_bytes < eager_bytes, name
        if IS_FULL:
            assert chain_s <= CHAIN_BOUND * ort_s, name
            assert ort_s <= BOUND.get(name, 1.0) * eager_s, name


def _measured(bundle: Bundle) -> tuple[str, float, float, float, int, int, int]:
    inputs = check.read_inputs(bundle)
    whole = Cuts(bundle.graph, bundle.digest).whole()
    chained = open_ort(bundle, device="cpu", settled_runs=None)
    fused = open_ort(bundle, device="cpu", settled_runs=None).segment(whole)
    fused.settle()
    runs: dict[str, Callable[[], object]] = {
        "eager": lambda: eager(inputs),
        "ort": lambda: fused(inputs),
        "chain": lambda: chain(inputs),
    }
    eager, chain = open_eager(bundle, device="cpu").segment(whole), chained.segment(whole)
    truth, found = eager(inputs), fused(inputs)
    assert all(relative_difference(found[name], truth[name]) < check.TOLERANCE for name in truth)
    times_s: dict[str, list[float]] = {name: [] for name in runs}
    begun_s = time.perf_counter()
    for turn in range(ROUNDS):
        if turn > 3 and time.perf_counter() - begun_s > BUDGET_S:
            break
        for name, run in runs.items():
            run()  # the caches are warm for the run that counts, whoever ran before
            start_s = time.perf_counter()
            run()
            times_s[name].append(time.perf_counter() - start_s)
    eager_s, ort_s, chain_s = (sorted(each)[len(each) // 10] for each in times_s.values())
    eager_bytes, ort_bytes = (_peak_bytes(bundle, runtime) for runtime in (EAGER, ORT))
    return bundle.name, eager_s, ort_s, chain_s, len(chained.bounds) + 1, eager_bytes, ort_bytes


def _peak_bytes(bundle: Bundle, runtime: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(bundle.path), runtime],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    answer = json.loads(done.stdout)
    assert answer["torch"] == (runtime == EAGER)
    return int(answer["peak_bytes"])
