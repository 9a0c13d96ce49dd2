"""Plans against each other: latency with energy and with bytes sent, and which ones nothing beats.

A filled point is beaten by no plan in all objectives together; the stepped line joins those that nothing beats in the
two of its diagram.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from partitioner.cost import Candidate, FloatArray
from partitioner.optimize.pareto import front
from partitioner.report.figures_axes import (
    BLACK,
    BLUE,
    GREY,
    VERMILION,
    bytes_symmetric,
    energy_scale,
    entitle,
    is_clear,
    logarithmic,
    shortened,
    time_scale,
)
from partitioner.report.shown import Front, Plans
from partitioner.report.words import link_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase
    from matplotlib.text import Text

_PLACES = tuple((right, up) for up in (4, -9, 13, -18, 22, -27, 31, -36) for right in (7, -7))
"""Offsets in points at which a name is tried; those to the left end at the point."""


def draw_pareto(figure: FigureBase, model: str, plans: Plans) -> Callable[[], None]:
    """Draw one diagram for each objective beside latency; what is returned names points once the page is laid out."""
    shown = plans.front
    others = [each.name for each in shown.objectives if each.name != "latency"]
    row = figure.subplots(1, len(others), squeeze=False)[0]
    entitle(figure, f"{model} over {link_name(plans.link)}: plans that no other beats")
    later = [_diagram(axes, shown, other, plans.chosen) for axes, other in zip(row, others, strict=True)]
    handles, labels = row[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)

    def name_points() -> None:
        for name in later:
            name()

    return name_points


def _diagram(axes: Axes, shown: Front, other: str, chosen: Candidate) -> Callable[[], None]:
    scores = shown.scores[:, [shown.column("latency"), shown.column(other)]]
    time = time_scale(float(scores[:, 0].min()) * 10)
    energy = energy_scale(float(scores[:, 1].max())) if other == "energy" else (1.0, "")
    points = scores * np.array([time[0], energy[0]])
    kept = {id(trade.candidate) for trade in shown.trades}
    is_kept = np.array([id(each) in kept for each in shown.candidates])
    best = next(index for index, each in enumerate(shown.candidates) if each == chosen)
    edge = front(points)
    _points(axes, points[~is_kept], "plan that another beats", gid=f"beaten-{other}", mfc="none", mec="#9A9A9A", ms=3)
    axes.step(*points[edge].T, where="post", color=BLUE, lw=1.0, label="front of these two", gid=f"front-{other}")
    _points(axes, points[is_kept], "plan that none beats", gid=f"unbeaten-{other}", color=BLUE, ms=4)
    _points(axes, points[[best]], "best plan", gid=f"chosen-{other}", mfc="none", mec=VERMILION, mew=1.5, ms=8)
    axes.set_xlabel(f"latency, {time[1]}")
    if other == "upload":
        bytes_symmetric(axes, points[:, 1])
        axes.set_ylabel("bytes sent up")
    else:
        axes.set_ylabel(f"energy, {energy[1]} ({shown.origin})")
        logarithmic(axes, "y", points[:, 1])
    logarithmic(axes, "x", points[:, 0])
    axes.margins(x=0.2)
    named = list(dict.fromkeys([best, *edge.tolist()]))
    texts = [_short(shown.candidates[index]) for index in named]
    obstacles = np.concatenate([points, _along(points[edge])])
    return lambda: _name(axes, points[named], texts, obstacles)


def _points(axes: Axes, points: FloatArray, label: str, *, gid: str, **style: Any) -> None:
    axes.plot(*points.T, ls="none", marker="o", label=label, gid=gid, **{"mew": 0.6, **style})


def _short(candidate: Candidate) -> str:
    name = shortened(candidate.label.removeprefix("after:"))
    return name if candidate.is_local or candidate.codec == "none" else f"{name}, {candidate.codec}"


def _along(corners: FloatArray) -> FloatArray:
    """Points close to each other on the steps between corners."""
    share = np.linspace(0, 1, 40)[:, None]
    steps = [corners[:1]]
    for begin, end in pairwise(corners):
        turn = np.array([end[0], begin[1]])
        steps += [begin + (turn - begin) * share, turn + (end - turn) * share]
    return np.concatenate(steps)


def _name(axes: Axes, points: FloatArray, names: Sequence[str], obstacles: FloatArray) -> None:
    """Write each name where it runs into nothing; one that finds no place is left out."""
    placed: list[Text] = []
    pixels: FloatArray = axes.transData.transform(obstacles)
    for (x, y), name in zip(points.tolist(), names, strict=True):
        for right, up in _PLACES:
            text = axes.annotate(
                name,
                (x, y),
                xytext=(right, up),
                textcoords="offset points",
                ha="left" if right > 0 else "right",
                fontsize=6.5,
                color=BLACK,
                zorder=6,
                arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.5, "shrinkA": 0, "shrinkB": 3},
            )
            text.set_in_layout(False)
            if is_clear(axes, text, others=placed, points=pixels):
                placed.append(text)
                break
            text.remove()
