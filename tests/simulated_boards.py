"""A board in simulated time: time passes where something runs or sleeps, power follows it, and a meter tells of it.

Stands in for the module ``time`` and for ``Sampler``, so that minutes of measuring take milliseconds and no other work
on the machine is ever seen.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from types import TracebackType

from partitioner.meters import Meter, MeterError, MeterInfo, Reading

Tell = Callable[[int, float], float | None]
"""What is told as the reading of this number, where the truth is so much; None: it fails."""


class SimulatedBoard:
    """Tells the mean power of its last whole period, read twice in each; or the joules so far, read once."""

    def __init__(
        self, *, rest_w: float, period_s: float, is_counter: bool = False, tell: Tell = lambda count, truth: truth
    ) -> None:
        self.rest_w, self.most_held, self.count = rest_w, 0, 0
        self.info = MeterInfo(kind="told", source="a rail", scope="board", period_s=period_s)
        self._is_counter, self._tell = is_counter, tell
        self._times_s, self._joules = [0.0], [0.0]
        self._due_s = 0.0
        self._readings: list[Reading] = []

    def perf_counter(self) -> float:
        return self._times_s[-1]

    def sleep(self, pause_s: float) -> None:
        self.run(pause_s, self.rest_w)

    def run(self, duration_s: float, power_w: float) -> None:
        """Pass time at a power."""
        self._times_s.append(self._times_s[-1] + duration_s)
        self._joules.append(self._joules[-1] + duration_s * power_w)
        while self._due_s <= self._times_s[-1]:
            self._read(self._due_s)
            self._due_s += self.info.period_s / (1 if self._is_counter else 2)

    def sampler(self, meter: Meter) -> SimulatedBoard:
        assert meter is self
        return self

    def __enter__(self) -> SimulatedBoard:
        self.mark()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def mark(self) -> float:
        self._read(self.perf_counter())
        return self.perf_counter()

    def readings(self) -> tuple[Reading, ...]:
        return tuple(self._readings)

    def forget(self, before_s: float) -> None:
        del self._readings[: max(0, bisect_right(self._readings, before_s, key=lambda each: each.at_s) - 1)]

    def read(self) -> Reading:
        raise AssertionError("it is read by its sampler alone")

    def close(self) -> None:
        pass

    def _read(self, at_s: float) -> None:
        self.count += 1
        truth = self._joules_at(at_s) if self._is_counter else self._mean_w(at_s)
        told = self._tell(self.count, truth)
        if told is None:
            raise MeterError("told: the cable is out")
        values = {"counter_j" if self._is_counter else "power_w": told}
        self._readings.append(Reading(begin_s=at_s, end_s=at_s, **values))
        self.most_held = max(self.most_held, len(self._readings))

    def _mean_w(self, at_s: float) -> float:
        period_s = self.info.period_s
        end_s = at_s // period_s * period_s
        return (self._joules_at(end_s) - self._joules_at(end_s - period_s)) / period_s if end_s > 0 else self.rest_w

    def _joules_at(self, at_s: float) -> float:
        after = min(bisect_right(self._times_s, at_s), len(self._times_s) - 1)
        if after == 0 or self._times_s[after] == self._times_s[after - 1]:
            return self._joules[after]
        share = (at_s - self._times_s[after - 1]) / (self._times_s[after] - self._times_s[after - 1])
        return self._joules[after - 1] + share * (self._joules[after] - self._joules[after - 1])
