"""Bundles of small models, and workers in processes of their own."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from daemon_rig import Site, served

from edge.cli import main
from edge.embedded import EmbeddedWorker
from partitioner.bundle import Bundle
from partitioner.zoo import resolve


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if "CLEFT_CACHE_DIR" not in os.environ:
            patch.setenv("CLEFT_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def digits(_cache: None) -> Bundle:
    return resolve("digits")


@pytest.fixture(scope="session")
def branching(_cache: None) -> Bundle:
    return resolve("edge_support:branches")


@pytest.fixture(scope="session")
def wording(_cache: None) -> Bundle:
    return resolve("edge_support:words", dynamic=("ids=_,t:2..64", "is_padding=_,t"))


@pytest.fixture(scope="session")
def averaging(_cache: None) -> Bundle:
    return resolve("edge_support:averages")


@pytest.fixture
def start_worker() -> Iterator[Callable[..., EmbeddedWorker]]:
    """Start workers that stop with the test."""
    started: list[EmbeddedWorker] = []

    def start(bundle: Bundle, *more: str) -> EmbeddedWorker:
        started.append(EmbeddedWorker(bundle.path, arguments=("--threads", "1", *more)))
        started[-1].start()
        return started[-1]

    yield start
    for worker in started:
        if worker.pid is not None and worker.is_alive:
            os.kill(worker.pid, signal.SIGCONT)
        worker.stop()


@pytest.fixture(autouse=True)
def _no_leaked_threads() -> Iterator[None]:
    """Our threads end with the test; gRPC's own get a moment to notice."""
    before = set(threading.enumerate())
    yield
    deadline_s = time.monotonic() + 5
    for thread in set(threading.enumerate()) - before:
        thread.join(max(0.0, deadline_s - time.monotonic()))
    left = [thread.name for thread in threading.enumerate() if thread not in before and thread.is_alive()]
    assert not left, f"leaked threads: {left}"


@pytest.fixture
def cleft_edge(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command; gives exit code, stdout and stderr."""

    def run(*argv: object) -> tuple[int, str, str]:
        code = main([str(each) for each in argv])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return run


@pytest.fixture
def site(digits: Bundle, wording: Bundle, branching: Bundle) -> Iterator[Site]:
    """A daemon of three models over sessions that the test bends."""
    with served({"digits": digits, "words": wording, "branches": branching}) as running:
        yield running
