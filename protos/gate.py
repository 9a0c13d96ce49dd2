"""The gate of a server: every call needs a token, but for the probes of its health.

A call is refused before its request is read, and before an unknown method is told from a known one. Refusals are
logged with the peer and the reason, never with what was sent, at most one line a second: somebody who tries tokens
fills no disk.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import NoReturn, TypeVar

import grpc

from protos.errors import Unauthenticated
from protos.status import CODE_METADATA, to_status

_LOG = logging.getLogger(__name__)
HEALTH_METHODS = frozenset({"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"})
_LOG_EVERY_S = 1.0

Metadata = tuple[tuple[str, str | bytes], ...]
WhyRefused = Callable[[Metadata], str | None]
"""Why a call with this metadata is refused; None lets it in."""
OnRefused = Callable[[], None]

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Refusals:
    """Logs the calls that were refused, sparingly. Thread-safe."""

    def __init__(self, on_refused: OnRefused, *, now: Callable[[], float] = time.monotonic) -> None:
        self._on_refused = on_refused
        self._now = now
        self._lock = threading.Lock()
        self._logged_s: float | None = None
        self._unlogged = 0

    def note(self, peer: str, why: str) -> None:
        """One more."""
        self._on_refused()
        with self._lock:
            now_s = self._now()
            if self._logged_s is not None and now_s - self._logged_s < _LOG_EVERY_S:
                self._unlogged += 1
                return
            more = f" ({self._unlogged} more since the last line)" if self._unlogged else ""
            self._logged_s, self._unlogged = now_s, 0
        _LOG.warning("refused a call of %s: %s%s", peer, why, more)


class Gate(grpc.ServerInterceptor):
    """For a server of threads."""

    def __init__(
        self,
        why_refused: WhyRefused,
        *,
        open_methods: frozenset[str] = HEALTH_METHODS,
        on_refused: OnRefused = lambda: None,
    ) -> None:
        self._why_refused = why_refused
        self._open = open_methods
        self._refusals = Refusals(on_refused)

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[_In, _Out] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[_In, _Out] | None:
        """Hand the call on, or refuse it."""
        why = _why(self._why_refused, self._open, handler_call_details)
        if why is None:
            return continuation(handler_call_details)

        def refuse(_: Iterator[_In], context: grpc.ServicerContext) -> Iterator[_Out]:
            self._refusals.note(context.peer(), why)
            context.set_trailing_metadata(_CODE)
            context.abort(_STATUS, why)

        return grpc.stream_stream_rpc_method_handler(refuse)


class AsyncGate(grpc.aio.ServerInterceptor):
    """For a server of an event loop."""

    def __init__(
        self,
        why_refused: WhyRefused,
        *,
        open_methods: frozenset[str] = HEALTH_METHODS,
        on_refused: OnRefused = lambda: None,
    ) -> None:
        self._why_refused = why_refused
        self._open = open_methods
        self._refusals = Refusals(on_refused)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[_In, _Out] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[_In, _Out] | None:
        """Hand the call on, or refuse it."""
        why = _why(self._why_refused, self._open, handler_call_details)
        if why is None:
            return await continuation(handler_call_details)

        async def refuse(_: AsyncIterator[_In], context: grpc.aio.ServicerContext[_In, _Out]) -> NoReturn:
            self._refusals.note(context.peer(), why)
            await context.abort(_STATUS, why, _CODE)

        return grpc.stream_stream_rpc_method_handler(refuse)


_CODE = ((CODE_METADATA, Unauthenticated.code),)
_STATUS = to_status(Unauthenticated(""))


def _why(why_refused: WhyRefused, open_methods: frozenset[str], details: grpc.HandlerCallDetails) -> str | None:
    if details.method in open_methods:
        return None
    metadata: Metadata = tuple((key, value) for key, value in details.invocation_metadata or ())
    return why_refused(metadata)
