"""Why a worker cannot be reached or refuses, as errors of the device: addresses, and what is found at them."""

from __future__ import annotations

from edge.errors import EdgeError, FrameCancelled, NotAWorker, NotTrusted, WorkerLost, WorkerRefused, WorkerUnreachable
from partitioner.cost import Load
from partitioner.errors import UsageError
from protos.errors import WireError
from protos.reach import silence_of
from protos.security import PLAINTEXT, ClientSecurity

_MAX_PORT = 65535


def split_target(target: str) -> tuple[str, int]:
    """Host and port of ``host:port``; an IPv6 host stands in brackets.

    Raises:
        UsageError: it is not of that form.
    """
    host, colon, port = target.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    if is_bracketed:
        host = host[1:-1]
    is_host = bool(host) and (is_bracketed or ":" not in host) and not any(c.isspace() or c == "/" for c in host)
    if not (colon and is_host and port.isascii() and port.isdigit() and 0 < int(port) <= _MAX_PORT):
        raise UsageError(f"{target!r} is no worker's address: write HOST:PORT, as in 192.168.1.20:7700")
    return host, int(port)


def diagnose(target: str, *, silent_s: float | None = None, security: ClientSecurity = PLAINTEXT) -> WorkerUnreachable:
    """What is at an address where no worker answered; ``silent_s`` is how long it had kept silent, if it had."""
    found = silence_of(*split_target(target), silent_s=silent_s, security=security)
    kind = NotTrusted if found.is_untrusted else NotAWorker if found.is_other else WorkerUnreachable
    return kind(target, reason=found.reason)


def ending(target: str, error: WireError | None, *, is_welcomed: bool, security: ClientSecurity) -> EdgeError:
    """Why a session ended with this error, or without one.

    A worker that had welcomed us is lost, whatever the status says; one that did not may have said why, as one does
    that is still loading; else its address is looked at.
    """
    if is_welcomed:
        return WorkerLost(target, reason=error.detail if error is not None else "it ended the session")
    if error is None or (not error.is_told and error.code in ("UNREACHABLE", "INTERNAL", "CANCELLED")):
        return diagnose(target, security=security)
    if error.code == "UNREACHABLE":
        return WorkerUnreachable(target, reason=error.detail)
    return refusal(error)


def refusal(error: WireError, *, load: Load | None = None) -> EdgeError:
    """The device's error for one that the worker sent, with the load that it told of."""
    if error.code == "CANCELLED":
        return FrameCancelled(f"the worker withdrew the frame: {error.detail}")
    return WorkerRefused(error.code, error.detail, retry_after_s=getattr(error, "retry_after_s", 0.0), load=load)
