from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from edge.bandwidth import Estimator
from edge.policy import Policy
from partitioner.cost import Load
from partitioner.link import Link
from tests.steered import planner_of, row
from tests.wires import Wire

MBIT = st.floats(0.1, 1000.0)
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("frame"), st.integers(1, 600_000), st.floats(0.0, 2.0)),
        st.tuples(st.just("probe"), st.integers(4, 16_384), st.floats(0.0, 2.0)),
        st.tuples(st.just("given up"), st.integers(1, 600_000), st.floats(0.0, 2.0)),
        st.tuples(st.just("answer"), st.integers(0, 300_000), st.floats(0.0, 2.0)),
        st.tuples(st.just("lost"), st.integers(0, 0), st.floats(0.0, 200.0)),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(MBIT, st.lists(MBIT, min_size=1, max_size=4), st.floats(0.0, 0.5), st.floats(0.0, 1.0), EVENTS)
def test_whatever_a_link_does_the_estimate_is_a_link_within_its_band(believed, rates, rtt_s, jitter, events):
    link = Estimator(Link.from_mbit(believed, 2 * believed, 1e3 * rtt_s), at_s=0.0)
    wire = Wire([(5.0 * at, mbit) for at, mbit in enumerate(rates)], link, rtt_s=rtt_s, jitter_s=jitter * rtt_s)
    for kind, size, pause_s in events:
        wire.now_s += pause_s
        if kind == "frame":
            wire.frame(size)
        elif kind == "probe":
            wire.probe(size)
        elif kind == "given up":
            wire.frame(size, patience_s=0.1)
        elif kind == "answer":
            link.received(size, pause_s, wire.now_s)
        else:
            link.lost(wire.now_s)
        for later_s in (0.0, 1.0, 1000.0):
            now = link.at(wire.now_s + later_s)
            assert now.low.up_bytes_per_s <= now.link.up_bytes_per_s * 1.001
            assert now.link.up_bytes_per_s <= now.high.up_bytes_per_s * 1.001
            assert now.high.rtt_s <= now.link.rtt_s <= now.low.rtt_s
            assert math.isfinite(now.doubt_s(1.0, 1e6, 1e4))
            assert now.doubt_s(1.0, 1e6, 1e4) >= 0


@settings(max_examples=60, deadline=None)
@given(MBIT, st.integers(100_000, 1_000_000), st.floats(0.001, 0.2))
def test_frames_of_one_size_are_predicted_as_they_come(mbit, size, rtt_s):
    link = Estimator(Link.from_mbit(20, 40, 50), at_s=0.0)
    wire = Wire([(0.0, mbit)], link, rtt_s=rtt_s)
    took_s = [wire.frame(size) for _ in range(12)][-1]
    now = link.at(wire.now_s)
    predicted_s = size / now.link.up_bytes_per_s + now.link.rtt_s
    assert abs(predicted_s - took_s) <= 0.3 * took_s + 0.005 + now.doubt_s(1.0, size, 0.0)


ROWS = st.lists(st.tuples(st.floats(0.1, 500.0), st.floats(0.1, 500.0), st.floats(100.0, 1e6)), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.lists(st.tuples(MBIT, st.floats(0.0, 2.0), st.booleans()), min_size=1, max_size=40))
def test_a_lost_worker_is_never_chosen_and_a_settled_link_is_served_by_a_plan_near_the_best(rows, looks):
    planner = planner_of(
        *(row(f"after:{at}", at, up_bytes=up, head_ms=head, tail_ms=tail) for at, (head, tail, up) in enumerate(rows)),
        row("cloud", 0, up_bytes=600_000, head_ms=1, tail_ms=50),
        row("local", 99, up_bytes=0, head_ms=400, tail_ms=0, down_bytes=0),
    )
    policy, current, now_s = Policy(), None, 0.0
    for mbit, queue_s, is_reachable in looks:
        estimate = Estimator(Link.from_mbit(mbit, 2 * mbit, 20)).at(0.0)
        now_s += 0.1
        choice = policy.decide(
            planner,
            estimate=estimate,
            load=Load(queue_s=queue_s),
            is_reachable=is_reachable,
            current=current,
            now_s=now_s,
        )
        assert is_reachable or choice.candidate.is_local
        assert choice.is_switch == (current is not None and choice.candidate.cut != current.cut)
        current = choice.candidate
    settled = Estimator(Link.from_mbit(20, 40, 20, name="settled")).at(0.0)
    for _ in range(2000):
        now_s += 0.1
        current = policy.decide(
            planner, estimate=settled, load=Load(), is_reachable=True, current=current, now_s=now_s
        ).candidate
    best_s = planner.at(settled.link).predicted_s
    at = planner.everything.candidates.index(current)
    chosen_s = float(planner.everything.price(settled.link)[at])
    doubt_s = settled.doubt_s(1.0, 1e6, 4000)
    assert chosen_s <= 1.03 * best_s + 0.5 * doubt_s + 0.001
