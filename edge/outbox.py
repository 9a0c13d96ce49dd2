"""What waits to go out: control messages first, then the chunks of frames in the order they were given.

Heartbeats, cancels and acknowledgements never wait behind payload: payload is cut into chunks when the stream is
ready for the next message, and only while the unacknowledged bytes stay within the pacer's window. One thread drains
the box by iterating over it; any thread may fill it. The remaining chunks of a frame that is over are never made.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from protos.chunks import Cursor, Delivery, Pacer
from protos.tensors import Buffer

M = TypeVar("M")


class Outbox(Generic[M]):
    """Messages waiting to go out, drained by one thread."""

    def __init__(self, pacer: Pacer, *, now: Callable[[], float], make_chunk: Callable[[int, int, Buffer], M]) -> None:
        self._pacer = pacer
        self._moved_s = 0.0
        self._now = now
        self._make_chunk = make_chunk
        self._ready = threading.Condition()
        self._control: deque[M] = deque()
        self._payloads: dict[int, Cursor] = {}
        self._is_closed = False

    @property
    def unacked_bytes(self) -> int:
        """Payload bytes sent and not yet acknowledged."""
        return self._pacer.unacked_bytes

    @property
    def rate_bytes_per_s(self) -> float | None:
        """The link's goodput as acknowledgements show it; None before the first."""
        return self._pacer.rate_bytes_per_s if self._pacer.is_measured else None

    def stalled(self, now_s: float) -> tuple[int, float]:
        """Payload bytes unacknowledged, and for how long none was, nor did any leave on an idle link."""
        with self._ready:
            return self._pacer.unacked_bytes, max(0.0, now_s - self._moved_s)

    def put(self, message: M) -> None:
        """Queue a control message; it goes before any payload."""
        with self._ready:
            self._control.append(message)
            self._ready.notify()

    def put_frame(self, frame_id: int, announcement: M, payload: Sequence[Buffer]) -> None:
        """Queue a frame: its announcement at once, its payload in paced chunks. Buffers must not change until acked."""
        cursor = Cursor(payload)
        with self._ready:
            self._control.append(announcement)
            if cursor.left_bytes:
                self._payloads[frame_id] = cursor
            self._ready.notify()

    def acked(self, frame_id: int, received_bytes: int) -> Delivery | None:
        """The peer holds the first ``received_bytes`` of the frame; where that is no news, nothing changes: None."""
        with self._ready:
            now_s = self._now()
            delivery = self._pacer.acked(frame_id, received_bytes, now_s)
            if delivery is not None:
                self._moved_s = now_s
                self._wake()
            return delivery

    def drop(self, frame_id: int) -> None:
        """The frame is over: send nothing more of it, and stop counting what is under way."""
        with self._ready:
            self._payloads.pop(frame_id, None)
            self._pacer.forget(frame_id)
            self._wake()

    def withdraw(self, frame_id: int) -> bool:
        """The frame was given up: send nothing more of it; whether some is under way, which counts until it arrived."""
        with self._ready:
            self._payloads.pop(frame_id, None)
            is_under_way = self._pacer.withdraw(frame_id)
            self._wake()
            return is_under_way

    def close(self) -> None:
        """End the iteration; nothing further is sent."""
        with self._ready:
            self._is_closed = True
            self._control.clear()
            self._payloads.clear()
            self._ready.notify_all()

    def __iter__(self) -> Iterator[M]:
        while True:
            with self._ready:
                while not (self._is_closed or self._control or (self._payloads and self._pacer.room_bytes())):
                    self._ready.wait()
                if self._is_closed:
                    return
                message = self._control.popleft() if self._control else self._next_chunk()
            yield message

    def _wake(self) -> None:
        """There may be room for payload: no news where none waits, and waking a thread for nothing costs a frame."""
        if self._payloads:
            self._ready.notify()

    def _next_chunk(self) -> M:
        frame_id, cursor = next(iter(self._payloads.items()))
        offset_bytes = cursor.offset_bytes
        data = cursor.take(self._pacer.room_bytes())
        now_s = self._now()
        if not self._pacer.unacked_bytes:
            self._moved_s = now_s
        self._pacer.sent(frame_id, cursor.offset_bytes, len(data), now_s)
        if not cursor.left_bytes:
            del self._payloads[frame_id]
        return self._make_chunk(frame_id, offset_bytes, data)
