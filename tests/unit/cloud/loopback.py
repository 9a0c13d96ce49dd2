"""A live worker on a loopback port with an engine made of numpy, and a client that says exactly what it is told."""

from __future__ import annotations

import asyncio
import queue
import threading
import uuid
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from cloud.config import Config
from cloud.server import Server
from cloud.store import ServedBundle
from partitioner.errors import InputError, SegmentError
from partitioner.graph import Graph, Input, Symbol, Value
from partitioner.plan import Plan, Segment, Stage
from partitioner.runtimes import Array, Engine, RuntimeInfo
from protos import messages as pb
from protos.channel import WorkerStub, dial
from protos.chunks import Assembler
from protos.errors import Cancelled, WireError
from protos.tensors import join, pack, unpack

DIGEST = "d" * 64
WAIT_S = 20.0


@dataclass(frozen=True, kw_only=True)
class FakeBundle:
    """A model ``y = 2 x`` over any number of ``t`` rows of 8."""

    digest: str = DIGEST
    name: str = "double"
    preprocess: Mapping[str, object] | None = None
    graph: Graph = field(
        default_factory=lambda: Graph(
            symbols=(Symbol(name="t", low=1, high=1 << 20, example=2),),
            inputs=(Input(value=Value(name="x", dtype="float32", shape=("t", 8))),),
            weights=(),
            nodes=(),
            outputs=(),
            tree=0,
            layers=(),
        )
    )


class FakeSegment:
    """Doubles; a first element of 13 fails, of 14 finds no memory, of 99 waits until it is told to stop or let go."""

    weight_bytes = 0
    inputs = (Value(name="x", dtype="float32", shape=("t", 8)),)
    outputs = (Value(name="y", dtype="float32", shape=("t", 8)),)

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine

    def __call__(
        self, tensors: Mapping[str, Array], *, should_stop: Callable[[], bool] | None = None
    ) -> dict[str, Array]:
        x = tensors["x"]
        if x.ndim != 2 or x.shape[1] != 8:
            raise InputError(f"x has shape {list(x.shape)}")
        first = float(x.flat[0].item()) if x.size else 0.0
        if first == 13.0:
            raise RuntimeError("an unlucky number, in /a/secret/path")
        if first == 14.0:
            raise MemoryError
        if first == 99.0:
            self._engine.entered.set()
            while not self._engine.let_go.wait(0.002):
                if should_stop is not None and should_stop():
                    self._engine.stopped.set()
                    raise SegmentError("stopped")
        self._engine.runs += 1
        self._engine.ran.append(first)
        return {"y": np.multiply(x, 2, dtype=np.float32)}

    def settle(self) -> None:
        pass


class FakeEngine:
    """Counts what it runs and can be held."""

    weight_bytes_held = 0

    def __init__(self) -> None:
        self.entered, self.stopped, self.let_go = threading.Event(), threading.Event(), threading.Event()
        self.runs = 0
        self.ran: list[float] = []
        self.threads: set[str] = set()
        self.made: weakref.WeakSet[FakeSegment] = weakref.WeakSet()

    @property
    def info(self) -> RuntimeInfo:
        return RuntimeInfo(name="fake", device="cpu", threads=1, versions={})

    def segment(self, segment: Segment) -> FakeSegment:
        self.threads.add(threading.current_thread().name)
        if segment.inputs != ("x",) or segment.outputs != ("y",):
            raise SegmentError("this model has an input x and an output y")
        made = FakeSegment(self)
        self.made.add(made)
        return made

    def pin(self, segments: Sequence[Segment]) -> int:
        return 0


