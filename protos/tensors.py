"""Frames: several named tensors as headers and one payload, and back, trusting nothing.

Headers are checked in Python integers, whole, before a byte is allocated for them: names, types, ranks, sizes on the
wire and unpacked, and that their byte ranges tile the payload. The payload lies widest element first, so that what
travels as it is can be read in place (``numpy.frombuffer``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import google_crc32c
import numpy as np

from protos import codecs, quantise
from protos.codecs import Array, Encoded
from protos.errors import CorruptPayload, InvalidMessage, TooLarge, Unsupported, WireError
from protos.messages import DType, Quantisation, TensorHeader

Buffer = bytes | bytearray | memoryview

MIB = 1 << 20
_CRC_STEP_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a frame may ask for. ``max_frame_bytes`` bounds it on the wire and, apart, unpacked."""

    max_frame_bytes: int = 256 * MIB
    max_tensors: int = 256
    max_rank: int = 16
    max_name_chars: int = 512
    max_header_bytes: int = 3 * MIB


DEFAULT_LIMITS = Limits()


def crc32c(data: Buffer) -> int:
    """CRC-32C (Castagnoli). The library takes ``bytes`` alone; small steps keep its copies small."""
    if isinstance(data, bytes):
        return int(google_crc32c.value(data))
    view = memoryview(data)
    value = 0
    for start in range(0, len(view), _CRC_STEP_BYTES):
        value = google_crc32c.extend(value, bytes(view[start : start + _CRC_STEP_BYTES]))
    return int(value)


def pack(
    arrays: Mapping[str, Array], chosen: Mapping[str, str] | None = None, *, limits: Limits = DEFAULT_LIMITS
) -> tuple[list[TensorHeader], list[Buffer], int]:
    """Headers in the order of ``arrays``, buffers in the order of the payload, and the payload's size.

    A tensor that ``chosen`` does not name travels as ``none``. Buffers may share memory with the arrays, which must not
    change until the frame is answered.

    Raises:
        InvalidMessage: an element type that may not cross, or no such codec; names the tensor.
        TooLarge: the frame is over a limit.
    """
    chosen = chosen or {}
    encoded = {name: _encode(name, array, chosen.get(name, "none")) for name, array in arrays.items()}
    order = sorted(encoded, key=lambda name: -_alignment(encoded[name]))
    offsets: dict[str, int] = {}
    buffers: list[Buffer] = []
    payload_bytes = 0
    for name in order:
        offsets[name] = payload_bytes
        payload_bytes += len(encoded[name].payload)
        buffers.append(encoded[name].payload)
    headers = [_to_header(name, item, offsets[name]) for name, item in encoded.items()]
    check_headers(headers, payload_bytes, limits)
    return headers, buffers, payload_bytes


def frame_bytes(headers: Iterable[TensorHeader], payload_bytes: int) -> int:
    """What a link carries for a frame: its payload, and its headers with their names and scales."""
    return payload_bytes + sum(header.ByteSize() for header in headers)


def check_headers(headers: Sequence[TensorHeader], payload_bytes: int, limits: Limits = DEFAULT_LIMITS) -> int:
    """Refuse headers that contradict themselves, each other or the limits; returns the frame's unpacked size in bytes.

    Raises:
        InvalidMessage: a contradiction.
        Unsupported: a codec of another version.
        TooLarge: over a limit.
    """
    if len(headers) > limits.max_tensors:
        raise TooLarge(f"the frame has {len(headers)} tensors; at most {limits.max_tensors} are taken")
    if payload_bytes > limits.max_frame_bytes:
        raise TooLarge(f"the frame's payload is {payload_bytes} bytes; at most {limits.max_frame_bytes} are taken")
    if sum(header.ByteSize() for header in headers) > limits.max_header_bytes:
        raise TooLarge(f"the frame's headers are over {limits.max_header_bytes} bytes")
    seen: set[str] = set()
    unpacked_bytes = 0
    for header in headers:
        if not header.name or len(header.name) > limits.max_name_chars:
            raise InvalidMessage(f"a tensor's name is empty or over {limits.max_name_chars} characters")
        if header.name in seen:
            raise InvalidMessage(f"tensor {header.name!r} comes twice")
        seen.add(header.name)
        unpacked_bytes += _check_header(header, limits)
        if unpacked_bytes > limits.max_frame_bytes:
            raise TooLarge(f"the frame unpacks to over {limits.max_frame_bytes} bytes")
    _check_tiling(headers, payload_bytes)
    return unpacked_bytes


def unpack(headers: Sequence[TensorHeader], payload: Buffer, *, limits: Limits = DEFAULT_LIMITS) -> dict[str, Array]:
    """The tensors of a frame, read-only; those that travelled as they are share the payload's memory.

    Raises:
        WireError: as ``check_headers``; CorruptPayload where a checksum or a size is wrong.
    """
    view = memoryview(payload).cast("B")
    check_headers(headers, len(view), limits)
    tensors: dict[str, Array] = {}
    for header in headers:
        piece = view[header.offset_bytes : header.offset_bytes + header.size_bytes]
        if crc32c(piece) != header.crc32c:
            raise CorruptPayload(f"tensor {header.name!r}: the payload is not what its checksum says")
        tensors[header.name] = _decode(header, piece)
    return tensors


