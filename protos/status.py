"""One table: our errors, enum Code of the messages, and gRPC statuses, both ways.

A gRPC status is coarser than our codes, so a status that ends a call carries the exact one in trailing metadata.
"""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from protos import errors
from protos.messages import Code, Failed

CODE_METADATA = "cleft-code"
"""Key of the trailing metadata that holds the exact code."""

_MAX_DETAIL_CHARS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    error: type[errors.WireError]
    status: grpc.StatusCode

    @property
    def code(self) -> str:
        return self.error.code


_TABLE = (
    _Row(error=errors.Unreachable, status=grpc.StatusCode.UNAVAILABLE),
    _Row(error=errors.InvalidMessage, status=grpc.StatusCode.INVALID_ARGUMENT),
    _Row(error=errors.UnknownModel, status=grpc.StatusCode.NOT_FOUND),
    _Row(error=errors.UnknownPlan, status=grpc.StatusCode.FAILED_PRECONDITION),
    _Row(error=errors.TooLarge, status=grpc.StatusCode.RESOURCE_EXHAUSTED),
    _Row(error=errors.CorruptPayload, status=grpc.StatusCode.DATA_LOSS),
    _Row(error=errors.Overloaded, status=grpc.StatusCode.RESOURCE_EXHAUSTED),
    _Row(error=errors.DeadlineExceeded, status=grpc.StatusCode.DEADLINE_EXCEEDED),
    _Row(error=errors.Cancelled, status=grpc.StatusCode.CANCELLED),
    _Row(error=errors.InternalFailure, status=grpc.StatusCode.INTERNAL),
    _Row(error=errors.Unsupported, status=grpc.StatusCode.UNIMPLEMENTED),
    _Row(error=errors.Draining, status=grpc.StatusCode.UNAVAILABLE),
    _Row(error=errors.Unauthenticated, status=grpc.StatusCode.UNAUTHENTICATED),
)
_ON_THE_WIRE = frozenset(name.removeprefix("CODE_") for name in Code.keys())  # noqa: SIM118 - not a dict
_BY_CODE = {row.code: row for row in _TABLE}


def one_line(text: str) -> str:
    """``text`` as one bounded printable line: what a peer sends is never shown raw."""
    line = " ".join(text.split())
    line = "".join(char if char.isprintable() else "?" for char in line)
    return line if len(line) <= _MAX_DETAIL_CHARS else line[: _MAX_DETAIL_CHARS - 3] + "..."


def error_of(code: str, detail: str, *, retry_after_s: float = 0.0) -> errors.WireError:
    """The error that a code names; an unknown code is an internal failure."""
    row = _BY_CODE.get(code)
    kind = errors.InternalFailure if row is None else row.error
    if issubclass(kind, errors.Overloaded):
        return kind(detail, retry_after_s=retry_after_s)
    return kind(detail)


def to_failed(error: errors.WireError, *, frame_id: int = 0, plan_id: str = "") -> Failed:
    """The message that tells a peer of a frame's (or, with ``frame_id`` 0, a plan's) fault."""
    return Failed(
        frame_id=frame_id,
        plan_id=plan_id,
        code=f"CODE_{error.code if error.code in _ON_THE_WIRE else 'INTERNAL'}",
        detail=one_line(error.detail),
        retry_after_s=error.retry_after_s if isinstance(error, errors.Overloaded) else 0.0,
    )


def from_failed(failed: Failed) -> errors.WireError:
    """The error that a Failed message stands for."""
    name = Code.Name(failed.code) if failed.code in Code.values() else ""
    return error_of(name.removeprefix("CODE_"), one_line(failed.detail), retry_after_s=max(0.0, failed.retry_after_s))


def to_status(error: errors.WireError) -> grpc.StatusCode:
    """The gRPC status that ends a call for this error."""
    row = _BY_CODE.get(error.code)
    return grpc.StatusCode.INTERNAL if row is None else row.status


def from_rpc_error(error: grpc.RpcError, *, target: str = "the peer") -> errors.WireError:
    """The error behind a call that ended with a gRPC status."""
    if not isinstance(error, grpc.Call):
        return errors.InternalFailure(f"the call to {target} failed: {one_line(str(error))}")
    status, details = error.code(), one_line(error.details() or "")
    for key, value in error.trailing_metadata() or ():
        if key == CODE_METADATA and value in _BY_CODE:
            told = error_of(str(value), details)
            told.is_told = True
            return told
    if status is grpc.StatusCode.UNAVAILABLE:
        return errors.Unreachable(f"{target} does not answer; is the worker running there? ({details})")
    if status is grpc.StatusCode.UNIMPLEMENTED:
        return errors.Unsupported(f"{target} answers, but it is not a cleft worker of this version ({details})")
    for row in _TABLE:
        if row.status is status:
            return error_of(row.code, f"{target}: {details}")
    name = "no status" if status is None else status.name
    return errors.InternalFailure(f"{target} ended the call with {name}: {details}")
