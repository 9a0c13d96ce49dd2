"""A request that nobody waits for any more ends soon, wherever it is, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import numpy as np
import pytest
from edge_support import inputs_of

from edge import Session
from edge.embedded import EmbeddedWorker
from edge.errors import FrameCancelled
from partitioner.bundle import Bundle

WAIT_S = 30.0


def test_what_computes_here_stops(branching: Bundle) -> None:
    inputs = inputs_of(branching)
    with Session(branching, cut="local", slowdown=1.0) as session:
        session(inputs)
    with Session(branching, cut="local", slowdown=1000.0, depth=1) as session:
        begun_s = time.perf_counter()
        session(inputs)
        whole_s = time.perf_counter() - begun_s
        pending = session.submit(inputs)
        while not pending.running():
            os.sched_yield()
        begun_s = time.perf_counter()
        pending.withdraw()
        with pytest.raises(FrameCancelled, match="withdrawn"):
            pending.result(WAIT_S)
        assert time.perf_counter() - begun_s < whole_s / 2
        assert session.counters()["withdrawn"] == 1
        assert session.counters()["failed"] == 0


def test_what_is_at_a_worker_is_withdrawn_and_not_finished_here(
    branching: Bundle, start_worker: Callable[..., EmbeddedWorker]
) -> None:
    inputs = inputs_of(branching)
    worker = start_worker(branching)
    with Session(branching, cloud=worker.target, cut="cloud", depth=1) as session:
        wanted = session(inputs)
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGSTOP)
        pending = session.submit(inputs)
        while not pending.running():
            os.sched_yield()
        begun_s = time.perf_counter()
        pending.withdraw()
        with pytest.raises(FrameCancelled, match="withdrawn"):
            pending.result(WAIT_S)
        assert time.perf_counter() - begun_s < 2.5  # before the silence would be noticed
        assert session.counters()["finished_here"] == 0
        os.kill(worker.pid, signal.SIGCONT)
        found = session(inputs)
        assert all(np.array_equal(found.outputs[name], array) for name, array in wanted.outputs.items())
