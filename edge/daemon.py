"""The edge daemon from start to end: open a session a model, listen for applications, answer, drain, stop.

Sessions are opened before anything is announced, so that the first request finds weights in memory and plans chosen. A
model that cannot be opened is served as not ready, with its reason, while others are. Stopping is orderly: the daemon
is ready no more and takes no more calls, those under way are answered, and only what is still there after the grace is
cut off.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from edge.errors import EdgeError
from edge.inference import InferenceServicer
from edge.offer import Answering, Offer, check_datatypes
from partitioner.bundle import Bundle
from partitioner.errors import CleftError, UsageError
from protos.channel import SERVER_OPTIONS
from protos.errors import WireError
from protos.inference import inference_handlers
from protos.security import OPEN, ServerSecurity
from protos.status import one_line

_LOG = logging.getLogger(__name__)
MIB = 1024 * 1024
_SPARE_THREADS = 8
"""Beyond those of the requests: for probes, metadata and refusals, however busy the models are."""
_CLOSE_S = 1.0
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class NothingToServe(EdgeError):
    """None of the models could be opened."""


class ListenError(EdgeError):
    """The address cannot be listened on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonConfig:
    """Where to listen, and how much to take."""

    host: str = "127.0.0.1"
    port: int = 8001
    max_requests: int = 32
    """Requests admitted at a time, under way or waiting."""
    max_message_bytes: int = 64 * MIB
    """Largest request, and largest answer."""
    grace_s: float = 10.0
    report_every_s: float = 60.0


class ServedSession(Answering, Protocol):
    """What the daemon needs of a session."""

    def counters(self) -> Mapping[str, int]:
        """What it did so far."""

    def close(self) -> None:
        """Answer what was submitted, and end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One model to serve. ``open_session`` opens what answers it; raises ``CleftError`` where that cannot be had."""

    name: str
    bundle: Bundle | None
    open_session: Callable[[], ServedSession]


