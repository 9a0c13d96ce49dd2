"""What a session tells of its link and of a frame in flight."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest

from edge.client import Client
from edge.clock import DeviceClock
from edge.config import Timeouts
from edge.errors import FrameCancelled
from partitioner.plan import Plan
from partitioner.runtimes import Array
from protos import messages as pb
from protos.chunks import Delivery

Start = Callable[..., "FakeWorker"]  # noqa: F821 - the class of conftest.py
Send = Callable[[pb.ToEdge], None]
SOON_S = 10.0


@dataclass
class Notes:
    """An observer that keeps what it is told."""

    deliveries: list[Delivery] = field(default_factory=list)
    answers: list[tuple[int, float, float]] = field(default_factory=list)
    waits: list[tuple[int, float, float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    has_waited: threading.Event = field(default_factory=threading.Event)

    def delivered(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)

    def received(self, size_bytes: int, interval_s: float, at_s: float) -> None:
        self.answers.append((size_bytes, interval_s, at_s))

    def echoed(self, rtt_s: float, at_s: float) -> None:
        pass

    def waiting(self, unacked_bytes: int, waited_s: float, at_s: float) -> None:
        self.waits.append((unacked_bytes, waited_s, at_s))
        if len(self.waits) > 2:
            self.has_waited.set()

    def lost(self, at_s: float) -> None:
        self.losses.append(at_s)


def dialled(target: str, notes: Notes, timeouts: Timeouts) -> Client:
    client = Client(target, clock=DeviceClock(), timeouts=timeouts, observer=notes)
    client.greet()
    return client


def quiet(_worker: object, message: pb.ToWorker, _send: Send) -> bool:
    return message.WhichOneof("body") in ("run", "chunk")


def test_every_byte_that_was_acknowledged_is_told_once_and_in_order(
    fake_worker: Start, plan: Plan, quick: Timeouts, ones: Array
) -> None:
    notes = Notes()
    with dialled(fake_worker().target, notes, quick) as client:
        client.propose(plan)
        for _ in range(3):
            client.run(plan.plan_id, 1, {"h": ones}, {})
    assert sum(each.size_bytes for each in notes.deliveries) <= 3 * ones.nbytes
    assert sum(each.size_bytes for each in notes.deliveries) >= ones.nbytes
    assert all(before.at_s <= after.at_s for before, after in pairwise(notes.deliveries))
    assert all(each.rate_bytes_per_s > 0 and each.rtt_s >= 0 for each in notes.deliveries)
    assert notes.deliveries[0].is_alone
    assert notes.losses == []


def test_every_chunk_of_an_answer_but_the_first_is_told_with_the_time_since_the_last(
    fake_worker: Start, plan: Plan, quick: Timeouts, ones: Array
) -> None:
    notes = Notes()
    with dialled(fake_worker().target, notes, quick) as client:
        client.propose(plan)
        client.run(plan.plan_id, 1, {"h": ones}, {})
    assert sum(size_bytes for size_bytes, _, _ in notes.answers) == ones.nbytes - 65536
    assert all(interval_s >= 0 for _, interval_s, _ in notes.answers)


def test_silence_about_what_was_sent_is_told_while_it_lasts(
    fake_worker: Start, plan: Plan, quick: Timeouts, ones: Array
) -> None:
    notes = Notes()
    with dialled(fake_worker(on_message=quiet, liveness_s=0.6).target, notes, quick) as client:
        client.propose(plan)
        frame = client.submit(plan.plan_id, 1, {"h": ones}, {})
        assert notes.has_waited.wait(SOON_S)
        assert client.unacked_bytes == notes.waits[0][0] > 0
        frame.cancel()
    assert all(before[1] < after[1] for before, after in pairwise(notes.waits[:3]))
    assert notes.deliveries == []


def test_a_loss_is_told_once_and_a_session_that_was_closed_is_none(fake_worker: Start, quick: Timeouts) -> None:
    lost, closed, worker, over = Notes(), Notes(), fake_worker(), threading.Event()
    client = Client(worker.target, clock=DeviceClock(), timeouts=quick, observer=lost, on_change=over.set)
    client.greet()
    worker.drop_sessions()
    assert over.wait(SOON_S)
    client.close()
    dialled(worker.target, closed, quick).close()
    assert len(lost.losses) == 1
    assert closed.losses == []


def test_a_frame_tells_how_far_it_has_come(fake_worker: Start, plan: Plan, quick: Timeouts, ones: Array) -> None:
    half = threading.Event()

    def acknowledge_half(_worker: object, message: pb.ToWorker, send: Send) -> bool:
        if message.WhichOneof("body") == "chunk":
            chunk = message.chunk
            if not half.is_set():
                ack = pb.Ack(frame_id=chunk.frame_id, received_bytes=chunk.offset_bytes + len(chunk.data))
                send(pb.ToEdge(ack=ack))
            if chunk.offset_bytes > ones.nbytes / 2:
                half.set()
        return message.WhichOneof("body") in ("run", "chunk")

    with dialled(fake_worker(on_message=acknowledge_half).target, Notes(), quick) as client:
        client.propose(plan)
        frame = client.submit(plan.plan_id, 1, {"h": ones}, {})
        assert frame.progress.total_bytes == ones.nbytes
        assert half.wait(SOON_S)
        assert not frame.is_done
        assert not frame.wait(0.05)
        assert ones.nbytes / 2 < frame.progress.acked_bytes <= ones.nbytes
        assert frame.progress.left_bytes == ones.nbytes - frame.progress.acked_bytes
        assert frame.progress.waited_s > 0.0
        frame.cancel()
        assert frame.wait(0.0)
        assert frame.is_done
        assert not frame.is_answered
        with pytest.raises(FrameCancelled):
            frame.result()


def test_waiting_for_an_answer_leaves_it_to_be_read(fake_worker: Start, plan: Plan, quick: Timeouts) -> None:
    with dialled(fake_worker().target, Notes(), quick) as client:
        client.propose(plan)
        frame = client.submit(plan.plan_id, 1, {"h": np.ones(4, np.float32)}, {})
        assert frame.wait(SOON_S)
        assert frame.is_answered
        assert frame.result().tensors["h.out"].sum() == 8.0


@pytest.mark.parametrize("lie", ["future", "again", "other", "late"])
def test_acknowledgements_and_answers_of_what_is_not_under_way_change_nothing(
    lie: str, fake_worker: Start, plan: Plan, quick: Timeouts, ones: Array
) -> None:
    """``future``: of bytes not sent yet; ``again``: each twice; ``other``: of no frame; ``late``: a second answer."""
    notes = Notes()

    def bend(worker: object, message: pb.ToWorker, send: Send) -> bool:
        if message.WhichOneof("body") == "chunk":
            frame_id, end = message.chunk.frame_id, message.chunk.offset_bytes + len(message.chunk.data)
            if lie == "future":
                send(pb.ToEdge(ack=pb.Ack(frame_id=frame_id, received_bytes=2**63)))
            if lie == "again":
                send(pb.ToEdge(ack=pb.Ack(frame_id=frame_id, received_bytes=end)))
            if lie == "other":
                send(pb.ToEdge(ack=pb.Ack(frame_id=frame_id + 7, received_bytes=end)))
        if message.WhichOneof("body") == "run" and lie == "late" and message.run.frame_id > 1:
            send(pb.ToEdge(result=pb.Result(frame_id=message.run.frame_id - 1)))
        return False

    with dialled(fake_worker(on_message=bend).target, notes, quick) as client:
        client.propose(plan)
        for _ in range(3):
            frame = client.submit(plan.plan_id, 1, {"h": ones}, {})
            np.testing.assert_array_equal(frame.result().tensors["h.out"], ones * 2)
            assert frame.progress.acked_bytes <= ones.nbytes
        assert client.frames_in_flight == 0
        assert client.failure is None
    assert sum(each.size_bytes for each in notes.deliveries) <= 3 * ones.nbytes
