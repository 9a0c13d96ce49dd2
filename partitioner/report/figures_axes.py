"""What all figures share: a style that no user's settings change, colours that all can tell apart, readable ticks.

Colours are those of Okabe and Ito, "Color Universal Design", 2008; each meaning has one wherever it appears. What is
not measured is drawn paler and hatched. Sizes suit a page of two columns, 7.16 inches wide, with text of 7 to 8 points.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from partitioner.cost import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import FigureBase
    from matplotlib.lines import Line2D
    from matplotlib.text import Text

BLUE, SKY, GREEN, ORANGE, VERMILION, PURPLE, YELLOW = (
    "#0072B2",
    "#56B4E9",
    "#009E73",
    "#E69F00",
    "#D55E00",
    "#CC79A7",
    "#F0E442",
)
BLACK, GREY, PALE = "#000000", "#8C8C8C", "#E8EEF3"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, YELLOW)

WIDTH_IN = 7.16
TITLE = "title"
"""Marks a figure's title among everything that is drawn."""
MOST_LABELS = 34
"""Of an axis with a name for everything on it."""
_LABEL_SPACE = 1 / 44
"""Share of an axis that a slanted name takes."""
_LONGEST, _LONGEST_TITLE = 26, 84
_LEAST = 1e-30
"""What is less has no place on an axis of powers of ten."""

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.0,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid.axis": "y",
    "axes.grid": True,
    "axes.formatter.useoffset": False,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 7.0,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "legend.columnspacing": 1.2,
    "lines.linewidth": 1.2,
    "hatch.linewidth": 0.5,
    "hatch.color": "#FFFFFF",
    "text.parse_math": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "cleft",
    "pdf.fonttype": 42,
}

HATCHES: dict[str, tuple[str, float]] = {
    "measured": ("", 1.0),
    "modelled": ("////", 0.75),
    "calibrated": ("////", 0.75),
    "assumed": ("....", 0.45),
    "predicted": ("....", 0.45),
}
"""How each origin of a number is drawn: a hatch, and how opaque."""


@contextmanager
def style() -> Iterator[None]:
    """The defaults of matplotlib with ours on top, whatever the user's settings are; as they were afterwards."""
    import warnings

    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def entitle(figure: FigureBase, text: str) -> None:
    """Write a figure's title, above it to the left."""
    text = text if len(text) <= _LONGEST_TITLE else f"{text[: _LONGEST_TITLE - 1]}…"
    figure.suptitle(text, x=0.01, ha="left", weight="bold", gid=TITLE)


def explain_above(axes: Axes, *, columns: int, more: Sequence[Line2D] = ()) -> None:
    """Put a legend above a diagram: bars in the order in which they were drawn, then lines and marks."""
    handles, labels = axes.get_legend_handles_labels()
    pairs = sorted(zip(handles, labels, strict=True), key=lambda pair: not hasattr(pair[0], "patches"))
    pairs += [(each, str(each.get_label())) for each in more]
    if pairs:
        axes.legend(
            *zip(*pairs, strict=True), loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.3, ncols=columns
        )


@dataclass(frozen=True, slots=True)
class Span:
    """Neighbours on an axis with one name: from index ``begin`` to before ``end``."""

    name: str
    begin: int
    end: int

    @property
    def middle(self) -> float:
        """Where its name goes."""
        return (self.begin + self.end - 1) / 2


def spans_of(names: Sequence[str], *, most: int = MOST_LABELS) -> list[Span]:
    """Each name by itself where there are few; else neighbours by the module that holds them, as finely as fits."""
    if len(names) <= most:
        return [Span(name, index, index + 1) for index, name in enumerate(names)]
    found = _by_module(names, 1)
    for depth in range(2, 8):
        finer = _by_module(names, depth)
        if len(finer) > most * 3 // 4:
            break
        found = finer
    return found


def _by_module(names: Sequence[str], depth: int) -> list[Span]:
    spans: list[Span] = []
    keyed = [(".".join(name.replace(":", ".").split(".")[:depth]), name) for name in names]
    for module, members in groupby(keyed, key=lambda each: each[0]):
        held = list(members)
        begin = spans[-1].end if spans else 0
        spans.append(Span(held[0][1] if len(held) == 1 else module, begin, begin + len(held)))
    return spans


