"""The frames of one session: admitted, received, computed, answered; each ends in exactly one Result or Failed.

A Run is checked in full before anything is allocated for it, and what it will hold is charged to the session until the
last byte of its answer has been handed out. A second Run of a frame under way changes nothing; chunks of a frame that
is over were on their way when it ended: they are acknowledged, for they tell of the link, and not looked at.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from cloud import frames
from cloud.batching import ShapeGroup, Shapes
from cloud.held import ReadyPlan
from cloud.outbox import Outbox
from cloud.site import Site
from cloud.store import Prepared
from protos import messages as pb
from protos.chunks import MAX_CHUNK_BYTES, MIN_CHUNK_BYTES, Assembler
from protos.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidMessage,
    Overloaded,
    TooLarge,
    UnknownPlan,
    Unsupported,
    WireError,
)
from protos.status import to_failed
from protos.tensors import check_headers, join

_REMEMBERED = 1024
_RETRY_S = 0.05
_MAX_UINT64 = 2**64 - 1
_CLIENTS = itertools.count(1)


@dataclass(slots=True, kw_only=True)
class _Frame:
    frame_id: int
    prepared: Prepared
    group: ShapeGroup | None
    kind: Hashable
    codecs: Mapping[str, str]
    headers: list[pb.TensorHeader]
    assembler: Assembler
    charged_bytes: int
    begun_s: float
    deadline_s: float | None
    timer: asyncio.TimerHandle | None = None
    task: asyncio.Task[None] | None = None


class InFlight:
    """The frames under way. ``on_change`` is called whenever one ends; everything belongs to one event loop.

    ``answers_inline``: the client takes the payload of small answers within their Result.
    """

    def __init__(self, site: Site, outbox: Outbox, on_change: Callable[[], None]) -> None:
        self._site = site
        self._limits = site.config.limits
        self._outbox = outbox
        self._on_change = on_change
        self._frames: dict[int, _Frame] = {}
        self._over: dict[int, None] = {}
        self._charged_bytes = 0
        self.answers_inline = False
        self.client = next(_CLIENTS)

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def charged_bytes(self) -> int:
        """Bytes that the frames under way hold or may come to hold."""
        return self._charged_bytes

    def run(self, run: pb.Run, ready: ReadyPlan | None) -> None:
        """Admit a frame, or answer why not.

        Raises:
            InvalidMessage: the id is none; this ends the session.
        """
        if run.frame_id == 0:
            raise InvalidMessage("frame 0 is no frame")
        if run.frame_id in self._frames:
            self._site.tally.counts["repeated"] += 1
            return
        self._over.pop(run.frame_id, None)
        try:
            frame = self._admit(run, ready)
        except WireError as error:
            self.refuse(run.frame_id, error)
            return
        self._frames[frame.frame_id] = frame
        self._charge(frame.charged_bytes)
        if frame.assembler.is_complete:
            self._start(frame)
        elif frame.deadline_s is not None:
            late = DeadlineExceeded("its time was over before its payload was here")
            wait_s = frame.deadline_s - self._site.clock()
            frame.timer = asyncio.get_running_loop().call_later(wait_s, self.fail, frame.frame_id, late)

    def chunk(self, chunk: pb.Chunk) -> None:
        """Take a piece of a frame's payload and acknowledge it.

        Raises:
            InvalidMessage: it is over the chunk limit, or of a frame that never was; this ends the session.
        """
        if len(chunk.data) > MAX_CHUNK_BYTES:
            raise InvalidMessage(f"a chunk is over {MAX_CHUNK_BYTES} bytes")
        frame = self._frames.get(chunk.frame_id)
        if frame is None:
            if chunk.frame_id not in self._over:
                raise InvalidMessage(f"a chunk is of frame {chunk.frame_id}, which no Run has named")
            end_bytes = min(chunk.offset_bytes + len(chunk.data), _MAX_UINT64)
            self._outbox.ack(chunk.frame_id, end_bytes)
            return
        try:
            frame.assembler.add(chunk.offset_bytes, chunk.data)
        except WireError as error:
            self.fail(frame.frame_id, error)
            return
        received_bytes = frame.assembler.received_bytes
        self._outbox.ack(frame.frame_id, received_bytes)
        if frame.assembler.is_complete and frame.task is None:
            self._start(frame)

    def fail(self, frame_id: int, error: WireError) -> None:
        """End a frame at whatever point it is; nothing where it is over already."""
        frame = self._frames.get(frame_id)
        if frame is None:
            return
        if frame.timer is not None:
            frame.timer.cancel()
        if frame.task is not None and frame.task is not asyncio.current_task():
            frame.task.cancel()
        self._outbox.drop(frame_id)
        self.refuse(frame_id, error)
        self._close(frame_id)

    def cancel(self, frame_id: int) -> None:
        """The client wants no more of a frame, nor of the answer to one that is over."""
        self.fail(frame_id, Cancelled("the client cancelled it"))
        self._outbox.drop(frame_id)

    def no_more(self) -> None:
        """Nothing more comes from the client: what is not here in full never will be."""
        for frame_id in [each.frame_id for each in self._frames.values() if not each.assembler.is_complete]:
            self.fail(frame_id, InvalidMessage("the client ended before all of the payload was here"))

    def refuse(self, frame_id: int, error: WireError) -> None:
        """Answer a frame that was not admitted, or that ends."""
        self._remember(frame_id)
        self._site.tally.frames_failed += 1
        self._site.tally.counts[f"refused_{error.code.lower()}"] += 1
        failed = to_failed(error, frame_id=frame_id)
        failed.load.CopyFrom(self._site.load(self.client))
        self._outbox.put(pb.ToEdge(failed=failed))

    def abandon(self) -> list[asyncio.Task[None]]:
        """The session is over: forget every frame; returns the tasks that were told to stop."""
        tasks = []
        for frame in reversed(self._frames.values()):  # what waits first, or it would begin when others stop
            if frame.timer is not None:
                frame.timer.cancel()
            if frame.task is not None:
                frame.task.cancel()
                tasks.append(frame.task)
        self._site.tally.counts["abandoned"] += len(self._frames)
        self._frames.clear()
        self._charge(-self._charged_bytes)
        return tasks

    def _admit(self, run: pb.Run, ready: ReadyPlan | None) -> _Frame:
        config = self._site.config
        if ready is None:
            raise UnknownPlan(f"plan {run.plan_id[:32]!r} was not made ready in this session: propose it")
        prepared = ready.stages[run.stage] if run.stage < len(ready.stages) else None
        if prepared is None:
            raise InvalidMessage(f"stage {run.stage} of the plan is not the worker's")
        if run.HasField("state"):
            raise Unsupported("this worker keeps no state between frames")
        if not (math.isfinite(run.deadline_left_s) and run.deadline_left_s >= 0):
            raise InvalidMessage("the deadline is not a number of seconds")
        if len(self._frames) >= config.max_frames_in_flight:
            raise Overloaded(f"{len(self._frames)} frames of this session are under way", retry_after_s=_RETRY_S)
        unpacked_bytes = check_headers(run.tensors, run.payload_bytes, self._limits)
        frames.check_inputs(prepared, run.tensors)
        charged_bytes = run.payload_bytes + unpacked_bytes
        if charged_bytes > (most_bytes := min(config.max_session_bytes, config.max_worker_bytes)):
            raise TooLarge(f"the frame needs {charged_bytes} bytes; a session has {most_bytes}")
        if self._charged_bytes + charged_bytes > config.max_session_bytes:
            raise Overloaded("the session's frames hold all the memory it has", retry_after_s=_RETRY_S)
        if self._site.tally.bytes_held + charged_bytes > config.max_worker_bytes:
            raise Overloaded("the frames of all sessions hold all the memory there is", retry_after_s=_RETRY_S)
        now_s = self._site.clock()
        deadline_s = now_s + run.deadline_left_s if run.deadline_left_s else None
        batcher = ready.batchers[run.stage]
        shapes = _shapes(prepared, run.tensors)
        kind = None if batcher is None else batcher.kind(shapes)
        self._site.worker.check(client=self.client, kind=kind, deadline_s=deadline_s)
        return _Frame(
            frame_id=run.frame_id,
            prepared=prepared,
            group=None if batcher is None else batcher.group(shapes),
            kind=kind,
            codecs=ready.plan.stages[run.stage].codecs,
            headers=list(run.tensors),
            assembler=Assembler(run.payload_bytes),
            charged_bytes=charged_bytes,
            begun_s=now_s,
            deadline_s=deadline_s,
        )

    def _start(self, frame: _Frame) -> None:
        if frame.timer is not None:
            frame.timer.cancel()
        frame.task = asyncio.create_task(self._compute(frame, self._site.clock() - frame.begun_s))

    async def _compute(self, frame: _Frame, receive_s: float) -> None:
        work = frames.Work(
            prepared=frame.prepared,
            codecs=frame.codecs,
            headers=frame.headers,
            payload=lambda: frame.assembler.payload,
            limits=self._limits,
        )
        try:
            answer = await self._site.worker.run(
                work, client=self.client, kind=frame.kind, group=frame.group, deadline_s=frame.deadline_s
            )
        except Exception as error:
            self.fail(frame.frame_id, frames.to_wire(error))
            return
        if self._charged_bytes + answer.payload_bytes > self._site.config.max_session_bytes:
            full = Overloaded(
                "answers that wait to be taken hold all the memory the session has", retry_after_s=_RETRY_S
            )
            self.fail(frame.frame_id, full)
            return
        frame.charged_bytes += answer.payload_bytes
        self._charge(answer.payload_bytes)
        result = pb.Result(
            frame_id=frame.frame_id,
            tensors=answer.headers,
            payload_bytes=answer.payload_bytes,
            timings=pb.Timings(
                receive_s=receive_s,
                decode_s=answer.decode_s,
                queue_s=answer.queue_s,
                preprocess_s=answer.preprocess_s,
                compute_s=answer.compute_s,
                encode_s=answer.encode_s,
            ),
            load=self._site.load(self.client),
        )
        self._site.tally.frames_answered += 1
        buffers = answer.buffers
        if self.answers_inline and answer.payload_bytes <= MIN_CHUNK_BYTES:
            result.payload, buffers = join(buffers), ()
        self._outbox.put(pb.ToEdge(result=result))
        self._outbox.put_frame(frame.frame_id, buffers, lambda: self._close(frame.frame_id))

    def _close(self, frame_id: int) -> None:
        frame = self._frames.pop(frame_id, None)
        if frame is not None:
            self._charge(-frame.charged_bytes)
            self._remember(frame_id)
        self._on_change()

    def _charge(self, size_bytes: int) -> None:
        self._charged_bytes += size_bytes
        self._site.tally.bytes_held += size_bytes

    def _remember(self, frame_id: int) -> None:
        self._over[frame_id] = None
        if len(self._over) > _REMEMBERED:
            del self._over[next(iter(self._over))]


def _shapes(prepared: Prepared, headers: Sequence[pb.TensorHeader]) -> Shapes:
    """What comes in, as far as it tells what the segment's run costs and what it can share a run with."""
    if prepared.preprocess is not None:
        return ()
    return tuple((header.name, tuple(header.shape)) for header in headers)
