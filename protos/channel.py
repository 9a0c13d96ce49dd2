"""Channels: the options of both ends, dialling, and typed stubs and handlers of service ``cleft.v1.Worker``.

Our heartbeats decide who is alive, never gRPC's clocks, which take a ping that waits behind a large payload on a slow
link for a dead peer. HTTP/2 pings run as a slow second line, and the server tolerates them (a default server ends a
stream that is pinged too often). Every message is bounded on both ends, and gRPC's compression stays off: the codecs
have packed what packs.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator
from typing import Generic, Protocol, TypeVar, cast

import grpc
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health_pb2

from protos import pieces
from protos.errors import InvalidMessage
from protos.gate import Metadata
from protos.messages import ProfileRequest, ProfileUpdate, StatusReply, StatusRequest, ToEdge, ToWorker
from protos.security import PLAINTEXT, ClientSecurity
from protos.status import from_rpc_error

SERVICE = "cleft.v1.Worker"
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Bound of one message; payloads travel in far smaller chunks, so this bounds headers."""

CONNECT_S = 60
"""gRPC's limit on setting up a connection, which it takes from ``min_reconnect_backoff_ms``. It comes after any limit
of ours, so that silence is never reported as a fault of the protocol; a refused connection fails at once all the
same."""

Options = tuple[tuple[str, int | str], ...]

_BOTH: Options = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.http2.bdp_probe", 1),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_metadata_size", 16 * 1024),
)
CHANNEL_OPTIONS: Options = (
    *_BOTH,
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", CONNECT_S * 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)
SERVER_OPTIONS: Options = (
    *_BOTH,
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.max_concurrent_streams", 1_024),
    ("grpc.so_reuseport", 0),
)

_Item = TypeVar("_Item", bound=Message)
_Co = TypeVar("_Co", covariant=True)


def dial(target: str, *, security: ClientSecurity = PLAINTEXT) -> grpc.Channel:
    """A channel to ``HOST:PORT``; nothing is sent until the first call. The caller closes it.

    Raises:
        InvalidMessage: the target is not of that form.
        SecurityError: a certificate cannot be used, or plain text would leave this machine.
    """
    host, _, port = target.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InvalidMessage(f"{target!r} is not a worker's address; give HOST:PORT")
    security.check(host)
    options = (*CHANNEL_OPTIONS, *security.options())
    credentials = security.credentials()
    if credentials is None:
        return grpc.insecure_channel(target, options=options)
    return grpc.secure_channel(target, credentials, options=options)


class _Call(Protocol[_Co]):
    def __next__(self) -> _Co: ...

    def cancel(self) -> bool: ...


class ReplyStream(Generic[_Item]):
    """The replies of one call; iterating raises ``WireError`` where the call ends with a bad status."""

    def __init__(self, call: _Call[_Item], target: str) -> None:
        self._call = call
        self._target = target

    def __iter__(self) -> Iterator[_Item]:
        return self

    def __next__(self) -> _Item:
        try:
            return next(self._call)
        except grpc.RpcError as error:
            raise from_rpc_error(error, target=self._target) from None

    def cancel(self) -> None:
        """End the call at once, from any thread."""
        self._call.cancel()


class WorkerStub:
    """The worker's calls, typed; gRPC errors come out as ``WireError``. The token is read anew for each."""

    def __init__(
        self, channel: grpc.Channel, *, target: str = "the worker", security: ClientSecurity = PLAINTEXT
    ) -> None:
        self._target = target
        self._security = security
        self._session: grpc.StreamStreamMultiCallable[ToWorker, ToEdge] = channel.stream_stream(
            f"/{SERVICE}/Session", pieces.write, _quietly(pieces.reader(ToEdge.FromString))
        )
        self._status: grpc.UnaryUnaryMultiCallable[StatusRequest, StatusReply] = channel.unary_unary(
            f"/{SERVICE}/Status", StatusRequest.SerializeToString, _quietly(StatusReply.FromString)
        )
        self._health: grpc.UnaryUnaryMultiCallable[Message, health_pb2.HealthCheckResponse] = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            health_pb2.HealthCheckRequest.SerializeToString,
            health_pb2.HealthCheckResponse.FromString,
        )
        self._profile: grpc.UnaryStreamMultiCallable[ProfileRequest, ProfileUpdate] = channel.unary_stream(
            f"/{SERVICE}/Profile", ProfileRequest.SerializeToString, _quietly(ProfileUpdate.FromString)
        )

    def session(
        self, messages: Iterator[ToWorker], *, timeout_s: float | None = None, metadata: Metadata | None = None
    ) -> ReplyStream[ToEdge]:
        """Open a session; gRPC takes ``messages`` on a thread of its own until they end."""
        metadata = self._security.metadata() if metadata is None else metadata
        return ReplyStream(self._session(messages, timeout=timeout_s, metadata=metadata), self._target)

    def status(self, request: StatusRequest | None = None, *, timeout_s: float) -> StatusReply:
        """What the worker serves and how it is doing."""
        try:
            return self._status(request or StatusRequest(), timeout=timeout_s, metadata=self._security.metadata())
        except grpc.RpcError as error:
            raise from_rpc_error(error, target=self._target) from None

    def is_serving(self, service: str = "", *, timeout_s: float) -> bool:
        """Whether the worker, or the model of a digest, serves: the health probe, which needs no token."""
        try:
            reply = self._health(health_pb2.HealthCheckRequest(service=service), timeout=timeout_s)
        except grpc.RpcError as error:
            if isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.NOT_FOUND:
                return False
            raise from_rpc_error(error, target=self._target) from None
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)

    def profile(self, request: ProfileRequest, *, timeout_s: float) -> ReplyStream[ProfileUpdate]:
        """The worker's profile of a model: progress, then the document in pieces."""
        metadata = self._security.metadata()
        return ReplyStream(self._profile(request, timeout=timeout_s, metadata=metadata), self._target)


