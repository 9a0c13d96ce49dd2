"""What can go wrong on the wire, as seen from either end.

    WireError               root; ``code`` is a name of enum Code without its prefix
    ├── InvalidMessage      INVALID        the message contradicts itself or the protocol
    ├── UnknownModel        UNKNOWN_MODEL  no model of that digest is served
    ├── UnknownPlan         UNKNOWN_PLAN   the plan was never made ready in this session
    ├── TooLarge            TOO_LARGE      over a stated limit
    ├── CorruptPayload      CORRUPT        the payload is not what its checksum or size says
    ├── Overloaded          OVERLOADED     refused for load; ``retry_after_s`` says when to try again
    ├── DeadlineExceeded    DEADLINE       the time the client had is over
    ├── Cancelled           CANCELLED      the client no longer wants it
    ├── InternalFailure     INTERNAL       the peer failed through no fault of the message
    ├── Unsupported         UNSUPPORTED    understood, but not offered here
    ├── Draining            DRAINING       the worker is going away and takes nothing new
    ├── Unauthenticated     UNAUTHENTICATED  the client did not show that it may call
    └── Unreachable         UNREACHABLE    no peer, or it was lost, or it takes no calls yet

``status`` holds the table that maps these to messages and to gRPC statuses, both ways.
"""

from __future__ import annotations


class WireError(Exception):
    """A fault of the wire; ``str()`` is one line for a person."""

    exit_code = 1
    code: str = "INTERNAL"
    is_told = False
    """Whether the peer named it by this very code; else it was concluded from what became of the call."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class InvalidMessage(WireError):
    """The message contradicts itself or the protocol."""

    code = "INVALID"


class UnknownModel(WireError):
    """No model of that digest is served."""

    code = "UNKNOWN_MODEL"


class UnknownPlan(WireError):
    """The plan was never made ready in this session."""

    code = "UNKNOWN_PLAN"


class TooLarge(WireError):
    """Over a stated limit."""

    code = "TOO_LARGE"


class CorruptPayload(WireError):
    """The payload is not what its checksum or size says."""

    code = "CORRUPT"


class Overloaded(WireError):
    """Refused for load; try again after ``retry_after_s``."""

    code = "OVERLOADED"

    def __init__(self, detail: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(WireError):
    """The time the client had is over."""

    code = "DEADLINE"


class Cancelled(WireError):
    """The client no longer wants it."""

    code = "CANCELLED"


class InternalFailure(WireError):
    """The peer failed through no fault of the message."""

    code = "INTERNAL"


class Unsupported(WireError):
    """Understood, but not offered here."""

    code = "UNSUPPORTED"


class Draining(WireError):
    """The worker is going away and takes nothing new."""

    code = "DRAINING"


class Unauthenticated(WireError):
    """The client did not show that it may call."""

    code = "UNAUTHENTICATED"


class Unreachable(WireError):
    """There is no peer, or it was lost."""

    code = "UNREACHABLE"
