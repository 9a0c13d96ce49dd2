"""A link in a box: a TCP relay in user space that shapes rate and delay in both directions. No root, no kernel modules.

Each direction is a lane that all connections share, as they share a radio. A lane keeps one number, the time at which
it will have sent all it accepted: bytes read at ``t`` leave at ``max(t, free_at) + n / rate`` and arrive one delay
later. Lateness of a timer therefore never adds up, and pacing is exact on average however small the pieces. Timers
come from ``select``, whose timeouts are exact to a tenth of a millisecond where epoll rounds up to the next whole
one.

Backlog is bounded like a real modem's: a lane accepts no more than ``QUEUE_S`` of sending time ahead, then stops
reading, and small receive buffers carry that back to the sender. End of stream travels in line with the data
(half-close); a reset by one side resets the other. What the relay cannot delay is the handshake of TCP itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import selectors
import socket
import struct
import threading
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import partial
from types import TracebackType

from partitioner.errors import UsageError

QUEUE_S = 0.04
_QUANTUM_S = 0.004
_QUANTUM_BYTES = (512, 256 << 10)
_WINDOW_BYTES = (16 << 10, 1 << 20)
_SLOW_READER_BYTES = 64 << 10
_UNSHAPED_BYTES_PER_S = 1e12
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a link does to traffic; ``up`` is from the relay's clients to its target. The round trip is two delays."""

    up_bytes_per_s: float = _UNSHAPED_BYTES_PER_S
    down_bytes_per_s: float = _UNSHAPED_BYTES_PER_S
    delay_s: float = 0.0

    def __post_init__(self) -> None:
        if not (self.up_bytes_per_s > 0 and self.down_bytes_per_s > 0 and 0 <= self.delay_s < 60):
            raise UsageError("a link needs rates above 0 and a delay of 0 to 60 s")


