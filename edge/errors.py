"""What can go wrong on the device.

    EdgeError                     anything a user of the device's side can do something about
    ├── WorkerUnreachable         nobody answers at the address: port closed, no route, silence
    │   ├── NotAWorker            something answers there, but it is not a worker of this protocol
    │   └── NotTrusted            it and we do not agree on TLS: a certificate, or plain text on one side
    ├── NotSecured                a key or token cannot be used, or plain text would leave this machine
    ├── NoWorker                  none of the session's workers can be reached now
    ├── WorkerLost                the session ended or fell silent; frames in flight have no answer
    ├── WorkerRefused             the worker refused a plan or a frame, and says why (``code``)
    ├── DeadlineExceeded          the frame was not answered in time
    ├── FrameCancelled            the caller withdrew the frame
    ├── Dropped                   a newer input took its place in a full queue
    ├── DeviceBusy                more requests wait for the device than it will hold
    ├── BadReply                  the worker's answer contradicts itself or its checksum
    ├── NotCalibrated             the radio's power cannot be told from what was read
    └── EmbeddedWorkerError       the worker started for this run did not start, or died

Refusals carry the wire's code; ``HINTS`` is the one table from those codes to what a person can do.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from partitioner.errors import CleftError
from partitioner.units import ms

if TYPE_CHECKING:
    from partitioner.cost import Load

HINTS: Mapping[str, str] = MappingProxyType(
    {
        "INVALID": "edge and worker may be of different versions",
        "UNKNOWN_MODEL": "serve the same bundle there: cleft-cloud serve --model BUNDLE",
        "UNKNOWN_PLAN": "propose the plan again",
        "TOO_LARGE": "choose a cut or a codec that sends less, or raise the worker's limit",
        "CORRUPT": "bytes changed on the way; sending again is safe",
        "OVERLOADED": "try again later, or run with --cut local",
        "DEADLINE": "raise --deadline, or run with --cut local",
        "CANCELLED": "the frame was withdrawn",
        "INTERNAL": "see the worker's log",
        "UNSUPPORTED": "cleft-cloud status tells what it serves; or edge and worker are of different versions",
        "DRAINING": "--cloud takes several workers",
        "UNAUTHENTICATED": "give a token that it takes: --token-file FILE",
    }
)
"""Wire code -> what to do about it."""


class EdgeError(CleftError):
    """Anything a user of the device's side can do something about."""


class WorkerUnreachable(EdgeError):
    """Nobody answers at the address."""

    def __init__(self, target: str, *, reason: str) -> None:
        super().__init__(f"no worker at {target}: {reason}")
        self.target = target
        self.reason = reason


class NotAWorker(WorkerUnreachable):
    """Something answers at the address, but it is not a worker of this protocol."""


class NotTrusted(WorkerUnreachable):
    """The peer and we do not agree on TLS; dialling again soon will not mend it."""


class NotSecured(EdgeError):
    """A file of keys or tokens cannot be used here, or plain text would leave this machine."""


class NoWorker(EdgeError):
    """None of the session's workers can be reached now."""

    def __init__(self) -> None:
        super().__init__("no worker can be reached now")


class WorkerLost(EdgeError):
    """The session ended or fell silent; frames in flight have no answer."""

    def __init__(self, target: str, *, reason: str, is_silent: bool = False) -> None:
        """``is_silent``: nothing broke, but nothing was heard any more."""
        super().__init__(f"lost the worker at {target}: {reason}")
        self.target = target
        self.reason = reason
        self.is_silent = is_silent


class WorkerRefused(EdgeError):
    """The worker refused a plan or a frame; ``code`` is the wire's code without its prefix."""

    def __init__(self, code: str, detail: str, *, retry_after_s: float = 0.0, load: Load | None = None) -> None:
        """``load`` is the worker's, where it told."""
        hint = HINTS.get(code)
        super().__init__(f"the worker refused ({code}): {detail}" + (f"; {hint}" if hint else ""))
        self.code = code
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.load = load


class DeadlineExceeded(EdgeError):
    """The frame was not answered in time."""

    def __init__(self, deadline_s: float) -> None:
        super().__init__(f"no answer within {ms(deadline_s)}; raise --deadline, or run with --cut local")
        self.deadline_s = deadline_s


class FrameCancelled(EdgeError):
    """The caller withdrew the frame."""


class Dropped(EdgeError):
    """A newer input took its place in a full queue."""


class DeviceBusy(EdgeError):
    """More requests wait for the device than it will hold."""

    def __init__(self, most: int) -> None:
        super().__init__(f"{most} requests wait for this device already; ask fewer at once")


class BadReply(EdgeError):
    """The worker's answer contradicts itself or its checksum."""


class NotCalibrated(EdgeError):
    """The radio's power cannot be told from what was read."""


class EmbeddedWorkerError(EdgeError):
    """The worker started for this run did not start, or died."""
