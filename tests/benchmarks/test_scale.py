"""One worker, many devices: a thousand that are connected and idle, and fifty that work, served alike.

The worker is a process with the shipped model; the devices are one light process (``many_clients``), each with a
connection of its own. Watched from outside: resident memory, descriptors, processor time. The claims: the active
devices' rates differ by less than half, memory does not grow once it has settled, and nothing is left when all have
gone.

``CLEFT_BENCH=full pytest -m benchmark -s tests/benchmarks/test_scale.py`` runs it at full size for ten minutes and
prints the table; ``CLEFT_SCALE_SECONDS`` shortens that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from partitioner import preprocess
from partitioner.cli.output import plain_table
from partitioner.runtimes.eager import open_engine
from partitioner.segments import Cuts
from partitioner.zoo import resolve
from protos import messages as pb
from protos.channel import WorkerStub, dial
from protos.tensors import join, pack

FULL = os.environ.get("CLEFT_BENCH") == "full"
IDLE, ACTIVE = (1000, 50) if FULL else (200, 10)
SECONDS = float(os.environ.get("CLEFT_SCALE_SECONDS", "600")) if FULL else 3.0
SETTLED = 0.25
GROWTH_BYTES = 24 << 20
FAIR = 1.5
PLACES = {"edge": pb.PLACE_EDGE, "cloud": pb.PLACE_CLOUD}

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(SECONDS + 300)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a process held at one moment."""

    at_s: float
    rss_bytes: int
    descriptors: int
    cpu_s: float


def look(process: psutil.Process, start_s: float) -> Look:
    with process.oneshot():
        times = process.cpu_times()
        return Look(
            at_s=time.monotonic() - start_s,
            rss_bytes=process.memory_info().rss,
            descriptors=process.num_fds(),
            cpu_s=times.user + times.system,
        )


@pytest.fixture(scope="module")
def bundle():
    return resolve("digits")


@pytest.fixture
def worker(bundle) -> Iterator[tuple[psutil.Process, str]]:
    command = [sys.executable, "-m", "cloud", "serve", "--threads", "1", "--port", "0", "--json"]
    with subprocess.Popen(
        [*command, "--model", str(bundle.path)], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    ) as process:
        try:
            ready = json.loads(process.stdout.readline())
            yield psutil.Process(process.pid), f"127.0.0.1:{ready['port']}"
        finally:
            process.kill()


def message_files(bundle, folder: Path) -> tuple[Path, Path]:
    """A plan that is cut in the middle, and a frame for it."""
    cuts, engine = Cuts(bundle.graph, bundle.digest), open_engine(bundle, device="cpu")
    split = [cut for cut in cuts.candidates if not cut.is_local]
    plan = cuts.plan(split[len(split) // 2])
    picture = np.random.default_rng(5).integers(0, 256, (8, 8), dtype=np.uint8)
    crossing = engine.segment(plan.stages[0].segment)(preprocess.apply(bundle.preprocess, picture))
    headers, buffers, payload_bytes = pack({name: crossing[name] for name in plan.stages[1].segment.inputs})
    stages = [
        pb.Stage(
            place=PLACES[stage.place],
            segment=pb.Segment(inputs=stage.segment.inputs, outputs=stage.segment.outputs),
            codecs=dict(stage.codecs),
        )
        for stage in plan.stages
    ]
    message = pb.Propose(plan_id=plan.plan_id, plan=pb.Plan(model_digest=plan.model_digest, stages=stages))
    run = pb.Run(plan_id=plan.plan_id, stage=1, tensors=headers, payload_bytes=payload_bytes).SerializeToString()
    (folder / "plan").write_bytes(message.SerializeToString())
    (folder / "frame").write_bytes(len(run).to_bytes(8, "little") + run + join(buffers))
    return folder / "plan", folder / "frame"


def test_many_idle_devices_cost_little_and_the_active_ones_are_served_alike(worker, bundle, tmp_path):
    process, target = worker
    plan, frame = message_files(bundle, tmp_path)
    before, start_s = look(process, time.monotonic()), time.monotonic()
    script = str(Path(__file__).with_name("many_clients.py"))
    arguments = [target, str(plan), str(frame), str(IDLE), str(ACTIVE), str(SECONDS)]
    said = tmp_path / "said.json"
    with said.open("wb") as output, subprocess.Popen([sys.executable, script, *arguments], stdout=output) as devices:
        looks = []
        while devices.poll() is None:
            looks.append(look(process, start_s))
            try:
                devices.wait(max(0.2, SECONDS / 60))
            except subprocess.TimeoutExpired:
                continue
    found = json.loads(said.read_text())
    held = [each for each in looks if each.descriptors >= 0.9 * max(each.descriptors for each in looks)]
    rates = [len(each["answers_s"]) / SECONDS for each in found]
    times_s = np.sort(np.concatenate([each["answers_s"] for each in found]))
    settled = [each for each in held if each.at_s >= held[0].at_s + SETTLED * (held[-1].at_s - held[0].at_s)]
    growth_bytes = settled[-1].rss_bytes - settled[0].rss_bytes
    channel = dial(target)
    status = WorkerStub(channel).status(timeout_s=20.0)
    channel.close()
    after = look(process, start_s)
    at = {"p50": len(times_s) // 2, "p99": -max(1, len(times_s) // 100)}
    memory = (before, settled[0], settled[-1])
    rows = [
        ("devices", f"{IDLE} idle, {ACTIVE} active, {SECONDS:g} s"),
        ("answers/s, all", f"{sum(rates):.0f}"),
        ("fairness, max/min rate", f"{max(rates) / min(rates):.2f}"),
        *((f"latency {name}, ms", f"{1e3 * times_s[place]:.1f}") for name, place in at.items()),
        ("RSS before, settled, end, MB", ", ".join(f"{each.rss_bytes / 1e6:.0f}" for each in memory)),
        ("descriptors before, held, after", f"{before.descriptors}, {held[-1].descriptors}, {after.descriptors}"),
        ("processor, share of a core", f"{(held[-1].cpu_s - held[0].cpu_s) / (held[-1].at_s - held[0].at_s):.2f}"),
        ("refused", f"{sum(each['refused'] for each in found)}"),
        ("counters", ", ".join(f"{name} {count}" for name, count in sorted(status.counters.items()) if count)),
    ]
    print("", *plain_table(("", "measured"), rows, left=(0, 1)), sep="\n")
    assert max(rates) / min(rates) < FAIR
    assert growth_bytes < GROWTH_BYTES
    assert status.sessions == 0
    assert after.descriptors <= before.descriptors + 8
    assert sum(each["refused"] for each in found) == 0
