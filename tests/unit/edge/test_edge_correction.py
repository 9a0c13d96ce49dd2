from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.correction import FADES_S, Correction
from partitioner.link import Link
from tests.steered import planner_of


def noted(*ratios: float, plan: str = "a", at_s: float = 0.0) -> Correction:
    correction = Correction()
    for ratio in ratios:
        correction.note(plan, predicted_s=0.1, measured_s=0.1 * ratio, at_s=at_s)
    return correction


def test_without_measurements_the_profile_is_believed():
    assert Correction().factor("a", 0.0) == 1.0
    assert Correction().factors(["a", "b"], 0.0).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("factor", [0.5, 2.0, 5.0])
def test_a_profile_that_is_off_is_noticed_within_twenty_runs_of_any_noise_of_a_fifth(factor):
    random = np.random.default_rng(0)
    correction = noted(*(factor * random.uniform(0.8, 1.2, 20)))
    assert correction.factor("a", 0.0) == pytest.approx(factor, rel=0.15)


def test_a_change_after_many_runs_is_noticed_within_nine():
    correction = noted(*[1.0] * 500, *[2.0] * 9)
    assert correction.factor("a", 0.0) == pytest.approx(2.0)


@given(st.lists(st.floats(0.95, 1.05), min_size=8, max_size=30), st.floats(0.001, 1000.0), st.integers(0, 29))
def test_a_single_outlier_does_nothing(ratios, outlier, place):
    correction = noted(*ratios[:place], outlier, *ratios[place:])
    assert 0.94 < correction.factor("a", 0.0) < 1.06


def test_a_plan_that_was_never_run_is_off_by_what_the_others_are():
    correction = noted(*[2.0] * 5, plan="a")
    assert correction.factor("b", 0.0) == pytest.approx(2.0)


def test_a_plan_that_was_run_is_off_by_what_it_was_itself():
    correction = noted(*[2.0] * 9, plan="a")
    for _ in range(9):
        correction.note("b", predicted_s=0.1, measured_s=0.1, at_s=1.0)
    assert correction.factor("a", 1.0) == pytest.approx(2.0)
    assert correction.factor("b", 1.0) == pytest.approx(1.0)


def test_a_factor_that_nobody_measures_fades():
    correction = noted(*[4.0] * 9)
    assert correction.factor("a", FADES_S) == pytest.approx(4.0)
    assert 1.0 < correction.factor("a", 1.9 * FADES_S) < 3.0
    assert correction.factor("a", 10 * FADES_S) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("measured_s", [0.0, -1.0, math.nan, math.inf])
def test_times_that_are_none_say_nothing(measured_s):
    correction = Correction()
    for _ in range(9):
        correction.note("a", predicted_s=0.1, measured_s=measured_s, at_s=0.0)
    assert correction.factor("a", 0.0) == 1.0


def test_what_takes_no_time_by_the_profile_says_nothing():
    correction = Correction()
    for _ in range(9):
        correction.note("a", predicted_s=1e-6, measured_s=1e-3, at_s=0.0)
    assert correction.factor("b", 0.0) == 1.0


@given(st.lists(st.floats(0.1, 10.0), min_size=4, max_size=4), st.lists(st.floats(0.1, 10.0), min_size=4, max_size=4))
def test_a_table_is_scaled_in_heads_and_tails_and_in_nothing_else(heads, tails):
    table = planner_of().everything
    scaled = table.scaled(np.array(heads), np.array(tails))
    link = Link.from_mbit(10, 20, 5)
    for row, (before, after) in enumerate(zip(table.breakdowns(link), scaled.breakdowns(link), strict=True)):
        assert after.head_s == pytest.approx(before.head_s * heads[row])
        assert after.tail_s == pytest.approx(before.tail_s * tails[row])
        rest = before.total_s - before.head_s - before.tail_s
        assert after.total_s - after.head_s - after.tail_s == pytest.approx(rest, abs=1e-9)
    assert scaled.candidates is table.candidates
