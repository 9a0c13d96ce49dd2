"""Energy meters: what a device can tell about the power it draws, behind one protocol.

A meter reads power (watts now) or a counter (joules so far), and says what it covers and how often it knows something
new. Reading costs up to milliseconds, so every reading carries the clock before and after it. A sensor that is missing
or not to be believed raises ``MeterError``; no meter ever makes up a zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from partitioner.energy import Scope
from partitioner.errors import CleftError


class MeterError(CleftError):
    """A meter cannot be read: it is missing, refuses, is stuck, or tells what cannot be."""


class MeterForbidden(MeterError):
    """A meter is there, and not for this user to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterInfo:
    """What a meter is. It has a new value every ``period_s``; steps of 0 are not known.

    ``source`` names what is read (rails, zones, a device), for people. A counter that is not read for longer than
    ``safe_s`` may have wrapped unseen.
    """

    kind: str
    source: str
    scope: Scope
    period_s: float
    step_w: float = 0.0
    step_j: float = 0.0
    safe_s: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One reading, taken between two times of ``time.perf_counter``; a meter fills either ``power_w`` or ``counter_j``.

    ``counter_j`` never wraps: meters add what wrapped. Only differences of it mean anything.
    """

    begin_s: float
    end_s: float
    power_w: float | None = None
    counter_j: float | None = None

    @property
    def at_s(self) -> float:
        """The middle of both times."""
        return (self.begin_s + self.end_s) / 2


class Meter(Protocol):
    """Reads one device's power or energy. Not thread-safe."""

    @property
    def info(self) -> MeterInfo:
        """What it is."""

    def read(self) -> Reading:
        """Read now.

        Raises:
            MeterError: it cannot be read, or tells what cannot be.
        """

    def close(self) -> None:
        """Give back what it holds."""
