"""Daemons and workers as processes, for the tests that kill them."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import IO

import torch

STOP_S = 30.0


@dataclass
class Served:
    """One process of ours that serves; ``ready`` is its first line."""

    process: subprocess.Popen[str]
    stderr: IO[str]
    ready: dict[str, object] = field(default_factory=dict)

    @property
    def target(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.ready['port']}"

    def said(self) -> str:
        """What it wrote to stderr so far."""
        self.stderr.seek(0)
        return self.stderr.read()

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.terminate()
        return self.process.wait(STOP_S)


@contextmanager
def started(program: str, *argv: object) -> Iterator[Served]:
    """``cleft-edge serve`` or ``cleft-cloud serve`` from its ready line until the end of the block."""
    with tempfile.TemporaryFile("w+") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", program, "serve", "--json", "--threads", "1", *map(str, argv)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        served = Served(process, stderr)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, f"it did not start: {served.said()}"
            served.ready = json.loads(line)
            yield served
        finally:
            process.kill()
            process.communicate()


def daemon(*argv: object) -> AbstractContextManager[Served]:
    """An edge daemon on a free port."""
    return started("edge", "--port", 0, *argv)


def worker(models: Sequence[object], *, port: int = 0) -> AbstractContextManager[Served]:
    """A worker."""
    return started("cloud", "--port", port, "--model", *models)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def convolving() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """Much to compute for little that crosses: on an emulated slow device the worker is ten times faster."""
    torch.manual_seed(0)
    layers = [layer for _ in range(6) for layer in (torch.nn.Conv2d(16, 16, 3, padding=1), torch.nn.ReLU())]
    return torch.nn.Sequential(*layers).eval(), (torch.randn(1, 16, 48, 48),)
