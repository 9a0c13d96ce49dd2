"""What a radio takes, from the power that was read while bytes moved at several rates and while none did. Pure.

Power over idle is fitted as ``base + up_slope * Mbit/s up + down_slope * Mbit/s down`` by least squares, each with its
95 % interval after Student. A slope whose interval holds 0 was not measured, and is refused rather than written down.

The trace after the last byte is split where two levels explain it best, and again, until power falls no more (changes
of the mean; Page, "A test for a change in a parameter occurring at an unknown point", Biometrika 1955): what lies
before is the tail. How much longer
the network takes to answer after a rest than in traffic is the promotion.

Source: the model of Huang et al., MobiSys 2012; see ``partitioner.radio``.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.errors import NotCalibrated
from partitioner.energy import Quantity
from partitioner.measure.intervals import student
from partitioner.meters import MeterInfo, Reading
from partitioner.radio import RadioModel

FloatArray = npt.NDArray[np.float64]

LEAST_READINGS = 8
LEAST_SPAN = 1.5
"""The fastest step each way is at least so many times the slowest."""
SHORTEST_TAIL_S = 0.1
SHORTEST_TAIL_PERIODS = 3
SHORTEST_PROMOTION_S = 0.02
"""Less is also what threads take that have long been waiting."""
CLEAR_SHARE = 0.1
"""A level is another one when it differs by this share of what the slowest step takes over idle."""
SIGMAS = 4.0
_MW = 1e3


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Payload moved at a steady rate each way, and the mean power meanwhile."""

    up_mbit: float
    down_mbit: float
    power_w: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Power over time, while nothing was moved; times count from when that began."""

    times_s: FloatArray
    powers_w: FloatArray

    @staticmethod
    def of(readings: Sequence[Reading], begin_s: float, end_s: float) -> Trace:
        """What a meter of power told between two times, or the mean power between readings of a counter."""
        inside = [each for each in readings if begin_s <= each.at_s <= end_s]
        times_s = np.array([each.at_s for each in inside])
        if inside and inside[0].counter_j is not None:
            counts_j = np.array([each.counter_j for each in inside])
            spans_s = np.diff(times_s)
            is_apart = spans_s > 0
            middles_s = ((times_s[1:] + times_s[:-1]) / 2)[is_apart]
            return Trace(times_s=middles_s - begin_s, powers_w=np.diff(counts_j)[is_apart] / spans_s[is_apart])
        return Trace(times_s=times_s - begin_s, powers_w=np.array([each.power_w for each in inside], dtype=float))

    def after(self, time_s: float) -> Trace:
        """The rest of the trace."""
        start = int(np.searchsorted(self.times_s, time_s))
        return Trace(times_s=self.times_s[start:], powers_w=self.powers_w[start:])

    def values(self, meter: MeterInfo, start: int, end: int) -> float:
        """How many values of a meter these readings hold, which may be read more often than it has new ones."""
        span_s = float(self.times_s[end - 1] - self.times_s[start])
        return max(2.0, min(float(end - start), span_s / max(meter.period_s, 1e-6)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """A trace as two levels: ``early_w`` until ``change_s``, then ``late_w``, which is known to ``late_pm_w``.

    The early one is a median, since the meter still follows the last step for a moment.
    """

    early_w: float
    change_s: float
    late_w: float
    late_pm_w: float
    is_clear: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How long the network took to answer a lone message, and the power over idle meanwhile where it could be read."""

    took_s: float
    power_w: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """All that was seen: a rest before, steps, a rest after, and lone messages after a rest and in traffic."""

    meter: MeterInfo
    before: Trace
    steps: tuple[Step, ...]
    after: Trace
    cold: tuple[Answer, ...] = ()
    warm: tuple[Answer, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """The radio, the power at rest that it was told apart from, how far steps are from the line, and what to know."""

    radio: RadioModel
    idle_w: Quantity
    residual_w: float
    notes: tuple[str, ...]


def fit(observed: Observed, *, name: str) -> Fitted:
    """Fit a radio.

    Raises:
        NotCalibrated: the power at rest is not known, or power does not rise with the rate, each way, beyond doubt.
    """
    least_w = min(step.power_w for step in observed.steps)
    notes: list[str] = []
    before = _levels(observed.before, observed.meter, idle_w=None, least_w=least_w)
    after = _levels(observed.after, observed.meter, idle_w=before.late_w, least_w=least_w)
    idle = _idle(before, after, least_w=least_w)
    line = _line(observed.steps, idle)
    tail_s, tail_w = _tail(after, idle, observed.meter, notes)
    promotion_s, promotion_w = _promotion(observed, line.base.value, notes)
    radio = RadioModel(
        name=name,
        up_w_per_mbit=line.up.value,
        down_w_per_mbit=line.down.value,
        base_w=line.base.value,
        max_up_mbit=max(step.up_mbit for step in observed.steps),
        max_down_mbit=max(step.down_mbit for step in observed.steps),
        promotion_s=promotion_s,
        promotion_w=promotion_w,
        tail_s=tail_s,
        tail_w=tail_w,
        origin="measured",
        source=f"{len(observed.steps)} steps read from {observed.meter.kind} ({observed.meter.source})",
        intervals={
            "up_w_per_mbit": line.up.interval,
            "down_w_per_mbit": line.down.interval,
            "base_w": line.base.interval,
        },
    )
    return Fitted(radio=radio, idle_w=idle, residual_w=line.residual_w, notes=tuple(notes))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    base: Quantity
    up: Quantity
    down: Quantity
    residual_w: float


def _line(steps: Sequence[Step], idle: Quantity) -> _Line:
    rates = np.array([(1.0, step.up_mbit, step.down_mbit) for step in steps])
    over_w = np.array([step.power_w for step in steps]) - idle.value
    freedom = len(steps) - rates.shape[1]
    if freedom < 1:
        raise NotCalibrated(f"{len(steps)} steps tell nothing of three figures: give more rates or passes")
    for way, column in (("up", 1), ("down", 2)):
        moved = [rate for rate in rates[:, column] if rate > max(rates[:, column]) * 0.02]
        if len(moved) < 2 or max(moved) < LEAST_SPAN * min(moved):
            raise NotCalibrated(
                f"the rates {way} hardly differ ({_rates(moved)} Mbit/s): the link does not carry what was asked; give "
                f"--{way}-mbit lower rates"
            )
    found, _, _, _ = np.linalg.lstsq(rates, over_w, rcond=None)
    residuals = over_w - rates @ found
    residual_w = math.sqrt(float(residuals @ residuals) / freedom)
    spread = np.sqrt(np.diag(np.linalg.inv(rates.T @ rates)))
    pm = [float(each) for each in student(freedom) * residual_w * spread]
    for way, slope, interval in (("up", found[1], pm[1]), ("down", found[2], pm[2])):
        if slope <= interval:
            raise NotCalibrated(
                f"power does not rise with the rate {way} beyond doubt: {slope * _MW:.3g} mW per Mbit/s, give or take "
                f"{interval * _MW:.3g}; measure longer (--step), at higher rates, or with a meter that tells finer"
            )
    base = Quantity(value=float(found[0]), interval=math.hypot(pm[0], idle.interval), origin="measured")
    if base.value < 0:
        base, found = _through_idle(rates, over_w, base)
    up, down = (Quantity(value=float(found[n]), interval=pm[n], origin="measured") for n in (1, 2))
    return _Line(base=base, up=up, down=down, residual_w=residual_w)


def _through_idle(rates: FloatArray, over_w: FloatArray, base: Quantity) -> tuple[Quantity, FloatArray]:
    """The line again where the best one starts below the power at rest, as no radio does."""
    if base.value + base.interval < 0:
        raise NotCalibrated(
            f"a radio that moves nothing would take {-base.value * _MW:.3g} mW less than at rest: power is no line over"
            " the rate here; give rates that are closer together (--up-mbit, --down-mbit)"
        )
    slopes, _, _, _ = np.linalg.lstsq(rates[:, 1:], over_w, rcond=None)
    return Quantity(value=0.0, interval=base.interval, origin="measured"), np.array([0.0, *slopes])


def _levels(trace: Trace, meter: MeterInfo, *, idle_w: float | None, least_w: float) -> Levels:
    """Follow a trace from drop to drop until there is none beyond doubt: what is left is the power at rest."""
    changes_s = [float(trace.times_s[0])] if len(trace.times_s) else [0.0]
    rest = trace
    while (change_s := _drop(rest, meter, idle_w=idle_w, least_w=least_w)) is not None:
        changes_s.append(change_s)
        rest = rest.after(change_s)
    settled_s = changes_s[0] + _shortest_tail_s(meter)
    followed_s = max(each for each in changes_s if each <= settled_s)
    values = rest.values(meter, 0, len(rest.powers_w))
    early_w = trace.powers_w[(trace.times_s >= followed_s) & (trace.times_s < changes_s[-1])]
    late_w = float(rest.powers_w.mean())
    is_clear = changes_s[-1] > settled_s and float(np.median(early_w)) - late_w > _clear_w(meter, least_w - late_w)
    return Levels(
        early_w=float(np.median(early_w)) if is_clear else late_w,
        change_s=changes_s[-1] if is_clear else 0.0,
        late_w=late_w,
        late_pm_w=student(max(1, int(values) - 1)) * float(rest.powers_w.std()) / math.sqrt(values),
        is_clear=is_clear,
    )


def _drop(trace: Trace, meter: MeterInfo, *, idle_w: float | None, least_w: float) -> float | None:
    """When power fell, at the one change of its mean that explains the trace best; None where that is in doubt."""
    powers_w, count = trace.powers_w, len(trace.powers_w)
    if count < LEAST_READINGS:
        raise NotCalibrated(f"{count} readings in a rest are too few: give a longer --idle")
    cuts = np.arange(2, count - LEAST_READINGS + 1)
    if not len(cuts):
        return None
    sums, squares = np.cumsum(powers_w), np.cumsum(powers_w**2)
    early_w, late_w = sums[cuts - 1] / cuts, (sums[-1] - sums[cuts - 1]) / (count - cuts)
    errors = squares[-1] - cuts * early_w**2 - (count - cuts) * late_w**2
    best = int(np.argmin(errors))
    cut = int(cuts[best])
    noise_w = math.sqrt(max(0.0, float(errors[best])) / (count - 2))
    doubt_w = SIGMAS * noise_w * math.sqrt(1 / trace.values(meter, 0, cut) + 1 / trace.values(meter, cut, count))
    over_w = least_w - (float(late_w[best]) if idle_w is None else idle_w)
    if early_w[best] - late_w[best] <= max(doubt_w, _clear_w(meter, over_w)):
        return None
    return float(trace.times_s[cut - 1] + trace.times_s[cut]) / 2


def _idle(before: Levels, after: Levels, *, least_w: float) -> Quantity:
    """The power at rest, as known from both rests; what they differ by is part of the doubt."""
    idle_w = (before.late_w + after.late_w) / 2
    over_w = least_w - before.late_w
    apart_w = after.late_w - before.late_w
    doubt_w = max(abs(apart_w) / 2, before.late_pm_w, after.late_pm_w)
    if over_w <= max(before.late_pm_w, 0.0):
        raise NotCalibrated(
            f"the device takes {least_w:.3g} W while bytes move and {before.late_w:.3g} W at rest: this meter does not "
            "see the radio, or something else was busy at rest"
        )
    if apart_w > 0.3 * over_w and apart_w > before.late_pm_w + after.late_pm_w:
        raise NotCalibrated(
            f"at the end of the rest after the last byte the device still takes {apart_w * _MW:.3g} mW more than "
            "before the first: its radio may stay awake for longer; give a longer --idle"
        )
    return Quantity(value=idle_w, interval=doubt_w, origin="measured")


def _tail(after: Levels, idle: Quantity, meter: MeterInfo, notes: list[str]) -> tuple[float, float]:
    """How long the radio stays awake after the last byte, and what it takes meanwhile; zeros where that is not seen."""
    if after.is_clear:
        return after.change_s, max(0.0, after.early_w - idle.value)
    notes.append(f"no tail of {_shortest_tail_s(meter):.2g} s or more is seen after the last byte")
    return 0.0, 0.0


def _promotion(observed: Observed, base_w: float, notes: list[str]) -> tuple[float, float]:
    """How much longer a lone message takes after a rest, and the power meanwhile; zeros where that is not seen."""
    if not observed.cold or not observed.warm:
        return 0.0, 0.0
    warm_s = statistics.median(answer.took_s for answer in observed.warm)
    spread_s = max(abs(answer.took_s - warm_s) for answer in observed.warm)
    longer_s = statistics.median(answer.took_s for answer in observed.cold) - warm_s
    if longer_s < max(SHORTEST_PROMOTION_S, 3 * spread_s):
        notes.append(f"no promotion is seen: after a rest the network answers {max(longer_s, 0) * 1e3:.3g} ms later")
        return 0.0, 0.0
    read_w = [answer.power_w for answer in observed.cold if answer.power_w is not None]
    if read_w:
        return longer_s, max(0.0, statistics.median(read_w))
    notes.append("the promotion is too short for this meter: its power is taken to be the base's")
    return longer_s, base_w


def _clear_w(meter: MeterInfo, over_w: float) -> float:
    """How far apart levels are at least, where the slowest step takes so much over idle."""
    return max(meter.step_w, CLEAR_SHARE * over_w)


def _shortest_tail_s(meter: MeterInfo) -> float:
    return max(SHORTEST_TAIL_S, SHORTEST_TAIL_PERIODS * meter.period_s)


def _rates(rates: Sequence[float]) -> str:
    return ", ".join(f"{rate:.3g}" for rate in sorted(rates)) or "none"
