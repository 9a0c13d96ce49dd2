"""Payload over one direction in chunks, each acknowledged over the other: the real pacer, in simulated time.

What ``edge.outbox`` and ``cloud.outbox`` do with threads and events: frames in the order given, the next chunk as soon
as the pacer's window has room, nothing more of a frame that is over.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from edge.simulate.world import Direction, Events
from protos.chunks import Delivery, Pacer

MESSAGE_BYTES = 64
"""An acknowledgement or a heartbeat with its framing."""
CHUNK_HEADER_BYTES = 32


class Sender:
    """One side's payload.

    ``on_delivery`` takes what each acknowledgement tells, ``on_chunk`` the frame and size of each chunk that arrives.
    """

    def __init__(
        self,
        events: Events,
        out: Direction,
        back: Direction,
        *,
        on_delivery: Callable[[Delivery], None] = lambda delivery: None,
        on_chunk: Callable[[int, int], None] = lambda frame_id, size_bytes: None,
    ) -> None:
        self._events = events
        self._out = out
        self._back = back
        self._on_delivery = on_delivery
        self._on_chunk = on_chunk
        self._pacer = Pacer()
        self._left_bytes: dict[int, int] = {}
        self._total_bytes: dict[int, int] = {}
        self._on_arrived: dict[int, Callable[[], None]] = {}
        self._acked_bytes: dict[int, int] = {}
        self._is_closed = False

    @property
    def unacked_bytes(self) -> int:
        """Payload sent and not acknowledged."""
        return self._pacer.unacked_bytes

    def left_bytes(self, frame_id: int) -> int:
        """How much of a frame is not acknowledged yet."""
        return self._total_bytes.get(frame_id, 0) - self._acked_bytes.get(frame_id, 0)

    def put(self, frame_id: int, size_bytes: int, on_arrived: Callable[[], None]) -> None:
        """Send a frame; ``on_arrived`` is called when the last byte of it has arrived."""
        if self._is_closed:
            return
        self._left_bytes[frame_id] = self._total_bytes[frame_id] = max(1, size_bytes)
        self._on_arrived[frame_id] = on_arrived
        self._pump()

    def drop(self, frame_id: int) -> None:
        """The frame is over; what of it is under way arrives, is acknowledged, and starts nothing."""
        self._left_bytes.pop(frame_id, None)
        self._total_bytes.pop(frame_id, None)
        self._acked_bytes.pop(frame_id, None)
        self._on_arrived.pop(frame_id, None)
        self._pacer.withdraw(frame_id)
        self._pump()

    def close(self) -> None:
        """The connection is gone, and all that was under way with it."""
        self._is_closed = True
        for frame_id in list(self._total_bytes):
            self.drop(frame_id)

    def _pump(self) -> None:
        now_s = self._events.now_s
        while not self._is_closed and self._left_bytes and (room := self._pacer.room_bytes()):
            frame_id, left_bytes = next(iter(self._left_bytes.items()))
            size = min(room, left_bytes)
            end_bytes = self._total_bytes[frame_id] - left_bytes + size
            self._pacer.sent(frame_id, end_bytes, size, now_s)
            if size == left_bytes:
                del self._left_bytes[frame_id]
            else:
                self._left_bytes[frame_id] = left_bytes - size
            arrives_s = self._out.send(size + CHUNK_HEADER_BYTES, now_s)
            self._events.at(arrives_s, partial(self._arrived, frame_id, end_bytes, size))

    def _arrived(self, frame_id: int, end_bytes: int, size_bytes: int) -> None:
        if self._is_closed:
            return
        self._on_chunk(frame_id, size_bytes)
        heard_s = self._back.send(MESSAGE_BYTES, self._events.now_s)
        self._events.at(heard_s, lambda: self._acked(frame_id, end_bytes))
        if end_bytes == self._total_bytes.get(frame_id):
            self._on_arrived[frame_id]()

    def _acked(self, frame_id: int, end_bytes: int) -> None:
        if self._is_closed:
            return
        if frame_id in self._total_bytes:
            self._acked_bytes[frame_id] = end_bytes
        delivery = self._pacer.acked(frame_id, end_bytes, self._events.now_s)
        if delivery is not None:
            self._on_delivery(delivery)
        self._pump()
