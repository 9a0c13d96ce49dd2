"""What is predicted of one request: how long the device itself would take from the cut, and how long the worker will.

The device's time is the longest but one of the last runs of that very suffix on inputs of this size where there were
any, else what the profile and its corrections say; to both comes the wait for the engine. Without either nobody knows.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Hashable

from edge.frames import Progress
from edge.steering import Steering
from edge.turnstile import Turnstile
from partitioner.cost import Candidate
from partitioner.inputs import Sample
from partitioner.planner import Planner

_RECENT = 5
_STEPS_PER_DOUBLING = 4

PaceKey = tuple[str, int]


def pace_key(plan_id: str, sample: Sample) -> PaceKey:
    """What finishing takes is learnt by: the plan, and how large tensors are that may be of any length."""
    given_bytes = sum(array.nbytes for array in (sample.tensors or {}).values())
    return plan_id, round(_STEPS_PER_DOUBLING * math.log2(max(given_bytes, 1)))


class Paces:
    """How long this device took lately to finish from a cut, by plan and size. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recent_s: dict[PaceKey, deque[float]] = {}

    def note(self, key: PaceKey, took_s: float) -> None:
        """It has just taken so long."""
        with self._lock:
            self._recent_s.setdefault(key, deque(maxlen=_RECENT)).append(took_s)

    def of(self, key: PaceKey) -> float | None:
        """How long it may take; None where it never did. Of three or more runs the longest one was an accident."""
        with self._lock:
            recent_s = sorted(self._recent_s.get(key, ()))
        if not recent_s:
            return None
        return recent_s[-2] if len(recent_s) > 2 else recent_s[-1]


class Outlook:
    """The outlook of one request by a plan; ``candidate`` is there where the plan was chosen by measurements."""

    def __init__(
        self,
        key: PaceKey,
        *,
        paces: Paces,
        turnstile: Turnstile,
        steering: Steering | None = None,
        kind: Hashable = None,
        planner: Planner | None = None,
        candidate: Candidate | None = None,
    ) -> None:
        self._key = key
        self._paces = paces
        self._turnstile = turnstile
        self._steering = steering
        self._kind = kind
        self._planner = planner
        self._candidate = candidate

    @property
    def home_s(self) -> float | None:
        """What the device needs from the cut to the end, the wait for its engine included; None: nobody knows."""
        took_s = self._paces.of(self._key)
        if took_s is None and self._steering is not None and self._planner is not None and self._candidate is not None:
            took_s = self._steering.suffix_s(self._planner, self._candidate)
        return None if took_s is None else took_s + self._turnstile.likely_wait_s

    def remaining_s(self, target: str, progress: Progress) -> float | None:
        """Time until a frame in flight is answered; None: nobody knows."""
        if self._steering is None or self._candidate is None:
            return None
        return self._steering.remaining_s(
            self._candidate,
            target=target,
            left_up_bytes=progress.left_bytes,
            waited_s=progress.waited_s,
            kind=self._kind,
        )
