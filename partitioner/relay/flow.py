"""One direction of one connection: reads as the lane allows, holds what is in the air, delivers when it arrives.

End of stream travels in line with the data (half-close). In a black hole nothing is read and nothing delivered, so that
the sender's buffers fill as they would if no acknowledgement came.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque

from partitioner.relay.lane import QUEUE_S, Lane

_SLOW_READER_BYTES = 64 << 10


class ConnectionCut(Exception):
    """The connection is over before its ends know; ``is_reset`` says how they learn of it."""

    def __init__(self, *, is_reset: bool) -> None:
        super().__init__("reset" if is_reset else "ended")
        self.is_reset = is_reset


class Flow:
    """Bytes from ``source`` to ``sink`` by way of a lane, which is a black hole while ``way`` is not set."""

    def __init__(self, lane: Lane, way: asyncio.Event, source: socket.socket, sink: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._lane = lane
        self._way = way
        self._source = source
        self._sink = sink
        self._air: deque[tuple[float, bytes]] = deque()
        self._last_at = 0.0
        self._changed = asyncio.Event()

    async def read(self) -> None:
        """Take bytes from the source until it ends; an empty piece stands for the end."""
        while True:
            while self._lane.free_at - QUEUE_S > self._loop.time():
                await self._until(self._lane.free_at - QUEUE_S)
            while self._stalled():
                self._changed.clear()
                await self._changed.wait()
            await self._way.wait()
            data = await self._loop.sock_recv(self._source, self._lane.quantum_bytes)
            await self._way.wait()  # a hole that opened while nothing came swallows what comes first, too
            read_s = len(data) / self._lane.faults.read_bytes_per_s
            self._last_at = max(self._last_at, self._lane.send(len(data), self._loop.time()))
            self._air.append((self._last_at, data))
            self._changed.set()
            if not data:
                return
            await self._until(self._loop.time() + read_s)

    async def write(self) -> None:
        """Deliver each piece when it arrives.

        Raises:
            ConnectionCut: it was the connection's last.
        """
        while True:
            while not self._air:
                self._changed.clear()
                await self._changed.wait()
            arrives_at, data = self._air[0]
            await self._until(arrives_at)
            await self._way.wait()
            if not data:
                self.end()
                return
            arrived, ending = self._lane.deliver(data)
            for piece in self._lane.slices(arrived):
                await self._loop.sock_sendall(self._sink, piece)
            if ending:
                raise ConnectionCut(is_reset=ending == "reset")
            self._air.popleft()
            self._changed.set()

    def end(self) -> None:
        """Tell the sink that nothing more comes."""
        with contextlib.suppress(OSError):
            self._sink.shutdown(socket.SHUT_WR)

    async def _until(self, when: float) -> None:
        wait_s = when - self._loop.time()
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    def _stalled(self) -> bool:
        """Whether the sink has left more unread than a receive window would hold."""
        now, overdue_bytes = self._loop.time(), 0
        for arrives_at, data in self._air:
            if arrives_at > now:
                break
            overdue_bytes += len(data)
        return overdue_bytes > _SLOW_READER_BYTES
