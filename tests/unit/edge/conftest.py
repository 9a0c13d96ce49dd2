"""A worker that speaks the protocol and computes nothing, in this process; each test bends what it needs."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field, replace

import grpc
import numpy as np
import pytest

from edge.clock import DeviceClock
from edge.config import Timeouts
from edge.fleet import Fleet
from partitioner.plan import Plan, Segment, Stage
from partitioner.runtimes import Array
from protos import messages as pb
from protos import tensors as packing
from protos.channel import SERVER_OPTIONS, SERVICE
from protos.chunks import Assembler
from protos.documents import pack_document
from protos.errors import WireError
from protos.status import CODE_METADATA, to_status

DIGEST = "ab" * 32
END = object()
Send = Callable[[pb.ToEdge], None]


@dataclass
class FakeWorker:
    """Doubles every tensor. Attributes bend its behaviour; ``seen`` records what came, by body."""

    compute: Callable[[dict[str, Array]], dict[str, Array]] = field(
        default=lambda tensors: {f"{name}.out": array * 2 for name, array in tensors.items()}
    )
    on_message: Callable[[FakeWorker, pb.ToWorker, Send], bool] = field(default=lambda _worker, _message, _send: False)
    liveness_s: float = 3.0
    heartbeat_s: float = 0.0
    max_frame_bytes: int = 64 << 20
    welcome: bool = True
    refusal: WireError | None = None
    profile_pieces: Callable[[], Iterator[bytes]] = field(default=lambda: pack_document("{}"))
    seen: list[str] = field(default_factory=list)
    heard: threading.Condition = field(default_factory=threading.Condition)
    target: str = ""

    def __post_init__(self) -> None:
        self._sessions: list[queue.SimpleQueue[object]] = []
        self._pool = futures.ThreadPoolExecutor(8)
        self._server = grpc.server(self._pool, options=SERVER_OPTIONS)
        handlers = {
            "Session": grpc.stream_stream_rpc_method_handler(
                self._session, pb.ToWorker.FromString, pb.ToEdge.SerializeToString
            ),
            "Status": grpc.unary_unary_rpc_method_handler(
                self._status, pb.StatusRequest.FromString, pb.StatusReply.SerializeToString
            ),
            "Profile": grpc.unary_stream_rpc_method_handler(
                self._profile, pb.ProfileRequest.FromString, pb.ProfileUpdate.SerializeToString
            ),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def wait_for(self, body: str, *, count: int = 1) -> None:
        """Wait until ``count`` messages of this body came."""
        with self.heard:
            assert self.heard.wait_for(lambda: self.seen.count(body) >= count, timeout=10)

    def drop_sessions(self) -> None:
        """End every session now."""
        for out in self._sessions:
            out.put(END)

    def stop(self) -> None:
        self.drop_sessions()
        self._server.stop(grace=None).wait()
        self._pool.shutdown()

    def _session(self, messages: Iterator[pb.ToWorker], context: grpc.ServicerContext) -> Iterator[pb.ToEdge]:
        if self.refusal is not None:
            context.set_trailing_metadata(((CODE_METADATA, self.refusal.code),))
            context.abort(to_status(self.refusal), self.refusal.detail)
        out: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._sessions.append(out)
        reader = threading.Thread(target=self._read, args=(messages, out))
        reader.start()
        while (item := out.get()) is not END:
            yield item  # type: ignore[misc]
        context.cancel()
        reader.join()

    def _read(self, messages: Iterator[pb.ToWorker], out: queue.SimpleQueue[object]) -> None:
        state: dict[int, tuple[pb.Run, Assembler, float]] = {}
        try:
            for message in messages:
                if not self.on_message(self, message, out.put):
                    self._answer(message, state, out.put)
                with self.heard:
                    self.seen.append(message.WhichOneof("body") or "")
                    self.heard.notify_all()
        except Exception:  # the stream ended
            pass
        out.put(END)

    def _answer(self, message: pb.ToWorker, state: dict[int, tuple[pb.Run, Assembler, float]], send: Send) -> None:
        match message.WhichOneof("body"):
            case "hello" if self.welcome:
                models = [pb.ModelInfo(digest=DIGEST, name="fake", ready=True)]
                send(
                    pb.ToEdge(
                        welcome=pb.Welcome(
                            protocol_version=1,
                            worker="fake",
                            models=models,
                            max_frame_bytes=self.max_frame_bytes,
                            liveness_s=self.liveness_s,
                        )
                    )
                )
            case "propose":
                send(pb.ToEdge(ready=pb.Ready(plan_id=message.propose.plan_id, prepare_s=0.25)))
            case "heartbeat":
                send(pb.ToEdge(heartbeat=pb.Heartbeat(sequence=message.heartbeat.sequence)))
            case "probe":
                probe = message.probe
                echo = pb.Probe(probe_id=probe.probe_id, received_bytes=len(probe.data), data=bytes(probe.reply_bytes))
                send(pb.ToEdge(probe=echo))
            case "run":
                run = message.run
                state[run.frame_id] = (run, Assembler(run.payload_bytes), time.monotonic())
                if not run.payload_bytes:
                    self.reply(run, b"", send)
            case "chunk" if message.chunk.frame_id in state:
                chunk = message.chunk
                run, assembler, _ = state[chunk.frame_id]
                assembler.add(chunk.offset_bytes, chunk.data)
                ack = pb.Ack(frame_id=chunk.frame_id, received_bytes=assembler.received_bytes)
                send(pb.ToEdge(ack=ack))
                if assembler.is_complete:
                    self.reply(run, assembler.payload, send)
            case "cancel":
                state.pop(message.cancel.frame_id, None)

    def reply(self, run: pb.Run, payload: bytes | memoryview, send: Send) -> None:
        """Compute and answer a frame."""
        outputs = self.compute(packing.unpack(run.tensors, payload))
        headers, buffers, size = packing.pack(outputs)
        timings = pb.Timings(decode_s=1e-4, compute_s=2e-4, encode_s=1e-4)
        send(
            pb.ToEdge(
                result=pb.Result(
                    frame_id=run.frame_id,
                    tensors=headers,
                    payload_bytes=size,
                    timings=timings,
                    load=pb.Load(queued_frames=3, busy_ratio=0.5),
                )
            )
        )
        data = packing.join(buffers)
        for start in range(0, size, 65536):
            piece = data[start : start + 65536]
            send(pb.ToEdge(chunk=pb.Chunk(frame_id=run.frame_id, offset_bytes=start, data=piece)))

    def _status(self, _request: pb.StatusRequest, _context: grpc.ServicerContext) -> pb.StatusReply:
        return pb.StatusReply(worker="fake", protocol_version=1, frames_answered=7, load=pb.Load(busy_ratio=0.25))

    def _profile(self, request: pb.ProfileRequest, context: grpc.ServicerContext) -> Iterator[pb.ProfileUpdate]:
        if request.model_digest != DIGEST:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such model")
        yield pb.ProfileUpdate(progress=0.5)
        for piece in self.profile_pieces():
            yield pb.ProfileUpdate(document=piece)


@pytest.fixture
def fake_worker() -> Iterator[Callable[..., FakeWorker]]:
    """Start workers that stop with the test."""
    started: list[FakeWorker] = []

    def start(**bent: object) -> FakeWorker:
        started.append(FakeWorker(**bent))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for worker in started:
        worker.stop()


@pytest.fixture(autouse=True)
def _no_leaked_threads() -> Iterator[None]:
    """Our threads end with the test; gRPC's own get a moment to notice."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 5
    for thread in set(threading.enumerate()) - before:
        thread.join(max(0.0, deadline - time.monotonic()))
    left = [thread.name for thread in threading.enumerate() if thread not in before and thread.is_alive()]
    assert not left, f"leaked threads: {left}"


@pytest.fixture
def plan() -> Plan:
    """A cut: the device makes ``h``, the worker ``h.out``."""
    head = Segment(model_digest=DIGEST, inputs=("x",), outputs=("h",))
    tail = Segment(model_digest=DIGEST, inputs=("h",), outputs=("h.out",))
    stages = (Stage(place="edge", segment=head, codecs={"h": "none"}), Stage(place="cloud", segment=tail))
    return Plan(model_digest=DIGEST, stages=stages)


@pytest.fixture
def quick() -> Timeouts:
    """Limits that make a failing test short."""
    return Timeouts(dial_s=1.0, liveness_s=0.6, propose_s=2.0, frame_s=10.0, rpc_s=2.0, profile_s=5.0, close_s=1.0)


@pytest.fixture
def ones() -> Array:
    """A megabyte of float32."""
    return np.ones((1, 64, 64, 64), np.float32)


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
