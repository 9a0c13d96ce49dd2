"""Rows 16, 18, 19, 21 and 25: workers that are told to go, given what is broken, and run for long."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil
import pytest
from history import Given, History, Oracle, Owed, judge
from rig import IS_FULL, ROOT, SERVE, START_S, Pool, WorkerProcess, ended, inputs_of, meanwhile, until

import edge
from edge.client import Client
from edge.config import Timeouts
from partitioner.bundle import Bundle
from partitioner.relay import Relay

Bundles = dict[str, Bundle]
Figure = Callable[[str], None]


def ask_all(session: edge.Session, history: History, inputs: Iterable[Given], *, deadline_s: float) -> None:
    for given in inputs:
        frame_id = history.ask(given, deadline_s=deadline_s)
        try:
            history.answer(frame_id, session(given, deadline_s=deadline_s))
        except edge.EdgeError as error:
            history.fail(frame_id, error)


@pytest.mark.row(16)
@pytest.mark.timeout(300)
def test_workers_are_restarted_one_by_one_under_a_stream_and_no_frame_fails(
    pool: Pool, bundles: Bundles, oracle: Callable[[Bundle], Oracle], figure: Figure
) -> None:
    bundle, rounds = bundles["ladder"], 5 if IS_FULL else 1
    workers = pool.lease(2)
    history, given = History(digest=bundle.digest), inputs_of(bundle, 1)
    is_over, pause = threading.Event(), threading.Event()
    left_s = []
    with edge.Session(bundle, cloud=[each.target for each in workers], cut="after:first") as session:

        def keep_asking() -> None:
            while not is_over.is_set():
                ask_all(session, history, given, deadline_s=2.0)
                pause.wait(0.005)

        with meanwhile(keep_asking):
            try:
                for worker in workers * rounds:
                    began_s = time.monotonic()
                    worker.signal(signal.SIGTERM)
                    assert worker.wait() == 0
                    left_s.append(time.monotonic() - began_s)
                    worker.start()
                    until(lambda: all(each.state == "up" for each in session.workers()), "both workers", timeout_s=20)
            finally:
                is_over.set()
    verdict = judge(history, oracle(bundle), Owed(slack_s=0.0 if IS_FULL else 0.5))
    assert verdict.is_clean, str(verdict)
    assert verdict.by.get("fallback", 0) <= 0.01 * verdict.answered
    assert max(left_s) < 10.0
    figure(f"{len(left_s)} restarts: {verdict}, gone after {max(left_s):.1f} s at most")


@pytest.mark.row(18)
def test_a_corrupt_model_among_good_ones_is_not_ready_and_says_why(
    bundles: Bundles, tmp_path: Path, oracle: Callable[[Bundle], Oracle], figure: Figure
) -> None:
    """Started with a cache on a full disk, too: what needs no disk works."""
    good, torn = bundles["ladder"], tmp_path / "torn.bundle"
    torn.mkdir()
    for path in Path(bundles["bulk"].path).iterdir():
        (torn / path.name).write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    full = {"CLEFT_CACHE_DIR": "/dev/full/nothing"}
    history, given = History(digest=good.digest), inputs_of(good, 1)[0]
    with ended(WorkerProcess([Path(good.path), torn], env=full).start()) as worker:
        with Client.dial(worker.target) as client:
            models = {each.name: each for each in client.status().models}
        with edge.Session(good, cloud=worker.target, cut="after:first") as session:
            frame_id = history.ask(given)
            history.answer(frame_id, session(given, deadline_s=10.0))
    verdict = judge(history, oracle(good))
    assert verdict.is_clean, str(verdict)
    assert verdict.by == {"split": 1}
    ready = [each.is_ready for each in models.values()]
    broken = next(each for each in models.values() if not each.is_ready)
    assert sorted(ready) == [False, True]
    assert broken.reason
    figure(f"not ready: {broken.reason[:70]}; the other answers")


_JUMPING = """
import time
_real, _began = time.time, time.time()
def jumping():
    now = _real()
    return now + (3600, -3600, 0)[int((now - _began) * 7) % 3]
