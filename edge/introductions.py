"""What device and worker say of themselves, and how a plan travels: messages in, records out, and back."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edge.errors import WorkerRefused
from partitioner.plan import Plan
from protos import messages as pb
from protos.codecs import CODECS
from protos.status import one_line

_LIVENESS_S = (0.2, 60.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelServed:
    """A model that a worker names; ``reason`` says why it is not ready."""

    digest: str
    name: str
    is_ready: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """What a worker said of itself in its welcome."""

    name: str
    codecs: tuple[str, ...]
    models: tuple[ModelServed, ...]
    max_frame_bytes: int
    liveness_s: float

    def require(self, digest: str, name: str) -> None:
        """Check that the worker serves a model.

        Raises:
            WorkerRefused: it does not, or not yet.
        """
        found = next((model for model in self.models if model.digest == digest), None)
        if found is None:
            names = ", ".join(f"{model.name} ({model.digest[:12]})" for model in self.models) or "nothing"
            raise WorkerRefused("UNKNOWN_MODEL", f"it serves {names}, not {name} ({digest[:12]})")
        if not found.is_ready:
            raise WorkerRefused("UNSUPPORTED", f"{name} is not ready there: {found.reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """How a worker is doing."""

    name: str
    models: tuple[ModelServed, ...]
    sessions: int
    queued_frames: int
    busy_ratio: float
    job_s: float
    frames_answered: int
    frames_failed: int
    uptime_s: float
    is_draining: bool


def hello_message() -> pb.Hello:
    """What we say of ourselves, for a session of its own."""
    # importlib.metadata would take 3 MB of memory to tell what the name of a folder says
    installed = (each.name for place in sys.path for each in Path(place).glob("cleft-*.dist-info"))
    version = next(installed, "").removeprefix("cleft-").removesuffix(".dist-info")
    return pb.Hello(
        protocol_version=pb.PROTOCOL_VERSION,
        session_id=uuid.uuid4().hex,
        client=f"cleft-edge {version}".rstrip(),
        codecs=CODECS,
        takes_inline_results=True,
    )


def models_of(models: Iterable[pb.ModelInfo]) -> tuple[ModelServed, ...]:
    """The models that a message names."""
    return tuple(
        ModelServed(
            digest=one_line(model.digest),
            name=one_line(model.name),
            is_ready=model.ready,
            reason=one_line(model.reason),
        )
        for model in models
    )


def info_of(welcome: pb.Welcome, *, liveness_s: float) -> WorkerInfo:
    """What a welcome says; an interval that makes no sense is replaced by our own."""
    is_sensible = _LIVENESS_S[0] <= welcome.liveness_s <= _LIVENESS_S[1]
    return WorkerInfo(
        name=one_line(welcome.worker),
        codecs=tuple(welcome.codecs),
        models=models_of(welcome.models),
        max_frame_bytes=welcome.max_frame_bytes,
        liveness_s=welcome.liveness_s if is_sensible else liveness_s,
    )


def status_of(reply: pb.StatusReply) -> WorkerStatus:
    """How a worker says it is doing."""
    return WorkerStatus(
        name=one_line(reply.worker),
        models=models_of(reply.models),
        sessions=reply.sessions,
        queued_frames=reply.load.queued_frames,
        busy_ratio=reply.load.busy_ratio,
        job_s=reply.load.job_s,
        frames_answered=reply.frames_answered,
        frames_failed=reply.frames_failed,
        uptime_s=reply.uptime_s,
        is_draining=reply.draining,
    )


def plan_message(plan: Plan) -> pb.Plan:
    """A plan as it travels."""
    return pb.Plan(
        model_digest=plan.model_digest,
        stages=[
            pb.Stage(
                place=pb.PLACE_EDGE if stage.place == "edge" else pb.PLACE_CLOUD,
                segment=pb.Segment(
                    inputs=stage.segment.inputs, outputs=stage.segment.outputs, preprocess=stage.segment.preprocess
                ),
                codecs=dict(stage.codecs),
            )
            for stage in plan.stages
        ],
    )
