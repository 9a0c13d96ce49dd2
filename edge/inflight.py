"""What is under way on one session: frames, proposals and probes, and which message answers which.

Callers add; the reader's thread settles. Whatever happens to a frame, it is settled exactly once, its slot comes free
exactly once, and a message about something that is not under way changes nothing. Chunks of a withdrawn frame are
acknowledged all the same: unacknowledged, they would fill the worker's window and hold back every later answer. What
is under way of a frame that was withdrawn tells of the link like any payload; a probe behind it says that it is past.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from edge.bandwidth import IGNORED, LinkObserver
from edge.config import Limits
from edge.errors import BadReply, EdgeError, WorkerRefused
from edge.frames import Frame, Waiting, load_of
from edge.outbox import Outbox
from edge.reach import refusal
from partitioner.cost import Load
from partitioner.cost import load_of as cost_of
from partitioner.errors import UsageError
from protos import messages as pb
from protos import status
from protos.errors import WireError

_MAX_UINT64 = 2**64 - 1
_PROBES = 256
"""So many unanswered ones are remembered; a worker that answers none must not cost memory."""
_PLANS = 256
"""So many proposals are remembered; one that was let go of is made again."""
_REFUSED_S = 5.0
"""A plan that was refused is not proposed again before."""


class InFlight:
    """The open questions of one session. Thread-safe."""

    def __init__(self, limits: Limits, *, observer: LinkObserver = IGNORED) -> None:
        self._limits = limits
        self._observer = observer
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(limits.frames_in_flight)
        self._frames: dict[int, Frame] = {}
        self._proposals: dict[str, Waiting] = {}
        self._probes: dict[int, Waiting] = {}

    @property
    def frames(self) -> int:
        """How many frames are under way."""
        return len(self._frames)

    def take_slot(self, timeout_s: float) -> bool:
        """Wait for room for one more frame; ``add`` or ``free_slot`` must follow."""
        return self._slots.acquire(timeout=max(0.0, timeout_s))

    def free_slot(self) -> None:
        """Give back a slot that no frame took."""
        self._slots.release()

    def add(self, frame: Frame) -> None:
        """A frame goes out, in the slot that was taken for it."""
        with self._lock:
            self._frames[frame.frame_id] = frame

    def proposal(self, plan_id: str, send: Callable[[], None]) -> Waiting:
        """The proposal of a plan, sent unless it is under way, answered, or was refused a moment ago."""
        with self._lock:
            waiting = self._proposals.get(plan_id)
            if waiting is not None and not (waiting.error is not None and time.monotonic() >= waiting.retry_at_s):
                return waiting
            waiting = self._proposals[plan_id] = Waiting()
            if len(self._proposals) > _PLANS:
                del self._proposals[next(iter(self._proposals))]
        try:
            send()
        except EdgeError as error:
            self.forget_proposal(plan_id)
            waiting.finish(error)  # others may wait for it already
            raise
        return waiting

    def is_ready(self, plan_id: str) -> bool:
        """Whether the worker said that it has this plan."""
        waiting = self._proposals.get(plan_id)
        return waiting is not None and waiting.is_done and waiting.error is None

    def forget_proposal(self, plan_id: str) -> None:
        """The next proposal of this plan is sent again."""
        with self._lock:
            self._proposals.pop(plan_id, None)

    def probe(self, probe_id: int) -> Waiting:
        """A probe goes out."""
        waiting = Waiting()
        with self._lock:
            self._probes[probe_id] = waiting
            if len(self._probes) > _PROBES:
                del self._probes[next(iter(self._probes))]
        return waiting

    def settle(self, frame: Frame, error: EdgeError | None = None) -> bool:
        """Take a frame out of flight and wake its caller; false when that was done already."""
        with self._lock:
            if self._frames.pop(frame.frame_id, None) is None:
                return False
        frame.finish(error)
        self._slots.release()
        return True

    def settle_all(self, error: EdgeError) -> None:
        """Everything under way gets the error that ended the session."""
        with self._lock:
            frames = list(self._frames.values())
            waiting = [*self._proposals.values(), *self._probes.values()]
        for frame in frames:
            self.settle(frame, error)
        for each in waiting:
            each.finish(error)

    def withdraw(self, frame: Frame, error: EdgeError, outbox: Outbox[pb.ToWorker]) -> None:
        """Settle a frame with an error, and tell the worker to drop it."""
        if self.settle(frame, error):
            is_under_way = outbox.withdraw(frame.frame_id)
            outbox.put(pb.ToWorker(cancel=pb.Cancel(frame_id=frame.frame_id)))
            if is_under_way:
                outbox.put(pb.ToWorker(probe=pb.Probe(probe_id=frame.frame_id)))

    def take(self, message: pb.ToEdge, outbox: Outbox[pb.ToWorker]) -> None:
        """One message of the worker's."""
        match message.WhichOneof("body"):
            case "chunk":
                self._take_chunk(message.chunk, outbox)
            case "ack":
                self._take_ack(message.ack, outbox)
            case "result":
                self._take_result(message.result, outbox)
            case "failed":
                self._take_failure(message.failed, outbox)
            case "ready":
                _answer(self._proposals.get(message.ready.plan_id), message.ready.prepare_s)
            case "probe":
                with self._lock:
                    waiting = self._probes.pop(message.probe.probe_id, None)
                    is_over = waiting is None and message.probe.probe_id not in self._frames
                if is_over:
                    outbox.drop(message.probe.probe_id)
                _answer(waiting, len(message.probe.data))

    def _take_ack(self, ack: pb.Ack, outbox: Outbox[pb.ToWorker]) -> None:
        delivery = outbox.acked(ack.frame_id, ack.received_bytes)
        if delivery is None:
            return
        frame = self._frames.get(ack.frame_id)
        if frame is not None:
            frame.note_acked(delivery.size_bytes, delivery.at_s)
        self._observer.delivered(delivery)

    def _take_result(self, result: pb.Result, outbox: Outbox[pb.ToWorker]) -> None:
        frame = self._frames.get(result.frame_id)
        outbox.drop(result.frame_id)
        if frame is None:
            return
        try:
            is_complete = frame.begin(result, max_bytes=self._limits.reply_bytes)
        except WireError as error:
            self.withdraw(frame, BadReply(f"the worker's answer is refused: {error.detail}"), outbox)
        else:
            if is_complete:
                self.settle(frame)

    def _take_chunk(self, chunk: pb.Chunk, outbox: Outbox[pb.ToWorker]) -> None:
        frame = self._frames.get(chunk.frame_id)
        if frame is None:
            end_bytes = min(chunk.offset_bytes + len(chunk.data), _MAX_UINT64)
            outbox.put(pb.ToWorker(ack=pb.Ack(frame_id=chunk.frame_id, received_bytes=end_bytes)))
            return
        now_s = time.monotonic()
        try:
            interval_s = frame.interval_s(now_s)
            received_bytes, is_complete = frame.extend(chunk.offset_bytes, chunk.data)
        except WireError as error:
            self.withdraw(frame, BadReply(f"the worker's answer is refused: {error.detail}"), outbox)
            return
        outbox.put(pb.ToWorker(ack=pb.Ack(frame_id=frame.frame_id, received_bytes=received_bytes)))
        if is_complete:
            self.settle(frame)
        if interval_s is not None:
            self._observer.received(len(chunk.data), interval_s, now_s)

    def _take_failure(self, failed: pb.Failed, outbox: Outbox[pb.ToWorker]) -> None:
        error = refusal(status.from_failed(failed), load=_load_of(failed))
        if failed.frame_id:
            frame = self._frames.get(failed.frame_id)
            is_late = failed.code == pb.Code.CODE_DEADLINE  # told of before all that was sent has arrived
            (outbox.withdraw if is_late else outbox.drop)(failed.frame_id)
            if frame is not None:
                if failed.code == pb.Code.CODE_UNKNOWN_PLAN:
                    self.forget_proposal(frame.plan_id)
                self.settle(frame, error)
            return
        waiting = self._proposals.get(failed.plan_id)
        if waiting is not None:
            retry_s = error.retry_after_s if isinstance(error, WorkerRefused) else 0.0
            waiting.retry_at_s = time.monotonic() + (retry_s or _REFUSED_S)
            waiting.finish(error)


def _load_of(failed: pb.Failed) -> Load | None:
    """The load that a refusal tells of; None where it does not, or tells nonsense."""
    if not failed.HasField("load"):
        return None
    seen = load_of(failed.load)
    try:
        return cost_of(
            queued=seen.queued_frames if seen.others_queued_frames is None else seen.others_queued_frames,
            busy_ratio=seen.busy_ratio if seen.others_busy_ratio is None else seen.others_busy_ratio,
            job_s=seen.job_s,
        )
    except UsageError:
        return None


def _answer(waiting: Waiting | None, value: float) -> None:
    if waiting is not None:
        waiting.value = value
        waiting.finish()
