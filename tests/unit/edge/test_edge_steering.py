from __future__ import annotations

import logging
import threading
import timeit

import numpy as np
import pytest

from edge.burden import LoadSeen
from edge.steering import Steering
from edge.telemetry import Counters
from partitioner.cost import Load
from partitioner.link import Link
from tests.steered import KIND, TARGET, Ride, planner_of, row

PLANNER = planner_of()
FIVE_STEPS = [(0.0, 50.0), (10.0, 2.0), (20.0, 50.0), (30.0, 2.0), (40.0, 50.0)]


@pytest.mark.parametrize(("jitter_s", "noise"), [(0.0, 0.0), (0.002, 0.1), (0.005, 0.1)])
@pytest.mark.parametrize("seed", range(3))
def test_the_rate_steps_and_the_right_plan_follows_in_time(jitter_s, noise, seed):
    ride = Ride(FIVE_STEPS, PLANNER, jitter_s=jitter_s, noise=noise, seed=seed)
    ride.until(50.0, every_s=0.1)
    for start_s in (10.0, 30.0):
        frames, waited_s = ride.when("local", start_s)
        assert frames <= 3 or waited_s <= 2.0
    for start_s in (20.0, 40.0):
        later = [(index, each) for index, each in enumerate(c for c in ride.cuts if c[0] >= start_s)]
        frames, waited_s = next(
            (index, at_s - start_s) for index, (at_s, cut) in later if cut in ("cloud", "after:maxpool")
        )
        assert frames <= 5 or waited_s <= 3.0
    assert all(ride.switches(begin_s, begin_s + 10.0) <= 2 for begin_s in (0.0, 10.0, 20.0, 30.0, 40.0))


@pytest.mark.parametrize("mbit", [8.0, 8.5, 14.5, 47.0])
def test_ten_minutes_of_noise_of_a_fifth_move_no_cut_wherever_two_plans_cost_the_same(mbit):
    ride = Ride([(0.0, mbit)], PLANNER, noise=0.2, jitter_s=0.001)
    ride.until(600.0, every_s=0.2)
    assert ride.switches(0.0, 600.0) == 0


def test_a_device_that_throttles_is_noticed_within_twenty_frames_and_its_work_goes_to_the_worker():
    ride = Ride([(0.0, 9.0)], PLANNER, device=lambda now_s: 1.0 if now_s < 20 else 2.5)
    ride.until(19.0)
    assert ride.cuts[-1][1] == "after:layer2"
    while ride.wire.now_s < 20:
        ride.request()
    before = len(ride.cuts)
    for _ in range(20):
        ride.request()
    assert ride.cuts[-1][1] == "after:maxpool"
    assert len(ride.cuts) - before == 20


def test_a_worker_with_busy_neighbours_is_noticed_within_twenty_frames():
    ride = Ride([(0.0, 50.0)], planner_of(*PLANNER_ROWS), worker=lambda now_s: 1.0 if now_s < 5 else 8.0)
    ride.until(5.0)
    assert ride.cuts[-1][1] == "cloud"
    for _ in range(20):
        ride.request()
    assert ride.cuts[-1][1] == "local"


PLANNER_ROWS = (
    row("cloud", 0, up_bytes=100_000, head_ms=5, tail_ms=60),
    row("local", 9, up_bytes=0, head_ms=385, tail_ms=0, down_bytes=0),
)


def test_a_worker_that_was_slow_is_tried_again_after_a_minute_or_two():
    ride = Ride([(0.0, 50.0)], planner_of(*PLANNER_ROWS), worker=lambda now_s: 8.0 if now_s < 20 else 1.0)
    ride.until(20.0)
    assert ride.cuts[-1][1] == "local"
    ride.until(150.0)
    assert ride.cuts[-1][1] == "cloud"


def test_the_worker_is_lost_and_back_within_one_request_each():
    ride = Ride([(0.0, 50.0)], PLANNER, is_reachable=lambda now_s: not 5 <= now_s < 10)
    ride.until(15.0)
    assert all(cut == "local" for at_s, cut in ride.cuts if 5 <= at_s < 10)
    assert ride.when("cloud", 10.0)[0] == 0