def header_dtype(header: TensorHeader) -> str:
    """The element type's name; empty when it is none that may cross."""
    number = header.dtype
    name = DType.Name(number).removeprefix("DTYPE_").lower() if number in DType.values() else ""
    return name if name in codecs.DTYPES else ""


def join(buffers: Iterable[Buffer]) -> bytes:
    """The whole payload in one piece."""
    return b"".join(buffers)


def _encode(name: str, array: Array, codec: str) -> Encoded:
    try:
        return codecs.encode(np.asarray(array), codec)
    except WireError as error:
        raise type(error)(f"tensor {name!r}: {error.detail}") from error


def _decode(header: TensorHeader, payload: memoryview) -> Array:
    try:
        return codecs.decode(_from_header(header, payload))
    except WireError as error:
        raise type(error)(f"tensor {header.name!r}: {error.detail}") from error


def _alignment(encoded: Encoded) -> int:
    return codecs.DTYPES[encoded.dtype].itemsize if encoded.codec == "none" else 0


def _to_header(name: str, encoded: Encoded, offset_bytes: int) -> TensorHeader:
    header = TensorHeader(
        name=name,
        dtype=f"DTYPE_{encoded.dtype.upper()}",
        shape=encoded.shape,
        dim_order=encoded.dim_order,
        codec=encoded.codec,
        offset_bytes=offset_bytes,
        size_bytes=len(encoded.payload),
        crc32c=crc32c(encoded.payload),
    )
    if encoded.quantisation is not None:
        header.quantisation.axis = encoded.quantisation.axis
        header.quantisation.scale.extend(encoded.quantisation.scale.tolist())
        header.quantisation.zero_point.extend(encoded.quantisation.zero_point.tolist())
    return header


def _from_header(header: TensorHeader, payload: memoryview) -> Encoded:
    return Encoded(
        codec=header.codec,
        dtype=header_dtype(header),
        shape=tuple(header.shape),
        dim_order=tuple(header.dim_order),
        payload=payload,
        quantisation=_from_quantisation(header.quantisation) if header.HasField("quantisation") else None,
    )


def _from_quantisation(message: Quantisation) -> quantise.Quantisation:
    return quantise.Quantisation(
        axis=message.axis,
        scale=np.array(message.scale, np.float32),
        zero_point=np.array(message.zero_point, np.int32),
    )


def _check_header(header: TensorHeader, limits: Limits) -> int:
    """Check one header by itself; returns its unpacked size in bytes."""
    name, dtype = header.name, header_dtype(header)
    if not dtype:
        raise InvalidMessage(f"tensor {name!r} has an element type that cannot cross (number {header.dtype})")
    if header.codec not in codecs.CODECS:
        raise Unsupported(f"tensor {name!r} has codec {header.codec[:40]!r}; the codecs are {', '.join(codecs.CODECS)}")
    if len(header.shape) > limits.max_rank:
        raise TooLarge(f"tensor {name!r} has rank {len(header.shape)}; at most {limits.max_rank} is taken")
    elements = 1
    for size in header.shape:
        if size < 0:
            raise InvalidMessage(f"tensor {name!r} has a negative size: {list(header.shape)}")
        elements *= size
    # Sizes beside a zero are bounded too: numpy refuses shapes whose other sizes overflow.
    largest = max([1, *header.shape])
    unpacked_bytes = max(1, elements) * codecs.DTYPES[dtype].itemsize
    if unpacked_bytes > limits.max_frame_bytes or largest > limits.max_frame_bytes:
        raise TooLarge(f"tensor {name!r} of shape {list(header.shape)} is over {limits.max_frame_bytes} bytes")
    if header.dim_order and sorted(header.dim_order) != list(range(len(header.shape))):
        raise InvalidMessage(f"tensor {name!r} has an axis order that is not one of rank {len(header.shape)}")
    transform, packing = codecs.split(header.codec)
    if transform != "none" and not codecs.applies_to(dtype, header.codec):
        raise InvalidMessage(f"tensor {name!r}: codec {header.codec} does not apply to {dtype}")
    if header.HasField("quantisation") != (transform in quantise.BITS):
        raise InvalidMessage(f"tensor {name!r}: scales come with {' and '.join(quantise.BITS)}, and with these alone")
    stored_bytes = codecs.packed_bytes(header.codec, dtype, elements)
    if not packing and header.size_bytes != stored_bytes:
        raise InvalidMessage(
            f"tensor {name!r} of shape {list(header.shape)} has {header.size_bytes} bytes where {stored_bytes} are due"
        )
    return elements * codecs.DTYPES[dtype].itemsize


def _check_tiling(headers: Sequence[TensorHeader], payload_bytes: int) -> None:
    end = 0
    for header in sorted(headers, key=lambda header: (header.offset_bytes, header.size_bytes)):
        if header.offset_bytes != end:
            raise InvalidMessage(f"tensor {header.name!r} starts at byte {header.offset_bytes}, not at {end}")
        end += header.size_bytes
    if end != payload_bytes:
        raise InvalidMessage(f"the tensors hold {end} bytes, the payload {payload_bytes}")
