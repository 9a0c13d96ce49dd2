"""Times of segments as sums over operators, and the parameters under which they come closest to measured ones.

    operator = exp(features . theta) * (work/rate + moved bytes/rate + weight bytes/rate) + launch
    segment  = sum of its operators + start + bytes in/rate + bytes out/rate

A device's own rates are the same for all operators; in log space, a log-quadratic of the operator's sizes corrects
them. What is fitted are whole segments (prefixes, suffixes, and single layers where those add up), since runtimes fuse
and layer times do not add. The logarithm of predicted over measured time is minimised, by least squares with a ridge
and with Huber's weights, by the method of Levenberg and Marquardt: tens of milliseconds for a few thousand operators,
since every segment is an interval of them and one running sum serves all.

Source: Kang et al., "Neurosurgeon", ASPLOS 2017 (a regression per kind of layer); Williams et al., "Roofline", CACM
2009; Marquardt, "An algorithm for least-squares estimation of nonlinear parameters", SIAM 1963.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from partitioner.predict.features import Operator

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

RATES: Mapping[str, float] = {
    "s per operation": 2e-11,
    "s per byte moved": 1e-10,
    "s per weight byte": 1e-10,
    "s per operator": 3e-6,
    "s per segment": 5e-5,
    "s per byte in": 2.5e-10,
    "s per byte out": 2.5e-10,
    "of it when warm": 1.0,
}
"""A device's rates, and where the search for them begins."""

_PER_OPERATOR = 3
"""Rates that features correct; then come an operator's launch, a segment's own, and what a warm launch takes."""
_LAUNCH, _SEGMENT, _WARM = 3, slice(4, 7), 7
_RIDGES = (("*", 1.5), (" ", 0.3), (":", 0.01), ("", 0.02))
"""By what a parameter's name has in it: products, sizes, an operator's own level, a family's."""
_RATE_RIDGE = 3e-3
_HUBER = 0.15
_LARGEST_EXPONENT = 10.0
_STEPS = 40
_ENOUGH = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """What was timed: operators ``begin`` to ``end`` of a list, with the bytes that go in and come out.

    ``is_cold`` is 0 where a run began at once after another and has no beginning and no end of its own (a layer, a
    repeated whole run).
    """

    begin: IntArray
    end: IntArray
    in_bytes: FloatArray
    out_bytes: FloatArray
    is_cold: FloatArray
    is_warm_whole: FloatArray

    @staticmethod
    def of(rows: Sequence[tuple[int, int, float, float, bool, bool]]) -> Segments:
        """From rows of (begin, end, bytes in, bytes out, is cold, is a warm run of the whole)."""
        columns = [np.array(column) for column in zip(*rows, strict=True)] if rows else [np.zeros(0)] * 6
        return Segments(
            begin=columns[0].astype(np.int64),
            end=columns[1].astype(np.int64),
            in_bytes=columns[2].astype(np.float64),
            out_bytes=columns[3].astype(np.float64),
            is_cold=columns[4].astype(np.float64),
            is_warm_whole=columns[5].astype(np.float64),
        )


