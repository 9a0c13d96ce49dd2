"""From what a meter counted while the device rested and worked to the energy of every cut and layer. Pure.

1. A run of a cut's edge side takes the joules of all its loops over all their runs; above rest, less the power at rest
   times the time of a run. Loops of one cut differ by what disturbed them, which hits all cuts alike: intervals rest on
   the spread of all loops. To them comes what the meter's own steps leave open.
2. More layers never take less: measured cuts are made isotonic, by the weight of their intervals. One that this moves
   beyond its interval is *modelled*.
3. A cut that was not run lies between its measured neighbours, by the times of the layers between them, and surely
   within their intervals. Running no layer takes its share of the first of them, by its time.
4. Layers share what measured cuts around them differ by, again by their times. Cuts too close to tell apart are passed
   over, so that no layer gets nothing by chance.

What a device takes at rest, and what the layers' times say, are measured where it stands; a meter that does not see
the device work at all is refused.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from partitioner.energy import EnergyProfile, PrefixEnergy, Quantity, weakest
from partitioner.measure.intervals import half_width, half_widths
from partitioner.measure.isotonic import isotonic
from partitioner.meters import MeterError, MeterInfo
from partitioner.profile import ALL_LOCAL, CutProfile, Profile

_LEAST_RATIO = 1e-9
"""Of an interval to its value where one is weighed: a perfect measurement weighs much, but not infinitely much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One thing done again and again: how often, in how long, and what the meter counted meanwhile."""

    runs: int
    duration_s: float
    energy_j: float

    @property
    def power_w(self) -> float:
        """The mean power."""
        return self.energy_j / self.duration_s

    @property
    def run_j(self) -> float:
        """The energy of one run."""
        return self.energy_j / self.runs

    @property
    def run_s(self) -> float:
        """The time of one run."""
        return self.duration_s / self.runs


def together(windows: Sequence[Window]) -> Window:
    """All of them as one; those in which something else held the device up count by what was done in them."""
    return Window(
        runs=sum(each.runs for each in windows),
        duration_s=sum(each.duration_s for each in windows),
        energy_j=sum(each.energy_j for each in windows),
    )


def energy_profile(
    profile: Profile, info: MeterInfo, *, rest: Sequence[Window], loops: Mapping[str, Sequence[Window]]
) -> EnergyProfile:
    """The energy of what was profiled.

    Args:
        rest: at least two windows in which the device did nothing.
        loops: by the id of a cut, windows in which its edge side ran; the whole model's are among them, at least two.

    Raises:
        MeterError: the meter cannot tell work from rest.
    """
    if silent := [each for each in map(together, loops.values()) if each.energy_j <= 0]:
        raise MeterError(
            f"{info.kind} counted nothing in {silent[0].duration_s:.1f} s of work: its steps are too coarse"
        )
    whole = loops[_local(profile).id]
    idle_w = _rest_w(rest, info)
    active_w = _active_w(whole, loops, info)
    is_beyond_chance = active_w.value - idle_w.value > math.hypot(active_w.interval, idle_w.interval)
    if not (is_beyond_chance or _is_apart(rest, whole, info)):
        raise blindness(info, rest_w=idle_w.value, work_w=active_w.value)
    measured = [index for index, cut in enumerate(profile.cuts) if cut.id in loops]
    totals, nets = _measured([loops[profile.cuts[index].id] for index in measured], idle_w, active_w, info)
    nothing_s = _nothing_s(profile, together(whole))
    at_cuts = _Line.of(profile, measured, totals, nothing_s)
    above_rest = _Line.of(profile, measured, nets, nothing_s)
    prefixes = [
        PrefixEnergy(cut_id=cut.id, total_j=at_cuts.at(cut.depth), net_j=above_rest.at(cut.depth))
        for cut in profile.cuts
    ]
    return EnergyProfile(
        meter=info.kind,
        source=info.source,
        scope=info.scope,
        period_s=info.period_s,
        resolution_j=max(_step_j(window, info) for window in whole),
        idle_w=idle_w,
        active_w=active_w,
        whole_j=totals[-1],
        prefixes=tuple(prefixes),
        layers=at_cuts.layers(),
    )


def blindness(info: MeterInfo, *, rest_w: float, work_w: float) -> MeterError:
    """The error of a meter that does not see the device work."""
    return MeterError(
        f"{info.kind} tells {work_w:.3g} W while the model runs and {rest_w:.3g} W at rest: what it covers "
        f"({info.source}) is not what runs the model, or other work drowns it"
    )


def _is_apart(rest: Sequence[Window], work: Sequence[Window], info: MeterInfo) -> bool:
    """Whether every window of work lies above every one at rest: by chance, three above six do once in 84 cases."""
    step_w = max(info.step_w + info.step_j / each.duration_s for each in (*rest, *work))
    return min(each.power_w for each in work) - max(each.power_w for each in rest) > step_w


def _local(profile: Profile) -> CutProfile:
    return next(cut for cut in profile.cuts if cut.name == ALL_LOCAL)


def _nothing_s(profile: Profile, whole: Window) -> float:
    """How long running no layer takes in a loop: as much less than after a pause as the whole model does."""
    first, last = profile.cuts[0].prefix.median_s, _local(profile).prefix.median_s
    return first * whole.run_s / last if last > 0 else first


def _step_j(window: Window, info: MeterInfo) -> float:
    """What one step of the meter is in one run."""
    return (info.step_w * window.duration_s + info.step_j) / window.runs


def _rest_w(rest: Sequence[Window], info: MeterInfo) -> Quantity:
    step_w = max(info.step_w / 2 + info.step_j / each.duration_s for each in rest)
    interval = half_width([each.power_w for each in rest]) + step_w
    return Quantity(value=together(rest).power_w, interval=interval, origin="measured")


def _active_w(whole: Sequence[Window], loops: Mapping[str, Sequence[Window]], info: MeterInfo) -> Quantity:
    """The power at work: of the whole model, whose loops spread as all do."""
    groups = [whole, *(windows for windows in loops.values() if windows is not whole)]
    scales = [together(windows).power_w for windows in groups]
    interval = half_widths([[each.power_w for each in windows] for windows in groups], scales)[0]
    step_w = max(info.step_w / 2 + info.step_j / each.duration_s for each in whole)
    return Quantity(value=scales[0], interval=interval + step_w, origin="measured")


def _measured(
    windows: Sequence[Sequence[Window]], idle_w: Quantity, active_w: Quantity, info: MeterInfo
) -> tuple[list[Quantity], list[Quantity]]:
    """Joules of one run of each cut, with those at rest and without, in the order of depth and never decreasing."""
    means = [together(of_cut) for of_cut in windows]
    scales = [mean.run_j for mean in means]
    spreads = half_widths([[each.run_j for each in of_cut] for of_cut in windows], scales)
    above_rest = [[each.run_j - idle_w.value * each.run_s for each in of_cut] for of_cut in windows]
    net_spreads = half_widths(above_rest, scales)
    totals: list[Quantity] = []
    nets: list[Quantity] = []
    for mean, of_cut, spread, net_spread in zip(means, windows, spreads, net_spreads, strict=True):
        step_j = max(info.step_w / 2 * each.run_s + info.step_j / each.runs for each in of_cut)
        totals.append(Quantity(value=mean.run_j, interval=spread + step_j, origin="measured"))
        less = idle_w.times(mean.run_s)
        net = Quantity(
            value=mean.run_j - less.value,
            interval=math.hypot(net_spread + step_j, less.interval),
            origin="measured",
        )
        nets.append(net if net.value > 0 else _less(active_w, idle_w).times(mean.run_s, "modelled"))
    totals, nets = _rising(totals), _rising(nets)
    return totals, [
        net if net.value <= total.value else replace(net, value=total.value, origin="modelled")
        for net, total in zip(nets, totals, strict=True)
    ]


def _less(more: Quantity, less: Quantity) -> Quantity:
    return Quantity(
        value=more.value - less.value,
        interval=math.hypot(more.interval, less.interval),
        origin=weakest(more.origin, less.origin),
    )


def _rising(found: Sequence[Quantity]) -> list[Quantity]:
    """The nearest numbers that never decrease; what moves beyond its interval is no measurement any more."""
    weights = [1 / max(each.interval, _LEAST_RATIO * each.value) ** 2 for each in found]
    values = isotonic([each.value for each in found], weights)
    return [
        replace(each, value=value, origin=each.origin if abs(value - each.value) <= each.interval else "modelled")
        for each, value in zip(found, values, strict=True)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """Energy against depth: known at some depths, along the times of layers between them."""

    depths: Sequence[int]
    found: Sequence[Quantity]
    layers_s: Sequence[float]

    @staticmethod
    def of(profile: Profile, measured: Sequence[int], found: Sequence[Quantity], nothing_s: float) -> _Line:
        """Through the cuts that were measured, and that of no layer, which has a share of the first as a layer has."""
        depths = [profile.cuts[index].depth for index in measured]
        layers_s = [layer.forward.median_s for layer in profile.layers]
        if depths[0] > 0:
            first_s = nothing_s + (sum(layers_s[: depths[0]]) or nothing_s)
            nothing = found[0].times(nothing_s / first_s if first_s > 0 else 0.0, "modelled")
            depths, found = [0, *depths], [nothing, *found]
        return _Line(depths=depths, found=found, layers_s=layers_s)

    def at(self, depth: int) -> Quantity:
        """The energy of so many layers; what is not known reaches as far as both neighbours do."""
        if depth in self.depths:
            return self.found[self.depths.index(depth)]
        after = next(index for index, each in enumerate(self.depths) if each > depth)
        below, above = self.found[after - 1], self.found[after]
        share = sum(self._shares(self.depths[after - 1], self.depths[after])[: depth - self.depths[after - 1]])
        value = min(below.value + share * (above.value - below.value), above.value)
        low, high = max(0.0, below.value - below.interval), above.value + above.interval
        return Quantity(value=value, interval=max(value - low, high - value), origin="modelled")

    def layers(self) -> tuple[Quantity, ...]:
        """Each layer's share of what lies between the nearest depths that can be told apart."""
        found: list[Quantity] = []
        for before, after in itertools.pairwise(self._told_apart()):
            begin, end = self.depths[before], self.depths[after]
            between = _less(self.found[after], self.found[before])
            interval = between.interval if end == begin + 1 else 0.0
            found += [
                Quantity(value=share * between.value, interval=interval, origin="modelled")
                for share in self._shares(begin, end)
            ]
        return tuple(found)

    def _told_apart(self) -> list[int]:
        """Positions whose energies differ by more than their intervals; the first and the last are among them."""
        last = len(self.found) - 1
        kept = [0]
        for index in range(1, last):
            if self._is_more(kept[-1], index):
                kept.append(index)
        while len(kept) > 1 and not self._is_more(kept[-1], last):
            kept.pop()
        return [*kept, last]

    def _is_more(self, before: int, after: int) -> bool:
        more = _less(self.found[after], self.found[before])
        return more.value > more.interval

    def _shares(self, begin: int, end: int) -> list[float]:
        """Of the time of the layers from one depth to another, that of each; alike where all take none."""
        times_s = self.layers_s[begin:end]
        total_s = sum(times_s)
        return [each / total_s if total_s > 0 else 1 / len(times_s) for each in times_s]
