"""The service's calls, on ``grpc.aio``: messages come in here and go out here, and errors become statuses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator
from typing import NoReturn, TypeVar

import grpc

from cloud.profiling import Profiler
from cloud.session import BEATS, CHECKS, Session
from cloud.site import Site
from protos import messages as pb
from protos.documents import pack_document
from protos.errors import Draining, InternalFailure, InvalidMessage, Overloaded, Unreachable, WireError
from protos.status import CODE_METADATA, one_line, to_status

_LOG = logging.getLogger(__name__)
_RETRY_S = 1.0
_SLICES = 16

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Servicer:
    """Implements ``protos.channel.WorkerService`` for one worker."""

    def __init__(self, site: Site, profiler: Profiler) -> None:
        self._site = site
        self._profiler = profiler
        self._sessions: dict[Session, None] = {}
        self._is_draining = False
        self._started_s = site.clock()
        self._empty = asyncio.Event()
        self._empty.set()
        self._keeper: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Stop what serves all sessions."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)

    async def session(
        self, messages: AsyncIterable[pb.ToWorker | None], context: grpc.aio.ServicerContext[pb.ToWorker, pb.ToEdge]
    ) -> None:
        """One session, from Hello to its end."""
        try:
            await self._serve(messages, context)
        except WireError as error:
            _LOG.info("a session of %s ended: %s", context.peer(), one_line(error.detail))
            self._site.tally.counts[f"sessions_ended_{error.code.lower()}"] += 1
            await _end(context, error)

    async def status(
        self, request: pb.StatusRequest | None, context: grpc.aio.ServicerContext[pb.StatusRequest, pb.StatusReply]
    ) -> pb.StatusReply:
        """What the worker serves and how it is doing."""
        if request is None:
            await _abort(context, InvalidMessage("the request cannot be read"))
        tally = self._site.tally
        return pb.StatusReply(
            worker=self._site.config.name,
            protocol_version=pb.PROTOCOL_VERSION,
            models=self._site.models(),
            sessions=len(self._sessions),
            load=self._site.load(),
            frames_answered=tally.frames_answered,
            frames_failed=tally.frames_failed,
            uptime_s=self._site.clock() - self._started_s,
            draining=self._is_draining,
            counters=self._site.counters(),
        )

    async def profile(
        self, request: pb.ProfileRequest | None, context: grpc.aio.ServicerContext[pb.ProfileRequest, pb.ProfileUpdate]
    ) -> AsyncIterator[pb.ProfileUpdate]:
        """The worker's profile of a model: progress, then the document in pieces."""
        try:
            if request is None:
                raise InvalidMessage("the request cannot be read")
            if self._is_draining:
                raise Draining("the worker is going away: ask another")
            updates = self._profiler.updates(
                request.model_digest, budget_s=request.budget_s, binding=request.binding, is_fresh=request.fresh
            )
            async for update in updates:
                if isinstance(update, float):
                    yield pb.ProfileUpdate(progress=update)
                    continue
                for piece in pack_document(update):
                    yield pb.ProfileUpdate(document=piece)
        except WireError as error:
            await _abort(context, error)

    async def drain(self, *, reason: str, grace_s: float) -> None:
        """Take nothing new and wait, at most ``grace_s``, until every session has been answered and has left."""
        self._is_draining = True
        for session in self._sessions:
            session.drain(reason=reason, grace_s=grace_s)
        if not self._sessions:
            return
        try:
            await asyncio.wait_for(self._empty.wait(), grace_s)
        except asyncio.TimeoutError:
            _LOG.warning("%d sessions were cut off after a grace of %g s", len(self._sessions), grace_s)

    async def _serve(
        self, messages: AsyncIterable[pb.ToWorker | None], context: grpc.aio.ServicerContext[pb.ToWorker, pb.ToEdge]
    ) -> None:
        if self._is_draining:
            raise Draining("the worker is going away: use another")
        if self._site.store.is_loading:
            raise Unreachable("the worker is loading its models: come back")
        if len(self._sessions) >= self._site.config.max_sessions:
            self._site.tally.counts["sessions_refused"] += 1
            raise Overloaded(f"the worker has {len(self._sessions)} sessions already", retry_after_s=_RETRY_S)
        session = Session(self._site)
        self._sessions[session] = None
        self._empty.clear()
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._keep())
        self._site.tally.sessions += 1
        try:
            await session.serve(messages, context.write)
        except (WireError, asyncio.CancelledError):
            raise
        except grpc.RpcError as error:
            raise InternalFailure("the stream broke") from error
        except Exception as error:
            _LOG.exception("a session failed")
            raise InternalFailure(f"the worker failed ({type(error).__name__}); its log says more") from error
        finally:
            del self._sessions[session]
            if not self._sessions:
                self._empty.set()

    async def _keep(self) -> None:
        """Keep every session alive and look after it, a slice of them at a time."""
        step_s = self._site.config.liveness_s / BEATS / _SLICES
        watched = _SLICES * BEATS // CHECKS
        while self._sessions:
            due = list(self._sessions)
            for index in range(_SLICES):
                await asyncio.sleep(step_s)
                for session in due[index % watched :: watched]:
                    session.watch()
                for session in due[index::_SLICES]:
                    session.beat()


async def _abort(context: grpc.aio.ServicerContext[_In, _Out], error: WireError) -> NoReturn:
    await context.abort(to_status(error), one_line(error.detail), ((CODE_METADATA, error.code),))


async def _end(context: grpc.aio.ServicerContext[_In, _Out], error: WireError) -> None:
    """End a session with a status; where the peer takes nothing any more, the stream is reset when we let go of it."""
    try:
        await _abort(context, error)
    except grpc.aio.AbortError:
        raise
    except Exception as failure:
        _LOG.info("no status could be sent: %s", one_line(str(failure)))
