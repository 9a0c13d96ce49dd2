"""Codecs: how one tensor becomes bytes. A codec is a *transform* of the numbers and a lossless *packing* of the bytes.

Transforms, bit for bit, in numpy (``x`` is the tensor):

- ``none``: the little-endian bytes as they lie in memory.
- ``fp16`` (float32, float64): ``x.astype(float16)``; finite values beyond +-65504 become +-65504; infinities
  and NaN stay.
- ``int8`` (all floats): per index of one axis, or for the whole tensor, with ``lo, hi`` the extremes in float64,
  ``scale = float32(max((hi - lo) / 254, max(|lo|, |hi|) / 2**22, tiny))``, ``zero_point = -rint(lo / scale)``,
  ``q = uint8(clip(rint(x / scale) + zero_point, 0, 255))``, and back ``(q - zero_point) * scale``. The grid holds zero
  exactly, the error is at most ``scale / 2`` beside rounding, and a constant channel comes back exactly. Arithmetic is
  float32 (float64 for float64 tensors). The axis is 1 or the last, whichever leaves the smaller mean square error.
- ``int4`` (all floats): the same with ``(hi - lo) / 14`` and ``clip(..., 0, 15)``; in memory order, the ``q`` of
  elements 2i and 2i + 1 are the low and the high four bits of byte i. High bits left over at the end are 0.

A tensor that a transform does not apply to (integers, booleans, complex) or cannot represent (``int8`` and ``int4`` of
NaN, of an infinity, or of a range beyond float32) travels exact, with transform ``none``: one codec name serves all
tensors of a cut, a lossy codec never turns a mask of ``-inf`` into numbers, and the header names what was done.

The packing ``+zstd`` is Zstandard level 1, the fastest of its ordinary levels.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import numpy.typing as npt
import zstandard

from protos.errors import CorruptPayload, InvalidMessage, TooLarge
from protos.quantise import (
    BITS,
    Quantisation,
    channels,
    check,
    dequantise,
    from_nibbles,
    quantise,
    to_nibbles,
)

Array = npt.NDArray[np.generic]

CODECS: tuple[str, ...] = ("none", "fp16", "int8", "int4", "none+zstd", "fp16+zstd", "int8+zstd", "int4+zstd")
"""Every codec, the plain ones first."""

DTYPES: dict[str, np.dtype[np.generic]] = {
    name: np.dtype(name)
    for name in (
        "bool",
        *("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
        *("float16", "float32", "float64", "complex64", "complex128"),
    )
} | {"bfloat16": np.dtype(ml_dtypes.bfloat16)}
"""Element types that may cross, by name."""

_LOSSY_DTYPES = {
    "none": frozenset[str](),
    "fp16": frozenset({"float32", "float64"}),
    **dict.fromkeys(BITS, frozenset({"float16", "bfloat16", "float32", "float64"})),
}
_HALF_MAX = 65504.0
_CHANNEL_BYTES = 8
_SAMPLE_BYTES = 65536
_LOCAL = threading.local()


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """One tensor as bytes. ``payload`` may share memory with the array it was made from.

    ``codec`` is what was done, which may be less than what was asked. ``dim_order`` lists the axes from the slowest to
    the fastest in memory; empty means row-major.
    """

    codec: str
    dtype: str
    shape: tuple[int, ...]
    dim_order: tuple[int, ...]
    payload: bytes | memoryview
    quantisation: Quantisation | None = None


def split(codec: str) -> tuple[str, str]:
    """Transform and packing of a codec.

    Raises:
        InvalidMessage: no such codec.
    """
    if codec not in CODECS:
        raise InvalidMessage(f"there is no codec {codec[:40]!r}; the codecs are {', '.join(CODECS)}")
    transform, _, packing = codec.partition("+")
    return transform, packing


def applies_to(dtype: str, codec: str) -> bool:
    """Whether the codec's transform changes tensors of this element type."""
    return dtype in _LOSSY_DTYPES[split(codec)[0]]


def effective(codec: str, dtype: str) -> str:
    """The codec that a tensor of this element type gets when ``codec`` is asked."""
    transform, packing = split(codec)
    if dtype not in _LOSSY_DTYPES[transform]:
        transform = "none"
    return f"{transform}+{packing}" if packing else transform


def packed_bytes(codec: str, dtype: str, elements: int) -> int:
    """Size after the transform and before the packing."""
    transform, _ = split(codec)
    if transform in BITS:
        return (elements * BITS[transform] + 7) // 8
    return elements * (2 if transform == "fp16" else DTYPES[dtype].itemsize)


def dtype_name(array: Array) -> str:
    """The wire's name of an array's element type.

    Raises:
        InvalidMessage: the element type may not cross.
    """
    name: str = array.dtype.name
    if name not in DTYPES or array.dtype.hasobject:
        raise InvalidMessage(f"element type {name} cannot cross; these can: {', '.join(DTYPES)}")
    return name


def encode(array: Array, codec: str) -> Encoded:
    """Turn an array into bytes; without a copy where the codec is ``none`` and the array is dense in some axis order.

    Raises:
        InvalidMessage: no such codec, or an element type that may not cross.
    """
    dtype = dtype_name(array)
    transform, packing = split(effective(codec, dtype))
    dense, dim_order = _dense(array)
    quantisation: Quantisation | None = None
    data: Array = dense
    if transform == "fp16":
        data = _to_half(dense)
    elif transform in BITS:
        quantised = quantise(dense, dim_order or tuple(range(array.ndim)), bits=BITS[transform])
        if quantised is None:
            transform = "none"
        else:
            grid, quantisation = quantised
            data = to_nibbles(grid) if transform == "int4" else grid
    payload: bytes | memoryview = data.reshape(-1).view(np.uint8).data
    if packing:
        payload = _compressor().compress(payload)
    return Encoded(
        codec=f"{transform}+{packing}" if packing else transform,
        dtype=dtype,
        shape=array.shape,
        dim_order=dim_order,
        payload=payload,
        quantisation=quantisation,
    )


