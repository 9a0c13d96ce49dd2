"""What a session still has to send: messages first, then the frames' payload, chunk by chunk as the pacer allows.

Memory is bounded: payload is cut into chunks only when its turn comes, and ``until_room`` keeps the reader from taking
requests of a peer that does not take replies.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from protos import pieces
from protos.chunks import Cursor, Pacer
from protos.messages import Ack, ToEdge
from protos.tensors import Buffer

_MAX_MESSAGES = 256
_MAX_BYTES = 1 << 20


class Outbox:
    """The sending half of one session. Belongs to one event loop; ``clock`` is monotonic."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pacer = Pacer()
        self._messages: deque[ToEdge] = deque()
        self._message_bytes = 0
        self._acks: dict[int, int] = {}
        self._frames: deque[tuple[int, Cursor, Callable[[], None]]] = deque()
        self._is_finished = False
        self._moved_s = clock()
        self._wake = asyncio.Event()
        self._quiet = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def put(self, message: ToEdge) -> None:
        """Queue a message; it goes before any payload."""
        self._messages.append(message)
        self._message_bytes += message.ByteSize()
        if len(self._messages) > _MAX_MESSAGES or self._message_bytes > _MAX_BYTES:
            self._room.clear()
        self._stir()

    def ack(self, frame_id: int, received_bytes: int) -> None:
        """Acknowledge the first bytes of a frame, before anything else is sent; the newest goes for those before it."""
        self._acks[frame_id] = received_bytes
        self._stir()

    def put_frame(self, frame_id: int, buffers: Iterable[Buffer], on_sent: Callable[[], None]) -> None:
        """Queue a frame's payload behind that of others; ``on_sent`` is called once the last of it is handed out."""
        cursor = Cursor(buffers)
        if not cursor.left_bytes:
            on_sent()
            return
        self._frames.append((frame_id, cursor, on_sent))
        self._stir()

    def drop(self, frame_id: int) -> None:
        """Forget a frame; what is left of its payload is not sent."""
        self._frames = deque(entry for entry in self._frames if entry[0] != frame_id)
        self._pacer.forget(frame_id)
        self._stir()

    def acked(self, frame_id: int, received_bytes: int) -> None:
        """The peer holds the first bytes of a frame."""
        if self._pacer.acked(frame_id, received_bytes, self._clock()):
            self._moved_s = self._clock()
            self._stir()

    def finish(self) -> None:
        """Nothing more will come: ``get`` answers None once all is sent."""
        self._is_finished = True
        self._stir()

    def abandon(self) -> None:
        """The session is over: drop everything, so that ``get`` answers None at once."""
        self._acks.clear()
        self._messages.clear()
        self._frames.clear()
        self.finish()

    @property
    def is_full(self) -> bool:
        """Whether so many messages wait that no more requests should be taken."""
        return not self._room.is_set()

    @property
    def unacknowledged_s(self) -> float:
        """For how long payload has been out without a new acknowledgement; 0 where none is out."""
        return self._clock() - self._moved_s if self._pacer.unacked_bytes else 0.0

    async def until_room(self) -> None:
        """Wait until the peer has taken enough of the messages."""
        await self._room.wait()

    async def until_quiet(self) -> None:
        """Wait until the peer has taken all there is: ``get`` has nothing and is asked for more."""
        await self._quiet.wait()

    async def get(self) -> ToEdge | None:
        """The next message to send; None at the end."""
        self._quiet.clear()
        while True:
            if self._acks:
                frame_id = next(iter(self._acks))
                return ToEdge(ack=Ack(frame_id=frame_id, received_bytes=self._acks.pop(frame_id)))
            if self._messages:
                return self._next_message()
            size = self._pacer.room_bytes() if self._frames else 0
            if size:
                return self._next_chunk(size)
            if not self._frames:
                self._quiet.set()
                if self._is_finished:
                    return None
            self._wake.clear()
            await self._wake.wait()

    def _stir(self) -> None:
        self._quiet.clear()
        self._wake.set()

    def _next_message(self) -> ToEdge:
        message = self._messages.popleft()
        self._message_bytes -= message.ByteSize()
        if len(self._messages) <= _MAX_MESSAGES // 2 and self._message_bytes <= _MAX_BYTES // 2:
            self._room.set()
        return message

    def _next_chunk(self, size_bytes: int) -> ToEdge:
        frame_id, cursor, on_sent = self._frames[0]
        offset = cursor.offset_bytes
        data = cursor.take(size_bytes)
        if not self._pacer.unacked_bytes:
            self._moved_s = self._clock()
        self._pacer.sent(frame_id, cursor.offset_bytes, len(data), self._clock())
        if not cursor.left_bytes:
            self._frames.popleft()
            on_sent()
        return pieces.to_edge(frame_id, offset, data)
