"""Rows 22 and 23: machines that become slower than they were measured, by neighbours or by themselves."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from history import History, Oracle, judge
from rig import IS_FULL, Pool, WorkerProcess, ended, inputs_of

import edge
from edge.client import Client
from partitioner.bundle import Bundle
from partitioner.segments import Cuts

Bundles = dict[str, Bundle]
Figure = Callable[[str], None]


@contextmanager
def busy_neighbours(count: int) -> Iterator[None]:
    """Processes that compute without end."""
    spin = "import numpy as np\na = np.ones((256, 256))\nwhile True:\n    a @ a"
    started = [subprocess.Popen([sys.executable, "-c", spin], stdin=subprocess.DEVNULL) for _ in range(count)]
    try:
        yield
    finally:
        for each in started:
            each.kill()
            each.wait()


@pytest.mark.row(22)
@pytest.mark.timeout(300)
def test_two_busy_neighbours_slow_the_worker_no_more_than_their_share(
    pool: Pool, bundles: Bundles, figure: Figure
) -> None:
    """Threads that wait for each other do not spin: a frame costs as much processor time as alone."""
    bundle = bundles["grind"]
    cuts, given = Cuts(bundle.graph, bundle.digest), inputs_of(bundle, 1)[0]
    plan = cuts.plan(cuts.find("cloud"))
    took_s: dict[int, list[float]] = {0: [], 2: []}
    cost_s: dict[int, float] = {0: 0.0, 2: 0.0}
    with ExitStack() as stack:
        if IS_FULL:
            worker = stack.enter_context(ended(WorkerProcess([Path(bundle.path)], "--threads", "2").start()))
        else:
            (worker,) = pool.lease(1)
        assert "OMP_WAIT_POLICY=PASSIVE" in Path(f"/proc/{worker.pid}/environ").read_text()
        client = stack.enter_context(Client.dial(worker.target))
        client.propose(plan)
        process = psutil.Process(worker.pid)
        for _ in range(7 if IS_FULL else 2):
            for neighbours, into in took_s.items():
                with busy_neighbours(neighbours):
                    began_s = sum(process.cpu_times()[:2])
                    for _ in range(30 if IS_FULL else 8):
                        into.append(client.run(plan.plan_id, 1, given, {}, deadline_s=60.0).worker.compute_s)
                    cost_s[neighbours] += sum(process.cpu_times()[:2]) - began_s
    ratio = float(np.median(took_s[2]) / np.median(took_s[0]))
    figure(
        f"beside two busy neighbours a frame takes {ratio:.2f}x as long ({np.median(took_s[0]) * 1e3:.0f} ms alone) "
        f"and {cost_s[2] / cost_s[0]:.2f}x the processor time"
    )
    assert cost_s[2] / cost_s[0] < 2.5
    assert not IS_FULL or ratio < 2.5


@pytest.mark.row(23)
def test_a_device_that_throttles_is_noticed_within_twenty_frames(
    pool: Pool, bundles: Bundles, oracle: Callable[[Bundle], Oracle], figure: Figure
) -> None:
    """It stays at home for 20 frames at most, or for as long as a table may be old where frames are short."""
    bundle = bundles["grind"]
    (worker,) = pool.lease(1)
    given, history = inputs_of(bundle, 1)[0], History(digest=bundle.digest)
    factor = 2.0 if IS_FULL else 3.0
    with edge.Session(bundle, cloud=worker.target, cut="auto", profile_budget_s=1.0) as session:
        before = [session(given).where for _ in range(12)]
        object.__setattr__(session.clock, "slowdown", factor)
        began_s, frames, moved_s = time.monotonic(), 0, 0.0
        while frames < 20 or moved_s < 2.5:
            frame_id = history.ask(given)
            history.answer(frame_id, session(given))
            frames, moved_s = frames + 1, time.monotonic() - began_s
            if history.answered[-1].by != "edge":
                break
        reasons = [each.line for each in session.decisions()]
    verdict = judge(history, oracle(bundle))
    assert verdict.is_clean, str(verdict)
    assert history.answered[-1].by != "edge", reasons
    home = before.count("edge")
    figure(f"{factor:g}x slower: moved after {frames} frames in {moved_s:.2f} s ({home} of 12 at home before)")
