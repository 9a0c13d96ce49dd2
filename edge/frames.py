"""What is in flight on a session, and what comes back.

A ``Frame`` is filled by the reader's thread and awaited by the caller's; the answer's payload is decoded on the
caller's thread.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from edge.burden import LoadSeen
from edge.clock import DeviceClock
from edge.errors import BadReply, DeadlineExceeded, EdgeError, FrameCancelled
from partitioner.runtimes import Array
from protos import messages as pb
from protos import tensors as packing
from protos.chunks import Assembler
from protos.errors import InvalidMessage, WireError


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerTimes:
    """Where the worker's time for one frame went."""

    receive_s: float = 0.0
    decode_s: float = 0.0
    queue_s: float = 0.0
    preprocess_s: float = 0.0
    compute_s: float = 0.0
    encode_s: float = 0.0

    @property
    def busy_s(self) -> float:
        """From the frame's last byte to the answer's first."""
        return self.decode_s + self.queue_s + self.preprocess_s + self.compute_s + self.encode_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A frame's answer. ``wire_s`` runs from the first byte sent to the last received, less the worker's own time.

    ``up_bytes`` and ``down_bytes`` are payload and headers.
    """

    tensors: dict[str, Array]
    worker: WorkerTimes
    encode_s: float
    wire_s: float
    decode_s: float
    up_bytes: int
    down_bytes: int
    load: LoadSeen


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the payload of a frame in flight has come; ``waited_s`` is the time since it last came any further.

    ``is_held``: the worker has all of it, and has said nothing of an answer yet.
    """

    acked_bytes: int
    total_bytes: int
    waited_s: float
    is_held: bool = False

    @property
    def left_bytes(self) -> int:
        """What the worker has not said to hold."""
        return self.total_bytes - self.acked_bytes


