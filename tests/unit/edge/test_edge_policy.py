from __future__ import annotations

import pytest

from edge.bandwidth import Estimate, Estimator
from edge.policy import Choice, Policy, PolicySettings
from partitioner.cost import IDLE, Candidate, Load
from partitioner.link import Link
from partitioner.optimize.constraints import Constraints
from partitioner.planner import Planner
from tests.steered import ROWS, planner_of, row

PLANNER = planner_of()


def known(mbit: float, *, rtt_ms: float = 20.0, spread: float = 0.0) -> Estimate:
    """A link that is known as well as this."""
    link = Link.from_mbit(mbit, 2 * mbit, rtt_ms)
    slow, fast = (Link.from_mbit(mbit / (1 + part), 2 * mbit / (1 + part), rtt_ms) for part in (spread, -spread))
    pace_var = (spread / link.up_bytes_per_s / 1.5) ** 2
    return Estimate(link=link, low=slow, high=fast, age_s=0.0, is_expired=False, pace_var=pace_var)


class Deciding:
    """One decision after the other, a tenth of a second apart."""

    def __init__(self, planner: Planner = PLANNER, settings: PolicySettings | None = None) -> None:
        self.planner = planner
        self.policy = Policy(settings)
        self.current: Candidate | None = None
        self.now_s = 0.0

    def __call__(self, estimate: Estimate, *, load: Load = IDLE, is_reachable: bool = True, times: int = 1) -> Choice:
        for _ in range(times):
            self.now_s += 0.1
            choice = self.policy.decide(
                self.planner,
                estimate=estimate,
                load=load,
                is_reachable=is_reachable,
                current=self.current,
                now_s=self.now_s,
            )
            self.current = choice.candidate
        return choice


def best(mbit: float, load: Load = IDLE) -> str:
    return PLANNER.at(Link.from_mbit(mbit, 2 * mbit, 20.0), load).candidate.cut


@pytest.mark.parametrize("mbit", [1, 2, 5, 10, 20, 50, 200])
def test_the_first_choice_is_the_planners(mbit):
    choice = Deciding()(known(mbit))
    assert choice.candidate.cut == best(mbit)
    assert not choice.is_switch
    assert choice.predicted_s == PLANNER.at(known(mbit).link).predicted_s


def test_a_step_down_of_the_rate_moves_the_cut_at_once_and_says_why():
    decide = Deciding()
    decide(known(50))
    choice = decide(known(2))
    assert choice.is_switch
    assert choice.candidate.is_local
    assert choice.reason == "up 50 -> 2 Mbit/s: cloud would take 2.45 s, local 385 ms"
    assert choice.gain == pytest.approx((2.453 - 0.385) / 0.385, rel=0.01)


def test_the_reason_stays_with_the_plan():
    decide = Deciding()
    decide(known(50))
    moved = decide(known(2))
    assert decide(known(2.1), times=5).reason == moved.reason


def test_a_small_gain_moves_the_cut_after_several_decisions_only():
    decide = Deciding()
    decide(known(45))
    assert decide.current is not None
    assert decide.current.cut == "after:maxpool"
    assert not decide(known(70)).is_switch
    assert any(decide(known(70)).is_switch for _ in range(10))
    assert decide.current.cut == "cloud"


def test_a_gain_within_the_doubt_moves_nothing():
    decide = Deciding()
    decide(known(45))
    assert not any(decide(known(70, spread=0.9)).is_switch for _ in range(100))
    assert any(decide(known(70, spread=0.02)).is_switch for _ in range(10))


def test_gains_that_come_and_go_move_nothing():
    decide = Deciding()
    decide(known(47.5))
    for turn in range(3000):
        assert not decide(known(47.5 * (1.15 if turn % 2 else 0.87))).is_switch


def test_no_more_than_two_moves_fit_into_four_seconds_whatever_the_link_does():
    decide = Deciding()
    decide(known(50))
    moved = [decide.now_s for turn in range(200) if decide(known(50 if turn % 3 else 1)).is_switch]
    assert len(moved) >= 10
    assert all(third - first >= 4.0 for first, third in zip(moved, moved[2:], strict=False))


