"""Two profiles of one model as a figure: the time of every layer on both, and below it their ratio.

The ratio stands on an axis of doublings, of powers of ten where these are many. A layer whose difference is no more
than noise, or was not measured, is drawn in grey: its ratio means nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from partitioner.compare import Comparison, LayerPair
from partitioner.report.figures_axes import (
    BLACK,
    BLUE,
    GREY,
    MOST_LABELS,
    ORANGE,
    entitle,
    explain_above,
    name_layers,
    plain_logarithmic,
    time_scale,
)
from partitioner.report.words import told_apart
from partitioner.units import digits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

_DOUBLINGS = 64
"""How many times the least ratio the largest one is, from which doublings are too many to name."""


def draw_comparison(figure: FigureBase, found: Comparison) -> None:
    """Draw the layers that both profiles have."""
    times, ratios = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    name = found.a.model_name
    ratio = found.whole.ratio
    whole = "" if ratio is None else f": the whole takes {digits(ratio)} times as long on B"
    entitle(figure, f"{name}, A and B{whole}")
    _draw_times(times, found)
    _draw_ratios(ratios, found.layers)
    name_layers(ratios, [pair.a.id for pair in found.layers])
    ratios.set_xlabel("layer, in the order of running")
    figure.align_ylabels([times, ratios])


def _draw_times(axes: Axes, found: Comparison) -> None:
    layers = found.layers
    scale, unit = time_scale(max((max(each.forward.a.median_s, each.forward.b.median_s) for each in layers), default=0))
    at = np.arange(len(layers))
    labels = told_apart(found.a, found.b)
    if len(layers) <= MOST_LABELS:
        for shift, side, colour, label in ((-0.2, "a", BLUE, labels[0]), (0.2, "b", ORANGE, labels[1])):
            timings = [getattr(each.forward, side) for each in layers]
            axes.bar(
                at + shift, [each.median_s * scale for each in timings], width=0.4, color=colour, label=label, lw=0
            )
            axes.errorbar(
                at + shift,
                [each.median_s * scale for each in timings],
                yerr=[each.spread_s * scale / 2 for each in timings],
                fmt="none",
                ecolor="#444444",
                elinewidth=0.6,
            )
    else:
        for side, colour, label in (("a", BLUE, labels[0]), ("b", ORANGE, labels[1])):
            heights = [getattr(each.forward, side).median_s * scale for each in layers]
            axes.step(at, heights, where="mid", color=colour, lw=0.9, label=label)
    axes.set_ylim(bottom=0)
    axes.set_ylabel(f"latency, {unit}")
    explain_above(axes, columns=2)


def _draw_ratios(axes: Axes, layers: Sequence[LayerPair]) -> None:
    shown = [(index, each.forward) for index, each in enumerate(layers) if each.forward.ratio]
    low, high = _reach([pair.ratio for _, pair in shown if pair.ratio])
    base = 2 if high < _DOUBLINGS * low else 10
    axes.set_yscale("log", base=base)
    axes.axhline(1, color=BLACK, lw=0.7)
    for colour, label, verdicts in (
        (BLUE, "B takes less", ("less",)),
        (ORANGE, "B takes more", ("more",)),
        (GREY, "no difference beyond noise, or not measured", ("same", "unknown")),
    ):
        points = [(index, pair.ratio) for index, pair in shown if pair.verdict in verdicts]
        if not points:
            continue
        at, ratios = zip(*points, strict=True)
        axes.vlines(at, 1, ratios, color=colour, lw=1.2 if len(layers) <= MOST_LABELS else 0.7)
        axes.plot(at, ratios, ls="none", marker="o", ms=3.2 if len(layers) <= MOST_LABELS else 1.8, color=colour,
                  label=label, gid=f"ratio-{verdicts[0]}")  # fmt: skip
    axes.set_ylim(low, high)
    plain_logarithmic(axes.yaxis, "×", base=base)
    axes.set_ylabel("time, B / A")
    explain_above(axes, columns=3)


def _reach(ratios: Sequence[float]) -> tuple[float, float]:
    """The ratios with room around them, and at least from a half to double."""
    return min([0.5, *(each / 1.15 for each in ratios)]), max([2.0, *(each * 1.15 for each in ratios)])
