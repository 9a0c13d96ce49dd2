"""The best plan against the uplink rate: the lower envelope of all plans, exact where one takes over from another.

Both axes are powers of ten. Running everything in one place is drawn beside it, so that what splitting gains, and
where, is the distance between lines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from partitioner.link import BYTES_PER_MBIT, PRESETS, Link
from partitioner.planner import Breakpoint
from partitioner.report.figures_axes import (
    BLACK,
    GREY,
    SERIES,
    VERMILION,
    entitle,
    explain_above,
    logarithmic,
    plain_logarithmic,
    shortened,
)
from partitioner.report.shown import Line, Plans, Rates
from partitioner.units import joules, ms

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

_POINTS = 240
_LETTERS = 105
"""That fit on the strip."""
_CLOSE = 1.45
"""Rates whose names would run into each other, as a ratio."""
_LEAST_MBIT, _MOST_MBIT = 0.1, 100.0


def draw_rates(figure: FigureBase, model: str, plans: Plans) -> None:
    """Draw the envelope and a strip that names its pieces."""
    rates = plans.rates
    assert rates is not None
    what = "least energy" if rates.is_energy else "best plan"
    axes, strip = figure.subplots(2, 1, sharex=True, height_ratios=(8, 1))
    entitle(figure, f"{model}: {what} against uplink rate")
    low, high = _range(rates, plans.link)
    grid = np.geomspace(low, high, _POINTS)
    for end, style, label in (
        (rates.all_local, ":", "all on the device"),
        (rates.all_cloud, "--", f"all in the cloud ({rates.all_cloud.candidate.codec})"),
    ):
        axes.plot(grid, end.at(grid * BYTES_PER_MBIT) * _scale(rates)[0], color=GREY, ls=style, lw=1.1, label=label)
    colours = _colours(rates.points)
    for point, line in zip(rates.points, rates.lines, strict=True):
        _piece(axes, strip, point, line, (low, high), colours, _scale(rates)[0])
    _mark_links(axes, plans, is_energy=rates.is_energy)
    changes = [point.from_up_bytes_per_s / BYTES_PER_MBIT for point in rates.points]
    _say_rates(axes, [each for each in changes if low < each < high])
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_ylabel(_scale(rates)[1])
    bottom, top = _heights(rates, low, high)
    if bottom > 0:
        axes.set_ylim(bottom, top)
    logarithmic(axes, "y", np.array([bottom]))
    strip.set_xlabel(f"uplink rate, Mbit/s (down {rates.down_per_up:.3g} times as fast, round trip {ms(rates.rtt_s)})")
    plain_logarithmic(strip.xaxis)
    strip.set_yticks([])
    strip.set_ylim(0, 1)
    strip.set_ylabel("best", rotation=0, ha="right", va="center")
    explain_above(axes, columns=4)


def _range(rates: Rates, link: Link) -> tuple[float, float]:
    """Mbit/s from well below the slowest change of plan to well above the fastest."""
    changes = [point.from_up_bytes_per_s / BYTES_PER_MBIT for point in rates.points[1:]]
    seen = [each for each in (*changes, link.up_mbit) if each > 0 and math.isfinite(each)]
    return min(_LEAST_MBIT, *(each / 4 for each in seen)), max(_MOST_MBIT, *(each * 4 for each in seen))


def _heights(rates: Rates, low: float, high: float) -> tuple[float, float]:
    """From under the envelope to what both extremes cost, though not so far up that the envelope becomes flat."""
    ends = np.array([low, high]) * BYTES_PER_MBIT
    best = [
        float(line.at(np.array([max(point.from_up_bytes_per_s, ends[0])]))[0])
        for point, line in zip(rates.points, rates.lines, strict=True)
        if line is not None
    ]
    best += [float(rates.lines[-1].at(ends[1:])[0])] if rates.lines[-1] else []
    local = float(rates.all_local.at(ends[:1])[0])
    least, factor = min(best, default=local), _scale(rates)[0]
    most = max(*best, local, least * 10)
    return least * 0.6 * factor, most * 2 * factor


def _colours(points: Sequence[Breakpoint]) -> dict[str, str]:
    """One for each plan, by its cut and codec; neighbours differ."""
    names = dict.fromkeys(_name(point) for point in points if point.candidate)
    return {name: SERIES[index % len(SERIES)] for index, name in enumerate(names)}


def _name(point: Breakpoint) -> str:
    chosen = point.candidate
    if chosen is None:
        return "no plan"
    if chosen.is_local:
        return chosen.cut
    return chosen.label if chosen.codec == "none" else f"{chosen.label}, {chosen.codec}"


def _scale(rates: Rates) -> tuple[float, str]:
    """What a latency or an energy is multiplied with, and what the axis is called."""
    return (1e3, f"energy, mJ ({rates.origin})") if rates.is_energy else (1e3, "latency, ms")


def _piece(
    axes: Axes,
    strip: Axes,
    point: Breakpoint,
    line: Line | None,
    ends: tuple[float, float],
    colours: dict[str, str],
    factor: float,
) -> None:
    low, high = ends
    begin = max(point.from_up_bytes_per_s / BYTES_PER_MBIT, low)
    end = min(point.to_up_bytes_per_s / BYTES_PER_MBIT, high)
    if not begin < end:
        return
    name = _name(point)
    colour = colours.get(name, "#FFFFFF")
    strip.axvspan(begin, end, color=colour, alpha=0.85, lw=0)
    if begin > low:
        axes.axvline(begin, color=BLACK, lw=0.6, ls=(0, (2, 2)), gid=f"breakpoint-{begin!r}")
    if line is not None:
        grid = np.geomspace(begin, end, max(2, round(_POINTS * math.log(end / begin) / math.log(high / low))))
        (drawn,) = axes.plot(
            grid, line.at(grid * BYTES_PER_MBIT) * factor, color=colour, lw=2.4, solid_capstyle="butt", gid=name
        )
    share = math.log(end / begin) / math.log(high / low)
    text = shortened(name.removeprefix("after:"))
    if len(text) > share * _LETTERS:
        drawn.set_label(text)
    else:
        strip.text(math.sqrt(begin * end), 0.5, text, ha="center", va="center", fontsize=6.5, color=BLACK)


def _say_rates(axes: Axes, rates_mbit: Sequence[float]) -> None:
    """Write the rates at which the plan changes beside their lines, one above the other where they are close."""
    level, last = 0, 0.0
    for each in rates_mbit:
        level = (level + 1) % 6 if last and each / last < _CLOSE else 0
        last = each
        axes.annotate(
            f"{each:.3g}",
            (each, 0),
            xycoords=("data", "axes fraction"),
            xytext=(2, 3 + 8 * level),
            textcoords="offset points",
            fontsize=6.5,
            bbox={"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.8},
        )


def _mark_links(axes: Axes, plans: Plans, *, is_energy: bool) -> None:
    """The presets along the top, and the plan that was asked for."""
    for name, link in PRESETS.items():
        axes.annotate(
            name,
            (link.up_mbit, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, -9),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=6.5,
            color=GREY,
            arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.8, "shrinkA": 0, "shrinkB": 0},
            bbox={"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.8},
        )
    chosen = plans.choice.chosen
    name = shortened(chosen.candidate.label)
    cost = joules(chosen.energy_j or 0.0) if is_energy else ms(chosen.predicted_s)
    axes.plot(
        [plans.link.up_mbit],
        [(chosen.energy_j or 0.0) * 1e3 if is_energy else chosen.predicted_s * 1e3],
        ls="none",
        marker="o",
        ms=6,
        mfc="none",
        mec=VERMILION,
        mew=1.6,
        zorder=5,
        gid="chosen",
        label=f"over {plans.link.name or 'this link'}: {name}, {cost}",
    )
