"""The relay itself: a listener, its connections, and what breaks them, on one thread with one event loop.

Timers come from ``select``, whose timeouts are exact to a tenth of a millisecond where epoll rounds up to the next
whole one. A reset by one side resets the other. What the relay cannot delay or drop is the handshake of TCP itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import selectors
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from functools import partial
from types import TracebackType

from partitioner.errors import UsageError
from partitioner.relay.flow import ConnectionCut, Flow
from partitioner.relay.lane import NO_FAULTS, Faults, Lane, Shape

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_APPLY_S = 10.0
_log = logging.getLogger(__name__)


class Relay:
    """Relays TCP connections to ``target`` through a shaped link, on a thread of its own, until closed.

    Args:
        target: (host, port) that connections go on to; it is dialled for each of them.
        shape: the link; ``reshape`` changes it while traffic flows.
        listen: (host, port) to listen on; port 0 takes a free one.
        seed: of all that is random: jitter, slices, which connections are reset.

    Raises:
        UsageError: ``listen`` cannot be bound.
    """

    def __init__(
        self,
        target: tuple[str, int],
        shape: Shape | None = None,
        *,
        listen: tuple[str, int] = ("127.0.0.1", 0),
        seed: int = 0,
    ) -> None:
        self._target = target
        self._shape = shape or Shape()
        self._random = random.Random(seed)
        self._up = self._lane(self._shape.up_bytes_per_s)
        self._down = self._lane(self._shape.down_bytes_per_s)
        try:
            family = socket.AF_INET6 if ":" in listen[0] else socket.AF_INET
            self._listener = socket.create_server(listen, family=family, backlog=1024)
        except (OSError, OverflowError) as error:
            raise UsageError(f"cannot listen on {listen[0]}:{listen[1]}: {error}") from error
        _fit_window(self._listener, self._up)
        self._listener.setblocking(False)
        self.host, self.port = self._listener.getsockname()[:2]
        self._loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
        self._ways = asyncio.Event(), asyncio.Event()
        for way in self._ways:
            way.set()
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._resetter: asyncio.Task[None] | None = None
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

    @property
    def connections(self) -> int:
        """How many connections there are now."""
        return len(self._tasks)

    @property
    def carried_bytes(self) -> tuple[int, int]:
        """Bytes delivered so far, up and down."""
        return self._up.carried_bytes, self._down.carried_bytes

    def reshape(self, shape: Shape) -> None:
        """Change the link; delays hold for bytes that arrive from now on. From any thread."""
        self._shape = shape
        self._do(partial(self._reshape, shape))

    def spoil(self, *, up: Faults = NO_FAULTS, down: Faults = NO_FAULTS) -> None:
        """Do these things wrong from now on, and no others; without any, the link is well again. From any thread."""
        self._do(partial(self._spoil, up, down))

    def reset(self, *, most: int | None = None) -> int:
        """Reset every connection, or ``most`` of them taken at random; returns how many. From any thread."""
        return self._do(partial(self._reset, most))

    def reset_every(self, seconds: float | None, *, most: int | None = None) -> None:
        """``reset`` again and again from now on, first after ``seconds``; ``None`` ends that. From any thread."""
        if seconds is not None and not seconds > 0:
            raise UsageError("connections are reset every so many seconds above 0")
        self._do(partial(self._reset_every, seconds, most))

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

    def _lane(self, rate_bytes_per_s: float) -> Lane:
        shape = self._shape
        return Lane(rate_bytes_per_s, delay_s=shape.delay_s, jitter_s=shape.jitter_s, random=self._random)

    def _do(self, work: Callable[[], int]) -> int:
        """Do something on the relay's own thread; it is done on return."""
        done: Future[int] = Future()
        self._loop.call_soon_threadsafe(lambda: done.set_result(work()))
        return done.result(_APPLY_S)

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
            self._reset_every(None, None)
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self) -> None:
        """Take a connection; not ``sock_accept``, which loses one that arrives while it is cancelled."""
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        task = self._loop.create_task(self._relay(client))
        self._tasks[task] = None
        task.add_done_callback(partial(self._forget, client))

    def _forget(self, client: socket.socket, task: asyncio.Task[None]) -> None:
        client.close()
        self._tasks.pop(task, None)

    def _reshape(self, shape: Shape) -> int:
        now = self._loop.time()
        for lane, rate in ((self._up, shape.up_bytes_per_s), (self._down, shape.down_bytes_per_s)):
            lane.reshape(rate, delay_s=shape.delay_s, jitter_s=shape.jitter_s, now=now)
        return 0

    def _spoil(self, up: Faults, down: Faults) -> int:
        for lane, way, faults in zip((self._up, self._down), self._ways, (up, down), strict=True):
            lane.spoil(faults)
            (way.clear if faults.is_black_hole else way.set)()
        _fit_window(self._listener, self._up)
        return 0

    def _reset(self, most: int | None) -> int:
        tasks = list(self._tasks)
        if most is not None and most < len(tasks):
            tasks = self._random.sample(tasks, most)
        for task in tasks:
            task.cancel()
        return len(tasks)

    def _reset_every(self, seconds: float | None, most: int | None) -> int:
        if self._resetter is not None:
            self._resetter.cancel()
        self._resetter = None if seconds is None else self._loop.create_task(self._keep_resetting(seconds, most))
        return 0

    async def _keep_resetting(self, seconds: float, most: int | None) -> None:
        while True:
            await asyncio.sleep(seconds)
            self._reset(most)

    async def _relay(self, client: socket.socket) -> None:
        """One connection, until both directions have ended or one of them broke."""
        try:
            server = await self._dial()
        except BaseException as error:
            _reset_on_close(client)
            if not isinstance(error, OSError):
                raise
            _log.warning("%s:%s cannot be reached: %s", *self._target, error)
            return
        with server:
            for end in (client, server):
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ways = self._ways
            flows = [Flow(self._up, ways[0], client, server), Flow(self._down, ways[1], server, client)]
            halves: list[Coroutine[None, None, None]] = [half() for flow in flows for half in (flow.read, flow.write)]
            tasks = [self._loop.create_task(half) for half in halves]
            try:
                await asyncio.gather(*tasks)
            except BaseException as error:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                if isinstance(error, ConnectionCut) and not error.is_reset:
                    for flow in flows:
                        flow.end()
                    return
                _reset_on_close(client)
                _reset_on_close(server)
                if not isinstance(error, OSError | ConnectionCut):
                    raise

    async def _dial(self) -> socket.socket:
        found = await self._loop.getaddrinfo(*self._target, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        server = socket.socket(family, kind, protocol)
        try:
            _fit_window(server, self._down)
            server.setblocking(False)
            await self._loop.sock_connect(server, address)
        except BaseException:
            server.close()
            raise
        return server


def _fit_window(end: socket.socket, lane: Lane) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, lane.window_bytes)


def _reset_on_close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
