"""How long to wait and how much to hold, as values.

Times are limits on silence and on whole requests, never on how slow a healthy link may be: a frame of 3 MiB takes 23
s at 1.1 Mbit/s and must complete.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from partitioner.errors import UsageError

MIB = 1024 * 1024
_LONGEST_S = 30 * 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds to wait for what."""

    dial_s: float = 10.0
    """From the first packet to the worker's welcome."""
    liveness_s: float = 3.0
    """Silence after which a worker that names no interval of its own is taken for dead."""
    propose_s: float = 60.0
    """For a worker to make a plan ready; it may have to load weights."""
    frame_s: float = 300.0
    """Deadline of a frame whose caller names none."""
    rpc_s: float = 10.0
    """For a short unary call."""
    profile_s: float = 600.0
    """For a worker to measure itself."""
    close_s: float = 2.0
    """For a session to end in good order before it is cut."""
    again_s: float = 1.5
    """For a lost worker to be dialled again while a request waits; on a slow link, three times what dialling took."""
    glance_s: float = 0.1
    """The same, once dialling it again has failed: it goes on while the device answers."""
    redial_s: float = 1.0
    """First pause before a lost worker is dialled again; it doubles up to ``redial_max_s``."""
    redial_max_s: float = 2.0
    """Jitter makes a pause half to one and a half times as long, so a worker that is back is found within 3 s."""
    refused_s: float = 5.0
    """First pause before a worker is dialled again that refuses us: a wrong token, another version, not our model."""
    refused_max_s: float = 60.0
    """Up to which that pause doubles."""
    settle_s: float = 2.0
    """For a worker that was reached again to make the plans in use ready, before it is used without them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a session may hold at once."""

    frames_in_flight: int = 4
    """Frames sent and not yet answered; one more waits for a slot."""
    reply_bytes: int = 256 * MIB
    """A larger answer is refused before it is received."""
    document_bytes: int = 64 * MIB
    """A longer profile is refused."""


def limited_s(deadline_s: float) -> float:
    """A request's deadline as the rest of the device can count with it; one of more than a month is a month.

    Raises:
        UsageError: it is no time.
    """
    try:
        limit_s = float(deadline_s)
    except (TypeError, ValueError):
        limit_s = math.nan
    if not limit_s >= 0.0:
        raise UsageError(f"a deadline is a number of seconds from 0 on, not {deadline_s!r}")
    return min(limit_s, _LONGEST_S)


TIMEOUTS = Timeouts()
LIMITS = Limits()
