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
from partitioner.report.figures_axes import BLACK, GREY, SERIES, VERMILION, plain_logarithmic, shortened
from partitioner.report.shown import Line, Plans, Rates
from partitioner.units import ms

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

_POINTS = 240
_LEAST_MBIT, _MOST_MBIT = 0.1, 100.0


def draw_rates(figure: FigureBase, model: str, plans: Plans) -> None:
    """Draw the envelope and a strip that names its pieces; nothing but latency has one."""
    rates = plans.rates
    assert rates is not None
    axes, strip = figure.subplots(2, 1, sharex=True, height_ratios=(8, 1))
    figure.suptitle(
        f"{model}: best plan against uplink rate (down {rates.down_per_up:.3g} times as fast, "
        f"round trip {ms(rates.rtt_s)})",
        x=0.01,
        ha="left",
        weight="bold",
    )
    low, high = _range(rates, plans.link)
    grid = np.geomspace(low, high, _POINTS)
    for line, style, label in (
        (rates.all_local, ":", "all on the device"),
        (rates.all_cloud, "--", "all in the cloud"),
    ):
        axes.plot(grid, line.at(grid * BYTES_PER_MBIT) * 1e3, color=GREY, ls=style, lw=1.1, label=label)
    colours = _colours(rates.points)
    for point, line in zip(rates.points, rates.lines, strict=True):
        _piece(axes, strip, point, line, low, high, colours)
    _mark_links(axes, plans)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(low, high)
    axes.set_ylabel("latency, ms")
    axes.set_ylim(*_heights(rates, low, high))
    plain_logarithmic(axes.yaxis)
    strip.set_xlabel("uplink rate, Mbit/s")
    plain_logarithmic(strip.xaxis)
    strip.set_yticks([])
    strip.set_ylim(0, 1)
    strip.spines["right"].set_visible(False)
    strip.set_ylabel("best", rotation=0, ha="right", va="center")
    axes.legend(loc="upper right", ncols=1)


def _range(rates: Rates, link: Link) -> tuple[float, float]:
    """Mbit/s from well below the slowest change of plan to well above the fastest."""
    changes = [point.from_up_bytes_per_s / BYTES_PER_MBIT for point in rates.points[1:]]
    seen = [each for each in (*changes, link.up_mbit) if each > 0 and math.isfinite(each)]
    return min(_LEAST_MBIT, *(each / 4 for each in seen)), max(_MOST_MBIT, *(each * 4 for each in seen))


def _heights(rates: Rates, low: float, high: float) -> tuple[float, float]:
    """From under the envelope to what both extremes cost, though not so far up that the envelope becomes flat."""
    ends = np.array([low, high]) * BYTES_PER_MBIT
    best_s = [
        float(line.at(np.array([max(point.from_up_bytes_per_s, ends[0])]))[0])
        for point, line in zip(rates.points, rates.lines, strict=True)
        if line is not None
    ]
    best_s += [float(rates.lines[-1].at(ends[1:])[0])] if rates.lines[-1] else []
    local_s = float(rates.all_local.at(ends[:1])[0])
    least_s = min(best_s, default=local_s)
    most_s = max(*best_s, local_s, least_s * 10)
    return least_s * 0.6e3, most_s * 2e3


def _colours(points: Sequence[Breakpoint]) -> dict[str, str]:
    """One for each plan, by its cut and codec; neighbours differ."""
    names = dict.fromkeys(_name(point) for point in points if point.candidate)
    return {name: SERIES[index % len(SERIES)] for index, name in enumerate(names)}


def _name(point: Breakpoint) -> str:
    chosen = point.candidate
    if chosen is None:
        return "none in time"
    if chosen.is_local:
        return chosen.cut
    return chosen.label if chosen.codec == "none" else f"{chosen.label}, {chosen.codec}"


def _piece(
    axes: Axes, strip: Axes, point: Breakpoint, line: Line | None, low: float, high: float, colours: dict[str, str]
) -> None:
    begin = max(point.from_up_bytes_per_s / BYTES_PER_MBIT, low)
    end = min(point.to_up_bytes_per_s / BYTES_PER_MBIT, high)
    if not begin < end:
        return
    name = _name(point)
    colour = colours.get(name, "#FFFFFF")
    strip.axvspan(begin, end, color=colour, alpha=0.85, lw=0)
    if begin > low:
        axes.axvline(begin, color=BLACK, lw=0.6, ls=(0, (2, 2)), gid=f"breakpoint-{begin!r}")
        axes.annotate(
            f"{begin:.3g}", (begin, 0), xycoords=("data", "axes fraction"), xytext=(2, 3), textcoords="offset points",
            fontsize=6.5, color=BLACK,
        )  # fmt: skip
    if line is not None:
        grid = np.geomspace(begin, end, max(2, round(_POINTS * math.log(end / begin) / math.log(high / low))))
        axes.plot(grid, line.at(grid * BYTES_PER_MBIT) * 1e3, color=colour, lw=2.4, solid_capstyle="butt", gid=name)
    share = math.log(end / begin) / math.log(high / low)
    text = shortened(name.removeprefix("after:"))
    if len(text) < share * 105:
        strip.text(math.sqrt(begin * end), 0.5, text, ha="center", va="center", fontsize=6.5, color=BLACK)


def _mark_links(axes: Axes, plans: Plans) -> None:
    """The presets along the top, and the plan that was asked for."""
    for name, link in PRESETS.items():
        axes.annotate(
            name, (link.up_mbit, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=6.5,
            color=GREY, annotation_clip=True,
        )  # fmt: skip
    chosen = plans.choice.chosen
    axes.plot(
        [plans.link.up_mbit], [chosen.predicted_s * 1e3], ls="none", marker="o", ms=6, mfc="none", mec=VERMILION,
        mew=1.6, zorder=5, gid="chosen",
        label=f"over {plans.link.name or 'this link'}: {chosen.candidate.label}, {ms(chosen.predicted_s)}",
    )  # fmt: skip
