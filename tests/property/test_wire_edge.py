"""A worker that lies at random, against the device's side: never a crash, a hang, a wrong number or a leak.

The liar speaks real gRPC and says whatever it was told to, true and false things mixed, whenever a message of the
client's comes. Whatever it says, each question ends in an answer that its checksums hold for, or in one of our errors,
in bounded time; and a slot that was taken comes free.
"""

from __future__ import annotations

import logging
import math
import os
import queue
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from contextlib import suppress

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.client import Client
from edge.config import Limits, Timeouts
from edge.errors import EdgeError
from edge.frames import Reply
from partitioner.plan import Plan, Segment, Stage
from protos import messages as pb
from protos.channel import SERVER_OPTIONS, SERVICE
from protos.codecs import CODECS
from protos.tensors import join, pack

IS_FULL = os.environ.get("CLEFT_CHAOS") == "full"
LIES = settings(
    max_examples=2000 if IS_FULL else 25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
QUICK = Timeouts(dial_s=1.0, liveness_s=1.0, propose_s=0.06, frame_s=0.06, rpc_s=1.0, close_s=1.0)
LIMITS = Limits(frames_in_flight=2, reply_bytes=1 << 16)
DIGEST = "ab" * 32
HEAD = Segment(model_digest=DIGEST, inputs=("x",), outputs=("h",))
TAIL = Segment(model_digest=DIGEST, inputs=("h",), outputs=("y",))
PLAN = Plan(model_digest=DIGEST, stages=(Stage(place="edge", segment=HEAD), Stage(place="cloud", segment=TAIL)))
X = np.arange(64, dtype=np.float32)
TRUTH = {"y": np.linspace(-1, 1, 48, dtype=np.float32).reshape(6, 8)}
TRUE_HEADERS, TRUE_BUFFERS, TRUE_BYTES = pack(TRUTH)
TRUE_PAYLOAD = join(TRUE_BUFFERS)
END = object()

ids = st.integers(0, 4)
longs = st.one_of(st.integers(0, 300), st.sampled_from([2**31, 2**63, 2**64 - 1]))
doubles = st.one_of(st.floats(), st.sampled_from([0.0, 0.5]))
header = st.builds(
    pb.TensorHeader,
    name=st.sampled_from(["y", "", "x"]),
    dtype=st.integers(0, 20),
    shape=st.lists(st.sampled_from([-1, 0, 6, 8, 2**62]), max_size=4),
    codec=st.sampled_from([*CODECS, "zip"]),
    offset_bytes=longs,
    size_bytes=longs,
    quantisation=st.builds(pb.Quantisation, axis=st.integers(-3, 3), scale=st.lists(st.floats(width=32), max_size=9)),
)
load = st.builds(pb.Load, queued_frames=st.sampled_from([0, 2**32 - 1]), busy_ratio=doubles, job_s=doubles)
timings = st.builds(pb.Timings, receive_s=doubles, compute_s=doubles)
truths = st.sampled_from(["result", "payload", "inline", "ready", "ack"])
lies = st.one_of(
    st.builds(
        lambda **fields: pb.ToEdge(result=pb.Result(**fields)),
        frame_id=ids,
        tensors=st.one_of(st.just(TRUE_HEADERS), st.lists(header, max_size=2)),
        payload_bytes=st.one_of(st.just(TRUE_BYTES), longs),
        timings=timings,
        load=load,
        payload=st.sampled_from([b"", b"", TRUE_PAYLOAD, TRUE_PAYLOAD[:-1], TRUE_PAYLOAD + b"x", bytes(TRUE_BYTES)]),
    ),
    st.builds(
        lambda frame_id, at, data: pb.ToEdge(chunk=pb.Chunk(frame_id=frame_id, offset_bytes=at, data=data)),
        ids,
        longs,
        st.binary(max_size=200),
    ),
    st.builds(
        lambda frame_id, at, size: pb.ToEdge(
            chunk=pb.Chunk(frame_id=frame_id, offset_bytes=at, data=TRUE_PAYLOAD[at : at + size])
        ),
        ids,
        st.sampled_from([0, 64, 128]),
        st.sampled_from([0, 64, 192]),
    ),
    st.builds(lambda frame_id, to: pb.ToEdge(ack=pb.Ack(frame_id=frame_id, received_bytes=to)), ids, longs),
    st.builds(
        lambda **fields: pb.ToEdge(failed=pb.Failed(**fields)),
        frame_id=ids,
        plan_id=st.sampled_from(["", PLAN.plan_id]),
        code=st.integers(0, 13),
        retry_after_s=doubles,
        detail=st.text(max_size=20),
    ),
    st.builds(lambda plan, took_s: pb.ToEdge(ready=pb.Ready(plan_id=plan, prepare_s=took_s)), st.just("?"), doubles),
    st.builds(
        lambda probe_id, data: pb.ToEdge(probe=pb.Probe(probe_id=probe_id, data=data)), ids, st.binary(max_size=30)
    ),
    st.builds(lambda liveness_s: pb.ToEdge(welcome=pb.Welcome(liveness_s=liveness_s)), doubles),
    st.builds(lambda grace_s: pb.ToEdge(drain=pb.Drain(reason="a\nb" * 300, grace_s=grace_s)), doubles),
    st.just(pb.ToEdge(heartbeat=pb.Heartbeat(sequence=2**64 - 1))),
    st.just(pb.ToEdge()),
)
said = st.one_of(truths, truths, lies)
scripts = st.lists(st.lists(said, max_size=4), min_size=1, max_size=8)
welcomes = st.builds(
    pb.Welcome,
    protocol_version=st.sampled_from([0, 1, 2**32 - 1]),
    worker=st.text(max_size=9),
    models=st.just([pb.ModelInfo(digest=DIGEST, name="m", ready=True)]),
    max_frame_bytes=st.sampled_from([1 << 20, 1 << 20, 0, 2**64 - 1]),
    liveness_s=st.one_of(st.just(1.0), doubles),
)


class Liar:
    """A gRPC server whose sessions follow a script: so many things said at each message that comes."""

    def __init__(self) -> None:
        self.script: list[list[object]] = []
        self.welcome = pb.Welcome()
        self._pool = futures.ThreadPoolExecutor(8)
        self._server = grpc.server(self._pool, options=SERVER_OPTIONS)
        handler = grpc.stream_stream_rpc_method_handler(
            self._session, pb.ToWorker.FromString, pb.ToEdge.SerializeToString
        )
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Session": handler}),))
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(grace=None).wait()
        self._pool.shutdown()

    def _session(self, messages: Iterator[pb.ToWorker], context: grpc.ServicerContext) -> Iterator[pb.ToEdge]:
        out: queue.SimpleQueue[object] = queue.SimpleQueue()
        reader = threading.Thread(target=self._listen, args=(messages, out, list(self.script)))
        reader.start()
        while (item := out.get()) is not END:
            yield item  # type: ignore[misc]
        context.cancel()
        reader.join()

    def _listen(
        self, messages: Iterator[pb.ToWorker], out: queue.SimpleQueue[object], script: list[list[object]]
    ) -> None:
        seen = [0, 0]
        try:
            for message in messages:
                if message.HasField("hello"):
                    out.put(pb.ToEdge(welcome=self.welcome))
                    continue
                if message.HasField("run"):
                    seen[0] = message.run.frame_id
                if message.HasField("chunk"):
                    seen[1] = message.chunk.offset_bytes + len(message.chunk.data)
                for each in script.pop(0) if script else []:
                    for reply in self._true(each, *seen) if isinstance(each, str) else [each]:
                        out.put(reply)
        except Exception:  # the stream ended
            pass
        out.put(END)

    def _true(self, kind: str, frame_id: int, received_bytes: int) -> list[pb.ToEdge]:
        whole = {"frame_id": frame_id, "tensors": TRUE_HEADERS, "payload_bytes": TRUE_BYTES}
        match kind:
            case "ready":
                return [pb.ToEdge(ready=pb.Ready(plan_id=PLAN.plan_id))]
            case "ack":
                return [pb.ToEdge(ack=pb.Ack(frame_id=frame_id, received_bytes=received_bytes))]
            case "result":
                return [pb.ToEdge(result=pb.Result(**whole))]
            case "inline":
                return [pb.ToEdge(result=pb.Result(payload=TRUE_PAYLOAD, **whole))]
        halves = [(0, TRUE_PAYLOAD[:100]), (100, TRUE_PAYLOAD[100:])]
        return [pb.ToEdge(chunk=pb.Chunk(frame_id=frame_id, offset_bytes=at, data=data)) for at, data in halves]


@pytest.fixture
def liar() -> Iterator[Liar]:
    made = Liar()
    yield made
    made.stop()


def ask(client: Client) -> list[Reply]:
    """A plan, two frames and a probe; what was answered."""
    answered = []
    try:
        client.propose(PLAN)
    except EdgeError:
        client.forget(PLAN)
    frames = []
    for _ in range(2):
        try:
            frames.append(client.submit(PLAN.plan_id, 1, {"h": X}, {}))
        except EdgeError:
            continue
    with suppress(EdgeError):
        client.probe(up_bytes=8, reply_bytes=8)(0.02)
    for frame in frames:
        progress = frame.progress
        assert 0 <= progress.acked_bytes <= progress.total_bytes
        try:
            answered.append(frame.result())
        except EdgeError:
            continue
    return answered


@pytest.mark.timeout(900)
@LIES
@given(welcomes, scripts)
def test_whatever_a_worker_says_each_question_ends_truly_or_in_an_error(
    liar: Liar, caplog: pytest.LogCaptureFixture, welcome: pb.Welcome, script: list[list[object]]
) -> None:
    caplog.clear()
    liar.welcome, liar.script = welcome, script
    began_s = time.monotonic()
    with caplog.at_level(logging.WARNING):
        try:
            client = Client.dial(liar.target, timeouts=QUICK, limits=LIMITS)
        except EdgeError:
            return
        with client:
            replies = ask(client)
            failure = client.failure
            assert client.frames_in_flight == 0
            assert client.unacked_bytes <= 2 * X.nbytes or failure is not None
    for reply in replies:
        for name, tensor in reply.tensors.items():
            if tensor.size:  # nothing at all needs no payload, and is whatever its header says
                np.testing.assert_array_equal(tensor, TRUTH[name])
        assert math.isfinite(reply.wire_s)
        assert math.isfinite(reply.worker.busy_s)
    assert failure is None or "\n" not in str(failure)
    assert "internal error" not in str(failure)
    assert not caplog.records, caplog.text
    assert time.monotonic() - began_s < 15
