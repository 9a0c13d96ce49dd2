"""The edge daemon's service for applications: ``inference.GRPCInferenceService``, on a gRPC server of threads.

Each call has a thread, and so many requests at a time are admitted, under way or waiting; the next is refused at once
instead of queued where nobody sees it. A few threads more than that answer probes and refusals, however busy the models
are. The call's deadline is the request's, and a client that cancels, or is gone, takes its request back.

Every error ends its call with a gRPC status and one line. Faults of ours are logged, and say no more than that outside.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import NoReturn

import grpc

from edge.answer import Answer
from edge.errors import (
    DeadlineExceeded,
    DeviceBusy,
    Dropped,
    EdgeError,
    FrameCancelled,
    NoWorker,
    WorkerLost,
    WorkerRefused,
    WorkerUnreachable,
)
from edge.offer import VERSION, Answering, Offer, is_version, metadata_of, read_request, write_response
from partitioner.errors import InputError
from partitioner.plan import SOURCE
from protos.errors import WireError
from protos.inference import (
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataRequest,
    ModelMetadataResponse,
    ModelReadyRequest,
    ModelReadyResponse,
    RepositoryIndexRequest,
    RepositoryIndexResponse,
    ServerLiveRequest,
    ServerLiveResponse,
    ServerMetadataRequest,
    ServerMetadataResponse,
    ServerReadyRequest,
    ServerReadyResponse,
)
from protos.status import error_of, one_line, to_status

_LOG = logging.getLogger(__name__)
SERVER_NAME = "cleft-edge"
_UNREADABLE = "the request cannot be read: it is no message of the Open Inference Protocol v2"
_LONGEST_S = 86_400.0
_MICRO = 1e-6


class RequestRefused(Exception):
    """A request that ends its call with a status of its own."""

    def __init__(self, status: grpc.StatusCode, line: str) -> None:
        super().__init__(line)
        self.status = status


@dataclass(slots=True)
class Traffic:
    """What the service did with requests, apart from what the sessions count."""

    requests: int = 0
    answered: int = 0
    refused_busy: int = 0
    refused: int = 0
    failed: int = 0
    cancelled: int = 0


class InferenceServicer:
    """Answers for a set of models by name.

    Args:
        offers: the models.
        version: of the program.
        max_requests: requests that are admitted at a time.
    """

    def __init__(self, offers: Sequence[Offer], *, version: str, max_requests: int) -> None:
        self._offers: Mapping[str, Offer] = {offer.name: offer for offer in offers}
        self._version = version
        self._max_requests = max_requests
        self._free = threading.Semaphore(max_requests)
        self._lock = threading.Lock()
        self._traffic = Traffic()
        self._waiting: set[threading.Event] = set()
        self._is_abandoned = False
        self._is_draining = False

    def traffic(self) -> dict[str, int]:
        """What became of the requests so far."""
        with self._lock:
            return {name: getattr(self._traffic, name) for name in Traffic.__slots__}

    def drain(self) -> None:
        """Be ready no more; requests that come are refused, those that were admitted are answered."""
        self._is_draining = True

    def abandon(self) -> None:
        """End the calls that are still there, answered or not."""
        with self._lock:
            self._is_abandoned = True
            for ended in self._waiting:
                ended.set()

    def server_live(self, request: ServerLiveRequest | None, context: grpc.ServicerContext) -> ServerLiveResponse:
        """Whether anybody is there."""
        return ServerLiveResponse(live=True)

    def server_ready(self, request: ServerReadyRequest | None, context: grpc.ServicerContext) -> ServerReadyResponse:
        """Whether every model is ready."""
        is_ready = not self._is_draining and all(offer.is_ready for offer in self._offers.values())
        return ServerReadyResponse(ready=is_ready)

    def model_ready(self, request: ModelReadyRequest | None, context: grpc.ServicerContext) -> ModelReadyResponse:
        """Whether one model is ready; false where there is none of that name."""
        if request is None:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, _UNREADABLE)
        offer = self._offers.get(request.name)
        is_ready = offer is not None and offer.is_ready and not self._is_draining
        is_known = offer is not None and offer.bundle is not None and is_version(offer.bundle, request.version)
        return ModelReadyResponse(ready=is_ready and is_known)

    def server_metadata(
        self, request: ServerMetadataRequest | None, context: grpc.ServicerContext
    ) -> ServerMetadataResponse:
        """Who serves."""
        return ServerMetadataResponse(name=SERVER_NAME, version=self._version, extensions=[SOURCE])

    def model_metadata(
        self, request: ModelMetadataRequest | None, context: grpc.ServicerContext
    ) -> ModelMetadataResponse:
        """What a model takes and gives."""
        try:
            if request is None:
                raise RequestRefused(grpc.StatusCode.INVALID_ARGUMENT, _UNREADABLE)
            offer = self._find(request.name, request.version)
            if offer.bundle is None:
                raise _not_ready(offer)
            return metadata_of(offer.name, offer.bundle)
        except RequestRefused as refusal:
            context.abort(refusal.status, one_line(str(refusal)))

    def model_infer(self, request: ModelInferRequest | None, context: grpc.ServicerContext) -> ModelInferResponse:
        """One request to a model."""
        self._note(requests=1)
        if not self._free.acquire(blocking=False):
            self._note(refused_busy=1)
            line = f"{self._max_requests} requests are under way or waiting: try again later"
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, line)
        try:
            response = self._infer(request, context)
        except Exception as error:
            self._refuse(error, context)
        else:
            self._note(answered=1)
            return response
        finally:
            self._free.release()

    def repository_index(
        self, request: RepositoryIndexRequest | None, context: grpc.ServicerContext
    ) -> RepositoryIndexResponse:
        """Which models there are, and why one is not ready."""
        found = RepositoryIndexResponse()
        for offer in self._offers.values():
            is_ready = offer.is_ready and not self._is_draining
            reason = "" if is_ready else offer.reason or "the daemon is stopping"
            if is_ready or request is None or not request.ready:
                state = "READY" if is_ready else "UNAVAILABLE"
                found.models.add(name=offer.name, version=VERSION, state=state, reason=reason)
        return found

    def _infer(self, request: ModelInferRequest | None, context: grpc.ServicerContext) -> ModelInferResponse:
        if request is None:
            raise RequestRefused(grpc.StatusCode.INVALID_ARGUMENT, _UNREADABLE)
        if self._is_draining:
            raise RequestRefused(grpc.StatusCode.UNAVAILABLE, "the daemon is stopping")
        offer = self._find(request.model_name, request.model_version)
        if offer.answering is None or offer.bundle is None:
            raise _not_ready(offer)
        sample = read_request(offer.bundle, request)
        answer = self._answer(offer.answering, sample, context, deadline_s=_deadline_s(request, context))
        return write_response(offer.name, request, answer)

    def _answer(
        self, answering: Answering, given: object, context: grpc.ServicerContext, *, deadline_s: float | None
    ) -> Answer:
        future = answering.submit(given, deadline_s=deadline_s)

        if not context.add_callback(future.withdraw):  # the call is over already
            future.withdraw()
        ended = threading.Event()
        future.add_done_callback(lambda _: ended.set())
        with self._lock:
            self._waiting.add(ended)
            if self._is_abandoned:
                ended.set()
        ended.wait()
        with self._lock:
            self._waiting.discard(ended)
        if not future.done():
            future.withdraw()
            raise RequestRefused(grpc.StatusCode.UNAVAILABLE, "the daemon stopped before the answer was there")
        return future.result()

    def _find(self, name: str, version: str) -> Offer:
        offer = self._offers.get(name)
        if offer is None:
            known = ", ".join(self._offers)
            raise RequestRefused(grpc.StatusCode.NOT_FOUND, f"there is no model {name!r} here; there is {known}")
        if offer.bundle is not None and not is_version(offer.bundle, version):
            raise RequestRefused(grpc.StatusCode.NOT_FOUND, f"{name} has no version {version!r}; leave it empty")
        return offer

    def _refuse(self, error: Exception, context: grpc.ServicerContext) -> NoReturn:
        status = status_of(error)
        if status is grpc.StatusCode.CANCELLED:
            self._note(cancelled=1)
        elif status is grpc.StatusCode.INTERNAL:
            self._note(failed=1)
            _LOG.error("a request failed: %s", one_line(f"{type(error).__name__}: {error}"), exc_info=error)
        else:
            self._note(refused=1)
        is_known = isinstance(error, RequestRefused | WireError | InputError | EdgeError)
        line = one_line(str(error)) if is_known else "the daemon failed at this request; its log says why"
        context.abort(status, line or status.name)

    def _note(self, **more: int) -> None:
        with self._lock:
            for name, count in more.items():
                setattr(self._traffic, name, getattr(self._traffic, name) + count)


def status_of(error: Exception) -> grpc.StatusCode:
    """The gRPC status that ends a call for an error of ours."""
    match error:
        case RequestRefused():
            return error.status
        case WireError():
            return to_status(error)
        case InputError():
            return grpc.StatusCode.INVALID_ARGUMENT
        case DeadlineExceeded():
            return grpc.StatusCode.DEADLINE_EXCEEDED
        case FrameCancelled() | CancelledError():
            return grpc.StatusCode.CANCELLED
        case Dropped() | DeviceBusy():
            return grpc.StatusCode.RESOURCE_EXHAUSTED
        case WorkerRefused():
            return to_status(error_of(error.code, error.detail))
        case WorkerLost() | WorkerUnreachable() | NoWorker():
            return grpc.StatusCode.UNAVAILABLE
        case _:
            return grpc.StatusCode.INTERNAL


def _not_ready(offer: Offer) -> RequestRefused:
    return RequestRefused(grpc.StatusCode.UNAVAILABLE, f"{offer.name} is not ready: {offer.reason}")


def _deadline_s(request: ModelInferRequest, context: grpc.ServicerContext) -> float | None:
    """What the caller allows: the call's deadline, or the request's own ``timeout`` where that is less."""
    allowed = [left_s for left_s in (context.time_remaining(),) if left_s is not None]
    if "timeout" in request.parameters and (timeout := request.parameters["timeout"].int64_param) > 0:
        allowed.append(timeout * _MICRO)
    soonest_s = min(allowed, default=_LONGEST_S)
    return None if soonest_s >= _LONGEST_S else max(0.0, soonest_s)
