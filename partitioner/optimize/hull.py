"""The lower envelope of lines a + b * x for x from 0 upward: which is lowest where.

From the lowest at x = 0 the walk goes to the line that crosses it next, and on until nothing flatter crosses. Each step
is one vectorised pass, so k pieces of n lines cost O(k * n); the crossings are exact quotients, not samples.

Source: Eisner and Severance, "Mathematical techniques for efficient record segmentation", JACM 1976.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from partitioner.cost import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Line ``row`` is lowest from ``begin`` to ``end`` (infinite for the last)."""

    row: int
    begin: float
    end: float


def lower_envelope(offsets: FloatArray, slopes: FloatArray) -> tuple[Piece, ...]:
    """The pieces in order of x; of lines that are equal the first. Slopes are 0 or more; both arrays (n,), finite."""
    row = int(np.lexsort((np.arange(len(offsets)), slopes, offsets))[0])
    begin = 0.0
    pieces: list[Piece] = []
    while True:
        flatter = np.flatnonzero(slopes < slopes[row])
        if not len(flatter):
            return (*pieces, Piece(row=row, begin=begin, end=np.inf))
        with np.errstate(over="ignore"):
            crossings = (offsets[flatter] - offsets[row]) / (slopes[row] - slopes[flatter])
        least = max(float(crossings.min()), begin)
        if least == np.inf:
            return (*pieces, Piece(row=row, begin=begin, end=np.inf))
        among = flatter[crossings <= least]
        following = int(among[np.argmin(slopes[among])])
        if least > begin:
            pieces.append(Piece(row=row, begin=begin, end=least))
        row, begin = following, least
