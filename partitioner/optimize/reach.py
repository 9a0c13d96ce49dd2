"""The lowest of lines that each end somewhere: which row is best where, if a row may be chosen up to its reach only.

Between two neighbouring ends the same rows stand, so the answer there is their lower envelope (``hull``). n lines with
m different ends and envelopes of k pieces cost O(m * k * n). Lines may bend all together: they come in spans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from partitioner.cost import FloatArray
from partitioner.optimize.hull import lower_envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Every row's line offset + slope * x from ``begin`` to ``end``; arrays (n,), slopes 0 or more.

    A row whose offset is not a number is never chosen.
    """

    begin: float
    end: float
    offsets: FloatArray
    slopes: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """``row`` is best from ``begin`` to ``end``; None: no row reaches it."""

    row: int | None
    begin: float
    end: float


def reach_of(spans: Sequence[Lines], limit: float) -> FloatArray:
    """How far each row stays at most at a limit, for lines that never fall: (n,); below 0 where it never does."""
    reach = np.full(len(spans[0].offsets), -1.0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for span in spans:
            crossing = (limit - span.offsets) / span.slopes
            crossing = np.where(span.slopes > 0, crossing, np.where(span.offsets <= limit, np.inf, -1.0))
            reach = np.where(crossing >= span.begin, np.minimum(crossing, span.end), reach)
    return reach


def best_stretches(spans: Sequence[Lines], reach: FloatArray) -> list[Stretch]:
    """The best row from 0 to infinity, neighbours differing."""
    ends = sorted({0.0, np.inf, *(span.begin for span in spans), *reach[reach > 0].tolist()})
    found: list[Stretch] = []
    for begin, end in pairwise(ends):
        lines = next(span for span in spans if span.begin <= begin < span.end)
        for part in _between(lines, reach, begin, end):
            if found and found[-1].row == part.row:
                found[-1] = replace(found[-1], end=part.end)
            else:
                found.append(part)
    return found


def _between(lines: Lines, reach: FloatArray, begin: float, end: float) -> list[Stretch]:
    rows = np.flatnonzero((reach >= end) & ~np.isnan(lines.offsets))
    if not len(rows):
        return [Stretch(row=None, begin=begin, end=end)]
    return [
        Stretch(row=int(rows[piece.row]), begin=max(begin, piece.begin), end=min(end, piece.end))
        for piece in lower_envelope(lines.offsets[rows], lines.slopes[rows])
        if piece.begin < end and piece.end > begin
    ]
