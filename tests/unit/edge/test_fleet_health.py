"""A fleet leaves workers alone that drain, fail or are overloaded, and comes back to them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from fleet_rig import FOUR, SOON_S, Clock, Send, Start, answer, fail, refusing, state, until

from edge.breaker import BREAKER
from edge.client import Client
from edge.config import Timeouts
from edge.errors import BadReply, WorkerLost
from edge.fleet import Fleet
from edge.telemetry import Counters
from partitioner.plan import Plan
from protos import messages as pb


def test_a_draining_worker_gets_no_new_frames_and_still_answers_those_it_has(
    fake_worker: Start, fleets: Callable[..., Fleet], plan: Plan
) -> None:
    sends: list[Send] = []
    runs: list[pb.Run] = []

    def hold(_worker: object, message: pb.ToWorker, send: Send) -> bool:
        if message.WhichOneof("body") == "run":
            sends.append(send)
            runs.append(message.run)
        return message.WhichOneof("body") in ("run", "chunk")

    first, second = fake_worker(on_message=hold), fake_worker()
    fleet = fleets(first.target, second.target)
    until(fleet, lambda: state(fleet, 0) == state(fleet, 1) == "up")
    client = fleet.current()
    assert client is not None
    fleet.ready(client, plan, SOON_S)
    frame = client.submit(plan.plan_id, 1, FOUR, {})
    first.wait_for("chunk")
    first.welcome = False
    sends[0](pb.ToEdge(drain=pb.Drain(reason="going home", grace_s=5)))
    until(fleet, lambda: client.drain_reason)
    moved = fleet.current()
    assert moved is not None
    assert moved.target == second.target
    assert state(fleet, 0) == "draining"
    assert "going home" in fleet.health()[0].reason
    assert answer(fleet, moved, plan) == 8.0
    first.reply(runs[0], FOUR["h"].tobytes(), sends[0])
    assert frame.result().tensors["h.out"].sum() == 8.0
    until_closed(client)


def until_closed(client: Client) -> None:
    deadline_s = time.monotonic() + SOON_S
    while client.failure is None:
        assert time.monotonic() < deadline_s
        threading.Event().wait(0.01)
    assert isinstance(client.failure, WorkerLost)


def test_a_refusal_that_says_the_worker_drains_moves_on_too(
    fake_worker: Start, fleets: Callable[..., Fleet], plan: Plan
) -> None:
    first, second = fake_worker(on_message=refusing(pb.Code.CODE_DRAINING)), fake_worker()
    fleet = fleets(first.target, second.target)
    until(fleet, lambda: state(fleet, 0) == state(fleet, 1) == "up")
    client = fleet.current()
    assert client is not None
    fail(fleet, client, plan)
    moved = fleet.current()
    assert moved is not None
    assert moved.target == second.target


@pytest.mark.parametrize("code", [pb.Code.CODE_INTERNAL, pb.Code.CODE_OVERLOADED, pb.Code.CODE_CORRUPT])
def test_a_worker_that_fails_frame_after_frame_is_left_alone_then_tried_with_one(
    code: pb.Code, fake_worker: Start, fleets: Callable[..., Fleet], plan: Plan
) -> None:
    clock, counters = Clock(), Counters()
    first, second = fake_worker(on_message=refusing(code)), fake_worker()
    fleet = fleets(first.target, second.target, now=clock, counters=counters)
    until(fleet, lambda: state(fleet, 0) == state(fleet, 1) == "up")
    client = fleet.current()
    assert client is not None
    fail(fleet, client, plan, BREAKER.failures)
    assert state(fleet) == "left alone"
    assert "no" in fleet.health()[0].reason
    assert counters.snapshot()["breakers_opened"] == 1
    other = fleet.current()
    assert other is not None
    assert other.target == second.target

    clock.now_s += BREAKER.open_s
    assert state(fleet) == "on trial"
    assert fleet.current() is client
    first.on_message = lambda _w, message, _s: message.WhichOneof("body") in ("run", "chunk")
    trial = client.submit(plan.plan_id, 1, FOUR, {})
    assert fleet.current() is other
    trial.cancel()

    first.on_message = lambda _w, _m, _s: False
    assert answer(fleet, client, plan) == 8.0
    assert state(fleet) == "up"
    assert fleet.current() is client


def test_frames_that_are_refused_for_their_own_fault_do_not_count_against_a_worker(
    fake_worker: Start, fleets: Callable[..., Fleet], plan: Plan
) -> None:
    fleet = fleets(fake_worker(on_message=refusing(pb.Code.CODE_TOO_LARGE)).target)
    client = fleet.current()
    assert client is not None
    fail(fleet, client, plan, 3 * BREAKER.failures)
    assert state(fleet) == "up"


def test_an_overloaded_worker_is_not_asked_before_it_said(
    fake_worker: Start, fleets: Callable[..., Fleet], plan: Plan
) -> None:
    clock = Clock()
    worker = fake_worker(on_message=refusing(pb.Code.CODE_OVERLOADED, retry_after_s=0.5))
    fleet = fleets(worker.target, now=clock)
    client = fleet.current()
    assert client is not None
    fail(fleet, client, plan)
    assert fleet.current() is None
    assert 0 < fleet.patience_s <= 0.5
    clock.now_s += 0.5
    assert fleet.current() is client


def test_nonsense_counts_against_a_worker(fake_worker: Start, fleets: Callable[..., Fleet]) -> None:
    fleet = fleets(fake_worker().target)
    client = fleet.current()
    assert client is not None
    for _ in range(BREAKER.failures):
        fleet.note_failure(client, BadReply("nonsense"))
    assert state(fleet) == "left alone"


def test_sessions_that_break_before_they_have_answered_anything_open_the_circuit_once_each(
    fake_worker: Start, fleets: Callable[..., Fleet], quick: Timeouts
) -> None:
    worker, counters = fake_worker(), Counters()
    fleet = fleets(worker.target, counters=counters, timeouts=replace(quick, redial_s=0.01, redial_max_s=0.01))
    for count in range(1, BREAKER.failures + 1):
        worker.drop_sessions()
        until(
            fleet, lambda count=count: counters.snapshot()["losses"] == count and state(fleet) in ("up", "left alone")
        )
    assert state(fleet) == "left alone"
    assert counters.snapshot()["breakers_opened"] == 1
