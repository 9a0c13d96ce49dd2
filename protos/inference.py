"""The Open Inference Protocol v2: its messages, and the handlers of service ``inference.GRPCInferenceService``.

Applications know this protocol from KServe and Triton. Client libraries register its messages by name in protobuf's
default descriptor pool, where each name exists once: a second definition in the same process fails on import, whichever
comes first. So ours are loaded from a committed descriptor set into a pool of their own, and nothing of them is ever
seen outside. For type checkers they are the generated stub beside that set.

Source: github.com/kserve/open-inference-protocol, specification/protocol/open_inference_grpc.proto.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from typing import TYPE_CHECKING, Protocol, TypeVar

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from protos.security import PLAINTEXT, ClientSecurity
from protos.status import from_rpc_error

if TYPE_CHECKING:
    from protos._generated.open_inference_pb2 import (
        InferParameter,
        InferTensorContents,
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
else:
    _set = descriptor_pb2.FileDescriptorSet.FromString(
        resources.files("protos").joinpath("_generated", "open_inference.binpb").read_bytes()
    )
    _pool = descriptor_pool.DescriptorPool()
    for _file in _set.file:
        _pool.Add(_file)

    def _message(name: str) -> type[Message]:
        return message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"inference.{name}"))

    InferParameter = _message("InferParameter")
    InferTensorContents = _message("InferTensorContents")
    ModelInferRequest = _message("ModelInferRequest")
    ModelInferResponse = _message("ModelInferResponse")
    ModelMetadataRequest = _message("ModelMetadataRequest")
    ModelMetadataResponse = _message("ModelMetadataResponse")
    ModelReadyRequest = _message("ModelReadyRequest")
    ModelReadyResponse = _message("ModelReadyResponse")
    RepositoryIndexRequest = _message("RepositoryIndexRequest")
    RepositoryIndexResponse = _message("RepositoryIndexResponse")
    ServerLiveRequest = _message("ServerLiveRequest")
    ServerLiveResponse = _message("ServerLiveResponse")
    ServerMetadataRequest = _message("ServerMetadataRequest")
    ServerMetadataResponse = _message("ServerMetadataResponse")
    ServerReadyRequest = _message("ServerReadyRequest")
    ServerReadyResponse = _message("ServerReadyResponse")

__all__ = [
    "InferParameter",
    "InferTensorContents",
    "InferenceStub",
    "ModelInferRequest",
    "ModelInferResponse",
    "ModelMetadataRequest",
    "ModelMetadataResponse",
    "ModelReadyRequest",
    "ModelReadyResponse",
    "RepositoryIndexRequest",
    "RepositoryIndexResponse",
    "ServerLiveRequest",
    "ServerLiveResponse",
    "ServerMetadataRequest",
    "ServerMetadataResponse",
    "ServerReadyRequest",
    "ServerReadyResponse",
    "inference_handlers",
]

INFERENCE_SERVICE = "inference.GRPCInferenceService"

_Asked = TypeVar("_Asked", bound=Message)
_Told = TypeVar("_Told", bound=Message)


class InferenceService(Protocol):
    """What a server implements, one thread a call. A request that cannot be read arrives as None."""

    def server_live(self, request: ServerLiveRequest | None, context: grpc.ServicerContext) -> ServerLiveResponse:
        """Whether anybody is there."""

    def server_ready(self, request: ServerReadyRequest | None, context: grpc.ServicerContext) -> ServerReadyResponse:
        """Whether every model is ready."""

    def model_ready(self, request: ModelReadyRequest | None, context: grpc.ServicerContext) -> ModelReadyResponse:
        """Whether one model is ready."""

    def server_metadata(
        self, request: ServerMetadataRequest | None, context: grpc.ServicerContext
    ) -> ServerMetadataResponse:
        """Who serves."""

    def model_metadata(
        self, request: ModelMetadataRequest | None, context: grpc.ServicerContext
    ) -> ModelMetadataResponse:
        """What a model takes and gives."""

    def model_infer(self, request: ModelInferRequest | None, context: grpc.ServicerContext) -> ModelInferResponse:
        """One request to a model."""

    def repository_index(
        self, request: RepositoryIndexRequest | None, context: grpc.ServicerContext
    ) -> RepositoryIndexResponse:
        """Which models there are."""


class InferenceStub:
    """What of the service we ask ourselves; gRPC errors come out as ``WireError``."""

    def __init__(self, channel: grpc.Channel, *, target: str, security: ClientSecurity = PLAINTEXT) -> None:
        self._target = target
        self._security = security
        self._metadata: grpc.UnaryUnaryMultiCallable[ServerMetadataRequest, ServerMetadataResponse] = (
            channel.unary_unary(
                f"/{INFERENCE_SERVICE}/ServerMetadata",
                ServerMetadataRequest.SerializeToString,
                ServerMetadataResponse.FromString,
            )
        )
        self._index: grpc.UnaryUnaryMultiCallable[RepositoryIndexRequest, RepositoryIndexResponse] = (
            channel.unary_unary(
                f"/{INFERENCE_SERVICE}/RepositoryIndex",
                RepositoryIndexRequest.SerializeToString,
                RepositoryIndexResponse.FromString,
            )
        )

    def status(self, *, timeout_s: float) -> tuple[ServerMetadataResponse, RepositoryIndexResponse]:
        """Who serves, and which models."""
        shown = self._security.metadata()
        try:
            server = self._metadata(ServerMetadataRequest(), timeout=timeout_s, metadata=shown)
            return server, self._index(RepositoryIndexRequest(), timeout=timeout_s, metadata=shown)
        except grpc.RpcError as error:
            raise from_rpc_error(error, target=self._target) from None


def inference_handlers(service: InferenceService) -> grpc.GenericRpcHandler:
    """What to add to a ``grpc.server`` so that it answers for the service; other methods are UNIMPLEMENTED."""
    return grpc.method_handlers_generic_handler(
        INFERENCE_SERVICE,
        {
            "ServerLive": _unary(service.server_live, ServerLiveRequest, ServerLiveResponse),
            "ServerReady": _unary(service.server_ready, ServerReadyRequest, ServerReadyResponse),
            "ModelReady": _unary(service.model_ready, ModelReadyRequest, ModelReadyResponse),
            "ServerMetadata": _unary(service.server_metadata, ServerMetadataRequest, ServerMetadataResponse),
            "ModelMetadata": _unary(service.model_metadata, ModelMetadataRequest, ModelMetadataResponse),
            "ModelInfer": _unary(service.model_infer, ModelInferRequest, ModelInferResponse),
            "RepositoryIndex": _unary(service.repository_index, RepositoryIndexRequest, RepositoryIndexResponse),
        },
    )


def _unary(
    method: Callable[[_Asked | None, grpc.ServicerContext], _Told], asked: type[_Asked], told: type[_Told]
) -> grpc.RpcMethodHandler[bytes, _Told]:
    def call(data: bytes, context: grpc.ServicerContext) -> _Told:
        try:
            request = asked.FromString(data)
        except DecodeError:  # left to gRPC it would be a traceback in the log and INTERNAL outside
            return method(None, context)
        return method(request, context)

    return grpc.unary_unary_rpc_method_handler(call, response_serializer=told.SerializeToString)
