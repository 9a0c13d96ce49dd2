from __future__ import annotations

import pytest

from edge.backoff import Backoff, is_lasting
from edge.config import TIMEOUTS
from edge.errors import EdgeError, NotAWorker, NotSecured, NotTrusted, WorkerRefused, WorkerUnreachable


def backoff(jitter: float = 0.5) -> Backoff:
    return Backoff(TIMEOUTS, jitter=lambda: jitter)


def test_pauses_double_up_to_a_limit_and_begin_anew_once_a_worker_stayed() -> None:
    pauses = backoff()
    assert [pauses.pause_s() for _ in range(3)] == [TIMEOUTS.redial_s, TIMEOUTS.redial_max_s, TIMEOUTS.redial_max_s]
    pauses.reset()
    assert pauses.pause_s() == TIMEOUTS.redial_s


@pytest.mark.parametrize("jitter", [0.0, 0.999])
def test_devices_that_lost_a_worker_together_come_back_apart_and_within_three_seconds(jitter: float) -> None:
    pauses = backoff(jitter)
    taken_s = [pauses.pause_s() for _ in range(10)]
    assert taken_s[0] == pytest.approx((0.5 + jitter) * TIMEOUTS.redial_s)
    assert max(taken_s) <= 3.0


@pytest.mark.parametrize(
    "error",
    [
        WorkerRefused("UNAUTHENTICATED", "no token"),
        WorkerRefused("UNKNOWN_MODEL", "it serves another"),
        WorkerRefused("UNSUPPORTED", "version 2"),
        NotTrusted("host:1", reason="expired"),
        NotSecured("no such file"),
    ],
)
def test_a_refusal_that_will_be_repeated_makes_the_pauses_long_but_never_endless(error: EdgeError) -> None:
    pauses = backoff()
    taken_s = [pauses.more_s(error) for _ in range(8)]
    assert is_lasting(error)
    assert taken_s[0] == TIMEOUTS.refused_s
    assert taken_s[1] == 2 * TIMEOUTS.refused_s
    assert taken_s[-1] == TIMEOUTS.refused_max_s


@pytest.mark.parametrize(
    "error", [WorkerUnreachable("host:1", reason="closed"), NotAWorker("host:1", reason="relay"), EdgeError("?")]
)
def test_a_worker_that_is_merely_away_is_tried_again_soon_however_often_it_was(error: EdgeError) -> None:
    pauses = backoff()
    assert not is_lasting(error)
    assert max(pauses.more_s(error) for _ in range(8)) < TIMEOUTS.redial_s


def test_a_worker_that_names_a_time_is_not_dialled_before_it() -> None:
    error = WorkerRefused("OVERLOADED", "full", retry_after_s=8.0)
    assert not is_lasting(error)
    assert min(backoff(jitter).more_s(error) for jitter in (0.0, 0.5, 0.999)) >= 8.0
