"""How well the inputs can be rebuilt: the best of several inverters on samples that none of them saw.

Of the samples 60 % train, 20 % choose (the ridge's strength, when the network stops, which of the two it is, and how
far to trust it: what is judged is a blend with the mean input), and 20 % judge. So the error does not look better
because the best was picked, and where nothing is learnt it is the mean's, which is 1. Ridge regression needs distances
only: its solution lies in the span of the training samples, whatever the number of features.

Source: Saunders, Gammerman and Vovk, "Ridge regression learning algorithm in dual variables", ICML 1998; inner products
from distances as in classical scaling: Torgerson, Psychometrika 1952; blends as in Breiman, "Stacked regressions",
Machine Learning 1996.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from partitioner.measure.leakage.canvas import Canvas, FloatArray32
from partitioner.measure.leakage.correlation import FloatArray

Indices = npt.NDArray[np.intp]

MEAN, RIDGE, NETWORK = "mean", "ridge", "network"
_STRENGTHS = tuple(10.0**power for power in range(-7, 3))
"""Of the ridge, over the mean squared length of a training sample."""
_COMPONENTS = 128
_SURE = 2.0
"""Standard errors by which a guess must agree with the choosing samples to count at all."""
_SPREAD_OF_95 = 1.96


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Indices of the samples to train with, to choose with, and to judge by."""

    train: Indices
    choose: Indices
    judge: Indices

    @classmethod
    def of(cls, count: int, *, seed: int) -> Split:
        """Every sample in one of the three, the same for the same seed."""
        order = np.random.default_rng(seed).permutation(count)
        fifth = count // 5
        return cls(
            train=np.sort(order[2 * fifth :]), choose=np.sort(order[:fifth]), judge=np.sort(order[fifth : 2 * fifth])
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What an inverter is given of the samples.

    ``components`` (n, k) are their coordinates along the principal axes of the training samples, unit variance each;
    ``maps`` (n, channels, height, width) are there where what crosses lies over the input, ``factor`` times smaller.
    """

    components: FloatArray32
    maps: FloatArray32 | None = None
    factor: int = 1


class Network(Protocol):
    """Trains a network to rebuild the canvas; returns what it makes of every sample, (n, numbers)."""

    def __call__(self, given: Given, canvas: Canvas, split: Split, *, seed: int) -> FloatArray32:
        """The same for the same seed, on the same machine with as many threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inversion:
    """The error on the judging samples over the mean's, half of its 95 % interval, and which inverter it was."""

    error: float
    interval: float
    inverter: str


def invert(
    squared: FloatArray,
    canvas: Canvas,
    split: Split,
    network: Network,
    *,
    maps: tuple[FloatArray32, int] | None,
    seed: int,
) -> Inversion:
    """Train the inverters and judge the best of them.

    Args:
        squared: (n, n) squared distances of what crosses.
        canvas: what is to be rebuilt.
        network: trains one.
        maps: what crosses as maps of one size, and how many times smaller than the canvas they are.
    """
    mean = canvas.pixels[split.train].mean(axis=0, dtype=np.float64).astype(np.float32)
    about = Canvas(pixels=canvas.pixels - mean, size=canvas.size)
    axes = _axes(squared, split)
    guesses: dict[str, FloatArray32] = {}
    if axes is not None:
        ridges = _ridges(axes, about.rows, split)
        guesses[RIDGE] = min(ridges, key=lambda guess: _squared_error(guess, about.rows, split.choose))
    if axes is not None or maps is not None:
        components = np.zeros((len(mean), 1), np.float32) if axes is None else axes.components
        given = Given(components=components, maps=maps[0] if maps else None, factor=maps[1] if maps else 1)
        guesses[NETWORK] = network(given, about, split, seed=seed)
    blends = {name: _blended(guess, about.rows, split.choose) for name, guess in guesses.items()}
    blends[MEAN] = np.zeros_like(about.rows)
    chosen = min(blends, key=lambda name: (_squared_error(blends[name], about.rows, split.choose), name != MEAN))
    return _judged(blends[chosen], about.rows, split, chosen)


def _blended(guess: FloatArray32, wanted: FloatArray32, choose: Indices) -> FloatArray32:
    """So much of a guess as does best on the choosing samples, the rest being the mean: all, some, or none of it.

    None where the samples agree with the guess by less than their own spread lets them do by chance.
    """
    products = (guess[choose].astype(np.float64) * wanted[choose]).sum(axis=1)
    length = float(np.vdot(guess[choose], guess[choose]))
    if length == 0 or products.mean() <= _SURE * products.std(ddof=1) / math.sqrt(len(choose)):
        return np.zeros_like(guess)
    share = min(1.0, float(products.sum()) / length)
    return np.multiply(guess, share, dtype=np.float32)


def _judged(guess: FloatArray32, wanted: FloatArray32, split: Split, inverter: str) -> Inversion:
    judged = wanted[split.judge].astype(np.float64)
    errors = ((guess[split.judge] - judged) ** 2).sum(axis=1)
    bases = (judged**2).sum(axis=1)
    error = float(errors.sum() / bases.sum())
    count = len(errors)
    spread = math.sqrt(count / (count - 1) * float(((errors - error * bases) ** 2).sum())) / float(bases.sum())
    return Inversion(error=error, interval=_SPREAD_OF_95 * spread, inverter=inverter)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axes:
    """Principal axes of the training samples: all samples' coordinates along them, and the training ones' variances."""

    scores: FloatArray
    variances: FloatArray

    @property
    def components(self) -> FloatArray32:
        kept = slice(0, _COMPONENTS)
        scaled: FloatArray32 = (self.scores[:, kept] / np.sqrt(self.variances[kept])).astype(np.float32)
        return scaled


def _axes(squared: FloatArray, split: Split) -> _Axes | None:
    """None where the training samples do not differ."""
    train = split.train
    to_train = squared[:, train]
    inner = to_train - to_train.mean(axis=1, keepdims=True) - to_train[train].mean(axis=0) + to_train[train].mean()
    values, vectors = np.linalg.eigh(-0.5 * inner[train])
    order = np.flatnonzero(values > 1e-9 * max(float(values[-1]), 0.0))[::-1]
    if not len(order) or values[-1] <= 0:
        return None
    scores = -0.5 * inner @ (vectors[:, order] / np.sqrt(values[order]))
    return _Axes(scores=scores, variances=values[order] / len(train))


def _ridges(axes: _Axes, wanted: FloatArray32, split: Split) -> Iterator[FloatArray32]:
    """What ridge regressions of every strength make of the samples; what is wanted is about the training mean."""
    fit = axes.scores[split.train].T @ wanted[split.train] / len(split.train)
    total = float(axes.variances.sum())
    for strength in _STRENGTHS:
        weights = fit / (axes.variances + strength * total)[:, np.newaxis]
        yield (axes.scores @ weights).astype(np.float32)


def _squared_error(guess: FloatArray32, wanted: FloatArray32, indices: Indices) -> float:
    return float(((guess[indices] - wanted[indices]).astype(np.float64) ** 2).sum())
