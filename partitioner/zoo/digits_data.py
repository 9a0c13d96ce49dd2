"""Scikit-learn's bundled handwritten digits in two fixed parts, torch-free.

360 of the 1,797 pictures are held out by a stratified draw with a fixed seed; every script, test and demo that speaks
of held-out digits means these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from partitioner.errors import ModelError

HELD_OUT = 360
_SPLIT_SEED = 1998


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Pictures as ``(N, 8, 8, 1) uint8`` and their digits as ``(N,) int64``."""

    train_pixels: npt.NDArray[np.uint8]
    train_labels: npt.NDArray[np.int64]
    held_pixels: npt.NDArray[np.uint8]
    held_labels: npt.NDArray[np.int64]


def held_out() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The 360 pictures ``(360, 8, 8, 1) uint8`` that training never saw, and their digits."""
    parts = split()
    return parts.held_pixels, parts.held_labels


def split() -> Split:
    """The data set in its two fixed parts; pixels are scaled from scikit-learn's 0..16 to 0..255.

    Raises:
        ModelError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise ModelError("the digits are part of scikit-learn: pip install 'cleft[demo]'") from error
    data = load_digits()
    pixels = np.rint(data.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    labels = data.target.astype(np.int64)
    train, held = train_test_split(
        np.arange(len(labels)), test_size=HELD_OUT, random_state=_SPLIT_SEED, stratify=labels
    )
    return Split(
        train_pixels=pixels[train], train_labels=labels[train], held_pixels=pixels[held], held_labels=labels[held]
    )
