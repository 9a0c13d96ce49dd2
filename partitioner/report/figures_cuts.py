"""What every cut costs over one link, stacked by where the time goes; below its energy and leakage, where known.

Cuts stand from all in the cloud to all on the device, each with its best codec and runtimes. The axis ends where the
plans that matter do: a cut that sends megabytes over a thin link goes through the top, and is marked there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from partitioner.cost import Candidate, FloatArray
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
    entitle,
    explain_above,
    name_layers,
    shortened,
    time_scale,
)
from partitioner.report.figures_leakage import draw_leakage
from partitioner.report.shown import Plans
from partitioner.report.words import link_name
from partitioner.units import joules, ms

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
_MUCH, _MOST = 1.6, 4.0
"""How many times as high as what matters an axis goes to show everything, and half of the cuts."""


def draw_cuts(figure: FigureBase, model: str, plans: Plans) -> None:
    """Draw the cost of every cut that is allowed."""
    has_energy, has_leakage = plans.has_energy, plans.table.has_leakage
    rows = figure.subplots(1 + has_energy + has_leakage, 1, sharex=True, squeeze=False)[:, 0]
    entitle(figure, f"{model} over {link_name(plans.link)}: what each cut costs")
    _draw_times(rows[0], plans)
    if has_energy:
        _draw_energies(rows[1], plans)
    last = rows[-1]
    if has_leakage:
        draw_leakage(last, plans.cuts)
    chosen = _place(plans)
    ends = [index for index, each in enumerate(plans.cuts) if each.candidate.cut in (ALL_CLOUD, ALL_LOCAL)]
    name_layers(last, [each.candidate.label.removeprefix("after:") for each in plans.cuts], always=[chosen, *ends])
    last.set_xlabel("cut after ..., from all in the cloud (left) to all on the device (right)")
    for place, label in zip(last.get_xticks(), last.get_xticklabels(), strict=True):
        if place == chosen:
            label.set(color=VERMILION, weight="bold")
    figure.align_ylabels(list(rows))


def _draw_times(axes: Axes, plans: Plans) -> None:
    totals_s = [each.predicted_s for each in plans.cuts]
    top_s = _top(plans, totals_s)
    factor, unit = time_scale(top_s)
    origins = [_origin(each.candidate) for each in plans.cuts]
    _stack(axes, [each.breakdown for each in plans.cuts], TIMES, factor, origins)
    _explain(axes, origins)
    _finish(axes, np.array(totals_s), top_s, factor, ms)
    if plans.deadline_s is not None and plans.deadline_s <= top_s:
        axes.axhline(plans.deadline_s * factor, color=BLACK, lw=0.9, ls=":", label="deadline")
    chosen = _place(plans)
    _mark(axes, chosen, totals_s[chosen] * factor, f"best: {shortened(plans.chosen.label)}, {ms(totals_s[chosen])}")
    axes.set_ylabel(f"latency, {unit}")
    explain_above(axes, columns=4)


def _draw_energies(axes: Axes, plans: Plans) -> None:
    energies = [each.energy for each in plans.cuts]
    totals_j = [each.total_j if each else 0.0 for each in energies]
    top_j = _top(plans, totals_j)
    factor, unit = energy_scale(top_j)
    origins = [each.origin if each else None for each in energies]
    _stack(axes, energies, ENERGIES, factor, origins)
    _finish(axes, np.array(totals_j), top_j, factor, joules)
    _explain(axes, origins)
    chosen = _place(plans)
    _mark(axes, chosen, totals_j[chosen] * factor, f"best plan: {joules(totals_j[chosen])}")
    axes.set_ylabel(f"energy, {unit}")
    explain_above(axes, columns=4)


def _stack(axes: Axes, costs: Sequence[object], stack: Stack, factor: float, origins: Sequence[str | None]) -> None:
    base = np.zeros(len(costs))
    many = len(costs) > MOST_LABELS
    for label, terms, colour in stack:
        part = np.array([sum(getattr(each, term, 0.0) for term in terms) for each in costs]) * factor
        if not part.any():
            continue
        bars = axes.bar(
            np.arange(len(costs)),
            part,
            bottom=base,
            width=1.0 if len(costs) > 2 * MOST_LABELS else 0.8,
            color=colour,
            lw=0,
            label=label,
        )
        for index, bar in enumerate(bars):
            bar.set_gid(f"{terms[0]}-{index}")
            if origin := origins[index]:
                hatch, alpha = HATCHES[origin]
                bar.set_alpha(alpha)
                bar.set_hatch("" if many else hatch)
        base += part


def _explain(axes: Axes, origins: Sequence[str | None]) -> None:
    """Say how what was not measured is drawn."""
    for origin, (hatch, alpha) in HATCHES.items():
        if origin in origins and origin != "measured":
            axes.bar([0], [0], color=BLACK, alpha=alpha, hatch=hatch, lw=0, label=f"{origin} (paler)")


def _origin(candidate: Candidate) -> str:
    """What the times of a plan rest on."""
    return "predicted" if candidate.is_predicted else "calibrated" if candidate.is_calibrated else "measured"


def _place(plans: Plans) -> int:
    return next(index for index, each in enumerate(plans.cuts) if each.candidate == plans.chosen)


def _top(plans: Plans, totals: Sequence[float]) -> float:
    """Where the axis ends: above all that matters and most of the rest, and above everything where that is not far."""
    matters = (ALL_CLOUD, ALL_LOCAL, plans.chosen.cut)
    needed = max(total for each, total in zip(plans.cuts, totals, strict=True) if each.candidate.cut in matters)
    needed = max(needed, min(float(np.median(totals)), _MOST * needed))
    highest = max(totals)
    return _HEADROOM * (highest if highest <= _MUCH * needed else needed) or 1e-9


def _finish(axes: Axes, totals: FloatArray, top: float, factor: float, text: Callable[[float], str]) -> None:
    """End the axis, and say what goes beyond."""
    axes.set_ylim(0, top * factor)
    above = np.flatnonzero(totals > top)
    if len(above):
        axes.plot(
            above,
            np.full(len(above), top * factor * 0.98),
            ls="none",
            marker="^",
            ms=3.5,
            color=BLACK,
            mec="white",
            mew=0.3,
            label=f"goes on, up to {text(float(totals.max()))}",
        )


def _mark(axes: Axes, at: int, height: float, label: str) -> None:
    """Stand a mark on the best cut."""
    axes.plot(
        [at],
        [height],
        ls="none",
        marker=7,
        ms=7,
        color=VERMILION,
        mec="white",
        mew=0.5,
        label=label,
        gid="chosen",
        clip_on=False,
        zorder=5,
    )
