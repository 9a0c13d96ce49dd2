"""The figures of a profile and its plans on one page, and pages as files.

Figures are vector graphics first: SVG and PDF of one drawing are the same bytes each time, whatever the clock, the
user's settings and the order of runs. matplotlib (the extra ``plot``) is imported when something is drawn.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from partitioner.compare import Comparison
from partitioner.cost import Load
from partitioner.errors import UsageError
from partitioner.files import check_writable, replace_bytes, replace_text
from partitioner.link import Link
from partitioner.planner import Planner
from partitioner.profile import Profile
from partitioner.report.figures_axes import TITLE, WIDTH_IN, style
from partitioner.report.figures_compare import draw_comparison
from partitioner.report.figures_cuts import draw_cuts
from partitioner.report.figures_layers import MOST_WHISKERS, draw_layers
from partitioner.report.figures_pareto import draw_pareto
from partitioner.report.figures_rates import draw_rates
from partitioner.report.shown import Shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.text import Text

FIGURES = ("layers", "cuts", "rates", "pareto")
FORMATS = (".png", ".svg", ".pdf")

_DOTS_PER_INCH = 200
_PLACES = 5
_HEIGHTS_IN = {"layers": 3.0, "cuts": 3.3, "rates": 3.1, "pareto": 3.1}
_MORE_IN = 1.4
_COMPARISON_IN = 4.4
_UNDATED: dict[str, dict[str, str | None]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def check_picture(path: Path, *, formats: Sequence[str] = FORMATS) -> Path:
    """The path, where a picture can be written in the format that its name asks for.

    Raises:
        UsageError: it cannot.
    """
    if path.suffix.lower() not in formats:
        raise UsageError(f"-o {path}: the name of what is drawn ends in {', '.join(formats[:-1])} or {formats[-1]}")
    check_writable(path, flag="-o")
    return path


def drawable(shown: Shown) -> tuple[str, ...]:
    """The figures that can be drawn of it."""
    if shown.plans is None:
        return ("layers",)
    return tuple(name for name in FIGURES if name != "rates" or shown.plans.rates is not None)


def draw(shown: Shown, wanted: Sequence[str]) -> Figure:
    """One page with these figures, one below the other."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    heights = [_height_in(shown, name) for name in wanted]
    figure = Figure(figsize=(WIDTH_IN, sum(heights)), layout=ConstrainedLayoutEngine(h_pad=0.06, w_pad=0.05))
    parts = figure.subfigures(len(wanted), 1, squeeze=False, height_ratios=heights)[:, 0]
    finish = [_draw(part, shown, name) for part, name in zip(parts, wanted, strict=True)]
    settle(figure)
    for each in finish:
        each()
    return figure


def settle(figure: Figure) -> None:
    """Lay a page out for good, to 1e-5 of its size: the last bits of a layout are not the same twice."""
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for part in figure.subfigs:
        part.bbox_relative.set_points(part.bbox_relative.get_points().round(_PLACES))
    for axes in figure.axes:
        axes.set_position(Bbox(axes.get_position().get_points().round(_PLACES)))
    for title in figure.findobj(lambda each: each.get_gid() == TITLE):
        x, y = cast("Text", title).get_position()
        cast("Text", title).set_position((round(x, _PLACES), round(y, _PLACES)))


def save(figure: Figure, path: Path) -> None:
    """Write a page in the format that the file's name asks for; whoever reads it meanwhile sees no half of it.

    Raises:
        OSError: it cannot be written.
    """
    suffix = path.suffix.lower()
    with io.BytesIO() as drawn:
        figure.savefig(drawn, format=suffix[1:], dpi=_DOTS_PER_INCH, metadata=_UNDATED[suffix])
        replace_bytes(path, drawn.getvalue())


def write(shown: Shown, wanted: Sequence[str], path: Path) -> None:
    """Draw these figures and write them into one file."""
    with style():
        save(draw(shown, wanted), path)


def write_page(
    planner: Planner | None, edge: Profile, cloud: Sequence[Profile], *, link: Link, load: Load, path: Path
) -> None:
    """Write the page on which rates, round trip and load can be moved from these.

    Raises:
        UsageError: there are no plans, or their objective is none that the page can compute.
    """
    if planner is None:
        raise UsageError(f"-o {path}: a page is of plans: give the worker's profile with --cloud")
    from partitioner.report.page import render

    title = f"{edge.model_name}: where to cut"
    replace_text(path, render(planner, edge, cloud[0] if cloud else None, link=link, load=load, title=title))


def write_comparison(found: Comparison, path: Path) -> None:
    """Draw two profiles side by side and write that into a file."""
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(WIDTH_IN, _COMPARISON_IN), layout="constrained")
        draw_comparison(figure, found)
        settle(figure)
        save(figure, path)


def _height_in(shown: Shown, name: str) -> float:
    more = 0
    if name == "layers":
        more = (shown.edge.energy is not None) + (len(shown.edge.layers) > MOST_WHISKERS)
    elif name == "cuts" and shown.plans is not None:
        more = shown.plans.has_energy + shown.plans.table.has_leakage
    return _HEIGHTS_IN[name] + more * _MORE_IN


def _draw(part: SubFigure, shown: Shown, name: str) -> Callable[[], None]:
    plans = shown.plans
    if name == "layers":
        draw_layers(part, shown.edge, plans)
        return _nothing
    assert plans is not None
    model = shown.edge.model_name
    if name == "pareto":
        return draw_pareto(part, model, plans)
    (draw_cuts if name == "cuts" else draw_rates)(part, model, plans)
    return _nothing


def _nothing() -> None:
    """There is nothing to finish."""
