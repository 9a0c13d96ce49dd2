"""A picture of contests: the rate, the cut that was chosen and the latency over time. Needs the extra ``plot``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge.simulate.contest import Contest, Run
from partitioner.errors import UsageError
from partitioner.link import BYTES_PER_MBIT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".png", ".svg")
_POINTS = 2000


def check_path(path: Path) -> Path:
    """The path, where a picture can be written in the format that its name asks for.

    Raises:
        UsageError: it cannot.
    """
    if path.suffix not in FORMATS:
        raise UsageError(f"--plot {path}: a picture's name ends in {' or '.join(FORMATS)}")
    if not path.resolve().parent.is_dir():
        raise UsageError(f"--plot {path}: there is no such folder")
    return path


def draw(contests: Sequence[Contest], path: Path) -> None:
    """Write one column of three diagrams for each contest."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.5 + 6.0 * len(contests), 8.0), layout="constrained")
    canvas = FigureCanvasSVG(figure) if path.suffix == ".svg" else FigureCanvasAgg(figure)
    grid = figure.subplots(3, len(contests), squeeze=False, sharex="col")
    for column, contest in enumerate(contests):
        _rate(grid[0][column], contest)
        _plans(grid[1][column], contest)
        _latency(grid[2][column], contest)
    canvas.print_figure(path)


def _rate(axes: Axes, contest: Contest) -> None:
    end_s = max(run.answers[-1].start_s + run.answers[-1].took_s for run in (contest.policy, contest.oracle))
    times_s = [end_s * index / _POINTS for index in range(_POINTS)]
    axes.plot(times_s, [contest.trace.up.at(each) / BYTES_PER_MBIT for each in times_s], color="tab:gray", lw=1)
    axes.set_ylabel("up, Mbit/s")
    axes.set_ylim(bottom=0)
    axes.set_title(contest.trace.name)


def _plans(axes: Axes, contest: Contest) -> None:
    """From all in the cloud at the bottom to all on the device at the top."""
    runs = (contest.oracle, contest.policy)
    used = {each.candidate for run in runs for each in run.answers}
    order = sorted(used, key=lambda each: (each.depth, each.is_local, each.cut, each.codec))
    level = {candidate: index for index, candidate in enumerate(order)}
    for run, colour, width in zip(runs, ("tab:orange", "tab:blue"), (4, 1.5), strict=True):
        starts_s = [each.start_s for each in run.answers]
        axes.step(starts_s, [level[each.candidate] for each in run.answers], where="post", color=colour, lw=width)
    axes.set_yticks(range(len(order)), [each.label for each in order])


def _latency(axes: Axes, contest: Contest) -> None:
    for run, colour in (
        (contest.best_fixed, "tab:green"),
        (contest.oracle, "tab:orange"),
        (contest.policy, "tab:blue"),
    ):
        axes.plot(*_series(run), color=colour, lw=1, label=run.name if run.candidate is None else f"always {run.name}")
    if contest.course.deadline_s is not None:
        axes.axhline(contest.course.deadline_s * 1e3, color="tab:red", lw=0.8, ls="--", label="deadline")
    axes.set_ylabel("latency, ms")
    axes.set_xlabel("time, s")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper right", fontsize="small")


def _series(run: Run) -> tuple[list[float], list[float]]:
    return [each.start_s for each in run.answers], [each.took_s * 1e3 for each in run.answers]
