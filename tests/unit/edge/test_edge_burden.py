from __future__ import annotations

import math

import pytest

from edge.burden import FADES_S, Burden, LoadSeen
from partitioner.cost import IDLE, Load


def busy(**told: float) -> LoadSeen:
    return LoadSeen(**told)  # type: ignore[arg-type]


def test_nobody_heard_of_a_load():
    assert Burden().at(5.0) == IDLE


def test_a_busy_worker_delays_a_frame_by_its_queue():
    burden = Burden()
    for second in range(20):
        burden.seen(
            busy(queued_frames=4, others_queued_frames=4, others_busy_ratio=0.9, job_s=0.1), tail_s=0.1, at_s=second
        )
    assert burden.at(19.0).queue_s == pytest.approx(0.1 * (0.9 / (2 * 0.1)), rel=0.05)


def test_what_this_session_causes_does_not_count_where_the_worker_tells_it_apart():
    burden = Burden()
    for second in range(20):
        burden.seen(
            busy(queued_frames=3, busy_ratio=0.9, others_queued_frames=0, others_busy_ratio=0.0, job_s=0.1),
            tail_s=0.1,
            at_s=second,
        )
    assert not burden.at(19.0).is_felt


def test_what_this_session_causes_is_taken_off_where_the_worker_does_not_tell_it_apart():
    burden = Burden()
    for tick in range(200):
        burden.seen(busy(busy_ratio=0.8, job_s=0.08), tail_s=0.08, at_s=0.1 * tick)
    assert burden.at(19.9).queue_s < 0.005
    assert burden.at(19.9).slowdown == 1.0


def test_a_look_at_the_queue_counts_little_among_others():
    burden = Burden()
    for tick in range(10):
        burden.seen(busy(others_queued_frames=0, others_busy_ratio=0.0, job_s=0.1), tail_s=0.1, at_s=0.1 * tick)
    burden.seen(busy(others_queued_frames=10, others_busy_ratio=0.0, job_s=0.1), tail_s=0.1, at_s=1.0)
    assert burden.at(1.0).queue_s == pytest.approx(0.2, rel=0.1)


def test_a_load_that_nobody_confirms_fades_so_that_the_worker_is_asked_again():
    burden = Burden()
    burden.note(Load(queue_s=2.0, slowdown=3.0), 0.0)
    assert burden.at(FADES_S) == Load(queue_s=2.0, slowdown=3.0)
    assert 0.1 < burden.at(2.5 * FADES_S).queue_s < 1.0
    assert burden.at(6 * FADES_S) == IDLE


@pytest.mark.parametrize("ratio", [math.nan, math.inf, -1.0])
def test_nonsense_is_an_idle_worker(ratio):
    burden = Burden()
    burden.seen(busy(others_queued_frames=0, others_busy_ratio=ratio, job_s=0.1), tail_s=0.1, at_s=0.0)
    assert burden.at(0.0) == IDLE