class WorkerService(Protocol):
    """What a server implements with ``grpc.aio``. A request that cannot be read arrives as None."""

    def session(
        self, messages: AsyncIterable[ToWorker | None], context: grpc.aio.ServicerContext[ToWorker, ToEdge]
    ) -> Awaitable[None]:
        """One session; writes its replies to ``context``."""

    def status(
        self, request: StatusRequest | None, context: grpc.aio.ServicerContext[StatusRequest, StatusReply]
    ) -> Awaitable[StatusReply]:
        """What the worker serves."""

    def profile(
        self, request: ProfileRequest | None, context: grpc.aio.ServicerContext[ProfileRequest, ProfileUpdate]
    ) -> AsyncIterator[ProfileUpdate]:
        """The worker's profile of a model."""


def worker_handlers(service: WorkerService) -> grpc.GenericRpcHandler:
    """What to add to a ``grpc.aio`` server so that it answers for the service."""
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "Session": grpc.stream_stream_rpc_method_handler(
                service.session, _reader(pieces.reader(ToWorker.FromString)), pieces.write
            ),
            "Status": grpc.unary_unary_rpc_method_handler(
                service.status, _reader(StatusRequest.FromString), StatusReply.SerializeToString
            ),
            "Profile": grpc.unary_stream_rpc_method_handler(
                service.profile, _reader(ProfileRequest.FromString), ProfileUpdate.SerializeToString
            ),
        },
    )


def _reader(parse: Callable[[bytes], _Co]) -> Callable[[bytes], _Co | None]:
    """A deserialiser that answers None for garbage, so that the service refuses it and no traceback is logged."""

    def read(data: bytes) -> _Co | None:
        try:
            return parse(data)
        except DecodeError:
            return None

    return read


def _quietly(parse: Callable[[bytes], _Co]) -> Callable[[bytes], _Co]:
    """The same for the calling side: gRPC ends the call for None as for an error, and logs no traceback."""
    return cast("Callable[[bytes], _Co]", _reader(parse))