class Model:
    """Times of segments of a list of operators, as a function of named parameters."""

    def __init__(self, operators: Sequence[Operator], names: Sequence[str] | None = None) -> None:
        found = dict.fromkeys(name for operator in operators for name in operator.features)
        self.names = (*RATES, *(found if names is None else names))
        index = {name: position for position, name in enumerate(self.names)}
        self._features = np.zeros((len(operators), len(self.names)))
        for row, operator in enumerate(operators):
            for name, value in operator.features.items():
                if name in index:
                    self._features[row, index[name]] = value
        self._amounts = np.array(
            [[each.work, each.moved_bytes, each.weight_bytes] for each in operators], dtype=np.float64
        ).reshape(len(operators), _PER_OPERATOR)
        self.start = np.zeros(len(self.names))
        self.start[: len(RATES)] = np.log(list(RATES.values()))
        self.ridge = np.array([_ridge(name) for name in self.names])

    def operator_times_s(self, theta: FloatArray) -> FloatArray:
        """What each operator takes, in seconds: (n,)."""
        parts, launch_s = self._parts(theta)
        times_s: FloatArray = parts.sum(axis=1) + launch_s
        return times_s

    def times_s(self, theta: FloatArray, segments: Segments) -> FloatArray:
        """What each segment takes, in seconds: (m,)."""
        return self._times_s(theta, segments)[0]

    def fit(self, segments: Segments, measured_s: FloatArray, weights: FloatArray) -> FloatArray:
        """The parameters under which predicted times come closest to measured ones; rows of weight 0 do not count."""
        logs = np.log(measured_s)
        theta: FloatArray = self.start.copy()
        damping = 1e-2
        loss = self._loss(theta, segments, logs, weights)
        for _ in range(_STEPS):
            times_s, slopes = self._slopes(theta, segments)
            errors = np.log(times_s) - logs
            trusted = weights * np.minimum(1.0, _HUBER / np.maximum(np.abs(errors), 1e-12))
            pull = slopes.T @ (trusted * errors) + self.ridge * (theta - self.start)
            curve = slopes.T @ (trusted[:, None] * slopes) + np.diag(self.ridge)
            better, damping = self._step(theta, loss, pull, curve, damping, (segments, logs, weights))
            if better is None:
                break
            theta, gain = better[0], loss - better[1]
            loss = better[1]
            if gain < _ENOUGH * loss:
                break
        return theta

    def _step(
        self,
        theta: FloatArray,
        loss: float,
        pull: FloatArray,
        curve: FloatArray,
        damping: float,
        data: tuple[Segments, FloatArray, FloatArray],
    ) -> tuple[tuple[FloatArray, float] | None, float]:
        """A step that lessens the loss and the damping for the next one; None where there is no such step."""
        for _ in range(10):
            damped = curve + damping * np.diag(np.maximum(np.diag(curve), 1e-6))
            tried = theta + np.clip(np.linalg.solve(damped, -pull), -2.0, 2.0)
            tried_loss = self._loss(tried, *data)
            if tried_loss < loss:
                return (tried, tried_loss), max(damping / 4, 1e-7)
            damping *= 4
        return None, damping

    def _loss(self, theta: FloatArray, segments: Segments, logs: FloatArray, weights: FloatArray) -> float:
        errors = np.abs(np.log(self.times_s(theta, segments)) - logs)
        costs = np.where(errors < _HUBER, errors**2, 2 * _HUBER * errors - _HUBER**2)
        return float((weights * costs).sum() + (self.ridge * (theta - self.start) ** 2).sum())

    def _parts(self, theta: FloatArray) -> tuple[FloatArray, float]:
        features = self._features[:, len(RATES) :] @ theta[len(RATES) :]
        factors = np.exp(np.clip(features, -_LARGEST_EXPONENT, _LARGEST_EXPONENT))
        return self._amounts * np.exp(theta[:_PER_OPERATOR]) * factors[:, None], float(np.exp(theta[_LAUNCH]))

    def _times_s(self, theta: FloatArray, segments: Segments) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Times of segments; of each the operators' parts, its own parts, and what warm launches take less."""
        parts, launch_s = self._parts(theta)
        counts = (segments.end - segments.begin).astype(np.float64)
        sums = _sums(np.concatenate([parts, np.full((len(parts), 1), launch_s)], axis=1), segments)
        own = np.stack([np.ones(len(counts)), segments.in_bytes, segments.out_bytes], axis=1)
        own *= np.exp(theta[_SEGMENT]) * segments.is_cold[:, None]
        warm = segments.is_warm_whole * counts * launch_s * (np.exp(theta[_WARM]) - 1.0)
        times_s: FloatArray = sums.sum(axis=1) + own.sum(axis=1) + warm
        return times_s, sums, own, warm

    def _slopes(self, theta: FloatArray, segments: Segments) -> tuple[FloatArray, FloatArray]:
        """Times of segments, and the slopes of their logarithms by every parameter: (m, parameters)."""
        times_s, sums, own, warm = self._times_s(theta, segments)
        parts, launch_s = self._parts(theta)
        slopes = _sums(self._features * parts.sum(axis=1)[:, None], segments)
        slopes[:, :_PER_OPERATOR] = sums[:, :_PER_OPERATOR]
        slopes[:, _LAUNCH] = sums[:, _LAUNCH] + warm
        slopes[:, _SEGMENT] = own
        slopes[:, _WARM] = segments.is_warm_whole * (segments.end - segments.begin) * launch_s * np.exp(theta[_WARM])
        return times_s, slopes / times_s[:, None]


def _sums(rows: FloatArray, segments: Segments) -> FloatArray:
    """The rows of each segment, added."""
    running = np.concatenate([np.zeros((1, rows.shape[1])), np.cumsum(rows, axis=0)])
    sums: FloatArray = running[segments.end] - running[segments.begin]
    return sums


def _ridge(name: str) -> float:
    if name in RATES:
        return _RATE_RIDGE
    return next(ridge for mark, ridge in _RIDGES if mark in name)