def name_layers(axes: Axes, names: Sequence[str], *, always: Sequence[int] = ()) -> None:
    """Name what stands at 0, 1, 2, ... of a horizontal axis, and leave out names that would run into others.

    Modules of several layers come before single ones, and what is ``always`` named comes first.
    """
    spans = spans_of(names)
    is_grouped = len(spans) < len(names)
    spans += [Span(names[index], index, index + 1) for index in always] if is_grouped else []
    fixed = set(always)
    wanted = sorted(
        spans, key=lambda each: (not (each.end - each.begin == 1 and each.begin in fixed), each.begin - each.end)
    )
    space = max(1.0, len(names) * _LABEL_SPACE)
    placed: list[Span] = []
    for span in wanted:
        if all(abs(span.middle - other.middle) >= space for other in placed):
            placed.append(span)
    if is_grouped:
        axes.set_xticks([span.begin - 0.5 for span in spans if span.begin], minor=True)
        axes.tick_params(axis="x", which="minor", length=4, width=0.4)
    axes.set_xticks(
        [span.middle for span in placed],
        [shortened(span.name) for span in placed],
        rotation=50,
        ha="right",
        rotation_mode="anchor",
    )
    axes.tick_params(axis="x", which="major", length=0 if is_grouped else 2, pad=5 if is_grouped else 2)
    axes.set_xlim(-0.7, len(names) - 0.3)


def shortened(name: str) -> str:
    """The end of a long name, which tells it apart from its neighbours: whole modules, where that is enough."""
    if len(name) <= _LONGEST:
        return name
    _, dot, end = name[-_LONGEST:].partition(".")
    return f"…{end}" if dot and end else f"…{name[1 - _LONGEST :]}"


def plain_logarithmic(axis: Axis, unit: str = "", *, base: int = 10) -> None:
    """Ticks of a logarithmic axis as plain numbers: 0.1, 1, 10, with 2 and 5 between where few decades show."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    is_short = base == 10 and low > 0 and high < 200 * low
    axis.set_major_locator(LogLocator(base=base, subs=(1.0, 2.0, 5.0) if is_short else (1.0,), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.12g}{unit}"))
    axis.set_minor_formatter(NullFormatter())


def logarithmic(axes: Axes, which: Literal["x", "y"], values: FloatArray) -> None:
    """Make an axis one of powers of ten with plain numbers, where these values have logarithms."""
    if not (values > _LEAST).all():
        return
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    plain_logarithmic(axes.xaxis if which == "x" else axes.yaxis)


def bytes_logarithmic(axes: Axes) -> None:
    """An upright axis of bytes in powers of ten: 1 kB, 10 kB, 1 MB."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log", nonpositive="mask")
    axes.yaxis.set_major_locator(LogLocator(numticks=8))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _round_size(value)))
    axes.yaxis.set_minor_formatter(NullFormatter())


def bytes_symmetric(axes: Axes, sizes: FloatArray) -> None:
    """An upright axis of bytes that has 0 as well as powers of ten."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    over_zero = sizes[sizes > 0]
    least, most = (float(over_zero.min()), float(over_zero.max())) if len(over_zero) else (1.0, 1.0)
    first = math.floor(math.log10(least))
    axes.set_yscale("symlog", linthresh=10.0**first, linscale=0.6)
    axes.yaxis.set_major_locator(
        FixedLocator([0, *(10.0**power for power in range(first, math.ceil(math.log10(most)) + 1))])
    )
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _round_size(value)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(-0.25 * 10.0**first if len(over_zero) < len(sizes) else None, most * 1.8)


def _round_size(nbytes: float) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if nbytes >= scale * 0.999:
            return f"{nbytes / scale:g} {unit}"
    return f"{nbytes:g} B"


def energy_scale(largest_j: float) -> tuple[float, str]:
    """The factor and the unit that suit energies up to this one."""
    return (1.0, "J") if largest_j >= 1 else (1e3, "mJ") if largest_j >= 1e-3 else (1e6, "µJ")


def time_scale(largest_s: float) -> tuple[float, str]:
    """The factor and the unit that suit times up to this one."""
    return (1.0, "s") if largest_s >= 5 else (1e3, "ms") if largest_s >= 1e-3 else (1e6, "µs")


def is_clear(axes: Axes, text: Text, *, others: Sequence[Text], points: FloatArray) -> bool:
    """Whether a text runs into no other and over none of these points, (n, 2) pixels, as they are drawn now.

    An annotation's own extent holds what it points at; asking for it moves the text to its place.
    """
    from matplotlib.text import Text

    text.get_window_extent()
    box = Text.get_window_extent(text)
    inside = axes.get_window_extent()
    if not (inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1):
        return False
    if any(box.padded(1.0).overlaps(Text.get_window_extent(other)) for other in others):
        return False
    low, high = np.array([box.x0, box.y0]), np.array([box.x1, box.y1])
    return not ((points > low) & (points < high)).all(axis=1).any()
