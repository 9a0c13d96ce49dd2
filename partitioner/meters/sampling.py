"""Sampling a meter while something else runs, and energy from the samples.

``Sampler`` reads on a thread of its own, and once more at every ``mark``, so that an interval between two marks is
covered to its ends. What a meter of power tells is summed by the trapezoid rule over real time stamps; of a counter the
ends alone matter, which is why one is read less often. A thread that wakes costs power itself: 1 ms is the shortest
pause, and a counter's is 20 ms.
"""

from __future__ import annotations

import itertools
import math
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from types import TracebackType

from partitioner.meters import Meter, MeterError, MeterInfo, Reading

SHORTEST_PAUSE_S = 1e-3
COUNTER_PAUSE_S = 20e-3
STUCK_PERIODS = 20
STUCK_READINGS = 3
"""A sensor that says the same in so many readings over so many of its periods, at rest and at work, is stuck."""


class Sampler:
    """Reads a meter again and again while its block runs; the meter stays the caller's, to be closed by him."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._readings: list[Reading] = []
        self._error: MeterError | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cleft-meter", daemon=True)

    def __enter__(self) -> Sampler:
        """Read once and go on.

        Raises:
            MeterError: the meter cannot be read.
        """
        self.mark()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def mark(self) -> float:
        """Read now, on the caller's thread; returns the time of the reading, at which an interval may begin or end.

        Raises:
            MeterError: the meter cannot be read, now or since it was last asked.
        """
        with self._lock:
            self._read()
            self._raise()
            return self._readings[-1].at_s

    def readings(self) -> tuple[Reading, ...]:
        """All readings that were not forgotten, in the order of time.

        Raises:
            MeterError: the meter could not be read since it was last asked.
        """
        with self._lock:
            self._raise()
            return tuple(self._readings)

    def forget(self, before_s: float) -> None:
        """Drop what no interval that begins at this time or later needs: at 1 ms, readings take 8 MB a minute."""
        with self._lock:
            del self._readings[: max(0, bisect_right(self._readings, before_s, key=_time_s) - 1)]

    def _run(self) -> None:
        pause_s = self._pause_s()
        while not self._ended.wait(pause_s):
            with self._lock:
                self._read()
                if self._error is not None:
                    return

    def _pause_s(self) -> float:
        period_s = self._meter.info.period_s
        if self._readings[0].counter_j is not None:
            return max(period_s, COUNTER_PAUSE_S)
        return max(period_s / 2, SHORTEST_PAUSE_S)

    def _read(self) -> None:
        """Read once, under the lock; an error is kept for whoever asks."""
        if self._error is not None:
            return
        try:
            reading = self._meter.read()
            if self._readings and reading.begin_s - self._readings[-1].end_s > self._meter.info.safe_s:
                raise MeterError(f"{self._meter.info.kind} was not read for so long that its counter may have wrapped")
            self._readings.append(reading)
        except MeterError as error:
            self._error = error
        except OSError as error:
            self._error = MeterError(f"{self._meter.info.kind}: {error}")

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error


def energy_between(readings: Sequence[Reading], begin_s: float, end_s: float) -> float:
    """Joules between two times of ``time.perf_counter``; values between readings lie on straight lines.

    Args:
        readings: of one meter, in the order of time.
        begin_s: not before the first reading.
        end_s: over ``begin_s``, and not after the last reading.

    Raises:
        MeterError: the readings do not reach from one to the other.
    """
    if not (readings and readings[0].at_s <= begin_s < end_s <= readings[-1].at_s):
        raise MeterError("the meter was not read over the whole of the interval: mark its begin and its end")
    first = bisect_right(readings, begin_s, key=_time_s) - 1
    last = bisect_left(readings, end_s, key=_time_s)
    window = readings[first : last + 1]
    times_s = [each.at_s for each in window]
    if window[0].counter_j is not None:
        counts_j = [_counter(each) for each in window]
        return _at(end_s, times_s, counts_j) - _at(begin_s, times_s, counts_j)
    powers_w = [_power(each) for each in window]
    spans_s = [begin_s, *times_s[1:-1], end_s]
    values_w = [_at(begin_s, times_s, powers_w), *powers_w[1:-1], _at(end_s, times_s, powers_w)]
    pairs = zip(itertools.pairwise(spans_s), itertools.pairwise(values_w), strict=True)
    return sum((after_s - before_s) * (low_w + high_w) / 2 for (before_s, after_s), (low_w, high_w) in pairs)


def power_between(readings: Sequence[Reading], begin_s: float, end_s: float) -> float:
    """The mean power in watts; the same arguments and errors as ``energy_between``."""
    return energy_between(readings, begin_s, end_s) / (end_s - begin_s)


def check_alive(readings: Sequence[Reading], info: MeterInfo) -> None:
    """Refuse readings that a working meter does not make; those of a meter of power are to span rest and work.

    Raises:
        MeterError: as ``check_told``, or nothing changes for ``STUCK_PERIODS``.
    """
    check_told(readings, info)
    _check_moves(readings, [each.power_w for each in readings if each.power_w is not None], info)


def check_told(readings: Sequence[Reading], info: MeterInfo) -> None:
    """Refuse what no working meter tells, whatever the device does.

    Raises:
        MeterError: it is negative or no number; a counter runs backward, or stands still for ``STUCK_PERIODS``.
    """
    powers_w = [each.power_w for each in readings if each.power_w is not None]
    counts_j = [each.counter_j for each in readings if each.counter_j is not None]
    if not all(map(math.isfinite, (*powers_w, *counts_j))):
        raise MeterError(f"{info.kind} tells what is no number: {info.source}")
    if powers_w and min(powers_w) < 0:
        raise MeterError(f"{info.kind} tells a negative power of {min(powers_w):.3g} W: {info.source}")
    if any(after < before for before, after in itertools.pairwise(counts_j)):
        raise MeterError(f"{info.kind} counts backward: {info.source} was reset, or is not to be believed")
    _check_moves(readings, counts_j, info)


def _check_moves(readings: Sequence[Reading], values: Sequence[float], info: MeterInfo) -> None:
    if len(values) < STUCK_READINGS or max(values) > min(values):
        return
    span_s = readings[-1].at_s - readings[0].at_s
    if span_s >= STUCK_PERIODS * info.period_s:
        raise MeterError(f"{info.kind} is stuck: {info.source} told the same for {span_s:.2g} s")


def _at(time_s: float, times_s: Sequence[float], values: Sequence[float]) -> float:
    """The value at a time between the first and the last."""
    after = min(bisect_right(times_s, time_s), len(times_s) - 1)
    before = after - 1
    if times_s[after] == times_s[before]:
        return values[after]
    share = (time_s - times_s[before]) / (times_s[after] - times_s[before])
    return values[before] + share * (values[after] - values[before])


def _time_s(reading: Reading) -> float:
    return reading.at_s


def _counter(reading: Reading) -> float:
    assert reading.counter_j is not None
    return reading.counter_j


def _power(reading: Reading) -> float:
    assert reading.power_w is not None
    return reading.power_w
