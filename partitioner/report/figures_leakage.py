"""What each cut gives away, beside what it costs: two indicators on one axis from 0 to 1, and no guarantee.

The distance correlation is 1 where the input itself crosses and 0 where nothing of it does; the inversion error is 0
where a small trained inverter rebuilds the input and 1 where it does no better than guessing. Figures of cuts that were
not tried, taken from cuts around them, are drawn hollow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from partitioner.leakage import CutLeakage, LeakageHow
from partitioner.optimize.scan import Priced
from partitioner.report.figures_axes import GREEN, MOST_LABELS, PURPLE, explain_above

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_Figure = Callable[[CutLeakage], tuple[float | None, float, LeakageHow]]
_SERIES: tuple[tuple[str, str, str, _Figure], ...] = (
    (
        "distance correlation (1: all)",
        PURPLE,
        "o",
        lambda each: (each.distance_correlation, each.interval, each.how),
    ),
    (
        "inversion error (1: a guess)",
        GREEN,
        "s",
        lambda each: (each.inversion_error, each.inversion_interval, each.inversion_how),
    ),
)


def draw_leakage(axes: Axes, cuts: Sequence[Priced]) -> None:
    """Draw what is known of these cuts, which stand at 0, 1, 2, ..."""
    highest = 1.0
    size = 3.4 if len(cuts) <= MOST_LABELS else 1.8
    has_bounds = False
    for label, colour, marker, figure in _SERIES:
        known = [(at, *figure(each.candidate.leakage)) for at, each in enumerate(cuts) if each.candidate.leakage]
        points = [(at, value, interval, how) for at, value, interval, how in known if value is not None]
        if not points:
            continue
        highest = max(highest, *(value + interval for _, value, interval, _ in points))
        axes.plot([each[0] for each in points], [each[1] for each in points], color=colour, lw=0.9, gid=label)
        for is_bound in (False, True):
            part = [each for each in points if (each[3] == "bounded") is is_bound]
            if not part:
                continue
            has_bounds |= is_bound
            axes.errorbar(
                [each[0] for each in part],
                [each[1] for each in part],
                yerr=None if is_bound else [each[2] for each in part],
                fmt=marker,
                ms=size,
                color=colour,
                mfc="white" if is_bound else colour,
                mew=0.8,
                elinewidth=0.6,
                label="" if is_bound else label,
            )
    if has_bounds:
        axes.errorbar(
            [], [], fmt="o", mfc="white", color="black", ms=size, mew=0.8, label="not tried, from cuts around it"
        )
    axes.set_ylim(-0.03, highest * 1.06)
    axes.set_ylabel("leakage")
    explain_above(axes, columns=3)
