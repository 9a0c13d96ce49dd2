"""A busy worker: how long a frame waits before its tail runs, and how much slower the tail then is.

A worker has one compute thread and a queue. By Poisson arrivals a new frame finds the thread busy with probability
``busy`` and ``queued`` jobs before it, so with jobs of equal length S it waits queued * S + busy * S / 2: a job under
way is half done on average. In the steady state of M/D/1 that is S * busy / (2 * (1 - busy)). What the worker reports
is one look at the queue and an average of recent seconds; the longer of the two waits is taken. A thread that is always
busy would wait for ever: ``busy`` is clamped to 0.95.

Source: the Pollaczek-Khinchine formula; Kleinrock, "Queueing Systems I", 1975, sections 5.6 and 5.7.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from partitioner.errors import UsageError

MAX_BUSY_RATIO = 0.95
FELT_WAIT_S = 1e-3
FELT_SLOWDOWN = 1.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the worker's load adds: a wait before the tail, and a factor on the tail's time.

    Raises:
        UsageError: the wait is negative, the factor is not over zero, or one is not finite.
    """

    queue_s: float = 0.0
    slowdown: float = 1.0

    def __post_init__(self) -> None:
        faults = [
            f"{what} is {value:g}, not {wanted}"
            for what, value, wanted, is_right in (
                ("wait", self.queue_s, "0 or more", self.queue_s >= 0),
                ("slow-down", self.slowdown, "over 0", self.slowdown > 0),
            )
            if not (is_right and math.isfinite(value))
        ]
        if faults:
            raise UsageError(f"this is no load: {'; '.join(faults)}")

    @property
    def is_idle(self) -> bool:
        """Whether it changes nothing."""
        return self == IDLE

    @property
    def is_felt(self) -> bool:
        """Whether it changes enough to be worth telling: no worker that was just asked something is quite idle."""
        return self.queue_s >= FELT_WAIT_S or self.slowdown >= FELT_SLOWDOWN

    def to_json(self) -> dict[str, float]:
        """The load as JSON values."""
        return {"queue_s": self.queue_s, "slowdown": self.slowdown}


IDLE = Load()


def load_of(*, queued: int = 0, busy_ratio: float = 0.0, job_s: float | None = None) -> Load:
    """The load of a worker as it reports itself.

    Args:
        queued: jobs that wait.
        busy_ratio: share of recent time that the compute thread was busy, 0 to 1.
        job_s: mean time of a job there. None: jobs are taken to be as long as the tail, so the wait is a factor on it.

    Raises:
        UsageError: a figure is negative or not finite.
    """
    waits = jobs_before(queued=queued, busy_ratio=busy_ratio)
    return Load(slowdown=1.0 + waits) if job_s is None else Load(queue_s=waits * job_s)


def jobs_before(*, queued: int, busy_ratio: float) -> float:
    """How many jobs' time a new frame waits; rises with both figures.

    Raises:
        UsageError: a figure is negative or not finite.
    """
    if not (queued >= 0 and busy_ratio >= 0 and math.isfinite(busy_ratio)):
        raise UsageError(f"{queued} waiting jobs and a busy share of {busy_ratio:g} are no load of a worker")
    busy = min(busy_ratio, MAX_BUSY_RATIO)
    return max(busy / (2.0 * (1.0 - busy)), queued + busy / 2.0)
