"""Which batch size pays: measured on line, so that running frames together never makes them slower.

Sizes are powers of two. A size is used only where the median of its recent runs takes clearly less per frame than
running them singly; the next larger one is tried now and then, one run at a time, so a size that does not pay costs a
few runs in hundreds. What is measured is forgotten run by run: a neighbour on the machine changes what pays.
"""

from __future__ import annotations

from collections import deque
from statistics import median

_SAMPLES = 7
_FIRST_TRIES = 3
_CLEARLY = 0.97
_RUNS_BETWEEN_TRIES = 64


class BatchSizes:
    """Seconds per frame by batch size. Not thread-safe."""

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._per_frame_s: dict[int, deque[float]] = {}
        self._runs = 0

    def limit(self, most: int) -> None:
        """No batch is larger than this from now on."""
        self._most = min(self._most, most)

    def most(self, waiting: int) -> int:
        """How many of so many waiting frames to run together now; 1 or a power of two."""
        if min(waiting, self._most) < 2 or not self._is_known(1):
            return 1
        fitting = _powers(min(waiting, self._most))
        best = self._best(fitting)
        tried = next((size for size in fitting if size > best), None)
        if tried is not None and (not self._is_known(tried) or self._runs % _RUNS_BETWEEN_TRIES == 0):
            return tried
        if best > 1 and self._runs % _RUNS_BETWEEN_TRIES == _RUNS_BETWEEN_TRIES // 2:
            return 1
        return best

    def note(self, size: int, took_s: float) -> None:
        """A batch of this size has taken so long."""
        self._runs += 1
        self._per_frame_s.setdefault(size, deque(maxlen=_SAMPLES)).append(took_s / size)

    @property
    def best(self) -> int:
        """The size that pays most of those measured."""
        return self._best(_powers(self._most))

    def per_frame_s(self, size: int) -> float | None:
        """What a frame takes in batches of a size."""
        seen = self._per_frame_s.get(size)
        return median(seen) if seen else None

    def _best(self, sizes: list[int]) -> int:
        single_s = self.per_frame_s(1)
        if single_s is None:
            return 1
        paying = [
            (per_frame_s, -size)
            for size in sizes
            if size > 1
            and self._is_known(size)
            and (per_frame_s := self.per_frame_s(size)) is not None
            and per_frame_s < _CLEARLY * single_s
        ]
        return -min(paying)[1] if paying else 1

    def _is_known(self, size: int) -> bool:
        return len(self._per_frame_s.get(size, ())) >= _FIRST_TRIES


def _powers(most: int) -> list[int]:
    return [1 << exponent for exponent in range(most.bit_length()) if 1 << exponent <= most]
