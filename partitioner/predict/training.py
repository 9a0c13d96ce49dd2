"""What a fit learns from profiles: timed segments, with weights such that every model counts alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from partitioner.predict.codecs import reply_bytes, sent_bytes
from partitioner.predict.features import Operator, operators_of
from partitioner.predict.model import FloatArray, Segments
from partitioner.profile import ALL_LOCAL, Profile

_SHARES = {"prefix": 0.5, "suffix": 0.5, "layer": 0.5, "whole": 0.3, "local": 0.3}
"""Of a model's weight, to all rows of a kind together."""
LEAST_S = 2e-6
"""Shorter runs tell of the clock more than of what was run, and are not learned from."""
_ADD_UP = 0.1
"""Layer times are learned from where their sum is within this share of the whole run: fused runtimes have none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """Operators of several models, segments of them, and what was measured.

    ``model`` says which model a segment is of, ``kind`` what it is.
    """

    operators: tuple[Operator, ...]
    segments: Segments
    measured_s: FloatArray
    weights: FloatArray
    model: tuple[int, ...]
    kind: tuple[str, ...]

    def of(self, model: int, kind: str) -> list[int]:
        """Rows of one model and kind."""
        pairs = zip(self.model, self.kind, strict=True)
        return [row for row, pair in enumerate(pairs) if pair == (model, kind)]


Row = tuple[str, int, int, float, float, float]
"""Kind, first and last operator, bytes in and out, measured seconds."""


def training_of(profiles: Sequence[Profile]) -> Training:
    """Every segment that was measured.

    Raises:
        ProfileError: a profile is too old.
    """
    operators: list[Operator] = []
    rows: list[Row] = []
    model: list[int] = []
    weights: list[float] = []
    for number, profile in enumerate(profiles):
        own = operators_of(profile)
        found = _rows(profile, own, len(operators))
        counts = {kind: sum(row[0] == kind for row in found) for kind in _SHARES}
        operators += own
        rows += found
        model += [number] * len(found)
        weights += [_SHARES[row[0]] / counts[row[0]] for row in found]
    return Training(
        operators=tuple(operators),
        segments=Segments.of(
            [
                (begin, end, given, made, kind not in ("layer", "whole"), kind == "whole")
                for kind, begin, end, given, made, _ in rows
            ]
        ),
        measured_s=np.array([row[-1] for row in rows], dtype=np.float64),
        weights=np.array(weights, dtype=np.float64),
        model=tuple(model),
        kind=tuple(row[0] for row in rows),
    )


def bounds_of(profile: Profile, operators: Sequence[Operator]) -> list[int]:
    """For each number of layers, how many operators they are."""
    counts = np.bincount([each.layer for each in operators], minlength=len(profile.layers))
    return [0, *np.cumsum(counts).tolist()]


def _rows(profile: Profile, operators: Sequence[Operator], offset: int) -> list[Row]:
    bounds = [offset + bound for bound in bounds_of(profile, operators)]
    begin, end = bounds[0], bounds[-1]
    given = sent_bytes(profile.cuts[0])
    found: list[Row] = [("whole", begin, end, 0.0, 0.0, profile.whole.median_s)]
    for cut in profile.cuts:
        middle, reply = bounds[min(cut.depth, len(profile.layers))], reply_bytes(cut)
        if cut.prefix.how == "measured" and middle > begin:
            kind = "local" if cut.name == ALL_LOCAL else "prefix"
            found.append((kind, begin, middle, given, sent_bytes(cut), cut.prefix.median_s))
        if cut.suffix.how == "measured" and cut.name != ALL_LOCAL and middle < end:
            found.append(("suffix", middle, end, sent_bytes(cut), reply, cut.suffix.median_s))
    total_s = sum(layer.forward.median_s for layer in profile.layers)
    if abs(total_s - profile.whole.median_s) <= _ADD_UP * profile.whole.median_s:
        for index, layer in enumerate(profile.layers):
            found.append(("layer", bounds[index], bounds[index + 1], 0.0, 0.0, layer.forward.median_s))
    return [row for row in found if row[-1] > LEAST_S and row[1] < row[2]]