def test_no_fixed_cut_is_faster_over_steps_of_the_rate():
    ride = Ride(FIVE_STEPS, PLANNER, jitter_s=0.002, noise=0.1)
    ride.until(50.0, every_s=0.5)
    count = len(ride.times_s)
    for fixed in PLANNER.everything.candidates:
        alone = Ride(FIVE_STEPS, planner_of(*[each for each in ROWS_BY_NAME if each.candidate.cut == fixed.cut]))
        while len(alone.times_s) < count:
            begun_s = alone.wire.now_s
            alone.request()
            alone.wire.now_s = max(alone.wire.now_s, begun_s + 0.5)
        assert sum(ride.times_s) < sum(alone.times_s)


ROWS_BY_NAME = tuple(
    row(name, depth, up_bytes=up, head_ms=head, tail_ms=tail, down_bytes=4000 if up else 0)
    for name, depth, up, head, tail in (
        ("cloud", 0, 600_000, 5, 20),
        ("after:maxpool", 2, 400_000, 40, 18),
        ("after:layer2", 5, 100_000, 200, 9),
        ("local", 9, 0, 385, 0),
    )
)


def steering(now_s: list[float]) -> Steering:
    made = Steering(counters=Counters(), now=lambda: now_s[0])
    made.prior(TARGET, Link.from_mbit(50, 100, 20))
    return made


def test_of_kinds_without_end_the_last_are_remembered():
    made = steering([0.0])
    for kind in range(100):
        made.choose(kind, PLANNER, target=TARGET)
    best = PLANNER.everything.candidates[0]
    made.note_answer(0, best, head_s=0.1, tail_s=0.1)
    assert len(made._kinds) == 64
    assert 99 in made._kinds


def test_every_change_is_counted_kept_and_logged_in_one_line(caplog):
    now_s = [0.0]
    counters = Counters()
    made = Steering(counters=counters, now=lambda: now_s[0])
    made.prior(TARGET, Link.from_mbit(50, 100, 20))
    with caplog.at_level(logging.INFO, "edge.policy"):
        for now_s[0] in (0.0, 0.1, 0.2):
            made.choose(KIND, PLANNER, target=TARGET)
        for now_s[0] in (0.3, 0.4):
            made.choose(KIND, PLANNER, target=None)
    assert [each.is_switch for each in made.decisions] == [False, True]
    assert counters.snapshot()["switches"] == 1
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [each.line for each in made.decisions]
    assert all("\n" not in line for line in lines)
    assert caplog.records[1].__dict__["cleft"]["reason"] == made.decisions[1].reason


def test_the_devices_own_time_follows_what_it_takes_now():
    now_s = [0.0]
    made = steering(now_s)
    cut = PLANNER.everything.candidates[2]
    made.choose(KIND, PLANNER, target=TARGET)
    assert made.home_s(PLANNER, cut) == pytest.approx(0.385)
    assert made.suffix_s(PLANNER, cut) == pytest.approx(0.185)
    for now_s[0] in np.arange(0.0, 5.0, 0.25).tolist():
        made.note_answer(KIND, cut, head_s=0.4, tail_s=0.009)
    assert made.home_s(PLANNER, cut) == pytest.approx(0.77, rel=0.02)
    assert made.suffix_s(PLANNER, cut) == pytest.approx(0.37, rel=0.02)


def test_what_remains_of_a_frame_falls_as_it_goes_and_grows_when_it_stands_still():
    now_s = [0.0]
    made = steering(now_s)
    cloud = PLANNER.everything.candidates[0]
    made.choose(KIND, PLANNER, target=TARGET)

    def left(size: float, waited_s: float) -> float:
        return made.remaining_s(cloud, target=TARGET, left_up_bytes=size, waited_s=waited_s, kind=KIND)

    assert left(600_000, 0.0) == pytest.approx(0.096 + 0.02 + 0.02, rel=0.05)
    assert left(300_000, 0.0) < left(600_000, 0.0)
    assert left(0, 0.01) < left(0, 0.0) < left(300_000, 0.0)
    waits = [left(600_000, waited_s) for waited_s in (0.2, 0.4, 0.8, 1.6)]
    assert waits == sorted(waits)
    assert left(0, 10.0) > 1.0


