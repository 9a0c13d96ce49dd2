"""A trial's order, its limits, and how it is asked for."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import EdgeError, WorkerLost
from edge.session import Session
from edge.trial import NEVER_S, Trial, TrialPlan, read_trial, run_trial, turns
from partitioner.errors import UsageError
from partitioner.inputs import Sample

DEFAULTS = Trial(plans=(), cloud="host:1", slowdown=2.0, seed=7, time_limit_s=NEVER_S)
SAMPLE = Sample(name="x", tensors={"x": np.zeros(1, np.float32)}, nbytes_original=4)


def plans(*rounds: int) -> tuple[TrialPlan, ...]:
    return tuple(TrialPlan(cut=f"after:{index}", codec="none", rounds=each) for index, each in enumerate(rounds))


@given(st.lists(st.integers(0, 6), min_size=1, max_size=8), st.integers(0, 99))
def test_every_plan_runs_once_a_round_and_rounds_never_overlap(rounds: list[int], seed: int) -> None:
    asked = plans(*rounds)
    found = list(turns(asked, seed))
    assert [number for number, _ in found] == sorted(number for number, _ in found)
    assert found[: len(asked)] == [(0, index) for index in range(len(asked))]
    assert Counter(index for _, index in found) == {index: each + 1 for index, each in enumerate(rounds)}
    assert len(set(found)) == len(found)


def test_rounds_are_shuffled_and_a_seed_repeats_them() -> None:
    asked = plans(*[9] * 6)
    orders = {tuple(index for number, index in turns(asked, 1) if number == each) for each in range(1, 10)}
    assert len(orders) > 5
    assert list(turns(asked, 1)) == list(turns(asked, 1)) != list(turns(asked, 2))


class Device:
    """A session whose plans take known times on a clock of their own; ``after:2`` loses its worker."""

    def __init__(self, *takes_s: float, is_lost: bool = False) -> None:
        self.now_s = 0.0
        self.takes_s = takes_s
        self.is_lost = is_lost

    def now(self) -> float:
        return self.now_s

    def ready(self, sample: Sample, *, cut: str, codec: str | None) -> int:
        self.now_s += 0.5
        return int(cut.removeprefix("after:"))

    def answer(self, sample: Sample, selected: int) -> object:
        if self.is_lost:
            raise WorkerLost("host:1", reason="gone")
        self.now_s += self.takes_s[selected]
        return SimpleNamespace(takes_s=self.takes_s[selected])


def ran(device: Device, trial: Trial) -> tuple[list[tuple[int, int]], dict[int, int]]:
    left_out: dict[int, int] = {}
    found = run_trial(cast("Session", device), SAMPLE, trial, left_out=left_out, now=device.now)
    return [(each.round, each.plan) for each in found], left_out


def test_a_run_that_would_not_fit_is_left_out_and_told() -> None:
    device = Device(1.0, 5.0)
    trial = Trial(plans=plans(3, 3), cloud=None, slowdown=1.0, seed=0, time_limit_s=14.0)
    found, left_out = ran(device, trial)
    assert device.now_s <= 14.0
    runs = Counter(index for _, index in found)
    assert {index: 4 - left_out.get(index, 0) for index in (0, 1)} == runs
    assert left_out[1] == 2


def test_rounds_without_end_end_in_time() -> None:
    trial = Trial(plans=plans(10**15, 2), cloud=None, slowdown=1.0, seed=0, time_limit_s=14.0)
    found, left_out = ran(Device(1.0, 1.0), trial)
    assert sum(1 for _, index in found if index == 0) == 10**15 + 1 - left_out[0] > 5
    assert 1 not in left_out


def test_without_a_limit_nothing_is_left_out() -> None:
    found, left_out = ran(Device(1.0, 5.0), Trial(plans=plans(2, 1), cloud=None, slowdown=1, seed=0, time_limit_s=1e9))
    assert len(found) == 5
    assert left_out == {}


def test_a_lost_worker_ends_the_trial() -> None:
    with pytest.raises(EdgeError, match="gone"):
        ran(Device(1.0, is_lost=True), Trial(plans=plans(1), cloud=None, slowdown=1, seed=0, time_limit_s=1e9))


def test_what_a_trial_does_not_say_is_taken_from_the_options() -> None:
    found = read_trial(
        '{"plans": [{"cut": "local"}, {"cut": "cloud", "codec": "none", "rounds": 9}]}', DEFAULTS, rounds=4
    )
    assert found.plans == (
        TrialPlan(cut="local", codec=None, rounds=4),
        TrialPlan(cut="cloud", codec="none", rounds=9),
    )
    assert (found.cloud, found.slowdown, found.seed) == ("host:1", 2.0, 7)
    told = '{"plans": [{"cut": "local"}], "cloud": "h:2", "slowdown": 8, "seed": 1, "time_limit_s": 3}'
    assert read_trial(told, DEFAULTS, rounds=4) == Trial(
        plans=(TrialPlan(cut="local", codec=None, rounds=4),), cloud="h:2", slowdown=8.0, seed=1, time_limit_s=3.0
    )


@pytest.mark.parametrize(
    "text", ["", "7", "{", '{"plans": []}', '{"plans": [{}]}', '{"plans": [{"cut": "local", "rounds": -1}]}']
)
def test_what_is_no_trial_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError, match="this is no trial") as refused:
        read_trial(text, DEFAULTS, rounds=1)
    assert "\n" not in str(refused.value)
