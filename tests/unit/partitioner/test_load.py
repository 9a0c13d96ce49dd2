"""A load against the queueing formulas, and against a queue that is played through."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.cli.advise import load_notes
from partitioner.cost import IDLE, Load, load_of
from partitioner.errors import UsageError

shares = st.floats(0, 1)
counts = st.integers(0, 1000)


def waits_s(busy: float, *, jobs: int = 60_000) -> float:
    """Mean wait of jobs of one second that arrive at random on one thread (Lindley's recursion)."""
    chance = random.Random(7)
    wait_s, total_s = 0.0, 0.0
    for _ in range(jobs):
        total_s += wait_s
        wait_s = max(0.0, wait_s + 1.0 - chance.expovariate(busy))
    return total_s / jobs


@pytest.mark.parametrize("busy", [0.2, 0.5, 0.8])
def test_the_wait_is_that_of_a_queue_played_through(busy):
    assert load_of(busy_ratio=busy, job_s=1.0).queue_s == pytest.approx(waits_s(busy), rel=0.1)


def test_a_worker_that_does_nothing_is_idle():
    assert load_of() == load_of(job_s=0.25) == IDLE == Load(queue_s=0.0, slowdown=1.0)
    assert load_of().is_idle


@pytest.mark.parametrize(
    ("load", "is_told"),
    [
        (IDLE, False),
        (Load(queue_s=2e-7), False),
        (Load(queue_s=9e-4, slowdown=1.01), False),
        (Load(queue_s=2e-3), True),
        (Load(slowdown=1.1), True),
    ],
)
def test_advice_tells_of_a_load_that_is_felt_alone(load, is_told):
    assert [note.startswith("the worker is busy: ") for note in load_notes(load)] == [True] * is_told


@given(counts, counts, shares, shares, st.floats(1e-6, 10) | st.none())
def test_more_load_never_waits_less(queued, more, busy, busier, job_s):
    low, high = sorted((busy, busier))
    less, most = (
        load_of(queued=count, busy_ratio=share, job_s=job_s) for count, share in ((queued, low), (queued + more, high))
    )
    assert less.queue_s <= most.queue_s
    assert less.slowdown <= most.slowdown


@given(counts, shares, st.floats(1e-6, 10))
def test_a_wait_is_at_least_what_stands_before(queued, busy, job_s):
    assert load_of(queued=queued, busy_ratio=busy, job_s=job_s).queue_s >= queued * job_s
    assert load_of(queued=queued, busy_ratio=busy).slowdown >= 1 + queued


@pytest.mark.parametrize("figures", [{"queue_s": -1.0}, {"slowdown": 0.0}, {"queue_s": float("nan")}])
def test_nonsense_is_no_load(figures):
    with pytest.raises(UsageError, match="this is no load"):
        Load(**figures)


@pytest.mark.parametrize("figures", [{"queued": -1}, {"busy_ratio": -0.1}, {"busy_ratio": float("inf")}])
def test_a_worker_that_says_nonsense_is_refused(figures):
    with pytest.raises(UsageError, match="no load of a worker"):
        load_of(**figures)
