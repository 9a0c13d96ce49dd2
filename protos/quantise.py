"""Quantising to 8 or 4 bits along the axis that suits a tensor best, and back; ``protos.codecs`` holds the definition.

A scale and a zero point per index of the axis follow each channel's own range, which post-activation maps need: a scale
for the whole tensor is set by its widest channel. Costs about three passes over the tensor each way.

Source: Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference: a whitepaper", 2018.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protos.errors import CorruptPayload, InvalidMessage

Array = npt.NDArray[np.generic]

BITS: dict[str, int] = {"int8": 8, "int4": 4}
"""The transforms that quantise, and to how many bits."""

MAX_CHANNELS = 8192
"""An axis with more indices shares one scale, so that headers stay small beside their payload."""

_TINY = float(np.finfo(np.float32).tiny)
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_MAX_MULTIPLE = 2.0**22
_MIN_CHANNEL_ELEMENTS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantisation:
    """How a quantised tensor is read back; ``axis`` is -1 where one scale serves the whole tensor."""

    axis: int
    scale: npt.NDArray[np.float32]
    zero_point: npt.NDArray[np.int32]


def _axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Axes that may own the scales: those with enough elements per index to be worth it."""
    elements = int(np.prod(shape, dtype=object)) if shape else 1
    candidates = dict.fromkeys((1, len(shape) - 1)) if len(shape) >= 2 else {}
    return tuple(
        axis
        for axis in candidates
        if 1 < shape[axis] <= MAX_CHANNELS and elements // shape[axis] >= _MIN_CHANNEL_ELEMENTS
    )


def channels(shape: tuple[int, ...]) -> int:
    """How many scales a tensor of this shape has, about."""
    axes = _axes(shape)
    return shape[axes[0]] if axes else 1


def _scales(work: npt.NDArray[np.floating], position: int | None, steps: int) -> tuple[Array, Array] | None:
    """Scale (float32) and zero point (float64) per index of an axis; None where a value has none."""
    others = None if position is None else tuple(axis for axis in range(work.ndim) if axis != position)
    lo = np.atleast_1d(work.min(axis=others)).astype(np.float64)
    hi = np.atleast_1d(work.max(axis=others)).astype(np.float64)
    largest = np.maximum(np.abs(lo), np.abs(hi))
    if not np.isfinite(largest).all() or float(largest.max()) > _FLOAT32_MAX:
        return None
    exact = np.maximum(np.maximum((hi - lo) / steps, largest / _MAX_MULTIPLE), _TINY)
    scale = exact.astype(np.float32)
    if float(largest.max()) > 0.99 * _FLOAT32_MAX:  # the largest multiple must not round up to infinity
        scale = np.where(scale > exact, np.nextafter(scale, np.float32(0)), scale)
    return scale, -np.rint(lo / scale)


def quantise(dense: Array, order: tuple[int, ...], *, bits: int) -> tuple[npt.NDArray[np.uint8], Quantisation] | None:
    """One number of ``bits`` bits per element, in the layout of ``dense``, or None where a value has none.

    Args:
        dense: the tensor with its axes in memory order.
        order: which axis of the tensor each of them is.
    """
    if not dense.size or not dense.ndim:
        dense, order = dense.reshape(-1), (0,)
    if not dense.size:
        one, zero = np.ones(1, np.float32), np.zeros(1, np.int32)
        return dense.astype(np.uint8), Quantisation(axis=-1, scale=one, zero_point=zero)
    work = dense.astype(np.float64 if dense.dtype == np.float64 else np.float32, copy=False)
    best: tuple[float, int, Array, Array] | None = None
    for axis in _axes(tuple(dense.shape[order.index(axis)] for axis in range(dense.ndim))) or (-1,):
        found = _scales(work, None if axis < 0 else order.index(axis), 2**bits - 2)
        if found is None:
            return None
        error = float(np.mean(np.square(found[0].astype(np.float64))))
        if best is None or error < best[0]:
            best = (error, axis, *found)
    if best is None:
        return None
    _, axis, scale, zero_point = best
    broadcast = [1] * dense.ndim
    if axis >= 0:
        broadcast[order.index(axis)] = scale.size
    scaled = np.divide(work, scale.astype(work.dtype).reshape(broadcast))
    np.rint(scaled, out=scaled)
    scaled += zero_point.astype(work.dtype).reshape(broadcast)
    np.clip(scaled, 0.0, 2.0**bits - 1.0, out=scaled)
    return scaled.astype(np.uint8), Quantisation(
        axis=axis, scale=scale.astype(np.float32), zero_point=zero_point.astype(np.int32)
    )


def dequantise(
    stored: npt.NDArray[np.uint8], dtype: np.dtype[np.generic], order: tuple[int, ...], quantisation: Quantisation
) -> Array:
    """The tensor in the layout of ``stored``, from one number per element."""
    work = np.dtype(np.float64 if dtype == np.float64 else np.float32)
    broadcast = [1] * stored.ndim
    if quantisation.axis >= 0:
        broadcast[order.index(quantisation.axis)] = quantisation.scale.size
    values = np.subtract(stored, quantisation.zero_point.astype(work).reshape(broadcast), dtype=work)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        values *= quantisation.scale.astype(work).reshape(broadcast)
        return values.astype(dtype, copy=False)


def check(quantisation: Quantisation | None, shape: tuple[int, ...], codec: str) -> Quantisation:
    """Check that a header's quantisation fits its tensor.

    Raises:
        InvalidMessage: it does not.
    """
    if quantisation is None:
        raise InvalidMessage(f"codec {codec} needs scales, and there are none")
    axis, count = quantisation.axis, quantisation.scale.size
    if not -1 <= axis < len(shape):
        raise InvalidMessage(f"quantisation names axis {axis} of a tensor of rank {len(shape)}")
    expected = 1 if axis < 0 else shape[axis]
    if count != expected or quantisation.zero_point.size != expected:
        raise InvalidMessage(
            f"quantisation has {count} scales and {quantisation.zero_point.size} zero points, not {expected}"
        )
    if not bool((np.isfinite(quantisation.scale) & (quantisation.scale > 0)).all()):
        raise InvalidMessage("quantisation has a scale that is not positive and finite")
    return quantisation


def to_nibbles(grid: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Numbers below 16, two to a byte, the first in the low bits."""
    flat = grid.reshape(-1)
    packed: npt.NDArray[np.uint8] = flat[0::2].copy()
    packed[: flat.size // 2] |= flat[1::2] << 4
    return packed


def from_nibbles(packed: npt.NDArray[np.uint8], elements: int) -> npt.NDArray[np.uint8]:
    """The numbers again.

    Raises:
        CorruptPayload: bits that hold no number are set.
    """
    flat: npt.NDArray[np.uint8] = np.empty(2 * packed.size, np.uint8)
    np.bitwise_and(packed, 15, out=flat[0::2])
    np.right_shift(packed, 4, out=flat[1::2])
    if elements < flat.size and flat[-1]:
        raise CorruptPayload("bits after the last element are set")
    return flat[:elements]
