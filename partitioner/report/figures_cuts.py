"""What every cut costs over one link, stacked by where the time goes, and by where the device's energy goes below.

Cuts stand from all in the cloud to all on the device, each with its best codec and runtimes. The axis ends where the
plans that matter do: a cut that sends megabytes over a thin link goes through the top, and is marked there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from partitioner.energy import ORIGINS
from partitioner.profile import ALL_CLOUD, ALL_LOCAL
from partitioner.report.figures_axes import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    HATCHES,
    MOST_LABELS,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    YELLOW,
    energy_scale,
    name_layers,
    quantity,
    time_scale,
)
from partitioner.report.shown import Plans
from partitioner.report.words import link_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

Stack = tuple[tuple[str, tuple[str, ...], str], ...]
"""From the bottom to the top: what it is called, the terms of a breakdown, its colour."""

TIMES: Stack = (
    ("computing on the device", ("head_s",), BLUE),
    ("codecs on the device", ("encode_s", "decode_reply_s"), SKY),
    ("up", ("up_s",), ORANGE),
    ("round trip, queue", ("rtt_s", "queue_s"), GREY),
    ("codecs in the cloud", ("decode_s", "encode_reply_s"), PURPLE),
    ("computing in the cloud", ("tail_s",), GREEN),
    ("down", ("down_s",), YELLOW),
)
ENERGIES: Stack = (
    ("computing", ("head_j",), BLUE),
    ("codecs", ("codec_j",), SKY),
    ("radio up", ("up_j",), ORANGE),
    ("radio between frames", ("awake_j",), PURPLE),
    ("radio down", ("down_j",), YELLOW),
    ("waiting", ("wait_j",), GREY),
)
_HEADROOM = 1.25
_MUCH = 1.6
"""How far beyond what matters an axis goes to show everything."""


def draw_cuts(figure: FigureBase, model: str, plans: Plans) -> None:
    """Draw the cost of every cut that is allowed."""
    has_energy = has_energies(plans)
    rows = figure.subplots(2 if has_energy else 1, 1, sharex=True, squeeze=False)
    name, axes = link_name(plans.link), rows[0][0]
    what = "latency and the device's energy" if has_energy else "latency"
    figure.suptitle(f"{model} over {name}: {what} against the cut", x=0.01, ha="left", weight="bold")
    totals_s = [each.predicted_s for each in plans.cuts]
    top_s = _top(plans, totals_s)
    factor, unit = scale = time_scale(top_s)
    breakdowns = [each.breakdown for each in plans.cuts]
    _stack(axes, breakdowns, TIMES, factor)
    _finish(axes, np.array(totals_s), top_s, scale)
    if plans.deadline_s is not None and plans.deadline_s <= top_s:
        axes.axhline(plans.deadline_s * factor, color=BLACK, lw=0.9, ls=":", label="deadline")
    axes.set_ylabel(f"latency, {unit}")
    if has_energy:
        _draw_energies(rows[1][0], plans)
    last = rows[-1][0]
    chosen = _place(plans)
    ends = [index for index, each in enumerate(plans.cuts) if each.candidate.cut in (ALL_CLOUD, ALL_LOCAL)]
    name_layers(last, [each.candidate.label.removeprefix("after:") for each in plans.cuts], always=[chosen, *ends])
    last.set_xlabel("cut after ..., from all in the cloud (left) to all on the device (right)")
    for row in rows:
        row[0].legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.3, ncols=5)
    _mark(axes, chosen, f"best: {plans.chosen.label}, {quantity(totals_s[chosen], scale)}", totals_s[chosen] * factor)
    figure.align_ylabels([row[0] for row in rows])


def has_energies(plans: Plans) -> bool:
    """Whether anybody knows what one of the cuts takes from the device."""
    return any(each is not None for each in plans.energies)


def _draw_energies(axes: Axes, plans: Plans) -> None:
    totals_j = [each.total_j if each else 0.0 for each in plans.energies]
    top_j = _top(plans, totals_j)
    factor, unit = scale = energy_scale(top_j)
    origins = [each.origin if each else None for each in plans.energies]
    _stack(axes, plans.energies, ENERGIES, factor, origins)
    _finish(axes, np.array(totals_j), top_j, scale)
    for origin in ORIGINS:
        if origin in origins:
            hatch, alpha = HATCHES[origin]
            axes.bar([0], [0], color=BLACK, alpha=alpha, hatch=hatch, lw=0, label=origin)
    chosen = _place(plans)
    axes.plot([chosen], [totals_j[chosen] * factor], ls="none", marker="v", ms=5, color=VERMILION, label="best plan")
    axes.set_ylabel(f"energy, {unit}")


def _stack(
    axes: Axes, costs: Sequence[object], stack: Stack, factor: float, origins: Sequence[str | None] | None = None
) -> None:
    base = np.zeros(len(costs))
    many = len(costs) > 2 * MOST_LABELS
    for label, terms, colour in stack:
        part = np.array([sum(getattr(each, term, 0.0) for term in terms) for each in costs]) * factor
        if not part.any():
            continue
        bars = axes.bar(
            np.arange(len(costs)), part, bottom=base, width=1.0 if many else 0.8, color=colour, lw=0, label=label
        )
        for index, bar in enumerate(bars):
            bar.set_gid(f"{terms[0]}-{index}")
            if origins and (origin := origins[index]):
                hatch, alpha = HATCHES[origin]
                bar.set_alpha(alpha)
                bar.set_hatch("" if many else hatch)
        base += part


def _place(plans: Plans) -> int:
    return next(index for index, each in enumerate(plans.cuts) if each.candidate == plans.chosen)


def _top(plans: Plans, totals: Sequence[float]) -> float:
    """Where the axis ends: above all that matters, and above everything where that is not much more."""
    matters = (ALL_CLOUD, ALL_LOCAL, plans.chosen.cut)
    needed = max(total for each, total in zip(plans.cuts, totals, strict=True) if each.candidate.cut in matters)
    highest = max(totals)
    return _HEADROOM * (highest if highest <= _MUCH * needed else needed) or 1e-9


def _finish(axes: Axes, totals: np.ndarray, top: float, scale: tuple[float, str]) -> None:
    """End the axis, and say what goes beyond."""
    axes.set_ylim(0, top * scale[0])
    above = np.flatnonzero(totals > top)
    if len(above):
        axes.plot(
            above,
            np.full(len(above), top * scale[0] * 0.98),
            ls="none",
            marker="^",
            ms=3.5,
            color=BLACK,
            mec="white",
            mew=0.3,
            label=f"goes on, to {quantity(float(totals.max()), scale)} at most",
        )


def _mark(axes: Axes, at: int, text: str, height: float) -> None:
    """Point at the best cut, from the side where there is room."""
    left, right = axes.get_xlim()
    share = (at - left) / (right - left)
    side = "left" if share < 0.3 else "right" if share > 0.7 else "center"
    axes.annotate(
        text,
        xy=(at, height),
        xytext=(0, 14),
        textcoords="offset points",
        ha=side,
        va="bottom",
        fontsize=7.5,
        weight="bold",
        color=VERMILION,
        arrowprops={"arrowstyle": "-|>", "color": VERMILION, "lw": 1.0, "shrinkA": 0, "shrinkB": 1},
        bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.85},
        gid="chosen",
    )