class RowsEngine(FakeEngine):
    """Takes rows too; ``sizes`` has how many came at a time, and 66 among them fails."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def batched(self, segment: Segment) -> FakeSegment:
        engine, single = self, self.segment(segment)

        class Rows(FakeSegment):
            def __call__(
                self, tensors: Mapping[str, Array], *, should_stop: Callable[[], bool] | None = None
            ) -> dict[str, Array]:
                engine.sizes.append(len(tensors["x"]))
                if (tensors["x"] == 66).any():
                    raise RuntimeError("not with these")
                return single(tensors, should_stop=should_stop)

        return Rows(self)


class LiveWorker:
    """A worker whose event loop runs on a thread of its own."""

    def __init__(self, config: Config, engine: Engine, **options: object) -> None:
        self.engine = engine
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="live-worker")
        self._server = self.call(self._make(config, **options))

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def call(self, coroutine):  # type: ignore[no-untyped-def]
        if not self._thread.is_alive():
            self._thread.start()
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(WAIT_S)

    def begin(self, coroutine):  # type: ignore[no-untyped-def]
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    @property
    def server(self) -> Server:
        return self._server

    def start(self, bundles: Sequence[ServedBundle]) -> None:
        self.port = self.call(self._server.start(bundles))

    def stop(self, *, grace_s: float = 1.0) -> None:
        try:
            self.call(self._server.stop(grace_s=grace_s))
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(WAIT_S)
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    async def _make(self, config: Config, **options: object) -> Server:
        return Server(config, **{"open_engine": lambda bundle: self.engine, **options})  # type: ignore[arg-type]


@contextmanager
def live_worker(
    config: Config | None = None,
    *,
    engine: FakeEngine | None = None,
    bundles: Sequence[ServedBundle] | None = None,
    **options: object,
) -> Iterator[LiveWorker]:
    worker = LiveWorker(config or test_config(), engine or FakeEngine(), **options)
    try:
        worker.start(bundles or [FakeBundle()])
        yield worker
    finally:
        if isinstance(worker.engine, FakeEngine):
            worker.engine.let_go.set()
        worker.stop()


def test_config(**options: object) -> Config:
    return Config(**{"port": 0, "grace_s": 2.0, "linger_s": 0.05, **options})  # type: ignore[arg-type]


test_config.__test__ = False  # type: ignore[attr-defined]


def plan_for(*, codec: str = "none", digest: str = DIGEST, outputs: tuple[str, ...] = ("y",)) -> Plan:
    return Plan(
        model_digest=digest,
        stages=(
            Stage(place="edge", segment=Segment(model_digest=digest, inputs=("x",), outputs=("x",))),
            Stage(
                place="cloud",
                segment=Segment(model_digest=digest, inputs=("x",), outputs=outputs),
                codecs={"y": codec},
            ),
        ),
    )


def plan_message(plan: Plan) -> pb.Plan:
    places = {"edge": pb.PLACE_EDGE, "cloud": pb.PLACE_CLOUD}
    return pb.Plan(
        model_digest=plan.model_digest,
        stages=[
            pb.Stage(
                place=places[stage.place],
                segment=pb.Segment(
                    inputs=stage.segment.inputs, outputs=stage.segment.outputs, preprocess=stage.segment.preprocess
                ),
                codecs=dict(stage.codecs),
            )
            for stage in plan.stages
        ],
    )


class Talker:
    """A raw session: every message is sent as it is given, and every reply can be waited for."""

    def __init__(self, target: str) -> None:
        self._channel = dial(target)
        self._outgoing: queue.SimpleQueue[pb.ToWorker | None] = queue.SimpleQueue()
        self._replies: queue.SimpleQueue[pb.ToEdge | WireError | None] = queue.SimpleQueue()
        self._results: dict[int, tuple[pb.Result, Assembler]] = {}
        self.stub = WorkerStub(self._channel)
        self._call = self.stub.session(iter(self._outgoing.get, None))
        self._reader = threading.Thread(target=self._read, name="talker")
        self._reader.start()

    def __enter__(self) -> Talker:
        return self

    def __exit__(self, *_: object) -> None:
        self._outgoing.put(None)
        self._call.cancel()
        self._reader.join(WAIT_S)
        self._channel.close()

    def say(self, **body: object) -> None:
        self._outgoing.put(pb.ToWorker(**body))  # type: ignore[arg-type]

    def half_close(self) -> None:
        self._outgoing.put(None)

    def hear(self, *kinds: str) -> pb.ToEdge:
        """The next reply of one of these kinds; others are passed over, an end is raised."""
        while True:
            reply = self._replies.get(timeout=WAIT_S)
            if isinstance(reply, WireError):
                raise reply
            if reply is None:
                raise Cancelled("the session ended in good order")
            if not kinds or reply.WhichOneof("body") in kinds:
                return reply

    def hello(self, **options: object) -> pb.Welcome:
        self.say(hello=pb.Hello(**{"protocol_version": 1, "session_id": uuid.uuid4().hex, **options}))  # type: ignore[arg-type]
        return self.hear("welcome").welcome

    def propose(self, plan: Plan) -> pb.ToEdge:
        self.say(propose=pb.Propose(plan_id=plan.plan_id, plan=plan_message(plan)))
        return self.hear("ready", "failed")

    def run(self, frame_id: int, plan: Plan, x: Array, *, codec: str = "none", deadline_s: float = 0.0) -> None:
        headers, buffers, payload_bytes = pack({"x": x}, {"x": codec})
        self.say(
            run=pb.Run(
                frame_id=frame_id,
                plan_id=plan.plan_id,
                stage=1,
                tensors=headers,
                payload_bytes=payload_bytes,
                deadline_left_s=deadline_s,
            )
        )
        self.send(frame_id, join(buffers))

    def send(self, frame_id: int, payload: bytes, *, step: int = 65536) -> None:
        for start in range(0, len(payload), step):
            self.say(chunk=pb.Chunk(frame_id=frame_id, offset_bytes=start, data=payload[start : start + step]))

    def answer(self, frame_id: int) -> dict[str, Array]:
        """Wait for a frame's Result and payload, acknowledging as it comes; a Failed is raised."""
        while frame_id not in self._results or not self._results[frame_id][1].is_complete:
            reply = self.hear("result", "chunk", "failed")
            if reply.HasField("failed"):
                raise FrameFailed(reply.failed)
            if reply.HasField("result"):
                self._results[reply.result.frame_id] = (reply.result, Assembler(reply.result.payload_bytes))
            elif reply.chunk.frame_id in self._results:
                assembler = self._results[reply.chunk.frame_id][1]
                assembler.add(reply.chunk.offset_bytes, reply.chunk.data)
                self.say(ack=pb.Ack(frame_id=reply.chunk.frame_id, received_bytes=assembler.received_bytes))
        result, assembler = self._results.pop(frame_id)
        return unpack(result.tensors, assembler.payload)

    def _read(self) -> None:
        try:
            for reply in self._call:
                self._replies.put(reply)
            self._replies.put(None)
        except WireError as error:
            self._replies.put(error)


class FrameFailed(Exception):
    """A frame was answered with Failed."""

    def __init__(self, failed: pb.Failed) -> None:
        super().__init__(failed.detail)
        self.failed = failed
        self.code = pb.Code.Name(failed.code).removeprefix("CODE_")


def good_frame(target: str, *, rows: int = 4) -> None:
    """A session from start to end whose answer is right; raises otherwise."""
    x = np.arange(rows * 8, dtype=np.float32).reshape(rows, 8)
    with Talker(target) as talker:
        talker.hello()
        plan = plan_for()
        assert talker.propose(plan).HasField("ready")
        talker.run(1, plan, x)
        np.testing.assert_array_equal(talker.answer(1)["y"], x * 2)


Steps = Generator[float, None, "FakeProfile"]


@dataclass(frozen=True, kw_only=True)
class FakeProfile:
    """A document."""

    text: str

    def dumps(self) -> str:
        return self.text
