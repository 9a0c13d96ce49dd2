"""Which batch size pays: measured on line, so that running frames together never makes them slower.

Sizes are powers of two. A size is used only where the median of its recent runs takes clearly less per frame than
running them singly. Every size gets a few runs when so many frames first wait; one that takes a multiple gets a single
run, and those larger than a hopeless one none. From then on the sizes are tried in turn, once in so many runs: what
does not pay costs one run in hundreds, and what begins to pay, because a neighbour left the machine, is noticed.
"""

from __future__ import annotations

from collections import deque
from statistics import median

_SAMPLES = 7
_FIRST_TRIES = 3
_CLEARLY = 0.97
_HOPELESS = 1.25
_AT_ONCE = 2.5
_RUNS_BETWEEN_TRIES = 64
_ROUNDS_BETWEEN = 4


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
        unknown = next((size for size in fitting if not self._is_known(size)), None)
        if unknown is not None and self._is_promising(unknown):
            return unknown
        turn, runs_left = divmod(self._runs, _RUNS_BETWEEN_TRIES)
        if runs_left:
            return best
        rounds, place = divmod(turn, len(fitting))
        return fitting[place] if self._is_promising(2 * fitting[place]) or rounds % _ROUNDS_BETWEEN == 0 else best

    def note(self, size: int, took_s: float) -> None:
        """A batch of this size has taken so long."""
        self._runs += 1
        single_s, before_s = self.per_frame_s(1), self.per_frame_s(size)
        seen = self._per_frame_s.setdefault(size, deque(maxlen=_SAMPLES))
        if single_s is not None and before_s is not None and took_s / size < _CLEARLY * single_s <= before_s:
            seen.clear()  # it may pay now: it is new again
        seen.append(took_s / size)

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

    def _is_promising(self, size: int) -> bool:
        """Whether half this size is not so slow that this one need not be tried."""
        single_s, half_s = self.per_frame_s(1), self.per_frame_s(size // 2)
        return single_s is None or half_s is None or half_s < _HOPELESS * single_s

    def _is_known(self, size: int) -> bool:
        seen = self._per_frame_s.get(size, ())
        single_s = self.per_frame_s(1)
        is_far = size > 1 and single_s is not None and any(each_s > _AT_ONCE * single_s for each_s in seen)
        return len(seen) >= _FIRST_TRIES or is_far


def _powers(most: int) -> list[int]:
    return [1 << exponent for exponent in range(most.bit_length()) if 1 << exponent <= most]
