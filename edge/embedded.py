"""A worker of our own, for a run that names none: started as a child process, stopped at the end.

The child is the ordinary worker (``cleft-cloud serve``) on a free loopback port. It is started before any channel is
dialled, says in one line of JSON where it listens, and leaves by itself when this process dies. It is a separate
process so that the device's half and the worker's half share nothing but the wire, as in the field. It runs in the
folder that holds our packages, because ``python -m`` looks there first and the caller's folder may hold a ``cloud``
of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from edge.errors import EmbeddedWorkerError
from partitioner.environment import for_children

START_S = 120.0
"""For a worker to import its runtime, load the bundle and warm up."""
GRACE_S = 5.0
"""From asking the worker to stop until it is killed."""
_NOISE_LINES = 20


class EmbeddedWorker:
    """A worker in a child process, for as long as the ``with`` block lasts."""

    def __init__(
        self,
        bundle: Path,
        *,
        arguments: Sequence[str] = (),
        command: Sequence[str] = (sys.executable, "-m", "cloud"),
        start_s: float = START_S,
    ) -> None:
        model = str(bundle.resolve())
        self._argv = [*command, "serve", "--model", model, "--port", "0", "--json", "--exit-with-parent", *arguments]
        self._start_s = start_s
        self._process: subprocess.Popen[str] | None = None
        self._stderr: IO[str] | None = None
        self.target = ""

    @property
    def pid(self) -> int | None:
        """Process id while the worker runs."""
        return self._process.pid if self._process is not None else None

    @property
    def is_alive(self) -> bool:
        """Whether the worker's process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> str:
        """``launch`` and ``wait_ready``."""
        self.launch()
        return self.wait_ready()

    def launch(self) -> None:
        """Start the process; the caller may do other things while it gets ready.

        Raises:
            EmbeddedWorkerError: it cannot be started.
        """
        self._stderr = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - closed in stop()
        try:
            self._process = subprocess.Popen(
                self._argv,
                cwd=Path(__file__).parent.parent,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                text=True,
                env=for_children(os.environ),
            )
        except OSError as error:
            self.stop()
            raise EmbeddedWorkerError(f"the embedded worker cannot be started: {error.strerror}") from error

    def wait_ready(self) -> str:
        """Wait until it serves; returns ``host:port``.

        Raises:
            EmbeddedWorkerError: it died, or said nothing in time; it is stopped then.
        """
        try:
            self.target = _target(self._ready_line())
        except BaseException:
            self.stop()
            raise
        return self.target

    def stop(self) -> None:
        """Ask it to stop, wait, and kill it when it does not; safe to call twice."""
        process, self._process = self._process, None
        if process is not None:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(GRACE_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            if process.stdout is not None:
                process.stdout.close()
        if self._stderr is not None:
            self._stderr.close()
            self._stderr = None

    def __enter__(self) -> EmbeddedWorker:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _ready_line(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        stdout = self._process.stdout
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()

        def read() -> None:
            with contextlib.suppress(ValueError, OSError):
                lines.put(stdout.readline())

        reader = threading.Thread(target=read, name="cleft-embedded-ready", daemon=True)
        reader.start()
        try:
            line = lines.get(timeout=self._start_s)
        except queue.Empty:
            self._process.kill()
            reader.join()
            raise EmbeddedWorkerError(f"the embedded worker was not ready within {self._start_s:g} s") from None
        reader.join()
        if not line.strip():
            code = self._process.wait()
            raise EmbeddedWorkerError(f"the embedded worker stopped at start (exit code {code}): {self._last_words()}")
        return line

    def _last_words(self) -> str:
        assert self._stderr is not None
        self._stderr.seek(0)
        lines = [line.strip() for line in self._stderr.readlines()[-_NOISE_LINES:] if line.strip()]
        return lines[-1] if lines else "it said nothing"


def _target(line: str) -> str:
    """The address in the worker's ready line.

    Raises:
        EmbeddedWorkerError: the line is not one that a worker of this version prints.
    """
    with contextlib.suppress(ValueError, TypeError, KeyError):
        ready = json.loads(line)
        return f"{ready['host']}:{ready['port']}"
    raise EmbeddedWorkerError(f"the embedded worker's first line cannot be read: {line.strip()[:200]!r}")
