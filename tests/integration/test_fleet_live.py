"""The fleet against live workers that are killed, drained and restarted on their ports."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from edge.clock import DeviceClock
from edge.config import TIMEOUTS
from edge.errors import EdgeError, WorkerLost, WorkerRefused
from edge.fleet import Fleet
from edge.telemetry import Counters
from partitioner.plan import Plan
from tests.unit.cloud.loopback import DIGEST, FakeBundle, FakeEngine, LiveWorker, live_worker, plan_for, test_config

SOON_S = 15.0
BRISK = replace(TIMEOUTS, redial_s=0.05, redial_max_s=0.1, close_s=1.0)
X = np.arange(32, dtype=np.float32).reshape(4, 8)


@contextmanager
def fleet_of(*workers: LiveWorker, counters: Counters | None = None) -> Iterator[Fleet]:
    targets = [worker.target for worker in workers]
    fleet = Fleet(targets, clock=DeviceClock(), timeouts=BRISK, counters=counters)
    try:
        fleet.open(DIGEST, "double")
        yield fleet
    finally:
        fleet.close()


class Lives:
    """Workers that are stopped once each, whoever stops them."""

    def __init__(self) -> None:
        self._alive: list[LiveWorker] = []

    def start(self, *, port: int = 0) -> LiveWorker:
        worker = LiveWorker(test_config(port=port), FakeEngine())
        self._alive.append(worker)
        worker.start([FakeBundle()])
        return worker

    def stop(self, worker: LiveWorker, *, grace_s: float) -> None:
        self._alive.remove(worker)
        worker.stop(grace_s=grace_s)

    def stop_all(self) -> None:
        for worker in list(self._alive):
            self.stop(worker, grace_s=0.0)


@pytest.fixture
def lives() -> Iterator[Lives]:
    started = Lives()
    yield started
    started.stop_all()


def until(fleet: Fleet, *states: str) -> None:
    """Wait until the workers are kept so."""
    with fleet._changed:
        assert fleet._changed.wait_for(lambda: tuple(each.state for each in fleet.health()) == states, SOON_S), (
            fleet.health()
        )


def ask(fleet: Fleet, plan: Plan) -> str:
    """Have a frame answered, by another worker where the first is lost or goes; who answered."""
    expires_s = time.monotonic() + SOON_S
    while time.monotonic() < expires_s:
        client = fleet.wait(SOON_S)
        assert client is not None, fleet.health()
        try:
            fleet.ready(client, plan, SOON_S)
            reply = client.submit(plan.plan_id, 1, {"x": X}, {}).result()
        except (WorkerLost, WorkerRefused) as error:
            fleet.note_failure(client, error)
            continue
        fleet.note_success(client)
        np.testing.assert_array_equal(reply.tensors["y"], X * 2)
        return client.target
    raise AssertionError("no answer")


def test_both_workers_die_and_come_back_and_the_first_is_preferred_again(lives: Lives) -> None:
    plan, counters = plan_for(), Counters()
    first, second = lives.start(), lives.start()
    with fleet_of(first, second, counters=counters) as fleet:
        until(fleet, "up", "up")
        assert ask(fleet, plan) == first.target
        lives.stop(first, grace_s=0.0)
        assert ask(fleet, plan) == second.target
        lives.stop(second, grace_s=0.0)
        with fleet._changed:
            assert fleet._changed.wait_for(lambda: fleet.current() is None, SOON_S)
        lives.start(port=second.port)
        back_s = time.monotonic()
        assert ask(fleet, plan) == second.target
        assert time.monotonic() - back_s < 5.0
        lives.start(port=first.port)
        until(fleet, "up", "up")
        assert ask(fleet, plan) == first.target
    assert counters.snapshot()["dials"] >= 4


def test_a_rolling_restart_fails_no_frame(lives: Lives) -> None:
    plan, stop = plan_for(), threading.Event()
    answered: list[str] = []
    failed: list[BaseException] = []
    first, second = lives.start(), lives.start()
    with fleet_of(first, second) as fleet:
        until(fleet, "up", "up")

        def keep_asking() -> None:
            try:
                while not stop.is_set():
                    answered.append(ask(fleet, plan))
            except BaseException as error:
                failed.append(error)

        lanes = [threading.Thread(target=keep_asking) for _ in range(2)]
        for lane in lanes:
            lane.start()
        try:
            for worker in (first, second):
                lives.stop(worker, grace_s=5.0)
                lives.start(port=worker.port)
                until(fleet, "up", "up")
        finally:
            stop.set()
            for lane in lanes:
                lane.join()
        assert not failed
        assert {first.target, second.target} == set(answered)


def test_a_worker_that_holds_few_plans_is_asked_again_for_those_it_let_go_of() -> None:
    plans, forgotten = [plan_for(codec=codec) for codec in ("none", "fp16", "int8")], 0
    with live_worker(test_config(max_plans=2)) as worker, fleet_of(worker) as fleet:
        for plan in 3 * plans:
            client = fleet.current()
            assert client is not None
            fleet.ready(client, plan, SOON_S)
            try:
                client.submit(plan.plan_id, 1, {"x": X}, {}).result()
            except WorkerRefused:
                forgotten += not client.is_ready(plan.plan_id)
                fleet.ready(client, plan, SOON_S)
                client.submit(plan.plan_id, 1, {"x": X}, {}).result()
    assert forgotten > 0


def test_a_worker_of_another_model_is_told_and_left_for_one_that_has_it() -> None:
    with live_worker(bundles=[FakeBundle(digest="e" * 64, name="other")]) as stranger, live_worker() as worker:
        with fleet_of(stranger, worker) as fleet:
            assert ask(fleet, plan_for()) == worker.target
            until(fleet, "refused", "up")
            assert "UNKNOWN_MODEL" in fleet.health()[0].reason
        with pytest.raises(EdgeError, match="UNKNOWN_MODEL"), fleet_of(stranger):
            pass
