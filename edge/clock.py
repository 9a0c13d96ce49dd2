"""Times the device's own work, and stretches it when a slower device is emulated.

An emulated device that is ``slowdown`` times slower computes at full speed, then waits ``slowdown - 1`` times as long
as the computing took; the time of the step is both together. Waiting keeps the answer exact and the machine free, so
it says nothing about memory or heat. Only the device's own steps are stretched: never the link, never the worker.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edge.turnstile import NotWanted, Until
from partitioner.errors import UsageError

MAX_SLOWDOWN = 1000.0


@dataclass(slots=True)
class Step:
    """One timed step; ``seconds`` holds its time, waiting included, once the step has ended."""

    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceClock:
    """Times steps of the device, ``slowdown`` times slower than the machine it runs on."""

    slowdown: float = 1.0

    def __post_init__(self) -> None:
        if not 1.0 <= self.slowdown <= MAX_SLOWDOWN:
            raise UsageError(f"slowdown must lie between 1 and {MAX_SLOWDOWN:g}, not {self.slowdown:g}")

    @contextmanager
    def step(self, until: Until | None = None) -> Iterator[Step]:
        """Time the body, then wait as the emulated device would; ``until`` ends that wait when it is answered.

        Raises:
            NotWanted: it did.
        """
        step = Step()
        start = time.perf_counter()
        yield step
        if self.slowdown > 1.0:
            worked_s = time.perf_counter() - start
            _pause(worked_s * (self.slowdown - 1.0), until)
        step.seconds = time.perf_counter() - start

    @property
    def note(self) -> str:
        """How the times are to be read; empty on the machine as it is."""
        if self.slowdown == 1.0:
            return ""
        return (
            f"emulated device: {self.slowdown:g}x slower; after each of its own steps it waits "
            f"{self.slowdown - 1.0:g}x as long as the step took"
        )


def _pause(pause_s: float, until: Until | None) -> None:
    ends_s = time.monotonic() + pause_s
    if until is not None and until.wait(pause_s) and until.is_answered:
        raise NotWanted
    time.sleep(max(0.0, ends_s - time.monotonic()))
