"""The field's bar-and-line figure: what each layer takes in time and energy, and how many bytes it hands on.

Bars are times and joules, each drawn by where it comes from; the line is bytes, on an axis of powers of ten. Where a
plan is at hand, the layers that it keeps on the device are shaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from partitioner.energy import EnergyProfile
from partitioner.profile import LayerProfile, Profile
from partitioner.report.figures_axes import (
    BLACK,
    BLUE,
    HATCHES,
    ORANGE,
    PALE,
    VERMILION,
    bytes_logarithmic,
    energy_scale,
    entitle,
    explain_above,
    name_layers,
    time_scale,
)
from partitioner.report.shown import Plans
from partitioner.report.words import device_of, link_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

MOST_WHISKERS = 60
"""Layers, beyond which the spread of each would hide the bars."""


def draw_layers(figure: FigureBase, profile: Profile, plans: Plans | None) -> None:
    """Draw one profile's layers in their order."""
    energy = profile.energy
    is_apart = len(profile.layers) > MOST_WHISKERS
    heights = (3, *((2,) if is_apart else ()), *((2,) if energy else ()))
    rows = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    times = rows[0]
    entitle(figure, f"{profile.model_name} on {device_of(profile)}: its layers")
    _shade(times, profile, plans, is_named=True)
    _draw_times(times, profile.layers)
    for axes in rows[1:]:
        _shade(axes, profile, plans, is_named=False)
    _draw_bytes(rows[1] if is_apart else times, profile.layers, is_apart=is_apart)
    if energy:
        _draw_energy(rows[-1], energy)
    last = rows[-1]
    name_layers(last, [layer.id for layer in profile.layers])
    last.set_xlabel("layer, in the order of running")
    figure.align_ylabels(list(rows))


def _draw_times(axes: Axes, layers: Sequence[LayerProfile]) -> None:
    scale, unit = time_scale(max((layer.forward.median_s for layer in layers), default=0.0))
    _bars(
        axes,
        [layer.forward.median_s * scale for layer in layers],
        [layer.forward.spread_s * scale / 2 for layer in layers],
        [layer.forward.how for layer in layers],
        colour=BLUE,
        what="latency",
    )
    axes.set_ylabel(f"latency, {unit}")
    explain_above(axes, columns=4)


def _draw_energy(axes: Axes, energy: EnergyProfile) -> None:
    scale, unit = energy_scale(max((each.value for each in energy.layers), default=0.0))
    _bars(
        axes,
        [each.value * scale for each in energy.layers],
        [each.interval * scale for each in energy.layers],
        [each.origin for each in energy.layers],
        colour=ORANGE,
        what="energy",
    )
    axes.set_ylabel(f"energy, {unit}")
    explain_above(axes, columns=4)


def _draw_bytes(axes: Axes, layers: Sequence[LayerProfile], *, is_apart: bool) -> None:
    """The line, beside the bars; on a diagram of its own where it would hide them."""
    beside = axes if is_apart else axes.twinx()
    if not is_apart:
        beside.grid(False)
        beside.spines["right"].set_visible(True)
    marker: dict[str, Any] = {"marker": "o", "markersize": 2.4} if len(layers) <= MOST_WHISKERS else {}
    sizes = [layer.output_bytes for layer in layers]
    (line,) = beside.plot(range(len(layers)), sizes, color=BLACK, lw=0.9, label="activation bytes", **marker)
    line.set_gid("activation-bytes")
    beside.set_ylabel("activation bytes")
    if any(sizes):
        bytes_logarithmic(beside)
    if not is_apart:
        line.set_label("activation bytes (right)")
        explain_above(axes, columns=4, more=[line])


def _bars(
    axes: Axes, heights: Sequence[float], whiskers: Sequence[float], origins: Sequence[str], *, colour: str, what: str
) -> None:
    """One set of bars for each origin there is, named by it; whiskers where they can be seen."""
    many = len(heights) > MOST_WHISKERS
    for origin, (hatch, alpha) in HATCHES.items():
        at = [index for index, each in enumerate(origins) if each == origin]
        if not at:
            continue
        bars = axes.bar(
            at,
            [heights[index] for index in at],
            width=1.0 if many else 0.8,
            color=colour,
            alpha=alpha,
            hatch="" if many else hatch,
            linewidth=0,
            label=f"{what}, {origin}",
        )
        for index, bar in zip(at, bars, strict=True):
            bar.set_gid(f"{what}-{index}")
    if not many and any(whiskers):
        axes.errorbar(range(len(heights)), heights, yerr=whiskers, fmt="none", ecolor="#444444", elinewidth=0.6)
    axes.set_ylim(bottom=0)


def _shade(axes: Axes, profile: Profile, plans: Plans | None, *, is_named: bool) -> None:
    if plans is None:
        return
    chosen = plans.chosen
    count = len(profile.layers)
    kept = chosen.edge_layers
    if kept is None:
        kept = frozenset(range(count if chosen.is_local else min(chosen.depth, count)))
    label = f"on the device in the best plan over {link_name(plans.link)} ({chosen.label})"
    for begin, end in _runs(kept):
        axes.axvspan(begin - 0.5, end - 0.5, color=PALE, lw=0, zorder=0, label=label if is_named else "")
        label = ""
    if not kept and is_named:
        axes.plot([], [], " ", label=f"best over {link_name(plans.link)}: {chosen.label}")
    if 0 < len(kept) < count:
        for _, end in _runs(kept):
            axes.axvline(end - 0.5, color=VERMILION, lw=1.0, ls="--", zorder=0.6)


def _runs(kept: frozenset[int]) -> list[tuple[int, int]]:
    """Neighbouring layers as (first, one after the last)."""
    groups = groupby(enumerate(sorted(kept)), key=lambda pair: pair[1] - pair[0])
    return [(run[0], run[-1] + 1) for run in ([index for _, index in group] for _, group in groups)]
