"""What the rows are run on: real workers in processes of their own, and ways to hurt and mend them.

Every process is ended by its own id. A worker that was killed is started again on the port that it had, so that whoever
dialled it finds it where it was.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil

if TYPE_CHECKING:
    from partitioner.bundle import Bundle
    from partitioner.runtimes import Array

ROOT = Path(__file__).parents[2]
SERVE = (sys.executable, "-m", "cloud", "serve", "--threads", "1", "--json", "--exit-with-parent")
STOP_S = 15.0
IS_FULL = os.environ.get("CLEFT_CHAOS") == "full"
"""Whether the long forms run."""
START_S = 60.0
OWNED: set[int] = set()
"""Processes that outlive a test on purpose: workers that rows share."""


class WorkerProcess:
    """``cleft-cloud serve`` as a process."""

    def __init__(
        self, models: Sequence[Path], *flags: str, env: dict[str, str] | None = None, is_shared: bool = False
    ) -> None:
        self._is_shared = is_shared
        self._models = [str(path.resolve()) for path in models]
        self._flags = flags
        self._env = env or {}
        self._process: subprocess.Popen[str] | None = None
        self._stderr = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - closed in stop()
        self.port = 0

    @property
    def target(self) -> str:
        """``host:port``."""
        return f"127.0.0.1:{self.port}"

    @property
    def address(self) -> tuple[str, int]:
        """The same for sockets."""
        return "127.0.0.1", self.port

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def said(self) -> str:
        """What it wrote on its standard error."""
        self._stderr.seek(0)
        return self._stderr.read()

    def launch(self) -> WorkerProcess:
        """Start it, on the port that it had; the caller may do other things while it gets ready."""
        self._process = subprocess.Popen(
            [*SERVE, "--model", *self._models, "--port", str(self.port), *self._flags],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ, **self._env},
        )
        if self._is_shared:
            OWNED.add(self.pid)
        return self

    def wait_ready(self) -> WorkerProcess:
        """Wait until it serves."""
        assert self._process is not None
        assert self._process.stdout is not None
        if not self._process.stdout.closed:
            line = self._process.stdout.readline()
            assert line, f"the worker did not start: {self.said}"
            self.port = json.loads(line)["port"]
            self._process.stdout.close()
        return self

    def start(self) -> WorkerProcess:
        """``launch`` and ``wait_ready``."""
        return self.launch().wait_ready()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.signal(signal.SIGKILL)
        self.wait()

    def freeze(self) -> None:
        """Stop it with SIGSTOP."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.signal(signal.SIGCONT)

    def wait(self, timeout_s: float = STOP_S) -> int:
        """Wait until it has ended; its exit code."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def stop(self) -> None:
        """End it, whatever state it is in."""
        process, self._process = self._process, None
        if process is not None:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self._stderr.close()

    def memory_bytes(self) -> int:
        """Resident memory of the process."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def descriptors(self) -> int:
        """Open files of the process."""
        return int(psutil.Process(self.pid).num_fds())


class Pool:
    """Workers that rows share: each serves all of the rows' models."""

    def __init__(self, models: Sequence[Path]) -> None:
        self._models = models
        self._workers: list[WorkerProcess] = []

    def begin(self, count: int) -> None:
        """Start so many; they get ready while others work."""
        while len(self._workers) < count:
            self._workers.append(WorkerProcess(self._models, is_shared=True).launch())

    def lease(self, count: int) -> list[WorkerProcess]:
        """So many workers that are ready; whatever is done to them may stay so."""
        self.begin(count)
        leased = self._workers[:count]
        for worker in leased:
            if worker.is_alive:
                worker.thaw()
            else:
                worker.launch()
        for worker in leased:
            worker.wait_ready()
        return leased

    def stop(self) -> None:
        """End them all."""
        for worker in self._workers:
            worker.stop()
        self._workers.clear()


def inputs_of(bundle: Bundle, count: int) -> list[dict[str, Array]]:
    """Different random inputs of a model without symbolic sizes."""
    found = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        found.append(
            {
                each.name: rng.standard_normal(tuple(int(size) for size in each.value.shape)).astype(np.float32)
                for each in bundle.graph.inputs
            }
        )
    return found


def until(is_so: Callable[[], bool], what: str, *, timeout_s: float = 10.0) -> float:
    """Wait until something is so; how long that took."""
    began_s, moment = time.monotonic(), threading.Event()
    while not is_so():
        took_s = time.monotonic() - began_s
        assert took_s < timeout_s, f"{what} did not come within {timeout_s:g} s"
        moment.wait(0.002)
    return time.monotonic() - began_s


@contextmanager
def meanwhile(*works: Callable[[], object]) -> Iterator[None]:
    """Do things on threads of their own while the body runs; what one raises is raised at the end."""
    failed: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()
    if failed:
        raise failed[0]


@contextmanager
def ended(worker: WorkerProcess) -> Iterator[WorkerProcess]:
    """A worker of one test's own, ended with it."""
    with contextlib.ExitStack() as stack:
        stack.callback(worker.stop)
        yield worker