def test_silence_on_a_link_that_collapsed_is_noticed_before_the_frame_is_through():
    now_s = [0.0]
    made = steering(now_s)
    cloud = PLANNER.everything.candidates[0]
    made.choose(KIND, PLANNER, target=TARGET)
    made.observer(TARGET).waiting(250_000, 0.5, 0.5)
    now_s[0] = 0.5
    assert made.remaining_s(cloud, target=TARGET, left_up_bytes=600_000, waited_s=0.5, kind=KIND) > 0.385
    assert made.choose(KIND, PLANNER, target=TARGET).candidate.is_local


def test_a_busy_worker_loses_its_work_and_is_asked_how_busy_it_is():
    now_s = [0.0]
    made = steering(now_s)
    cloud = made.choose(KIND, PLANNER, target=TARGET).candidate
    seen = LoadSeen(others_queued_frames=30, others_busy_ratio=1.0, job_s=0.1)
    for now_s[0] in (0.5, 1.0, 1.5, 2.0):
        made.note_answer(KIND, cloud, head_s=0.005, tail_s=0.02, load=seen, target=TARGET)
        made.choose(KIND, PLANNER, target=TARGET)
    assert made.decisions[-1].candidate.is_local
    now_s[0] = 2.5
    made.choose(KIND, PLANNER, target=TARGET)
    assert made.wants_load(TARGET)
    assert not made.wants_load("another:1")
    made.note_load(TARGET, Load())
    for now_s[0] in np.arange(3.0, 8.0, 0.5).tolist():
        made.note_load(TARGET, Load())
        choice = made.choose(KIND, PLANNER, target=TARGET)
    assert choice.candidate.cut == "cloud"


def test_workers_have_links_and_tails_of_their_own():
    now_s = [0.0]
    made = steering(now_s)
    made.prior("far:1", Link.from_mbit(1, 2, 300))
    assert made.choose("a", PLANNER, target=TARGET).candidate.cut == "cloud"
    assert made.choose("b", PLANNER, target="far:1").candidate.is_local
    assert made.estimate(TARGET).link.up_mbit > 10 * made.estimate("far:1").link.up_mbit


def test_an_answer_that_nobody_chose_changes_nothing():
    made = steering([0.0])
    made.note_answer("nobody", PLANNER.everything.candidates[0], head_s=1.0, tail_s=1.0, load=None)
    made.choose(KIND, PLANNER, target=TARGET)
    made.note_answer(KIND, row("unknown", 3, up_bytes=1, head_ms=1, tail_ms=1).candidate, head_s=9.0, tail_s=9.0)
    assert made.choose(KIND, PLANNER, target=TARGET).predicted_s == PLANNER.at(made.estimate(TARGET).link).predicted_s


def test_a_choice_among_a_hundred_candidates_takes_a_few_prices_of_them():
    heads = range(99)
    planner = planner_of(
        *(
            row(f"after:{at}", at, up_bytes=600_000 - 6000 * at, head_ms=5 + 4 * at, tail_ms=20 - 0.1 * at)
            for at in heads
        ),
        row("local", 100, up_bytes=0, head_ms=500, tail_ms=0, down_bytes=0),
    )
    made = steering([0.0])
    link = made.estimate(TARGET).link
    made.choose(KIND, planner, target=TARGET)

    def least_s(call: str, **names: object) -> float:
        return min(timeit.repeat(call, globals=names, number=200, repeat=9)) / 200

    price_s = least_s("planner.at(link)", planner=planner, link=link)
    choice_s = least_s(
        "made.choose(kind, planner, target=target)", made=made, kind=KIND, planner=planner, target=TARGET
    )
    assert choice_s < 12 * price_s, f"{choice_s * 1e6:.0f} us for a choice, {price_s * 1e6:.0f} us for all prices"


def test_many_threads_may_ask_and_tell_at_once():
    made = steering([0.0])
    cloud = made.choose(KIND, PLANNER, target=TARGET).candidate
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for turn in range(200):
                made.choose(KIND, PLANNER, target=TARGET if turn % 7 else None)
                made.note_answer(KIND, cloud, head_s=0.005, tail_s=0.02, target=TARGET)
                made.observer(TARGET).echoed(0.02, 0.0)
                made.remaining_s(cloud, target=TARGET, left_up_bytes=1000, waited_s=0.0, kind=KIND)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
