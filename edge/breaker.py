"""When to leave a worker alone: a circuit breaker. Arithmetic alone, no clock: time is an argument.

After several failures in a row the circuit opens and the worker gets no frames; after a pause it gets one at a time, on
whose outcome the circuit closes or opens again for twice as long. A refusal that names a time is believed: nothing is
sent before it. One success forgets all failures, so a link that breaks now and then opens nothing.

Source: Nygard, "Release It!", 2007.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Circuit = Literal["closed", "open", "half-open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSettings:
    """When a circuit opens, and for how long."""

    failures: int = 5
    """In a row."""
    open_s: float = 1.0
    """The first pause; it doubles up to ``open_max_s``."""
    open_max_s: float = 10.0


BREAKER = BreakerSettings()


class Breaker:
    """The circuit of one worker. Not thread-safe; times are of any one monotonic clock."""

    def __init__(self, settings: BreakerSettings = BREAKER) -> None:
        self._settings = settings
        self._failures = 0
        self._is_open = False
        self._pause_s = settings.open_s
        self._until_s = float("-inf")

    def state(self, now_s: float) -> Circuit:
        """Whether frames flow, none does, or one at a time."""
        if not self._is_open:
            return "closed"
        return "open" if now_s < self._until_s else "half-open"

    def opens_in_s(self, now_s: float) -> float:
        """How long no frame may be sent from now on; 0 when one may."""
        return max(0.0, self._until_s - now_s)

    def admits(self, now_s: float, *, in_flight: int) -> bool:
        """Whether one more frame may be sent now beside so many."""
        return now_s >= self._until_s and not (self._is_open and in_flight)

    def succeeded(self) -> None:
        """A frame was answered."""
        if self._is_open:
            self._until_s = float("-inf")
        self._failures, self._is_open = 0, False
        self._pause_s = self._settings.open_s

    def failed(self, now_s: float, *, retry_after_s: float = 0.0) -> bool:
        """A frame failed, or was refused until ``retry_after_s`` from now; true when that opened a closed circuit."""
        self._failures += 1
        state = self.state(now_s)
        wait_s = min(max(retry_after_s, 0.0), self._settings.open_max_s)
        if state == "half-open" or (state == "closed" and self._failures >= self._settings.failures):
            wait_s = max(wait_s, self._pause_s)
            self._pause_s = min(2 * self._pause_s, self._settings.open_max_s)
            self._is_open = True
        self._until_s = max(self._until_s, now_s + wait_s)
        return state == "closed" and self._is_open
