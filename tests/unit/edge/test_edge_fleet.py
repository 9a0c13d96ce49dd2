from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from edge.breaker import BREAKER
from edge.client import Client
from edge.clock import DeviceClock
from edge.config import Timeouts
from edge.errors import BadReply, WorkerLost, WorkerRefused, WorkerUnreachable
from edge.fleet import Fleet
from edge.telemetry import Counters
from partitioner.errors import CleftError, UsageError
from partitioner.plan import Plan
from protos import messages as pb

Start = Callable[..., "FakeWorker"]  # noqa: F821 - the class of conftest.py
Send = Callable[[pb.ToEdge], None]
DIGEST = "ab" * 32
FOUR = {"h": np.ones(4, np.float32)}
SOON_S = 10.0
"""Longer than anything here takes; a limit on a test that would hang."""


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def fleets(quick: Timeouts) -> Iterator[Callable[..., Fleet]]:
    made: list[Fleet] = []

    def start(*targets: str, is_open: bool = True, **more: object) -> Fleet:
        brisk = replace(quick, redial_s=0.05, redial_max_s=0.05)
        options = {"timeouts": brisk, "jitter": lambda: 0.5, **more}
        made.append(Fleet(targets, clock=DeviceClock(), **options))  # type: ignore[arg-type]
        if is_open:
            made[-1].open(DIGEST, "fake")
        return made[-1]

    yield start
    for fleet in made:
        fleet.close()


