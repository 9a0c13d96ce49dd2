"""Pacing: how large the next chunk of a payload is, and whether it may be sent yet. Arithmetic alone, no clock.

A chunk is what the link carries in 0.1 s, from 4 KiB to 256 KiB, so that heartbeats and cancels never wait long behind
payload. Bytes sent and not acknowledged stay under twice the bandwidth-delay product, a quarter second of the link, or
two chunks, whichever is most: enough to keep the link full, little enough that a cancelled frame stops early. What left
of one that was cancelled is in the way, and the rate in doubt: until it has arrived, small chunks go one by one.

The rate is a maximum over recent deliveries, each measured from the state of acknowledgements when a chunk left to
that when it was acknowledged (Cardwell et al., "BBR", ACM Queue 2016), so that a pause between frames is not taken for
a slow link. The round trip is the least seen since a chunk last left on an idle link: the queue that we make ourselves
must not widen the window that makes it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protos.errors import InvalidMessage
from protos.tensors import Buffer

MIN_CHUNK_BYTES = 4 * 1024
MAX_CHUNK_BYTES = 256 * 1024
CHUNK_S = 0.1
WINDOW_S = 0.25
_FIRST_RATE_BYTES_PER_S = 80 * 1024.0
_SAMPLES = 8
_MIN_INTERVAL_S = 1e-5


def chunk_bytes(rate_bytes_per_s: float) -> int:
    """Size of a chunk on a link of this rate."""
    return int(min(max(CHUNK_S * rate_bytes_per_s, MIN_CHUNK_BYTES), MAX_CHUNK_BYTES))


def window_bytes(rate_bytes_per_s: float, rtt_s: float) -> int:
    """How many bytes may be sent and not acknowledged."""
    product = rate_bytes_per_s * rtt_s
    return int(max(2 * product, WINDOW_S * rate_bytes_per_s, 2 * chunk_bytes(rate_bytes_per_s)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One acknowledgement: what it says of the link.

    ``size_bytes`` are newly acknowledged, the first of them left at ``begun_s``. ``rate_bytes_per_s`` is what was
    delivered since the last of them left: never more than the link carries, and less where little was sent. ``rtt_s``
    runs from when the last chunk left to its acknowledgement; ``is_alone``: nothing else was in flight then.
    """

    size_bytes: int
    rate_bytes_per_s: float
    rtt_s: float
    is_alone: bool
    begun_s: float
    at_s: float


@dataclass(slots=True, kw_only=True)
class _Sent:
    frame_id: int
    end_bytes: int
    size_bytes: int
    sent_s: float
    delivered_bytes: int
    delivered_s: float
    is_alone: bool


class Pacer:
    """The sending side of one direction of one session. Not thread-safe; times are of any one monotonic clock.

    Until the first acknowledgement the rate is taken as ``rate_bytes_per_s``.
    """

    def __init__(self, *, rate_bytes_per_s: float = _FIRST_RATE_BYTES_PER_S, rtt_s: float = 0.0) -> None:
        self._rates: deque[float] = deque([rate_bytes_per_s], maxlen=_SAMPLES)
        self._rtt_s = rtt_s
        self._flight: deque[_Sent] = deque()
        self._withdrawn: set[int] = set()
        self._measured = False
        self._unacked_bytes = 0
        self._delivered_bytes = 0
        self._delivered_s = 0.0

    @property
    def rate_bytes_per_s(self) -> float:
        """The link's goodput as far as it is known."""
        return max(self._rates)

    @property
    def rtt_s(self) -> float:
        """Time from sending a chunk to its acknowledgement, without our own queue; 0 before the first."""
        return self._rtt_s

    @property
    def is_measured(self) -> bool:
        """Whether the rate comes from acknowledgements."""
        return self._measured

    @property
    def chunk_bytes(self) -> int:
        """Size of the next chunk."""
        return chunk_bytes(self.rate_bytes_per_s)

    @property
    def window_bytes(self) -> int:
        """How many bytes may be unacknowledged."""
        return window_bytes(self.rate_bytes_per_s, self.rtt_s)

    @property
    def unacked_bytes(self) -> int:
        """Bytes sent and not acknowledged."""
        return self._unacked_bytes

    def room_bytes(self) -> int:
        """Size of the chunk that may be sent now; 0 when an acknowledgement must come first."""
        if self._withdrawn:
            wanted_bytes = sum(item.size_bytes for item in self._flight if item.frame_id not in self._withdrawn)
            return MIN_CHUNK_BYTES if wanted_bytes < MIN_CHUNK_BYTES else 0
        size = self.chunk_bytes
        return size if not self._unacked_bytes or self._unacked_bytes + size <= self.window_bytes else 0

    def sent(self, frame_id: int, end_bytes: int, size_bytes: int, now_s: float) -> None:
        """A chunk of ``size_bytes`` that ends at ``end_bytes`` of its frame's payload has left."""
        is_alone = not self._flight
        if is_alone:
            self._delivered_s = now_s
        self._flight.append(
            _Sent(
                frame_id=frame_id,
                end_bytes=end_bytes,
                size_bytes=size_bytes,
                sent_s=now_s,
                delivered_bytes=self._delivered_bytes,
                delivered_s=self._delivered_s,
                is_alone=is_alone,
            )
        )
        self._unacked_bytes += size_bytes

    def acked(self, frame_id: int, received_bytes: int, now_s: float) -> Delivery | None:
        """The peer holds the first ``received_bytes`` of a frame; returns what that newly acknowledges.

        An acknowledgement of what is not in flight (a frame that was forgotten) changes nothing, and is None.
        """
        done = [item for item in self._flight if item.frame_id == frame_id and item.end_bytes <= received_bytes]
        if not done:
            return None
        newly = sum(item.size_bytes for item in done)
        self._flight = deque(
            item for item in self._flight if item.frame_id != frame_id or item.end_bytes > received_bytes
        )
        self._unacked_bytes -= newly
        self._delivered_bytes += newly
        self._delivered_s = now_s
        last = done[-1]
        if self._withdrawn:
            self._pass_over(last.sent_s)
        interval_s = max(now_s - last.delivered_s, _MIN_INTERVAL_S)
        rate_bytes_per_s = (self._delivered_bytes - last.delivered_bytes) / interval_s
        self._learn(rate_bytes_per_s)
        rtt_s = max(0.0, now_s - last.sent_s)
        self._rtt_s = rtt_s if last.is_alone or not self._rtt_s else min(self._rtt_s, rtt_s)
        return Delivery(
            size_bytes=newly,
            rate_bytes_per_s=rate_bytes_per_s,
            rtt_s=rtt_s,
            is_alone=done[0].is_alone,
            begun_s=done[0].sent_s,
            at_s=now_s,
        )

    def forget(self, frame_id: int) -> None:
        """The frame is over (answered or failed): its bytes in flight no longer count."""
        self._keep([item for item in self._flight if item.frame_id != frame_id])

    def withdraw(self, frame_id: int) -> bool:
        """The frame was given up: what left of it is on the link still, and holds up what comes behind it.

        It counts until it is acknowledged, or something that left after it. False where all of it was.
        """
        is_under_way = any(item.frame_id == frame_id for item in self._flight)
        if is_under_way:
            self._withdrawn.add(frame_id)
        return is_under_way

    def _pass_over(self, sent_s: float) -> None:
        """Messages keep their order: what left before one that arrived is there, or was refused there."""
        self._keep(
            [item for item in self._flight if item.frame_id not in self._withdrawn or item.sent_s >= sent_s],
        )

    def _keep(self, flight: list[_Sent]) -> None:
        self._flight = deque(flight)
        self._unacked_bytes = sum(item.size_bytes for item in flight)
        if self._withdrawn:
            self._withdrawn &= {item.frame_id for item in flight}

    def _learn(self, rate_bytes_per_s: float) -> None:
        if not self._measured:
            self._rates.clear()
            self._measured = True
        self._rates.append(rate_bytes_per_s)


