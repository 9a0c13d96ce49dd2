from __future__ import annotations

import threading
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.bandwidth import Delivery, Estimator, Listener
from edge.clock import DeviceClock
from edge.config import Limits
from edge.errors import EdgeError
from edge.frames import Frame, Waiting
from edge.inflight import InFlight
from edge.outbox import Outbox
from protos import messages as pb
from protos.chunks import Pacer

_IDS = st.sampled_from([0, 1, 2, 2**64 - 1])
_SIZES = st.sampled_from([0, 1, 7, 2**31, 2**63, 2**64 - 1])
_HEADERS = st.builds(
    pb.TensorHeader,
    name=st.sampled_from(["", "y", "\x00"]),
    dtype=st.sampled_from([0, 1, 12, 99]),
    shape=st.lists(st.sampled_from([-1, 0, 1, 7, 2**62]), max_size=3),
    codec=st.sampled_from(["none", "int8", "zip", ""]),
    offset_bytes=_SIZES,
    size_bytes=_SIZES,
)
_MESSAGES = st.one_of(
    st.builds(
        pb.ToEdge,
        result=st.builds(pb.Result, frame_id=_IDS, tensors=st.lists(_HEADERS, max_size=2), payload_bytes=_SIZES),
    ),
    st.builds(pb.ToEdge, chunk=st.builds(pb.Chunk, frame_id=_IDS, offset_bytes=_SIZES, data=st.binary(max_size=9))),
    st.builds(pb.ToEdge, ack=st.builds(pb.Ack, frame_id=_IDS, received_bytes=_SIZES)),
    st.builds(pb.ToEdge, failed=st.builds(pb.Failed, frame_id=_IDS, code=st.sampled_from([0, 1, 9, 77]))),
    st.builds(pb.ToEdge, ready=st.builds(pb.Ready, plan_id=st.sampled_from(["", "p"]))),
    st.builds(pb.ToEdge, probe=st.builds(pb.Probe, probe_id=_IDS, data=st.binary(max_size=9))),
    st.just(pb.ToEdge()),
)


def outbox() -> Outbox[pb.ToWorker]:
    return Outbox(Pacer(), now=time.monotonic, make_chunk=lambda frame, at, data: pb.ToWorker())


def a_frame(table: InFlight, frame_id: int = 1) -> Frame:
    frame = Frame(
        frame_id=frame_id,
        plan_id="plan",
        deadline_s=5.0,
        expires_s=time.monotonic() + 5.0,
        encode_s=0.0,
        up_bytes=0,
        payload_bytes=0,
        clock=DeviceClock(),
        withdraw=lambda frame, error: None,
    )
    table.add(frame)
    return frame


@settings(max_examples=300, deadline=None)
@given(st.lists(_MESSAGES, max_size=8))
def test_whatever_a_worker_says_every_frame_is_settled_once_and_nothing_breaks(messages: list[pb.ToEdge]) -> None:
    table, box = InFlight(Limits(frames_in_flight=2)), outbox()
    frames = []
    for frame_id in (1, 2):
        assert table.take_slot(0)
        frames.append(a_frame(table, frame_id))
    for message in messages:
        table.take(message, box)
    table.settle_all(EdgeError("over"))
    for frame in frames:
        assert not table.settle(frame)
        with suppress(EdgeError):
            frame.result()
    assert table.take_slot(0)
    assert table.take_slot(0)
    assert not table.take_slot(0)


def test_chunks_of_a_withdrawn_frame_are_acknowledged() -> None:
    table, box = InFlight(Limits()), outbox()
    assert table.take_slot(0)
    table.withdraw(a_frame(table), EdgeError("late"), box)
    table.take(pb.ToEdge(chunk=pb.Chunk(frame_id=1, offset_bytes=100, data=bytes(50))), box)
    box.put(pb.ToWorker(heartbeat=pb.Heartbeat()))
    messages = iter(box)
    assert next(messages) == pb.ToWorker(cancel=pb.Cancel(frame_id=1))
    assert next(messages) == pb.ToWorker(ack=pb.Ack(frame_id=1, received_bytes=150))


def test_a_frame_that_fails_half_sent_leaves_the_window_to_the_next() -> None:
    table = InFlight(Limits())
    box = Outbox(Pacer(), now=time.monotonic, make_chunk=lambda frame, at, data: pb.ToWorker(chunk={"frame_id": frame}))
    assert table.take_slot(0)
    a_frame(table)
    box.put_frame(1, pb.ToWorker(), [bytes(16_000)])
    messages = iter(box)
    for _ in range(3):
        next(messages)
    assert box.unacked_bytes == 16_000
    table.take(pb.ToEdge(failed=pb.Failed(frame_id=1, code=pb.Code.CODE_INTERNAL)), box)
    table.take(pb.ToEdge(ack=pb.Ack(frame_id=1, received_bytes=16_000)), box)
    assert box.unacked_bytes == 0
    box.put_frame(2, pb.ToWorker(), [bytes(8_000)])
    assert [next(messages).chunk.frame_id for _ in range(2)] == [0, 2]


@pytest.mark.parametrize(
    "says",
    [
        pb.ToEdge(ack=pb.Ack(frame_id=1, received_bytes=16_000)),
        pb.ToEdge(probe=pb.Probe(probe_id=1)),
        pb.ToEdge(failed=pb.Failed(frame_id=1, code=pb.Code.CODE_CANCELLED)),
    ],
    ids=lambda says: str(says.WhichOneof("body")),
)
def test_what_left_of_a_withdrawn_frame_counts_until_it_has_arrived(says: pb.ToEdge) -> None:
    heard = Heard()
    table, box = InFlight(Limits(), observer=Listener(lambda note: note(heard))), outbox()
    assert table.take_slot(0)
    frame = a_frame(table)
    box.put_frame(1, pb.ToWorker(), [bytes(16_000)])
    messages = iter(box)
    for _ in range(3):
        next(messages)
    table.withdraw(frame, EdgeError("late"), box)
    assert [next(messages).WhichOneof("body") for _ in range(2)] == ["cancel", "probe"]
    assert box.unacked_bytes == 16_000
    table.take(says, box)
    assert box.unacked_bytes == 0
    assert heard.sizes_bytes == ([16_000] if says.WhichOneof("body") == "ack" else [])


class Heard(Estimator):
    """Keeps the sizes of what was delivered."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes_bytes: list[int] = []

    def delivered(self, delivery: Delivery) -> None:
        self.sizes_bytes.append(delivery.size_bytes)


def test_a_frame_settled_from_many_sides_is_settled_once() -> None:
    for _ in range(50):
        table, box = InFlight(Limits(frames_in_flight=1)), outbox()
        assert table.take_slot(0)
        frame = a_frame(table)
        sides = [
            threading.Thread(target=lambda t=table, f=frame: t.settle(f, EdgeError("a"))),
            threading.Thread(target=lambda t=table, f=frame, b=box: t.withdraw(f, EdgeError("b"), b)),
            threading.Thread(target=lambda t=table: t.settle_all(EdgeError("c"))),
        ]
        for side in sides:
            side.start()
        for side in sides:
            side.join()
        with pytest.raises(EdgeError):
            frame.result()
        assert table.take_slot(0)


def test_whoever_waits_for_a_proposal_that_could_not_be_sent_is_told() -> None:
    table = InFlight(Limits())
    others: list[Waiting] = []

    def send() -> None:
        others.append(table.proposal("plan", lambda: None))
        raise EdgeError("the session ended")

    with pytest.raises(EdgeError):
        table.proposal("plan", send)
    assert others[0].error is not None