@pytest.fixture
def closed_port() -> Iterator[str]:
    """An address where nobody answers."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


def until(fleet: Fleet, claim: Callable[[], object]) -> None:
    """Wait for a claim that becomes true when the fleet changes."""
    with fleet._changed:
        assert fleet._changed.wait_for(claim, timeout=SOON_S), fleet.health()


def state(fleet: Fleet, index: int = 0) -> str:
    return fleet.health()[index].state


def answer(fleet: Fleet, client: Client, plan: Plan) -> float:
    fleet.ready(client, plan, SOON_S)
    reply = client.submit(plan.plan_id, 1, FOUR, {}).result()
    fleet.note_success(client)
    return float(reply.tensors["h.out"].sum())


def refusing(code: pb.Code, *, retry_after_s: float = 0.0) -> Callable[..., bool]:
    def on_message(_worker: object, message: pb.ToWorker, send: Send) -> bool:
        if message.WhichOneof("body") == "run":
            failed = pb.Failed(frame_id=message.run.frame_id, code=code, detail="no", retry_after_s=retry_after_s)
            send(pb.ToEdge(failed=failed))
        return message.WhichOneof("body") in ("run", "chunk")

    return on_message


def fail(fleet: Fleet, client: Client, plan: Plan, times: int = 1) -> None:
    """Have frames fail there, one after the other."""
    fleet.ready(client, plan, SOON_S)
    for _ in range(times):
        with pytest.raises(CleftError) as caught:
            client.submit(plan.plan_id, 1, FOUR, {}).result()
        fleet.note_failure(client, caught.value)


def test_the_first_worker_named_is_used_while_it_is_there(fake_worker: Start, fleets: Callable[..., Fleet]) -> None:
    first, second = fake_worker(), fake_worker()
    fleet = fleets(first.target, second.target)
    until(fleet, lambda: state(fleet, 0) == state(fleet, 1) == "up")
    client = fleet.current()
    assert client is not None
    assert client.target == first.target
    other = fleet.other(client)
    assert other is not None
    assert other.target == second.target
    assert [each.name for each in fleet.health()] == ["fake", "fake"]


def test_a_frame_whose_worker_is_lost_has_another_at_once_with_its_plan_ready(
    fake_worker: Start, fleets: Callable[..., Fleet], plan: Plan
) -> None:
    first, second = fake_worker(on_message=lambda _w, message, _s: message.WhichOneof("body") == "run"), fake_worker()
    fleet = fleets(first.target, second.target)
    until(fleet, lambda: state(fleet, 0) == state(fleet, 1) == "up")
    client = fleet.current()
    assert client is not None
    fleet.ready(client, plan, SOON_S)
    second.wait_for("propose")
    frame = client.submit(plan.plan_id, 1, FOUR, {})
    first.stop()
    with pytest.raises(WorkerLost):
        frame.result()
    lost_s = time.monotonic()
    other = fleet.other(client)
    assert other is not None
    assert other.target == second.target
    assert other.is_ready(plan.plan_id)
    assert answer(fleet, other, plan) == 8.0
    assert time.monotonic() - lost_s < 1.0


def test_one_dead_worker_of_two_is_no_hindrance(
    fake_worker: Start, fleets: Callable[..., Fleet], plan: Plan, closed_port: str
) -> None:
    fleet = fleets(closed_port, fake_worker().target)
    client = fleet.current()
    assert client is not None
    assert answer(fleet, client, plan) == 8.0
    until(fleet, lambda: "closed" in fleet.health()[0].reason)
    assert state(fleet, 0) in ("waiting", "dialling")


def test_where_no_worker_can_be_reached_opening_says_why_and_leaves_no_thread(
    fleets: Callable[..., Fleet], closed_port: str
) -> None:
    with pytest.raises(WorkerUnreachable, match="port is closed"):
        fleets(closed_port)


def test_a_worker_without_the_model_is_refused_at_the_start(fake_worker: Start, fleets: Callable[..., Fleet]) -> None:
    fleet = fleets(fake_worker().target, is_open=False)
    with pytest.raises(WorkerRefused) as caught:
        fleet.open("cd" * 32, "another")
    assert caught.value.code == "UNKNOWN_MODEL"


def test_a_worker_that_refuses_us_is_not_dialled_again_and_again(
    fake_worker: Start, fleets: Callable[..., Fleet], quick: Timeouts, closed_port: str
) -> None:
    def refuse(_worker: object, message: pb.ToWorker, send: Send) -> bool:
        if message.WhichOneof("body") == "hello":
            send(pb.ToEdge(welcome=pb.Welcome(protocol_version=1, worker="old", liveness_s=3.0)))
        return message.WhichOneof("body") == "hello"

    refuser, good, counters = fake_worker(on_message=refuse), fake_worker(), Counters()
    eager = replace(quick, redial_s=0.01, redial_max_s=0.01)
    fleet = fleets(refuser.target, closed_port, good.target, timeouts=eager, counters=counters)
    until(fleet, lambda: counters.snapshot()["dials"] >= 20)
    assert refuser.seen.count("hello") == 1
    assert state(fleet, 0) == "refused"
    assert "UNKNOWN_MODEL" in fleet.health()[0].reason


def test_no_requests_thread_ever_dials_and_none_waits_to_be_told_that_nobody_is_there(
    fake_worker: Start, fleets: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    dialled_by: list[str] = []
    greet = Client.greet

    def watched(client: Client) -> None:
        dialled_by.append(threading.current_thread().name)
        greet(client)

    monkeypatch.setattr(Client, "greet", watched)
    worker = fake_worker()
    fleet = fleets(worker.target)
    client = fleet.current()
    assert client is not None
    worker.welcome = False
    worker.drop_sessions()
    until(fleet, lambda: client.failure is not None)
    began_s = time.monotonic()
    assert fleet.current() is None
    assert fleet.other(client) is None
    assert time.monotonic() - began_s < 0.5
    worker.wait_for("hello", count=2)
    assert set(dialled_by) == {"cleft-dialler"}


def test_a_request_waits_for_a_redial_only_while_that_may_help(
    fake_worker: Start, fleets: Callable[..., Fleet], quick: Timeouts
) -> None:
    worker, clock = fake_worker(), Clock()
    fleet = fleets(worker.target, now=clock, timeouts=replace(quick, dial_s=0.3))
    clock.now_s += 60.0
    worker.welcome = False
    worker.drop_sessions()
    until(fleet, lambda: state(fleet) == "dialling")
    assert 0 < fleet.patience_s <= 0.3
    until(fleet, lambda: state(fleet) == "waiting")
    assert fleet.patience_s == 0.0
    began_s = time.monotonic()
    assert fleet.wait(fleet.patience_s) is None
    assert time.monotonic() - began_s < 0.2


def test_a_waiting_request_gets_the_session_as_soon_as_there_is_one(
    fake_worker: Start, fleets: Callable[..., Fleet], plan: Plan
) -> None:
    worker = fake_worker()
    fleet = fleets(worker.target)
    first = fleet.current()
    assert first is not None
    worker.drop_sessions()
    until(fleet, lambda: first.failure is not None)
    again = fleet.wait(SOON_S)
    assert again is not None
    assert again is not first
    assert answer(fleet, again, plan) == 8.0


def test_a_session_counts_only_once_the_plans_in_use_were_proposed_on_it_again(
    fake_worker: Start, fleets: Callable[..., Fleet], plan: Plan
) -> None:
    worker = fake_worker()
    fleet = fleets(worker.target)
    client = fleet.current()
    assert client is not None
    answer(fleet, client, plan)
    for count in (2, 3):
        worker.drop_sessions()
        until(fleet, lambda client=client: client.failure is not None)
        client = fleet.wait(SOON_S)
        assert client is not None
        assert client.is_ready(plan.plan_id)
        assert worker.seen.count("propose") == count


def test_a_plan_that_takes_long_to_make_ready_does_not_keep_a_worker_away(
    fake_worker: Start, fleets: Callable[..., Fleet], plan: Plan, quick: Timeouts
) -> None:
    worker = fake_worker()
    fleet = fleets(worker.target, timeouts=replace(quick, redial_s=0.05, settle_s=0.1))
    client = fleet.current()
    assert client is not None
    answer(fleet, client, plan)
    worker.on_message = lambda _w, message, _s: message.WhichOneof("body") == "propose"
    worker.drop_sessions()
    until(fleet, lambda: client.failure is not None)
    again = fleet.wait(SOON_S)
    assert again is not None
    assert not fleet.is_ready(again, plan)


def test_asking_whether_a_plan_is_ready_proposes_it_and_does_not_wait(
    fake_worker: Start, fleets: Callable[..., Fleet], plan: Plan
) -> None:
    held = threading.Event()

    def hold(_worker: object, message: pb.ToWorker, _send: Send) -> bool:
        if message.WhichOneof("body") == "propose":
            held.wait(SOON_S)
        return False

    worker = fake_worker(on_message=hold)
    fleet = fleets(worker.target)
    client = fleet.current()
    assert client is not None
    assert not fleet.is_ready(client, plan)
    assert not fleet.is_ready(client, plan)
    held.set()
    client.propose(plan)
    assert fleet.is_ready(client, plan)
    assert worker.seen.count("propose") == 1


def test_a_plan_that_the_worker_let_go_of_is_proposed_again(
    fake_worker: Start, fleets: Callable[..., Fleet], plan: Plan
) -> None:
    worker = fake_worker()
    fleet = fleets(worker.target)
    client = fleet.current()
    assert client is not None
    answer(fleet, client, plan)
    worker.on_message = refusing(pb.Code.CODE_UNKNOWN_PLAN)
    with pytest.raises(WorkerRefused):
        client.submit(plan.plan_id, 1, FOUR, {}).result()
    assert not client.is_ready(plan.plan_id)
    worker.on_message = lambda _w, _m, _s: False
    assert answer(fleet, client, plan) == 8.0
    assert worker.seen.count("propose") == 2


def test_a_plan_that_is_refused_is_not_proposed_with_every_frame(
    fake_worker: Start, fleets: Callable[..., Fleet], plan: Plan
) -> None:
    def refuse(_worker: object, message: pb.ToWorker, send: Send) -> bool:
        if message.WhichOneof("body") != "propose":
            return False
        failed = pb.Failed(plan_id=message.propose.plan_id, code=pb.Code.CODE_UNSUPPORTED, detail="no such operator")
        send(pb.ToEdge(failed=failed))
        return True

    worker = fake_worker(on_message=refuse)
    fleet = fleets(worker.target)
    client = fleet.current()
    assert client is not None
    for _ in range(20):
        with pytest.raises(WorkerRefused, match="no such operator"):
            fleet.ready(client, plan, SOON_S)
        assert not fleet.is_ready(client, plan)
    assert worker.seen.count("propose") == 1


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


def test_a_black_hole_that_ends_is_noticed_by_a_new_dial_before_the_old_one_gives_up(
    fake_worker: Start, fleets: Callable[..., Fleet], plan: Plan
) -> None:
    worker = fake_worker()
    fleet = fleets(worker.target, timeouts=Timeouts(dial_s=60.0, redial_s=0.2, redial_max_s=0.2, close_s=1.0))
    client = fleet.current()
    assert client is not None
    worker.welcome = False
    worker.drop_sessions()
    worker.wait_for("hello", count=3)
    worker.welcome = True
    again = fleet.wait(SOON_S)
    assert again is not None
    assert answer(fleet, again, plan) == 8.0


def test_closing_while_a_dial_is_under_way_ends_it(fake_worker: Start, fleets: Callable[..., Fleet]) -> None:
    worker = fake_worker()
    fleet = fleets(worker.target, timeouts=Timeouts(dial_s=60.0, close_s=1.0))
    worker.welcome = False
    worker.drop_sessions()
    worker.wait_for("hello", count=2)
    began_s = time.monotonic()
    fleet.close()
    assert time.monotonic() - began_s < 5.0
    assert state(fleet) == "closed"
    assert fleet.current() is None


@pytest.mark.parametrize("targets", [[], ["host"], ["127.0.0.1:1", "127.0.0.1:1"]])
def test_addresses_that_make_no_sense_are_refused_before_anything_is_dialled(targets: list[str]) -> None:
    with pytest.raises(UsageError):
        Fleet(targets, clock=DeviceClock())


def test_what_is_asked_with_every_request_costs_microseconds(
    fake_worker: Start, fleets: Callable[..., Fleet], plan: Plan
) -> None:
    fleet = fleets(fake_worker().target)
    client = fleet.current()
    assert client is not None
    answer(fleet, client, plan)
    times_s = []
    for _ in range(200):
        began_s = time.perf_counter()
        assert fleet.current() is client
        assert fleet.is_ready(client, plan)
        fleet.note_success(client)
        times_s.append(time.perf_counter() - began_s)
    assert sorted(times_s)[50] < 200e-6
