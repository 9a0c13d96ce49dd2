"""Workers that rows share, an oracle that no wire touches, and the table that ``make chaos`` prints."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from history import Given, Oracle
from rig import IS_FULL, OWNED, Pool
from rows import ROWS, summary

from partitioner.bundle import Bundle
from partitioner.runtimes import Array
from partitioner.runtimes.eager import open_engine
from partitioner.segments import Cuts
from partitioner.zoo import resolve

GRACE_S = 5.0
_LIVES_ON = ("pytest_timeout", "_poll_wrapper", "pydevd")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "row(number): a row of the table of faults to survive")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if IS_FULL:
        terminalreporter.write_line("")
        for line in summary([report for reports in terminalreporter.stats.values() for report in reports]):
            terminalreporter.write_line(line)


@pytest.fixture(autouse=True)
def _row(request: pytest.FixtureRequest) -> None:
    for marker in request.node.iter_markers("row"):
        assert marker.args[0] in ROWS
        request.node.user_properties.append(("row", marker.args[0]))


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Note what was measured, in a few words, for the table."""

    def note(text: str) -> None:
        request.node.user_properties.append(("figure", text))

    return note


@pytest.fixture(scope="session")
def bundles() -> dict[str, Bundle]:
    """The models of ``fault_models`` that the shared workers serve."""
    return {name: resolve(f"fault_models:{name}") for name in ("ladder", "bulk", "grind", "spread", "overwriting")}


@pytest.fixture(scope="session")
def pool(bundles: dict[str, Bundle]) -> Iterator[Pool]:
    shared = Pool([Path(bundle.path) for bundle in bundles.values()])
    shared.begin(2)
    yield shared
    shared.stop()


@pytest.fixture(scope="session")
def oracle() -> Callable[[Bundle], Oracle]:
    """The whole model computed here, by an engine of its own."""
    made: dict[str, Oracle] = {}

    def of(bundle: Bundle) -> Oracle:
        if bundle.digest not in made:
            whole = open_engine(bundle, device="cpu").segment(Cuts(bundle.graph, bundle.digest).whole())
            paths = {output.name: output.path for output in bundle.graph.outputs if output.name is not None}

            def compute(given: Given) -> dict[str, Array]:
                return {paths[name]: array for name, array in whole(given).items()}

            made[bundle.digest] = compute
        return made[bundle.digest]

    return of


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    """As everywhere, but for the workers that rows share, which the pool ends."""
    threads, children = set(threading.enumerate()), set(psutil.Process().children(recursive=True))
    yield
    started = [each for each in threading.enumerate() if each not in threads]
    started = [each for each in started if not any(part in each.name for part in _LIVES_ON)]
    for thread in started:
        thread.join(timeout=GRACE_S)
    assert not [each.name for each in started if each.is_alive()], "a thread outlived its test"
    new = [each for each in psutil.Process().children(recursive=True) if each not in children and each.pid not in OWNED]
    _, alive = psutil.wait_procs(new, timeout=GRACE_S)
    for child in alive:
        child.kill()
    assert not alive, "a process outlived its test"
