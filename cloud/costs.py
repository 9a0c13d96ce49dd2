"""What a job of each kind takes, measured: the mean of recent ones, bounded in how many kinds it remembers.

The first run of a kind counts in full, so that one is enough to tell a tail of 2 ms from one of 200 ms. A kind that was
never seen costs nothing until then: it is tried, and not refused for what others take. Jobs of no kind are taken to be
as long as the mean of all.
"""

from __future__ import annotations

from collections.abc import Hashable

_WEIGHT = 0.2
_REMEMBERED = 1024


class Costs:
    """Seconds per job by kind. Not thread-safe."""

    def __init__(self) -> None:
        self._mean_s: dict[Hashable, float] = {}
        self._all_s = 0.0

    @property
    def mean_s(self) -> float:
        """Of recent jobs of every kind; 0 before the first."""
        return self._all_s

    def of(self, kind: Hashable) -> float:
        """What a job of a kind is expected to take."""
        return self._all_s if kind is None else self._mean_s.get(kind, 0.0)

    def note(self, kind: Hashable, took_s: float) -> None:
        """A job of a kind has taken so long."""
        self._all_s = _blend(self._all_s, took_s)
        if kind is not None:
            self._mean_s[kind] = _blend(self._mean_s.pop(kind, 0.0), took_s)
            if len(self._mean_s) > _REMEMBERED:
                del self._mean_s[next(iter(self._mean_s))]


def _blend(mean_s: float, took_s: float) -> float:
    return mean_s + (_WEIGHT if mean_s else 1.0) * (took_s - mean_s)
