"""How busy a worker is, from what it says in every answer: the load that a frame of ours would meet.

A worker counts what a session caused itself apart from what others did; only the latter is in our way, since our own
frames are priced already. Where it does not, our share of its busy time is taken off. Looks are averaged over about a
second. What was heard a while ago counts for less, so that a worker which was busy once is asked again. No clock here.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from partitioner.cost import IDLE, Load, load_of
from partitioner.errors import UsageError

SETTLES_S = 1.0
FADES_S = 5.0
"""After so long without news a load begins to fade, and takes as long to lose most of it."""
_OWN_S = 5.0
"""Over so long the worker's busy share is taken, so ours is too."""
_MOST_QUEUE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSeen:
    """What one answer says: waiting frames, the share of the last seconds that the worker computed, a job's time.

    The ``others_`` figures leave out what this session caused; None where the worker does not tell.
    """

    queued_frames: int = 0
    busy_ratio: float = 0.0
    job_s: float | None = None
    others_queued_frames: int | None = None
    others_busy_ratio: float | None = None


class Burden:
    """The load of one worker. Not thread-safe; times are of any one monotonic clock."""

    def __init__(self) -> None:
        self._queue_s = 0.0
        self._slowdown = 1.0
        self._at_s: float | None = None
        self._own: deque[tuple[float, float]] = deque()

    def seen(self, seen: LoadSeen, *, tail_s: float, at_s: float) -> None:
        """An answer came whose tail took the worker so long; nonsense is taken for an idle worker."""
        self._own.append((at_s, tail_s))
        while self._own[0][0] < at_s - _OWN_S:
            self._own.popleft()
        busy, queued = seen.others_busy_ratio, seen.others_queued_frames
        if busy is None:
            busy = max(0.0, seen.busy_ratio - sum(each_s for _, each_s in self._own) / _OWN_S)
        if queued is None:
            queued = seen.queued_frames
        job_s = seen.job_s or tail_s
        try:
            load = load_of(queued=queued, busy_ratio=busy, job_s=job_s if job_s > 0 else None)
        except UsageError:
            load = IDLE
        self.note(load, at_s)

    def note(self, load: Load, at_s: float) -> None:
        """The worker's load was told or asked for."""
        share = 1.0 if self._at_s is None else 1.0 - math.exp(-max(0.0, at_s - self._at_s) / SETTLES_S)
        share = max(share, 0.2)
        before = self.at(at_s)
        self._queue_s = before.queue_s + share * (min(load.queue_s, _MOST_QUEUE_S) - before.queue_s)
        self._slowdown = before.slowdown + share * (load.slowdown - before.slowdown)
        self._at_s = at_s

    def at(self, now_s: float) -> Load:
        """The load that a frame sent now would meet."""
        if self._at_s is None:
            return IDLE
        late_s = now_s - self._at_s - FADES_S
        left = math.exp(-late_s / FADES_S) if late_s > 0 else 1.0
        if left < 0.02:
            return IDLE
        return Load(queue_s=self._queue_s * left, slowdown=1.0 + (self._slowdown - 1.0) * left)
