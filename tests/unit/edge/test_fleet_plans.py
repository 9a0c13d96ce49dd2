"""A fleet proposes the plans in use again, and what it does where a worker does not take one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from fleet_rig import FOUR, SOON_S, Send, Start, answer, refusing, until

from edge.config import Timeouts
from edge.errors import WorkerRefused
from edge.fleet import Fleet
from partitioner.plan import Plan
from protos import messages as pb


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
