"""How far an array is from the one it should be: one number, max|a - b| / max|b|.

The same number bounds what a codec may do to the tensors of a cut and tells whether a split run answered like the whole
model, so the two can be compared.
"""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt

INCOMPARABLE = sys.float_info.max
"""Stands for an infinite difference; JSON has no infinity."""


def relative_difference(found: npt.NDArray[np.generic], wanted: npt.NDArray[np.generic]) -> float:
    """max|a - b| / max|b| with b wanted; ``INCOMPARABLE`` where shape, dtype or what is not finite differs.

    Empty arrays differ by nothing. Whole numbers and booleans compare as numbers. NaN and either infinity must stand in
    the same places; the rest is compared without them. Where the rest of b is all zeros, only zeros equal it.
    """
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return INCOMPARABLE
    if np.array_equal(found, wanted):
        return 0.0
    wide = np.complex128 if wanted.dtype.kind == "c" else np.float64
    a, b = found.astype(wide).ravel(), wanted.astype(wide).ravel()
    is_finite = np.isfinite(b)
    odd_a, odd_b = a[~is_finite], b[~is_finite]
    if not np.isfinite(a[is_finite]).all() or not ((odd_a == odd_b) | (np.isnan(odd_a) & np.isnan(odd_b))).all():
        return INCOMPARABLE
    a, b = a[is_finite], b[is_finite]
    with np.errstate(over="ignore"):
        error, scale = float(np.abs(a - b).max(initial=0.0)), float(np.abs(b).max(initial=0.0))
    if error == 0.0:
        return 0.0
    return min(error / scale, INCOMPARABLE) if scale > 0 else INCOMPARABLE