def test_the_loss_of_the_worker_and_its_return_count_at_once():
    decide = Deciding()
    decide(known(50))
    alone = decide(known(50), is_reachable=False)
    assert alone.is_switch
    assert alone.candidate.is_local
    assert "no worker" in alone.reason
    assert not decide(known(50), is_reachable=False, times=3).is_switch
    back = decide(known(50))
    assert back.is_switch
    assert back.candidate.cut == best(50)
    assert back.reason.startswith("the worker is back")


def test_losing_the_worker_ten_times_in_a_row_is_followed_each_time():
    decide = Deciding()
    decide(known(50))
    for _ in range(10):
        assert decide(known(50), is_reachable=False).candidate.is_local
        assert not decide(known(50)).candidate.is_local


def test_a_busy_worker_loses_its_work_and_the_reason_is_its_queue():
    decide = Deciding()
    decide(known(50))
    choice = decide(known(50), load=Load(queue_s=2.0), times=2)
    assert choice.candidate.is_local
    assert choice.reason.startswith("worker's queue 0 ms -> 2.00 s")


def test_a_long_round_trip_is_named_as_the_reason():
    decide = Deciding()
    decide(known(50))
    choice = decide(known(50, rtt_ms=1500), times=2)
    assert choice.candidate.is_local
    assert choice.reason.startswith("round trip 20 ms -> 1.50 s")


def test_without_a_local_plan_the_one_in_use_stays_when_the_worker_is_lost():
    decide = Deciding(planner_of(*ROWS[:3]))
    decide(known(50))
    choice = decide(known(50), is_reachable=False)
    assert choice.candidate.cut == "cloud"
    assert not choice.is_switch


def test_where_no_plan_is_in_time_the_fastest_is_taken():
    table = PLANNER.everything
    decide = Deciding(Planner(table, constraints=Constraints(deadline_s=0.3)))
    assert decide(known(1)).candidate.is_local


def test_a_plan_that_is_gone_is_left_and_the_reason_names_it():
    decide = Deciding()
    decide(known(50))
    decide.planner = planner_of(*ROWS[2:])
    choice = decide(known(50))
    assert choice.is_switch
    assert "cloud is no longer among the plans" in choice.reason


class TestProbing:
    def test_it_is_wanted_once_a_second_where_the_link_is_why_nothing_is_sent(self):
        decide = Deciding()
        decide(known(2), times=5)
        now_s = decide.now_s
        assert [decide.policy.wants_probe(now_s + later_s) for later_s in (0, 0.3, 0.6, 1.0, 1.5, 2.0)] == [
            True,
            False,
            False,
            True,
            False,
            True,
        ]

    def test_it_is_not_wanted_where_frames_tell_enough(self):
        decide = Deciding()
        decide(known(50), times=5)
        assert not decide.policy.wants_probe(decide.now_s)

    def test_it_is_not_wanted_where_no_link_would_change_the_plan(self):
        cloud = row("cloud", 0, up_bytes=1e6, head_ms=50, tail_ms=50)
        decide = Deciding(planner_of(cloud, row("local", 9, up_bytes=0, head_ms=60, tail_ms=0, down_bytes=0)))
        decide(known(2), times=5)
        assert not decide.policy.wants_probe(decide.now_s)

    def test_it_is_not_wanted_without_a_worker_nor_without_requests(self):
        decide = Deciding()
        decide(known(2), times=5)
        assert not decide.policy.wants_probe(decide.now_s + 60)
        decide(known(2), is_reachable=False)
        assert not decide.policy.wants_probe(decide.now_s)

    def test_the_workers_load_is_asked_for_where_it_is_why_nothing_is_sent(self):
        decide = Deciding()
        decide(known(50), load=Load(queue_s=2.0), times=5)
        assert decide.policy.is_load_bound
        decide(known(2), times=20)
        assert not decide.policy.is_load_bound


def test_what_nobody_measured_is_decided_too():
    choice = Deciding()(Estimator().at(0.0))
    assert choice.candidate in PLANNER.everything.candidates