def decode(encoded: Encoded) -> Array:
    """The array back, read-only; over the payload's own memory where the codec is ``none`` and it is aligned.

    Raises:
        InvalidMessage: the fields contradict each other.
        CorruptPayload: the payload is not of the size that they state.
    """
    transform, packing = split(encoded.codec)
    if encoded.dtype not in DTYPES:
        raise InvalidMessage(f"element type {encoded.dtype[:40]!r} cannot cross")
    if any(size < 0 for size in encoded.shape):
        raise InvalidMessage(f"shape {list(encoded.shape)} holds a negative size")
    if transform != "none" and encoded.dtype not in _LOSSY_DTYPES[transform]:
        raise InvalidMessage(f"codec {encoded.codec} does not apply to {encoded.dtype}")
    rank = len(encoded.shape)
    order = encoded.dim_order or tuple(range(rank))
    if sorted(order) != list(range(rank)):
        raise InvalidMessage(f"axis order {list(order)} is not one of rank {rank}")
    elements = 1
    for size in encoded.shape:
        elements *= size
    size_bytes = packed_bytes(encoded.codec, encoded.dtype, elements)
    payload = _decompress(encoded.payload, size_bytes) if packing else encoded.payload
    if len(payload) != size_bytes:
        raise CorruptPayload(f"the payload holds {len(payload)} bytes where shape and type make {size_bytes}")
    stored = tuple(encoded.shape[axis] for axis in order)
    dtype = DTYPES[encoded.dtype]
    values: Array
    if transform == "fp16":
        values = np.frombuffer(payload, np.float16).astype(dtype).reshape(stored)
    elif transform in BITS:
        quantisation = check(encoded.quantisation, encoded.shape, encoded.codec)
        numbers = np.frombuffer(payload, np.uint8)
        numbers = from_nibbles(numbers, elements) if transform == "int4" else numbers
        values = dequantise(numbers.reshape(stored or (1,)), dtype, order, quantisation).reshape(stored)
    else:
        raw = np.frombuffer(payload, np.uint8)
        if encoded.dtype == "bool" and raw.size and int(raw.max()) > 1:
            raise CorruptPayload("a boolean tensor holds bytes other than 0 and 1")
        if raw.ctypes.data % dtype.alignment:
            raw = raw.copy()
        values = raw.view(dtype).reshape(stored)
    if encoded.dim_order:
        values = values.transpose(tuple(int(axis) for axis in np.argsort(order)))
    values.flags.writeable = False
    return values


def estimate_bytes(array: Array, codec: str) -> int:
    """About how many bytes a link carries for payload and scales, beside a few dozen of header, without encoding.

    Where the codec packs, a sample of at most 64 KiB is encoded.
    """
    dtype = dtype_name(array)
    used = effective(codec, dtype)
    transform, packing = split(used)
    size_bytes = packed_bytes(used, dtype, array.size)
    scales = _CHANNEL_BYTES * channels(array.shape) if transform in BITS and array.size else 0
    if not packing or not array.size:
        return size_bytes + scales
    flat = _dense(array)[0].reshape(-1)
    wanted = max(1, _SAMPLE_BYTES // flat.itemsize)
    if flat.size > wanted:
        blocks = 8
        step, length = flat.size // blocks, wanted // blocks
        flat = flat[: step * blocks].reshape(blocks, step)[:, :length].reshape(-1)
    ratio = len(encode(flat, used).payload) / max(1, packed_bytes(used, dtype, flat.size))
    return round(ratio * size_bytes) + scales


def _dense(array: Array) -> tuple[Array, tuple[int, ...]]:
    """The array with its axes in memory order, contiguous and little-endian, and that order (empty: row-major)."""
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.flags.c_contiguous:
        return array, ()
    order = tuple(sorted(range(array.ndim), key=lambda axis: -array.strides[axis]))
    permuted = array.transpose(order)
    if permuted.flags.c_contiguous:
        return permuted, order
    return np.ascontiguousarray(array), ()


def _to_half(dense: Array) -> npt.NDArray[np.float16]:
    with np.errstate(over="ignore"):
        half = dense.astype(np.float16)
    infinite = np.isinf(half)
    if infinite.any():
        infinite &= np.isfinite(dense)
        half[infinite] = np.copysign(np.float16(_HALF_MAX), half[infinite])
    return half


def _compressor() -> zstandard.ZstdCompressor:
    made: zstandard.ZstdCompressor | None = getattr(_LOCAL, "compressor", None)
    if made is None:
        made = _LOCAL.compressor = zstandard.ZstdCompressor(level=1)
    return made


def _decompress(payload: bytes | memoryview, size_bytes: int) -> bytes:
    """Unpack exactly ``size_bytes``; what the frame announces is compared before a byte is allocated."""
    try:
        announced = zstandard.get_frame_parameters(payload).content_size
        if announced != size_bytes:
            raise TooLarge(f"the packed payload announces {announced} bytes where shape and type make {size_bytes}")
        made: zstandard.ZstdDecompressor | None = getattr(_LOCAL, "decompressor", None)
        if made is None:
            made = _LOCAL.decompressor = zstandard.ZstdDecompressor()
        return made.decompress(payload, max_output_size=max(1, size_bytes), allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CorruptPayload(f"the packed payload cannot be unpacked: {error}") from error
