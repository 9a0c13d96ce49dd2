from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from edge.clock import DeviceClock
from edge.config import Timeouts
from edge.connection import Connection
from edge.errors import BadReply, WorkerLost, WorkerRefused, WorkerUnreachable
from partitioner.plan import Plan
from partitioner.relay import Relay, Shape
from protos import messages as pb

Start = Callable[..., "FakeWorker"]  # noqa: F821 - the class of conftest.py
Send = Callable[[pb.ToEdge], None]
FOUR = {"h": np.ones(4, np.float32)}


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def connect() -> Iterator[Callable[..., Connection]]:
    made: list[Connection] = []

    def start(target: str, **more: object) -> Connection:
        made.append(Connection(target, clock=DeviceClock(), **{"jitter": lambda: 0.5, **more}))  # type: ignore[arg-type]
        return made[-1]

    yield start
    for connection in made:
        connection.close()


def on_first(body: str, act: Callable[[object, pb.ToWorker, Send], None]) -> Callable[..., bool]:
    """Act on the first message of this body in place of the worker."""
    done: list[bool] = []

    def on_message(worker: object, message: pb.ToWorker, send: Send) -> bool:
        if message.WhichOneof("body") != body or done:
            return False
        done.append(True)
        act(worker, message, send)
        return True

    return on_message


def test_a_frame_whose_session_breaks_is_answered_on_a_new_one(
    fake_worker: Start, plan: Plan, connect: Callable[..., Connection]
) -> None:
    worker = fake_worker(on_message=on_first("chunk", lambda worker, _m, _s: worker.drop_sessions()))  # type: ignore[attr-defined]
    reply = connect(worker.target).ask(plan, 1, FOUR, {})
    np.testing.assert_array_equal(reply.tensors["h.out"], 2 * np.ones(4))
    assert worker.seen.count("hello") == 2


@pytest.mark.parametrize("code", [pb.Code.CODE_UNKNOWN_PLAN, pb.Code.CODE_CORRUPT])
def test_a_frame_refused_for_what_can_pass_is_sent_again(
    code: pb.Code, fake_worker: Start, plan: Plan, connect: Callable[..., Connection]
) -> None:
    def refuse(_worker: object, message: pb.ToWorker, send: Send) -> None:
        send(pb.ToEdge(failed=pb.Failed(frame_id=message.chunk.frame_id, code=code, detail="once")))

    worker = fake_worker(on_message=on_first("chunk", refuse))
    assert connect(worker.target).ask(plan, 1, FOUR, {}).tensors
    assert worker.seen.count("propose") == 2
    assert worker.seen.count("hello") == 1


@pytest.mark.parametrize("code", [pb.Code.CODE_OVERLOADED, pb.Code.CODE_INVALID, pb.Code.CODE_INTERNAL])
def test_other_refusals_are_final(
    code: pb.Code, fake_worker: Start, plan: Plan, connect: Callable[..., Connection]
) -> None:
    def refuse(_worker: object, message: pb.ToWorker, send: Send) -> bool:
        if message.WhichOneof("body") == "chunk":
            send(pb.ToEdge(failed=pb.Failed(frame_id=message.chunk.frame_id, code=code, detail="no")))
        return message.WhichOneof("body") == "chunk"

    worker = fake_worker(on_message=refuse)
    with pytest.raises(WorkerRefused):
        connect(worker.target).ask(plan, 1, FOUR, {})
    assert worker.seen.count("run") == 1


def test_nonsense_twice_is_an_error(fake_worker: Start, plan: Plan, connect: Callable[..., Connection]) -> None:
    def lie(_worker: object, message: pb.ToWorker, send: Send) -> bool:
        if message.WhichOneof("body") == "chunk":
            send(pb.ToEdge(result=pb.Result(frame_id=message.chunk.frame_id, payload_bytes=1 << 60)))
        return message.WhichOneof("body") == "chunk"

    worker = fake_worker(on_message=lie)
    with pytest.raises(BadReply):
        connect(worker.target).ask(plan, 1, FOUR, {})
    assert worker.seen.count("run") == 2


def test_a_draining_worker_gets_no_more_frames(
    fake_worker: Start, plan: Plan, connect: Callable[..., Connection]
) -> None:
    def drain(worker: object, message: pb.ToWorker, send: Send) -> None:
        send(pb.ToEdge(drain=pb.Drain(reason="going", grace_s=5)))
        send(pb.ToEdge(ready=pb.Ready(plan_id=message.propose.plan_id)))

    worker = fake_worker(on_message=on_first("propose", drain))
    connection = connect(worker.target)
    first = connection.client
    assert connection.ask(plan, 1, FOUR, {}).tensors
    assert connection.client is not first


