"""What is asked of a worker beside the stream: how it is doing, and its own profile of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edge.config import Limits, Timeouts
from edge.errors import BadReply, EdgeError, NotSecured, WorkerLost
from edge.introductions import WorkerStatus, status_of
from edge.reach import refusal
from protos import messages as pb
from protos.channel import WorkerStub
from protos.documents import unpack_document
from protos.errors import WireError
from protos.secrets import SecurityError


class Questions:
    """Unary calls on a session's connection; ``on_life`` is called for every sign of life on it."""

    def __init__(
        self, stub: WorkerStub, *, target: str, timeouts: Timeouts, limits: Limits, on_life: Callable[[], None]
    ) -> None:
        self._stub = stub
        self._target = target
        self._timeouts = timeouts
        self._limits = limits
        self._on_life = on_life

    def status(self) -> WorkerStatus:
        """What the worker serves and how it is doing.

        Raises:
            WorkerRefused, WorkerLost: it does not tell.
        """
        try:
            return status_of(self._stub.status(timeout_s=self._timeouts.rpc_s))
        except WireError as error:
            raise self._refusal(error) from error

    def profile(
        self,
        digest: str,
        *,
        budget_s: float,
        binding: Mapping[str, int] | None,
        is_fresh: bool,
        on_progress: Callable[[float], None] | None,
    ) -> str:
        """The worker's own profile of a model as JSON text, measured there on first use.

        Raises:
            WorkerRefused: it has no such model.
            WorkerLost: the call broke off.
            BadReply: the document is longer than ``Limits.document_bytes``, or cannot be read.
        """
        request = pb.ProfileRequest(model_digest=digest, budget_s=budget_s, binding=dict(binding or {}), fresh=is_fresh)
        packed = bytearray()
        try:
            for update in self._stub.profile(request, timeout_s=self._timeouts.profile_s):
                self._on_life()
                if update.WhichOneof("body") == "progress" and on_progress is not None:
                    on_progress(min(1.0, max(0.0, update.progress)))
                packed += update.document
                if len(packed) > self._limits.document_bytes:
                    raise BadReply(f"the worker's profile is longer than {self._limits.document_bytes} bytes")
        except WireError as error:
            raise self._refusal(error) from error
        try:
            return unpack_document(packed, max_bytes=self._limits.document_bytes)
        except WireError as error:
            raise BadReply(f"the worker's profile cannot be read: {error.detail}") from error

    def _refusal(self, error: WireError) -> EdgeError:
        if isinstance(error, SecurityError):
            return NotSecured(error.detail)
        if error.code == "UNREACHABLE":
            return WorkerLost(self._target, reason=error.detail)
        return refusal(error)
