from __future__ import annotations

import math

import pytest

from edge.bandwidth import DEFAULT_LINK, EXPIRES_S, Delivery, Estimator
from partitioner.link import Link
from tests.wires import Wire

KIB = 1024


def on(mbit: float = 50.0, *, rtt_ms: float = 20.0) -> Estimator:
    return Estimator(Link.from_mbit(mbit, 2 * mbit, rtt_ms), at_s=0.0)


def up_mbit(link: Estimator, now_s: float) -> float:
    return link.at(now_s).link.up_mbit


@pytest.mark.parametrize("size", [60_000, 150_000, 600_000])
@pytest.mark.parametrize("mbit", [2.0, 20.0, 100.0])
def test_the_rate_of_a_steady_link_is_found_whatever_was_believed(size, mbit):
    link = on(10.0)
    wire = Wire([(0, mbit)], link, rtt_s=0.02)
    for second in range(1, 6):
        wire.frames_until(float(second), size)
        wire.echo()
    assert up_mbit(link, wire.now_s) == pytest.approx(mbit, rel=0.25)
    assert link.at(wire.now_s).link.rtt_s == pytest.approx(0.02, rel=0.25)


def test_the_round_trip_is_not_taken_for_a_slow_link():
    link = on(50.0, rtt_ms=200.0)
    wire = Wire([(0, 50)], link, rtt_s=0.2)
    wire.frames_until(10.0, 8 * KIB)
    estimate = link.at(wire.now_s)
    assert estimate.high.up_mbit > 40
    assert estimate.link.up_mbit > 25
    assert estimate.link.rtt_s == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize("size", [100, 1000, 4 * KIB])
def test_chunks_too_small_to_tell_leave_the_rate_alone_and_say_so(size):
    link = on(50.0)
    wire = Wire([(0, 50)], link, rtt_s=0.02, jitter_s=0.01)
    wire.frames_until(EXPIRES_S + 5.0, size)
    estimate = link.at(wire.now_s)
    assert estimate.link.up_mbit == pytest.approx(50, rel=0.3)
    assert estimate.high.up_mbit > 2 * estimate.low.up_mbit
    assert estimate.is_expired


def test_waiting_for_the_next_acknowledgement_takes_nothing_back_of_the_last() -> None:
    link = on(50.0, rtt_ms=10.0)
    rate = 200_000 / 0.8
    link.delivered(Delivery(size_bytes=200_000, rate_bytes_per_s=rate, rtt_s=0.8, is_alone=True, begun_s=1.0, at_s=1.8))
    assert up_mbit(link, 1.8) == pytest.approx(2.0, rel=0.1)
    link.waiting(200_000, 0.06, 1.86)
    assert up_mbit(link, 1.86) == pytest.approx(2.0, rel=0.1)
    link.waiting(200_000, 3.2, 5.0)
    assert up_mbit(link, 5.0) < 1.0


@pytest.mark.parametrize("size", [40_000, 150_000, 600_000])
@pytest.mark.parametrize("seed", range(3))
def test_a_step_down_is_seen_within_the_frame_that_meets_it(size, seed):
    link = on(50.0)
    wire = Wire([(0, 50), (5.05, 2)], link, rtt_s=0.01, jitter_s=0.002, noise=0.1, seed=seed)
    wire.frames_until(5.05, size)
    wire.now_s = max(wire.now_s, 5.06)
    wire.frame(size)
    assert up_mbit(link, wire.now_s) < 5


def test_a_step_down_is_seen_while_nothing_is_acknowledged():
    link = on(50.0)
    wire = Wire([(0, 50), (5.05, 2)], link, rtt_s=0.01)
    wire.frames_until(5.05, 150_000)
    wire.now_s = max(wire.now_s, 5.06)
    took_s = wire.frame(150_000, patience_s=0.25)
    assert took_s <= 0.25
    assert up_mbit(link, wire.now_s) < 8
    wire.now_s += 1.0
    assert up_mbit(link, wire.now_s) < 8, "a frame that was given up is no reason to think better of the link"


@pytest.mark.parametrize("size", [150_000, 600_000])
def test_a_step_up_is_seen_within_three_frames(size):
    link = on(2.0)
    wire = Wire([(0, 2), (10, 50)], link, rtt_s=0.01, jitter_s=0.002, noise=0.1)
    wire.frames_until(10.0, size)
    for _ in range(3):
        wire.frame(size)
    assert up_mbit(link, wire.now_s) > 30


@pytest.mark.parametrize(("rtt_s", "jitter_s"), [(0.005, 0.001), (0.02, 0.005)])
def test_a_step_up_is_seen_within_two_probes(rtt_s, jitter_s):
    link = on(2.0, rtt_ms=1e3 * rtt_s)
    wire = Wire([(0, 2), (10, 50)], link, rtt_s=rtt_s, jitter_s=jitter_s)
    for second in range(12):
        wire.now_s = max(wire.now_s, float(second))
        wire.probe()
        if second == 9:
            assert up_mbit(link, wire.now_s) < 4
    assert up_mbit(link, wire.now_s) > 15


@pytest.mark.parametrize("seed", range(3))
def test_noise_of_a_fifth_moves_the_rate_by_less_than_that(seed):
    link = on(20.0)
    wire = Wire([(0, 20)], link, rtt_s=0.02, noise=0.2, seed=seed)
    wire.frames_until(2.0, 200_000)
    for _ in range(300):
        wire.frame(200_000)
        assert 15 < up_mbit(link, wire.now_s) < 26


