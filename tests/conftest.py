"""The rules of the suite: nothing outlives its test, leaves this machine, or reads the user's own cache.

One torch thread, because 1 against 2 threads changes results in the last bit. Models are packed once for the session.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import psutil
import pytest

if TYPE_CHECKING:
    from partitioner.bundle import Bundle

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # read when torch is imported, here or in a child

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job: what tests start would never hear it
    signal.signal(signal.SIGINT, signal.default_int_handler)

hypothesis.settings.register_profile("cleft", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("cleft")

TOGETHER = (
    "property/",
    "unit/partitioner/",
    "unit/protos/",
    "integration/test_branch_candidates",
    "integration/test_bundle_elsewhere",
    "integration/test_every_",
    "integration/test_fit_runs",
    "integration/test_json_schemas",
    "integration/test_leakage_runs",
    "integration/test_without_torch",
)
"""What may run beside other tests: it computes, and keeps no time. A new folder is on the safe side until it is named
here."""
APART = ("unit/partitioner/test_measure", "unit/partitioner/test_energy_measured", "unit/partitioner/test_relay")

GRACE_S = 5.0
_LIVES_ON = ("pytest_timeout", "_poll_wrapper", "pydevd", "Dummy-")
"""Parts of names of threads that end with the process: the test runner's own, grpc.aio's single poller, and threads of
gRPC's core that called into Python, which gives them a name."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what must have the machine for itself; ``make test`` runs the rest in two processes at once."""
    root = Path(__file__).parent
    for item in items:
        name = item.path.relative_to(root).as_posix()
        if not name.startswith(TOGETHER) or name.startswith(APART):
            item.add_marker(pytest.mark.alone)


@pytest.fixture(scope="session", autouse=True)
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache of this session, for the tests and for the processes they start."""
    path = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLEFT_CACHE_DIR", str(path))
        patch.setenv("CLEFT_RUNTIME", "eager")  # bit-equal on both sides; tests of another runtime name it
        yield path


@pytest.fixture(scope="session", autouse=True)
def _loopback_only() -> Iterator[None]:
    """Python's sockets reach this machine alone, so that a test that wants the internet fails everywhere alike."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: tuple[str, int] | str | bytes) -> None:
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"tests stay on this machine: {address[0]} is refused")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    """A thread or child process that a test starts ends with it. What a wider fixture started was there before."""
    threads, children = set(threading.enumerate()), set(_children())
    yield
    started = [each for each in threading.enumerate() if each not in threads and not _lives_on(each)]
    for thread in started:
        thread.join(timeout=GRACE_S)
    assert not [each.name for each in started if each.is_alive()], "a thread outlived its test"
    _, alive = psutil.wait_procs([each for each in _children() if each not in children], timeout=GRACE_S)
    for child in alive:
        child.kill()
    assert not alive, "a process outlived its test"


@pytest.fixture(autouse=True)
def _the_log_is_of_one_test() -> Iterator[None]:
    """A long-running command that is run in this process sends its log to a stderr that is closed after the test."""
    root = logging.getLogger()
    handlers, level = [*root.handlers], root.level
    yield
    for handler in [each for each in root.handlers if type(each) is logging.StreamHandler and each not in handlers]:
        root.removeHandler(handler)
        root.setLevel(level)


@pytest.fixture(scope="session")
def packed_case(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bundle]:
    """The bundle of one of ``tests.models.CASES`` or ``tests.models_more.MORE``, packed once."""
    from tests import every_cut
    from tests.models import CASES
    from tests.models_more import MORE

    made: dict[str, Bundle] = {}

    def pack(name: str) -> Bundle:
        if name not in made:
            case = {**CASES, **MORE}[name]()
            made[name] = every_cut.pack(
                case.module,
                tmp_path_factory.mktemp("bundles") / name,
                args=case.args,
                kwargs=case.kwargs,
                dynamic=case.dynamic,
            )
        return made[name]

    return pack


def _children() -> list[psutil.Process]:
    return [each for each in psutil.Process().children(recursive=True) if not _is_of_the_run(each)]


def _is_of_the_run(process: psutil.Process) -> bool:
    """Python's own tracker, and the browser's processes, which come and go until the page's tests end it."""
    try:
        return process.name().startswith("chrom") or any("resource_tracker" in part for part in process.cmdline())
    except psutil.Error:
        return True


def _lives_on(thread: threading.Thread) -> bool:
    return any(part in thread.name for part in _LIVES_ON)
