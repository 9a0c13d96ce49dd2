"""The message classes of the wire, under one name; nothing outside this package imports generated code."""

from __future__ import annotations

from protos._generated.plan_pb2 import PLACE_CLOUD, PLACE_EDGE, PLACE_UNSPECIFIED, Place, Plan, Segment, Stage
from protos._generated.tensor_pb2 import DType, Quantisation, TensorHeader
from protos._generated.worker_pb2 import (
    Ack,
    Cancel,
    Chunk,
    Code,
    Drain,
    Failed,
    Heartbeat,
    Hello,
    Load,
    ModelInfo,
    Probe,
    ProfileRequest,
    ProfileUpdate,
    Propose,
    Ready,
    Result,
    Run,
    State,
    StatusReply,
    StatusRequest,
    Timings,
    ToEdge,
    ToWorker,
    Welcome,
)

PROTOCOL_VERSION = 1
"""The version of the protocol that these messages are."""

__all__ = [
    "PLACE_CLOUD",
    "PLACE_EDGE",
    "PLACE_UNSPECIFIED",
    "PROTOCOL_VERSION",
    "Ack",
    "Cancel",
    "Chunk",
    "Code",
    "DType",
    "Drain",
    "Failed",
    "Heartbeat",
    "Hello",
    "Load",
    "ModelInfo",
    "Place",
    "Plan",
    "Probe",
    "ProfileRequest",
    "ProfileUpdate",
    "Propose",
    "Quantisation",
    "Ready",
    "Result",
    "Run",
    "Segment",
    "Stage",
    "State",
    "StatusReply",
    "StatusRequest",
    "TensorHeader",
    "Timings",
    "ToEdge",
    "ToWorker",
    "Welcome",
]