@pytest.mark.parametrize(("rtt_s", "jitter_s"), [(0.02, 0.02), (0.2, 0.1)])
@pytest.mark.parametrize("seed", range(3))
def test_jitter_is_neither_a_rate_nor_a_round_trip(rtt_s, jitter_s, seed):
    link = on(20.0, rtt_ms=1e3 * rtt_s)
    wire = Wire([(0, 20)], link, rtt_s=rtt_s, jitter_s=jitter_s, seed=seed)
    wire.frames_until(5.0, 600_000)
    seen = []
    for _ in range(60):
        wire.frame(600_000)
        seen.append(link.at(wire.now_s).link)
    assert 8 < sorted(each.up_mbit for each in seen)[30] < 40
    assert 0.25 * rtt_s < sorted(each.rtt_s for each in seen)[30] < 2.5 * rtt_s


def test_one_late_acknowledgement_costs_nothing_that_lasts():
    link = on(50.0)
    wire = Wire([(0, 50)], link, rtt_s=0.01)
    wire.frames_until(5.0, 150_000)
    wire.free_s = wire.now_s + 0.4
    wire.frame(150_000)
    wire.frame(150_000)
    assert up_mbit(link, wire.now_s) == pytest.approx(50, rel=0.15)


def test_a_round_trip_that_grows_is_told_by_tiny_messages():
    link = on(50.0)
    for second in range(1, 6):
        link.echoed(0.2, float(second))
    estimate = link.at(5.0)
    assert estimate.link.rtt_s == pytest.approx(0.2, rel=0.1)
    assert estimate.link.up_mbit == pytest.approx(50, rel=0.1)


def test_an_estimate_ages_widens_and_falls_back_to_what_was_measured_as_a_whole():
    link = on(50.0)
    wire = Wire([(0, 2)], link)
    wire.frames_until(5.0, 150_000)
    young, old = link.at(wire.now_s), link.at(wire.now_s + EXPIRES_S * 0.9)
    assert old.link.up_mbit == pytest.approx(young.link.up_mbit)
    assert old.low.up_mbit < young.low.up_mbit < young.high.up_mbit < old.high.up_mbit
    assert not old.is_expired
    late = link.at(wire.now_s + 3 * EXPIRES_S)
    assert late.is_expired
    assert late.link.up_mbit == pytest.approx(50)
    assert late.low.up_mbit < 3


def test_nobody_measured_a_link_and_nobody_is_sure_of_it():
    estimate = Estimator().at(100.0)
    assert estimate.is_expired
    assert estimate.link.up_mbit == pytest.approx(DEFAULT_LINK.up_mbit)
    assert estimate.low.up_mbit < 0.5 * estimate.link.up_mbit < 2 * estimate.link.up_mbit < estimate.high.up_mbit


def test_after_a_loss_little_is_taken_for_known():
    link = on(50.0)
    wire = Wire([(0, 50)], link)
    wire.frames_until(5.0, 150_000)
    before = link.at(wire.now_s)
    link.lost(wire.now_s)
    after = link.at(wire.now_s)
    assert after.low.up_mbit < 0.6 * before.low.up_mbit
    assert after.link.up_mbit == pytest.approx(before.link.up_mbit)


def test_answers_too_small_to_tell_keep_the_ratio_of_the_two_ways():
    link = Estimator(Link.from_mbit(50, 150, 20), at_s=0.0)
    wire = Wire([(0, 5)], link)
    for _ in range(20):
        wire.frame(150_000)
        link.received(500, 0.0002, wire.now_s)
    estimate = link.at(wire.now_s).link
    assert estimate.down_mbit == pytest.approx(3 * estimate.up_mbit)


@pytest.mark.parametrize("down_mbit", [2.0, 20.0])
def test_large_answers_tell_the_way_down(down_mbit):
    link = Estimator(Link.from_mbit(50, 100, 5), at_s=0.0)
    for chunk in range(20):
        link.received(250_000, 250_000 / (down_mbit * 125_000.0), 1.0 + chunk)
    assert link.at(21.0).link.down_mbit == pytest.approx(down_mbit, rel=0.2)


def test_chunks_that_waited_a_round_trip_for_acknowledgements_do_not_slow_the_way_down():
    link = Estimator(Link.from_mbit(50, 100, 200), at_s=0.0)
    for chunk in range(20):
        link.received(20_000, 0.2, 1.0 + chunk)
    assert link.at(21.0).link.down_mbit > 50


def test_a_frame_of_the_usual_size_is_told_better_than_rate_and_round_trip_are():
    link = on(50.0)
    wire = Wire([(0, 2)], link, rtt_s=0.02)
    for _ in range(4):
        wire.frame(150_000)
    estimate = link.at(wire.now_s)
    apart_s = (estimate.low.rtt_s - estimate.high.rtt_s) / 2 + 150_000 * (
        1 / estimate.low.up_bytes_per_s - 1 / estimate.high.up_bytes_per_s
    ) / 2
    assert estimate.doubt_s(1.0, 150_000, 0.0) < apart_s
    assert estimate.doubt_s(0.0, 0.0, 0.0) == 0


def test_nonsense_in_leaves_sense():
    link = on(50.0)
    link.delivered(Delivery(size_bytes=1, rate_bytes_per_s=math.inf, rtt_s=0.0, is_alone=True, begun_s=9.0, at_s=3.0))
    link.received(0, 0.0, 4.0)
    link.waiting(0, 100.0, 4.0)
    link.echoed(0.0, 1.0)
    estimate = link.at(0.0)
    assert estimate.low.up_bytes_per_s <= estimate.link.up_bytes_per_s <= estimate.high.up_bytes_per_s