class Relay:
    """Relays TCP connections to ``target`` through a shaped link, on a thread of its own, until closed.

    Args:
        target: (host, port) that connections go on to; it is dialled for each of them.
        shape: the link; ``reshape`` changes it while traffic flows.
        listen: (host, port) to listen on; port 0 takes a free one.

    Raises:
        UsageError: ``listen`` cannot be bound.
    """

    def __init__(
        self, target: tuple[str, int], shape: Shape | None = None, *, listen: tuple[str, int] = ("127.0.0.1", 0)
    ) -> None:
        self._target = target
        self._shape = shape or Shape()
        try:
            family = socket.AF_INET6 if ":" in listen[0] else socket.AF_INET
            self._listener = socket.create_server(listen, family=family, backlog=64)
        except (OSError, OverflowError) as error:
            raise UsageError(f"cannot listen on {listen[0]}:{listen[1]}: {error}") from error
        _fit_window(self._listener, self._shape.up_bytes_per_s)
        self._listener.setblocking(False)
        self.host, self.port = self._listener.getsockname()[:2]
        self._lanes = (_Lane(self._shape.up_bytes_per_s), _Lane(self._shape.down_bytes_per_s))
        self._loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="relay")
        self._thread.start()

    @property
    def address(self) -> str:
        """``host:port`` for clients."""
        return f"{self.host}:{self.port}"

    @property
    def shape(self) -> Shape:
        """The link as it is now."""
        return self._shape

    def reshape(self, shape: Shape) -> None:
        """Change the link; delays hold for bytes that arrive from now on. From any thread."""
        self._shape = shape
        self._loop.call_soon_threadsafe(self._apply, shape)

    def close(self) -> None:
        """Reset what is connected, stop listening and end the thread. Closing twice is harmless."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join()

    def __enter__(self) -> Relay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        with self._listener:
            self._loop.add_reader(self._listener, self._accept)
            await self._closing.wait()
            self._loop.remove_reader(self._listener)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self) -> None:
        """Take a connection; not ``sock_accept``, which loses one that arrives while it is cancelled."""
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        self._start(self._relay(client)).add_done_callback(partial(_close, client))

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _apply(self, shape: Shape) -> None:
        now = self._loop.time()
        for lane, rate in zip(self._lanes, (shape.up_bytes_per_s, shape.down_bytes_per_s), strict=True):
            lane.set_rate(rate, now)

    async def _relay(self, client: socket.socket) -> None:
        """One connection, until both directions have ended or one of them broke."""
        try:
            server = await self._dial()
        except OSError as error:
            _log.warning("%s:%s cannot be reached: %s", *self._target, error)
            _reset_on_close(client)
            return
        with server:
            for end in (client, server):
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            up, down = self._lanes
            flows = [_Flow(self, up, client, server), _Flow(self, down, server, client)]
            tasks = [self._loop.create_task(half()) for flow in flows for half in (flow.read, flow.write)]
            try:
                await asyncio.gather(*tasks)
            except BaseException as error:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                _reset_on_close(client)
                _reset_on_close(server)
                if not isinstance(error, OSError):
                    raise

    async def _dial(self) -> socket.socket:
        found = await self._loop.getaddrinfo(*self._target, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        server = socket.socket(family, kind, protocol)
        try:
            _fit_window(server, self._shape.down_bytes_per_s)
            server.setblocking(False)
            await self._loop.sock_connect(server, address)
        except BaseException:
            server.close()
            raise
        return server


class _Lane:
    """One direction of the link: hands out the time at which bytes will have left."""

    def __init__(self, rate_bytes_per_s: float) -> None:
        self.rate_bytes_per_s = rate_bytes_per_s
        self.free_at = 0.0

    @property
    def quantum_bytes(self) -> int:
        """How much to read at once: a few milliseconds of sending time."""
        return _clamp(self.rate_bytes_per_s * _QUANTUM_S, _QUANTUM_BYTES)

    def send(self, size_bytes: int, now: float) -> float:
        """Accept bytes at ``now``; the time at which the last of them has left."""
        self.free_at = max(now, self.free_at) + size_bytes / self.rate_bytes_per_s
        return self.free_at

    def set_rate(self, rate_bytes_per_s: float, now: float) -> None:
        """Change the rate; what is accepted but not yet sent takes its time at the new one."""
        backlog_bytes = max(0.0, self.free_at - now) * self.rate_bytes_per_s
        self.rate_bytes_per_s = rate_bytes_per_s
        self.free_at = now + backlog_bytes / rate_bytes_per_s


class _Flow:
    """One direction of one connection: reads as the lane allows, writes when the bytes arrive."""

    def __init__(self, relay: Relay, lane: _Lane, source: socket.socket, sink: socket.socket) -> None:
        self._relay = relay
        self._loop = relay._loop
        self._lane = lane
        self._source = source
        self._sink = sink
        self._air: deque[tuple[float, bytes]] = deque()
        self._overdue_bytes = 0
        self._changed = asyncio.Event()

    async def read(self) -> None:
        """Take bytes from the source until it ends; an empty piece stands for the end."""
        while True:
            while self._lane.free_at - QUEUE_S > self._loop.time():
                await self._until(self._lane.free_at - QUEUE_S)
            while self._stalled():
                self._changed.clear()
                await self._changed.wait()
            data = await self._loop.sock_recv(self._source, self._lane.quantum_bytes)
            arrives_at = self._lane.send(len(data), self._loop.time()) + self._relay.shape.delay_s
            self._air.append((arrives_at, data))
            self._changed.set()
            if not data:
                return

    async def write(self) -> None:
        """Deliver each piece when it arrives."""
        while True:
            while not self._air:
                self._changed.clear()
                await self._changed.wait()
            arrives_at, data = self._air[0]
            await self._until(arrives_at)
            if not data:
                with contextlib.suppress(OSError):
                    self._sink.shutdown(socket.SHUT_WR)
                return
            await self._loop.sock_sendall(self._sink, data)
            self._air.popleft()
            self._changed.set()

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


def _fit_window(end: socket.socket, rate_bytes_per_s: float) -> None:
    """Size the receive buffer to a queue's worth, so that the kernel hides little backlog."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _clamp(rate_bytes_per_s * QUEUE_S / 2, _WINDOW_BYTES))


def _close(end: socket.socket, _task: asyncio.Task[None]) -> None:
    end.close()


def _reset_on_close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)


def _clamp(value: float, bounds: tuple[int, int]) -> int:
    return int(min(max(value, bounds[0]), bounds[1]))