class Assembler:
    """The receiving side of one frame's payload: chunks in order, no gap, no byte too many.

    Memory is reserved in one piece but touched only as bytes arrive, so a lying size costs nothing.
    """

    def __init__(self, payload_bytes: int) -> None:
        self._buffer: npt.NDArray[np.uint8] = np.empty(payload_bytes, np.uint8)
        self._received_bytes = 0

    @property
    def received_bytes(self) -> int:
        """How much of the payload is here."""
        return self._received_bytes

    @property
    def is_complete(self) -> bool:
        """Whether all of it is here."""
        return self._received_bytes == self._buffer.size

    @property
    def payload(self) -> memoryview:
        """The payload as far as it is here; the array that owns it lives as long as any view."""
        return self._buffer.data[: self._received_bytes]

    def add(self, offset_bytes: int, data: Buffer) -> None:
        """Take the next chunk; one that is here already changes nothing.

        Raises:
            InvalidMessage: empty, out of order, or past the end.
        """
        end = offset_bytes + len(data)
        if not data:
            raise InvalidMessage("an empty chunk")
        if end <= self._received_bytes:
            return
        if offset_bytes != self._received_bytes:
            raise InvalidMessage(f"a chunk starts at byte {offset_bytes} where byte {self._received_bytes} is due")
        if end > self._buffer.size:
            raise InvalidMessage(f"chunks hold {end} bytes of a payload of {self._buffer.size}")
        self._buffer[offset_bytes:end] = np.frombuffer(data, np.uint8)
        self._received_bytes = end


class Cursor:
    """The payload yet to be sent of one frame, handed out in pieces of any size."""

    def __init__(self, buffers: Iterable[Buffer]) -> None:
        self._views = [view for view in (memoryview(buffer).cast("B") for buffer in buffers) if len(view)]
        self._at = 0
        self._within = 0
        self._sent_bytes = 0
        self._total_bytes = sum(len(view) for view in self._views)

    @property
    def offset_bytes(self) -> int:
        """Where the next piece starts."""
        return self._sent_bytes

    @property
    def left_bytes(self) -> int:
        """How much is left."""
        return self._total_bytes - self._sent_bytes

    def take(self, size_bytes: int) -> Buffer:
        """The next piece: ``size_bytes``, or what is left. It may share the buffer's memory."""
        parts = list(self._pieces(min(size_bytes, self.left_bytes)))
        piece = parts[0] if len(parts) == 1 else b"".join(parts)
        self._sent_bytes += len(piece)
        return piece

    def _pieces(self, wanted: int) -> Iterator[memoryview]:
        while wanted > 0:
            view = self._views[self._at]
            part = view[self._within : self._within + wanted]
            wanted -= len(part)
            self._within += len(part)
            if self._within == len(view):
                self._at, self._within = self._at + 1, 0
            yield part