class Daemon:
    """A listening daemon; ``start`` and ``stop`` are for one thread, once each."""

    def __init__(self, config: DaemonConfig, *, version: str = "", security: ServerSecurity = OPEN) -> None:
        self._config = config
        self._version = version
        self._security = security
        self._sessions: dict[str, ServedSession] = {}
        self._reasons: dict[str, str] = {}
        self._servicer: InferenceServicer | None = None
        self._server: grpc.Server | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._health = health.HealthServicer()
        self._resources = ExitStack()
        self._reported: Mapping[str, int] = {}

    @property
    def reasons(self) -> Mapping[str, str]:
        """Why models are not ready, by name."""
        return self._reasons

    def start(self, entries: Sequence[Entry]) -> int:
        """Open the models, then listen; returns the port.

        Raises:
            NothingToServe: no model can be opened.
            ListenError: the address cannot be listened on.
            UsageError: two models have one name.
        """
        try:
            offers = self._open(entries)
            return self._listen(offers)
        except BaseException:
            self.stop(grace_s=0.0)
            raise

    def stop(self, *, grace_s: float | None = None) -> bool:
        """Drain, then stop, in at most about ``grace_s``; false where something is left behind. Safe at any point."""
        end_s = time.monotonic() + (self._config.grace_s if grace_s is None else grace_s)
        self._health.enter_graceful_shutdown()
        if self._servicer is not None:
            self._servicer.drain()
        if self._server is not None:
            self._server.stop(max(0.0, end_s - time.monotonic())).wait()
        if self._servicer is not None:
            self._servicer.abandon()
        self._resources.close()
        self.report()
        closers = [
            threading.Thread(target=session.close, name=f"cleft-closing-{name}", daemon=True)
            for name, session in self._sessions.items()
        ]
        for closer in closers:
            closer.start()
        left_s = max(_CLOSE_S, end_s - time.monotonic())
        for closer in closers:
            begin_s = time.monotonic()
            closer.join(left_s)
            left_s = max(0.0, left_s - (time.monotonic() - begin_s))
        is_clean = not any(closer.is_alive() for closer in closers)
        if self._pool is not None:
            self._pool.shutdown(wait=is_clean)
        if not is_clean:
            _LOG.warning("a request did not end within the grace; leaving it behind")
        return is_clean

    def traffic(self) -> dict[str, int]:
        """What became of all requests: the service's counts, then the sessions' added up."""
        found = dict(self._servicer.traffic()) if self._servicer is not None else {}
        for session in self._sessions.values():
            for name, count in session.counters().items():
                found[f"session_{name}"] = found.get(f"session_{name}", 0) + count
        return found

    def report(self) -> None:
        """Log one line of what was counted, unless nothing was since the last."""
        counted = self.traffic()
        if counted == self._reported or not any(counted.values()):
            return
        self._reported = counted
        shown = ", ".join(f"{name} {count}" for name, count in counted.items() if count)
        _LOG.info("so far: %s", shown, extra={"cleft": counted})

    def _open(self, entries: Sequence[Entry]) -> list[Offer]:
        names = [entry.name for entry in entries]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UsageError(f"two models are called {twice[0]!r}: give their bundles different names")
        offers = []
        for entry in entries:
            session, reason = self._open_one(entry)
            if session is not None:
                self._sessions[entry.name] = session
            else:
                self._reasons[entry.name] = reason
                _LOG.warning("%s is not ready: %s", entry.name, reason)
            offers.append(Offer(name=entry.name, bundle=entry.bundle, answering=session, reason=reason))
        if not self._sessions:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self._reasons.items())
            raise NothingToServe(f"no model can be served: {reasons or 'none was named'}")
        return offers

    def _open_one(self, entry: Entry) -> tuple[ServedSession | None, str]:
        try:
            if entry.bundle is not None:
                check_datatypes(entry.bundle)
            return entry.open_session(), ""
        except (CleftError, WireError, OSError, MemoryError) as error:
            return None, one_line(str(error)) or type(error).__name__

    def _listen(self, offers: Sequence[Offer]) -> int:
        config = self._config
        self._servicer = InferenceServicer(offers, version=self._version, max_requests=config.max_requests)
        threads = config.max_requests + _SPARE_THREADS
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="cleft-call")
        self._server = grpc.server(
            self._pool,
            interceptors=[self._security.interceptor()],
            options=_options(config.max_message_bytes),
            maximum_concurrent_rpcs=2 * threads,
        )
        self._server.add_generic_rpc_handlers((inference_handlers(self._servicer),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        listens_on = address(config.host, config.port)
        port = self._security.listen(self._server, listens_on)
        if not port:
            raise ListenError(f"cannot listen on {listens_on}: it is in use, or not an address of ours")
        for offer in offers:
            self._health.set(offer.name, _SERVING if offer.is_ready else _NOT_SERVING)
        self._health.set("", _SERVING)
        self._server.start()
        self._resources.enter_context(_Reporting(self.report, every_s=config.report_every_s))
        return port


class _Reporting:
    """Calls ``report`` every so often, on a thread of its own, until the end of the context."""

    def __init__(self, report: Callable[[], None], *, every_s: float) -> None:
        self._report = report
        self._every_s = every_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cleft-report", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exc_info: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._every_s):
            self._report()


def address(host: str, port: int) -> str:
    """``host:port``, an IPv6 host in brackets whether it came in them or not."""
    bare = host.removeprefix("[").removesuffix("]")
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"


def _options(max_message_bytes: int) -> tuple[tuple[str, int | str], ...]:
    """Those of our other servers, but for the size of a message: here tensors come whole."""
    sizes = {
        "grpc.max_receive_message_length": max_message_bytes,
        "grpc.max_send_message_length": max_message_bytes,
    }
    return tuple({**dict(SERVER_OPTIONS), **sizes}.items())
