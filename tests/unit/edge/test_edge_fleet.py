from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from fleet_rig import FOUR, SOON_S, Clock, Send, Start, answer, state, until

from edge.client import Client
from edge.clock import DeviceClock
from edge.config import Timeouts
from edge.errors import WorkerLost, WorkerRefused, WorkerUnreachable
from edge.fleet import Fleet
from edge.telemetry import Counters
from partitioner.errors import UsageError
from partitioner.plan import Plan
from protos import messages as pb


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