time.time = jumping
"""


@pytest.mark.row(19)
def test_clocks_that_jump_by_an_hour_change_nothing(
    bundles: Bundles,
    oracle: Callable[[Bundle], Oracle],
    figure: Figure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The wall clock of both sides jumps an hour ahead and back several times a second."""
    bundle, run_s = bundles["ladder"], 20.0 if IS_FULL else 1.5
    (tmp_path / "sitecustomize.py").write_text(_JUMPING)
    history, given = History(digest=bundle.digest), inputs_of(bundle, 4)
    real, jumps = time.time, 0
    with (
        ended(WorkerProcess([Path(bundle.path)], env={"PYTHONPATH": str(tmp_path)}).start()) as worker,
        edge.Session(bundle, cloud=worker.target, cut="after:first") as session,
    ):
        end_s = time.monotonic() + run_s
        while time.monotonic() < end_s:
            jumps += 1
            monkeypatch.setattr(time, "time", lambda jumps=jumps: real() + (3600, -3600, 0)[jumps % 3])
            ask_all(session, history, given, deadline_s=2.0)
        monkeypatch.setattr(time, "time", real)
        lost = session.counters()["losses"]
    verdict = judge(history, oracle(bundle), Owed(slack_s=0.5))
    assert verdict.is_clean, str(verdict)
    assert lost == 0
    assert set(verdict.by) == {"split"}
    figure(f"{jumps} jumps here and as many there: {verdict}, no session lost")


@pytest.mark.row(19)
def test_no_wall_clock_is_read_where_times_are_compared() -> None:
    """The wall clock dates profiles, log lines and certificates, and nothing else."""
    dated = {"partitioner/measure/__init__.py", "partitioner/cli/logs.py"}
    wall = re.compile(r"\btime\.time\(|\bdatetime\.(now|utcnow|today)\(|\bfromtimestamp\(")
    found = {
        str(path.relative_to(ROOT))
        for folder in ("edge", "cloud", "protos", "partitioner")
        for path in (ROOT / folder).rglob("*.py")
        if wall.search(path.read_text())
    }
    assert found <= dated, found - dated


@pytest.mark.row(21)
@pytest.mark.timeout(700)
def test_an_idle_session_is_never_told_that_it_pings_too_often(pool: Pool, bundles: Bundles, figure: Figure) -> None:
    """Idle with our defaults, and then asked: the session is the one that it was."""
    bundle, run_s = bundles["ladder"], 600.0 if IS_FULL else 3.0
    (worker,) = pool.lease(1)
    given = inputs_of(bundle, 1)[0]
    with edge.Session(bundle, cloud=worker.target, cut="after:first") as session:
        assert session(given).where == "split"
        threading.Event().wait(run_s)
        assert session(given).where == "split"
        assert session.counters()["losses"] == 0
    figure(f"idle for {run_s:g} s, no session lost")


@pytest.mark.row(25)
@pytest.mark.timeout(900)
def test_many_reconnects_leave_memory_and_descriptors_as_they_were(
    pool: Pool, bundles: Bundles, oracle: Callable[[Bundle], Oracle], figure: Figure
) -> None:
    bundle, count = bundles["ladder"], 1000 if IS_FULL else 30
    (worker,) = pool.lease(1)
    history, given, here = History(digest=bundle.digest), inputs_of(bundle, 1), psutil.Process()
    quick = Timeouts(redial_s=0.02, redial_max_s=0.05)
    with (
        Relay(worker.address) as relay,
        edge.Session(bundle, cloud=relay.address, cut="after:first", timeouts=quick) as session,
    ):

        def reconnect(times: int) -> None:
            for _ in range(times):
                losses = session.counters()["losses"]
                relay.reset()
                until(lambda before=losses: session.counters()["losses"] > before, "the loss")
                until(lambda: session.workers()[0].state == "up", "the session")
                ask_all(session, history, given, deadline_s=5.0)

        reconnect(max(10, count // 10))
        before = (here.memory_info().rss, here.num_fds(), worker.memory_bytes(), worker.descriptors())
        reconnect(count)
        after = (here.memory_info().rss, here.num_fds(), worker.memory_bytes(), worker.descriptors())
    verdict = judge(history, oracle(bundle), Owed(slack_s=0.5))
    assert verdict.is_clean, str(verdict)
    here_mib, there_mib = (after[0] - before[0]) / 2**20, (after[2] - before[2]) / 2**20
    figure(
        f"{count} reconnects: {verdict}; device {here_mib:+.1f} MiB and {after[1] - before[1]:+d} descriptors, "
        f"worker {there_mib:+.1f} MiB and {after[3] - before[3]:+d}"
    )
    assert after[1] - before[1] <= 4
    assert after[3] - before[3] <= 4
    assert here_mib < 16
    assert there_mib < 16


@pytest.mark.row(18)
def test_a_model_that_cannot_be_opened_at_all_ends_the_worker_in_one_line(tmp_path: Path) -> None:
    torn = tmp_path / "torn.bundle"
    torn.mkdir()
    (torn / "graph.json").write_text("{")
    done = subprocess.run(
        [*SERVE, "--model", str(torn), "--port", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert sys.executable not in done.stderr