def test_a_worker_that_is_gone_is_dialled_again_only_after_a_pause_that_doubles(
    connect: Callable[..., Connection], quick: Timeouts
) -> None:
    clock = Clock()
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{held.getsockname()[1]}"
        connection = connect(target, now=clock, timeouts=replace(quick, glance_s=5.0))
        pauses_s = []
        for _ in range(4):
            with pytest.raises(WorkerUnreachable):
                _ = connection.client
            start_s = clock.now_s
            while True:
                clock.now_s += 0.25
                try:
                    _ = connection.client
                except WorkerLost:
                    continue
                except WorkerUnreachable:
                    break
            pauses_s.append(clock.now_s - start_s)
            clock.now_s += 1000
    assert pauses_s[0] == quick.redial_s
    assert all(later >= earlier for earlier, later in pairwise(pauses_s))
    assert pauses_s[-1] <= quick.redial_max_s


@pytest.mark.parametrize("jitter", [0.0, 0.999])
def test_a_worker_that_is_back_is_dialled_within_three_seconds_however_long_it_was_gone(
    jitter: float, connect: Callable[..., Connection]
) -> None:
    clock = Clock()
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{held.getsockname()[1]}"
        connection = connect(target, now=clock, jitter=lambda: jitter, timeouts=Timeouts(glance_s=5.0))
        dialled_s = []
        while clock.now_s < 60:
            try:
                _ = connection.client
            except WorkerUnreachable:
                dialled_s.append(clock.now_s)
            except WorkerLost:
                pass
            clock.now_s += 0.125
    gaps_s = [later - earlier for earlier, later in pairwise(dialled_s)]
    assert max(gaps_s) <= 3.0
    assert min(gaps_s) >= 0.5


class Mute:
    """Keeps the welcome of every session but the first until it is let go."""

    def __init__(self) -> None:
        self.held: list[tuple[object, pb.ToWorker, Send]] = []
        self.is_on = False

    def __call__(self, worker: object, message: pb.ToWorker, send: Send) -> bool:
        if self.is_on and message.HasField("hello"):
            self.held.append((worker, message, send))
        return self.is_on

    def let_go(self) -> None:
        self.is_on = False
        for worker, message, send in self.held:
            worker._answer(message, {}, send)  # type: ignore[attr-defined]


def test_no_request_waits_for_a_frozen_worker_longer_than_it_should_and_dialling_goes_on(
    fake_worker: Start, plan: Plan, connect: Callable[..., Connection]
) -> None:
    mute = Mute()
    worker = fake_worker(on_message=mute)
    connection = connect(worker.target, timeouts=Timeouts(again_s=0.3, glance_s=0.05))
    first = connection.client
    mute.is_on = True
    worker.drop_sessions()
    waits_s = []
    for deadline_s in (None, None, None, 0.001):
        start_s = time.monotonic()
        with pytest.raises(WorkerLost):
            connection.ask(plan, 1, FOUR, {}, deadline_s=deadline_s)
        waits_s.append(time.monotonic() - start_s)
    worker.wait_for("hello", count=2)
    assert waits_s[0] < 1.0
    assert max(waits_s[1:]) < 0.25
    threading.Event().wait(0.5)
    mute.let_go()
    deadline_s = time.monotonic() + 5
    while time.monotonic() < deadline_s:
        try:
            assert connection.ask(plan, 1, FOUR, {}).tensors
            break
        except WorkerLost:
            continue
    assert connection.client is not first
    assert worker.seen.count("hello") == 2
    mute.is_on = True
    worker.drop_sessions()
    start_s = time.monotonic()
    with pytest.raises(WorkerLost):
        connection.ask(plan, 1, FOUR, {})
    assert time.monotonic() - start_s < 1.0, "an outage is no measure of the link"


def test_dialling_that_is_under_way_ends_with_the_connection(
    fake_worker: Start, plan: Plan, connect: Callable[..., Connection]
) -> None:
    mute = Mute()
    worker = fake_worker(on_message=mute)
    connection = connect(worker.target, timeouts=Timeouts(again_s=0.05))
    _ = connection.client
    mute.is_on = True
    worker.drop_sessions()
    with pytest.raises(WorkerLost):
        connection.ask(plan, 1, FOUR, {})
    start_s = time.monotonic()
    connection.close()
    assert time.monotonic() - start_s < 1.0


def test_a_request_waits_for_a_lost_worker_as_long_as_its_link_was_seen_to_need(
    fake_worker: Start, plan: Plan, connect: Callable[..., Connection]
) -> None:
    worker = fake_worker(on_message=on_first("chunk", lambda worker, _m, _s: worker.drop_sessions()))  # type: ignore[attr-defined]
    host, _, port = worker.target.rpartition(":")
    shape = Shape(up_bytes_per_s=1e6, down_bytes_per_s=1e6, delay_s=0.15)
    with Relay((host, int(port)), shape) as relay:
        connection = connect(relay.address, timeouts=Timeouts(again_s=0.1))
        assert connection.ask(plan, 1, FOUR, {}).tensors
        connection.close()
