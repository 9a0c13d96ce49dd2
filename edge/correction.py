"""How far measured times are from the profile's, as factors on the planner's heads and tails.

A device throttles, a neighbour takes its cores, a profile came from another machine: then all times are off by one
factor, and a plan that was never run is off by it too. What a plan was measured to be off by itself goes before that.
Each factor is a median of recent ratios: one outlier moves nothing, and a change is believed when it makes up most of
them, five runs of the nine. A factor that nobody measured for a while fades to 1, so that a worker which was slow
once is tried again. No clock here: time is an argument.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np

from partitioner.cost import FloatArray

OWN_RUNS = 4
"""A plan run so often is corrected by its own ratio, others by that of all."""
RECENT = 9
FADES_S = 30.0
"""After so long without a measurement a factor begins to fade, and takes as long to lose most of it."""
_LEAST_S = 2e-4
"""What is predicted to take less says nothing by how much it is off."""
_BOUNDS = math.log(1 / 50), math.log(50)


@dataclass(slots=True)
class _Ratios:
    logs: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    at_s: float = 0.0

    def note(self, log: float, at_s: float) -> None:
        self.logs.append(log)
        self.at_s = at_s

    def log_at(self, now_s: float) -> float:
        late_s = now_s - self.at_s - FADES_S
        return statistics.median(self.logs) * (math.exp(-late_s / FADES_S) if late_s > 0 else 1.0)


class Correction:
    """Factors by plan of one kind of time on one machine. Not thread-safe."""

    def __init__(self) -> None:
        self._all = _Ratios()
        self._own: dict[Hashable, _Ratios] = {}

    def note(self, plan: Hashable, *, predicted_s: float, measured_s: float, at_s: float) -> None:
        """A plan's time was measured; the prediction is the profile's, not corrected."""
        if predicted_s < _LEAST_S or not (measured_s > 0 and math.isfinite(measured_s)):
            return
        log = min(max(math.log(measured_s / predicted_s), _BOUNDS[0]), _BOUNDS[1])
        self._all.note(log, at_s)
        self._own.setdefault(plan, _Ratios()).note(log, at_s)

    def factor(self, plan: Hashable, now_s: float) -> float:
        """By what the profile's time of a plan is to be multiplied."""
        own = self._own.get(plan)
        if own is not None and len(own.logs) >= OWN_RUNS and now_s - own.at_s <= 2 * FADES_S:
            return math.exp(own.log_at(now_s))
        if len(self._all.logs) >= OWN_RUNS:
            return math.exp(self._all.log_at(now_s))
        return 1.0

    def factors(self, plans: Sequence[Hashable], now_s: float) -> FloatArray:
        """Those of several plans: (n,)."""
        if len(self._all.logs) < OWN_RUNS:
            return np.ones(len(plans))
        common = math.exp(self._all.log_at(now_s))
        return np.array([self.factor(plan, now_s) if plan in self._own else common for plan in plans])