class Frame:
    """One request in flight."""

    def __init__(
        self,
        *,
        frame_id: int,
        plan_id: str,
        deadline_s: float,
        expires_s: float,
        encode_s: float,
        up_bytes: int,
        payload_bytes: int,
        clock: DeviceClock,
        withdraw: Callable[[Frame, EdgeError], None],
    ) -> None:
        self.frame_id = frame_id
        self.plan_id = plan_id
        self.deadline_s = deadline_s
        self.expires_s = expires_s
        self.up_bytes = up_bytes
        self.sent_s = time.monotonic()
        self._payload_bytes = payload_bytes
        self._acked_bytes = 0
        self._moved_s = self.sent_s
        self._encode_s = encode_s
        self._clock = clock
        self._withdraw = withdraw
        self._done = threading.Event()
        self._done_s = 0.0
        self._error: EdgeError | None = None
        self._header: pb.Result | None = None
        self._assembler: Assembler | None = None
        self._heard_s: float | None = None

    @property
    def progress(self) -> Progress:
        """How far the payload has come."""
        return Progress(
            acked_bytes=self._acked_bytes,
            total_bytes=self._payload_bytes,
            waited_s=max(0.0, time.monotonic() - self._moved_s),
            is_held=self._acked_bytes >= self._payload_bytes and self._header is None,
        )

    @property
    def is_done(self) -> bool:
        """Whether ``result`` returns or raises at once: the frame was answered, failed or was withdrawn."""
        return self._done.is_set()

    @property
    def is_answered(self) -> bool:
        """Whether there is an answer to be decoded."""
        return self._done.is_set() and self._error is None

    def wait(self, timeout_s: float) -> bool:
        """``is_done``, once it is or the time is over; the frame stays in flight."""
        return self._done.wait(max(0.0, timeout_s))

    def result(self) -> Reply:
        """Wait for the answer and decode it on this thread.

        Raises:
            DeadlineExceeded: it did not come in time.
            WorkerRefused: the worker refused the frame.
            WorkerLost: the session ended first.
            BadReply: the answer contradicts itself.
            FrameCancelled: the frame was withdrawn.
        """
        if not self._done.wait(max(0.0, self.expires_s - time.monotonic())):
            self._withdraw(self, DeadlineExceeded(self.deadline_s))
            self._done.wait()
        if self._error is not None:
            raise self._error
        assert self._header is not None
        assert self._assembler is not None
        try:
            with self._clock.step() as step:
                tensors = packing.unpack(self._header.tensors, self._assembler.payload)
        except WireError as error:
            raise BadReply(f"the worker's answer cannot be read: {error.detail}") from error
        timings = self._header.timings
        if not all(math.isfinite(taken_s) and taken_s >= 0 for _, taken_s in timings.ListFields()):
            raise BadReply("the worker's answer states times that are none")
        worker = WorkerTimes(
            receive_s=timings.receive_s,
            decode_s=timings.decode_s,
            queue_s=timings.queue_s,
            preprocess_s=timings.preprocess_s,
            compute_s=timings.compute_s,
            encode_s=timings.encode_s,
        )
        return Reply(
            tensors=tensors,
            worker=worker,
            encode_s=self._encode_s,
            wire_s=max(0.0, self._done_s - self.sent_s - worker.busy_s),
            decode_s=step.seconds,
            up_bytes=self.up_bytes,
            down_bytes=packing.frame_bytes(self._header.tensors, self._header.payload_bytes),
            load=load_of(self._header.load),
        )

    def cancel(self) -> None:
        """Withdraw the frame; ``result`` then raises ``FrameCancelled`` unless the answer was there already."""
        self._withdraw(self, FrameCancelled("the frame was withdrawn"))

    def begin(self, header: pb.Result, *, max_bytes: int) -> bool:
        """The answer's header came; true when nothing follows it.

        Raises:
            WireError: the header contradicts itself or is over the limit.
        """
        if self._header is not None:
            raise InvalidMessage("the answer came twice")
        packing.check_headers(header.tensors, header.payload_bytes, packing.Limits(max_frame_bytes=max_bytes))
        self._header = header
        self._assembler = Assembler(header.payload_bytes)
        if header.payload:
            self._assembler.add(0, header.payload)
        return self._assembler.is_complete

    def extend(self, offset_bytes: int, data: bytes) -> tuple[int, bool]:
        """The next piece of the answer's payload; returns the bytes held and whether that is all.

        Raises:
            WireError: it does not continue what came before.
        """
        if self._assembler is None:
            raise InvalidMessage("a chunk came before the answer it belongs to")
        self._assembler.add(offset_bytes, data)
        return self._assembler.received_bytes, self._assembler.is_complete

    def interval_s(self, now_s: float) -> float | None:
        """How long after the chunk before it a chunk of the answer comes now; None for the first."""
        heard_s, self._heard_s = self._heard_s, now_s
        return None if heard_s is None else now_s - heard_s

    def note_acked(self, size_bytes: int, now_s: float) -> None:
        """The worker holds so many bytes more."""
        self._acked_bytes = min(self._acked_bytes + size_bytes, self._payload_bytes)
        self._moved_s = now_s

    def finish(self, error: EdgeError | None = None) -> None:
        """Wake the caller, with an error or with the answer."""
        self._done_s = time.monotonic()
        self._error = error
        self._done.set()


class Waiting:
    """One question in flight whose answer is a single message."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self._error: EdgeError | None = None
        self.value = 0.0
        self.done_s = 0.0
        self.retry_at_s = 0.0

    @property
    def is_done(self) -> bool:
        """Whether ``wait`` returns or raises at once."""
        return self._done.is_set()

    @property
    def error(self) -> EdgeError | None:
        """Why there is no answer, once that is known."""
        return self._error if self._done.is_set() else None

    def finish(self, error: EdgeError | None = None) -> None:
        """Wake the caller, unless that was done already."""
        if not self._done.is_set():
            self.done_s = time.monotonic()
            self._error = error
            self._done.set()

    def wait(self, timeout_s: float) -> bool:
        """Whether the answer came in time; raises the error if there was one."""
        if not self._done.wait(timeout_s):
            return False
        if self._error is not None:
            raise self._error
        return True


def load_of(load: pb.Load) -> LoadSeen:
    """The load that a worker tells of."""
    return LoadSeen(
        queued_frames=load.queued_frames,
        busy_ratio=load.busy_ratio,
        job_s=load.job_s or None,
        others_queued_frames=load.others_queued_frames if load.HasField("others_queued_frames") else None,
        others_busy_ratio=load.others_busy_ratio if load.HasField("others_busy_ratio") else None,
    )
