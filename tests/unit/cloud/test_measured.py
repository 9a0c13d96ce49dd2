"""What the worker measures of itself: costs of jobs, shares of its time, and batch sizes that pay."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from cloud.batchsizes import BatchSizes
from cloud.costs import Costs
from cloud.shares import Shares


def test_a_kind_is_known_from_its_first_job_and_costs_nothing_before():
    costs = Costs()
    assert costs.of("tail") == costs.of(None) == costs.mean_s == 0
    costs.note("tail", 0.2)
    costs.note("head", 0.002)
    assert costs.of("tail") == 0.2
    assert costs.of("head") == 0.002
    assert costs.of("new") == 0
    assert 0.002 < costs.of(None) < 0.2


def test_kinds_are_remembered_within_a_bound():
    costs = Costs()
    for kind in range(5000):
        costs.note(kind, 1.0)
    assert costs.of(4999) == 1.0
    assert costs.of(0) == 0.0


def test_the_shares_of_clients_add_up_to_that_of_all():
    shares, now_s = Shares(0.0), 0.0
    for _ in range(400):
        for clients, run_s in ((("a",), 0.01), (("a", "b"), 0.02), ((), 0.01)):
            shares.begin(clients, now_s)
            now_s += run_s
            shares.end(now_s)
        now_s += 0.01
    parts = [shares.busy_ratio_of(client, now_s) for client in ("a", "b", "nobody")]
    assert sum(parts) == pytest.approx(shares.busy_ratio(now_s), rel=0.02)
    assert parts == pytest.approx([0.4, 0.2, 0.0], abs=0.05)
    assert shares.busy_ratio(now_s + 60) < 1e-4


def test_a_run_counts_while_it_runs():
    shares = Shares(0.0)
    shares.begin(("a",), 1.0)
    assert shares.busy_ratio(6.0) == pytest.approx(1 - math.exp(-1))
    assert shares.busy_ratio_of("a", 6.0) == pytest.approx(1 - math.exp(-1))
    assert shares.busy_ratio_of("b", 6.0) == 0


def runs(sizes: BatchSizes, took_s: Callable[[int], float], *, waiting: int = 16, count: int = 3000) -> float:
    """Frames per second of a queue that is never short of frames."""
    frames, time_s = 0, 0.0
    for _ in range(count):
        size = sizes.most(waiting)
        sizes.note(size, took_s(size))
        frames, time_s = frames + size, time_s + took_s(size)
    return frames / time_s


@pytest.mark.parametrize(
    ("took_s", "best"),
    [
        (lambda size: 1.0 + 0.1 * size, 16),
        (lambda size: 1.0 * size, 1),
        (lambda size: 1.3 * size if size > 1 else 1.0, 1),
        (lambda size: {1: 1.0, 2: 2.1, 4: 2.0, 8: 9.0, 16: 40.0}[size], 4),
    ],
    ids=["overhead", "no gain", "a loss", "the middle"],
)
def test_the_size_that_pays_is_found_and_no_other_costs_more_than_a_few_percent(took_s, best):
    sizes = BatchSizes(most=16)
    found = runs(sizes, took_s)
    assert sizes.best == best
    assert found >= 0.95 * best / took_s(best)


def test_a_size_that_stops_paying_is_left_and_one_that_starts_is_found():
    sizes = BatchSizes(most=8)
    runs(sizes, lambda size: 1.0 + 0.1 * size)
    assert sizes.best == 8
    runs(sizes, lambda size: 1.5 * size if size > 1 else 1.0)
    assert sizes.best == 1
    runs(sizes, lambda size: 1.0 + 0.1 * size)
    assert sizes.best == 8


def test_a_size_that_takes_a_multiple_per_frame_is_tried_once_and_larger_ones_not_at_all():
    sizes, tried = BatchSizes(most=16), []
    for _ in range(40):
        tried.append(sizes.most(16))
        sizes.note(tried[-1], 1.0 if tried[-1] == 1 else 6.0 * tried[-1])
    assert sorted(set(tried)) == [1, 2]
    assert tried.count(2) == 1


def test_a_batch_is_never_larger_than_what_waits_nor_than_the_limit():
    sizes = BatchSizes(most=16)
    runs(sizes, lambda size: 1.0)
    assert sizes.most(1) == 1
    assert sizes.most(7) == 4
    sizes.limit(2)
    assert sizes.most(16) <= 2
