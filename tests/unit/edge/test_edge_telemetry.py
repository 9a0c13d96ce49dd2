from __future__ import annotations

import threading

import pytest

from edge.telemetry import COUNTERS, Counters


def test_nothing_is_lost_when_several_threads_count() -> None:
    counters = Counters()

    def count() -> None:
        for _ in range(1_000):
            counters.add(offered=1, answered=2)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counters.snapshot()["offered"] == 4_000
    assert counters.snapshot()["answered"] == 8_000


def test_a_snapshot_names_every_counter_and_does_not_change_later() -> None:
    counters = Counters()
    before = counters.snapshot()
    counters.add(late=1)
    assert tuple(before) == tuple(COUNTERS)
    assert not any(before.values())


def test_a_counter_that_is_not_declared_is_refused() -> None:
    with pytest.raises(KeyError, match="laet"):
        Counters().add(laet=1)
