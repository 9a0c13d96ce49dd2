"""The states of a session, walked at random: what is allowed and what is not, in any order, against a live worker.

A walk knows what it has said, so it knows what it is owed: each frame that was announced is answered exactly once, with
the right numbers where all of it came, unless the session ended; and when the walk is over nothing of it is left.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parents[1] / "unit" / "cloud"))

from loopback import WAIT_S, FakeEngine, LiveWorker, Talker, good_frame, live_worker, plan_for, plan_message
from loopback import test_config as config_of

from partitioner.runtimes import Array
from protos import messages as pb
from protos.channel import WorkerStub, dial
from protos.chunks import Assembler
from protos.errors import WireError
from protos.tensors import join, pack, unpack

IS_FULL = os.environ.get("CLEFT_CHAOS") == "full"
WALKS = settings(
    max_examples=3000 if IS_FULL else 50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
PLANS = {codec: plan_for(codec=codec) for codec in ("none", "int8", "fp16+zstd")}
OTHER = plan_for(outputs=("z",))
ROWS = 6
STEP_BYTES = 64

frame_ids = st.integers(1, 4)
numbers = st.one_of(st.integers(0, 300), st.sampled_from([2**31, 2**63, 2**64 - 1]))
lies = ["shape", "negative", "huge", "dtype", "scale", "axis", "size", "stage", "plan", "deadline"]
steps = st.one_of(
    st.tuples(st.just("run"), frame_ids, st.sampled_from(list(PLANS)), st.sampled_from(["none", "int8", "none+zstd"])),
    st.tuples(st.just("finish"), frame_ids),
    st.tuples(st.just("piece"), frame_ids),
    st.tuples(st.just("again"), frame_ids),
    st.tuples(st.just("flip"), frame_ids),
    st.tuples(st.just("gap"), frame_ids, numbers),
    st.tuples(st.just("cancel"), st.one_of(frame_ids, st.just(99))),
    st.tuples(st.just("lie"), frame_ids, st.sampled_from(lies)),
    st.tuples(st.just("propose"), st.sampled_from([*PLANS, "other"])),
    st.tuples(st.just("ack"), st.one_of(frame_ids, numbers), numbers),
    st.tuples(st.just("probe"), st.integers(0, 300)),
    st.tuples(st.just("heartbeat")),
)
fatal = st.one_of(
    st.tuples(st.just("hello"), st.sampled_from([0, 1, 2, 2**31])),
    st.tuples(st.just("stray"), st.sampled_from([0, 77, 2**64 - 1])),
    st.tuples(st.just("probe"), st.just(300_000)),
    st.tuples(st.just("zero")),
    st.tuples(st.just("nothing")),
)
openings = st.sampled_from(["chunks", "inline", "chunks", "inline", ""])
walks = st.tuples(openings, st.lists(steps, max_size=25), st.one_of(st.none(), st.none(), fatal))


class Walk:
    """One session: says what it is told, and keeps what it said."""

    def __init__(self, session: Talker) -> None:
        self.session = session
        self.inputs: dict[int, Array] = {}
        self.payloads: dict[int, bytes] = {}
        self.sent: dict[int, int] = {}
        self.spoilt: set[int] = set()
        self.announced: Counter[int] = Counter()
        self._made = 0

    def do(self, step: tuple[object, ...]) -> None:
        kind, *rest = step
        getattr(self, f"_{kind}")(*rest)

    def _hello(self, version: int) -> None:
        self.session.say(hello=pb.Hello(protocol_version=version, session_id="walk"))

    def _propose(self, name: str) -> None:
        plan = PLANS.get(name, OTHER)
        self.session.say(propose=pb.Propose(plan_id=plan.plan_id, plan=plan_message(plan)))

    def _run(self, frame_id: int, plan: str, codec: str) -> None:
        if frame_id in self.announced:  # a second Run of one id has no effect while the first is under way
            self.spoilt.add(frame_id)
        self._made += 1
        x = np.arange(ROWS * 8, dtype=np.float32).reshape(ROWS, 8) + self._made
        headers, buffers, size = pack({"x": x}, {"x": codec})
        self._announce(frame_id, pb.Run(plan_id=PLANS[plan].plan_id, stage=1, tensors=headers, payload_bytes=size))
        self.inputs[frame_id], self.payloads[frame_id], self.sent[frame_id] = x, join(buffers), 0

    def _lie(self, frame_id: int, lie: str) -> None:
        codec = "int8" if lie in ("scale", "axis") else "none"
        headers, buffers, size = pack({"x": np.ones((ROWS, 8), np.float32)}, {"x": codec})
        run = pb.Run(plan_id=PLANS["none"].plan_id, stage=1, tensors=headers, payload_bytes=size)
        match lie:
            case "shape":
                run.tensors[0].shape[:] = [ROWS, 9]
            case "negative":
                run.tensors[0].shape[:] = [-1, 8]
            case "huge":
                run.tensors[0].shape[:] = [2**62, 8]
            case "dtype":
                run.tensors[0].dtype = 99
            case "scale":
                run.tensors[0].quantisation.scale[:] = [float("nan")] * len(run.tensors[0].quantisation.scale)
            case "axis":
                run.tensors[0].quantisation.axis = -7
            case "size":
                run.payload_bytes = 2**63
            case "stage":
                run.stage = 2**31
            case "plan":
                run.plan_id = "../none"
            case "deadline":
                run.deadline_left_s = float("nan")
        self.spoilt.add(frame_id)
        self._announce(frame_id, run)
        if frame_id not in self.payloads:
            self.payloads[frame_id], self.sent[frame_id] = join(buffers), 0

    def _announce(self, frame_id: int, run: pb.Run) -> None:
        run.frame_id = frame_id
        self.announced[frame_id] += 1
        self.session.say(run=run)

    def _chunk(self, frame_id: int, offset: int, data: bytes) -> None:
        self.session.say(chunk=pb.Chunk(frame_id=frame_id, offset_bytes=offset, data=data))

    def _piece(self, frame_id: int) -> None:
        if frame_id in self.sent:
            at = self.sent[frame_id]
            data = self.payloads[frame_id][at : at + STEP_BYTES]
            self._chunk(frame_id, at, data)
            self.sent[frame_id] += len(data)
            if not data:
                self.spoilt.add(frame_id)

    def _finish(self, frame_id: int) -> None:
        while frame_id in self.payloads and self.sent[frame_id] < len(self.payloads[frame_id]):
            self._piece(frame_id)

    def _again(self, frame_id: int) -> None:
        """A piece that was sent already."""
        if self.sent.get(frame_id):
            self._chunk(frame_id, 0, self.payloads[frame_id][: min(STEP_BYTES, self.sent[frame_id])])

    def _flip(self, frame_id: int) -> None:
        at = self.sent.get(frame_id, 0)
        data = bytearray(self.payloads.get(frame_id, b"")[at : at + STEP_BYTES])
        if data:
            data[0] ^= 1
            self.spoilt.add(frame_id)
            self._chunk(frame_id, at, bytes(data))
            self.sent[frame_id] += len(data)

    def _gap(self, frame_id: int, offset: int) -> None:
        if frame_id in self.announced:
            self.spoilt.add(frame_id)
            self._chunk(frame_id, offset, b"gap")

    def _stray(self, frame_id: int) -> None:
        self._chunk(frame_id, 0, b"stray")

    def _zero(self) -> None:
        self.session.say(run=pb.Run(frame_id=0))

    def _ack(self, frame_id: int, received_bytes: int) -> None:
        self.session.say(ack=pb.Ack(frame_id=frame_id, received_bytes=received_bytes))

    def _cancel(self, frame_id: int) -> None:
        self.spoilt.add(frame_id)
        self.session.say(cancel=pb.Cancel(frame_id=frame_id))

    def _probe(self, size: int) -> None:
        self.session.say(probe=pb.Probe(probe_id=5, data=bytes(size), reply_bytes=size))

    def _nothing(self) -> None:
        self.session.say()

    def _heartbeat(self) -> None:
        self.session.say(heartbeat=pb.Heartbeat(sequence=1))

    def wind_up(self) -> tuple[list[pb.ToEdge], WireError | None]:
        """Send what is left of every frame, and take what comes until the session ends."""
        for frame_id in list(self.payloads):
            self._finish(frame_id)
        self.session.half_close()
        heard: list[pb.ToEdge] = []
        try:
            while True:
                message = self.session.hear()
                heard.append(message)
                if message.HasField("chunk"):
                    end = message.chunk.offset_bytes + len(message.chunk.data)
                    self.session.say(ack=pb.Ack(frame_id=message.chunk.frame_id, received_bytes=end))
        except WireError as error:
            return heard, error


def answers(heard: list[pb.ToEdge]) -> tuple[Counter[int], dict[int, Array]]:
    """How often each frame was answered, and with which numbers; a Result that a Failed cuts short is no answer."""
    counts: Counter[int] = Counter()
    begun: dict[int, tuple[pb.Result, Assembler]] = {}
    found: dict[int, Array] = {}

    def take(frame_id: int, offset_bytes: int, data: bytes) -> None:
        result, assembler = begun[frame_id]
        assembler.add(offset_bytes, data)
        if assembler.is_complete:
            counts[frame_id] += 1
            found[frame_id] = unpack(result.tensors, assembler.payload)["y"]
            del begun[frame_id]

    for message in heard:
        if message.HasField("failed") and message.failed.frame_id:
            counts[message.failed.frame_id] += 1
            begun.pop(message.failed.frame_id, None)
        elif message.HasField("result"):
            assert message.result.frame_id not in begun, "a Result amid the payload of another"
            begun[message.result.frame_id] = (message.result, Assembler(message.result.payload_bytes))
            if message.result.payload:
                take(message.result.frame_id, 0, message.result.payload)
        elif message.HasField("chunk"):
            take(message.chunk.frame_id, message.chunk.offset_bytes, message.chunk.data)
    return counts, found


@pytest.fixture(scope="module")
def worker() -> Iterator[LiveWorker]:
    with live_worker(config_of(liveness_s=2.0), engine=FakeEngine()) as live:
        yield live


def is_at_rest(worker: LiveWorker) -> bool:
    with dial(worker.target) as channel:
        told = WorkerStub(channel).status(timeout_s=WAIT_S)
    return told.sessions == 0 and told.load.queued_frames == 0


@pytest.mark.timeout(900)
@WALKS
@given(walks)
def test_any_walk_is_answered_as_it_is_owed_and_leaves_nothing(
    worker: LiveWorker,
    caplog: pytest.LogCaptureFixture,
    walk: tuple[str, list[tuple[object, ...]], tuple[object, ...] | None],
) -> None:
    begins, steps_taken, last = walk
    caplog.clear()
    with caplog.at_level(logging.INFO), Talker(worker.target) as session:
        said = Walk(session)
        if begins:
            session.hello(takes_inline_results=begins == "inline")
            for plan in PLANS.values():
                assert session.propose(plan).HasField("ready")
        for step in [*steps_taken, last] if last else steps_taken:
            said.do(step)
        heard, ended = said.wind_up()
    counts, found = answers(heard)
    for frame_id, count in counts.items():
        assert count <= said.announced[frame_id], "an answer that nobody asked for"
    for frame_id, y in found.items():
        if frame_id not in said.spoilt:
            np.testing.assert_allclose(y, said.inputs[frame_id] * 2, rtol=0.02, atol=0.5)
    if ended is not None and ended.code == "CANCELLED":  # in good order
        for frame_id in said.announced.keys() - said.spoilt:
            assert counts[frame_id] == 1, f"frame {frame_id} was not answered"
            assert frame_id in found
    else:
        assert ended is not None
        assert ended.code not in ("INTERNAL", "UNREACHABLE"), ended
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR], caplog.text


def test_after_all_walks_the_worker_is_at_rest_and_serves(worker: LiveWorker) -> None:
    moment = threading.Event()
    for _ in range(200):
        if is_at_rest(worker):
            break
        moment.wait(0.05)
    assert is_at_rest(worker)
    good_frame(worker.target)
