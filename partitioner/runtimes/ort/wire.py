"""Protobuf's wire format, as much of it as ONNX files need, over plain bytes.

A message is a list of (number, value) fields: varints are integers, everything else stays bytes. What is not looked at
is copied as it came, so a file of a newer version passes through unharmed.

Source: the encoding chapter of the Protocol Buffers documentation. Importing the ``onnx`` package instead would cost a
device 13 MiB of memory.
"""

from __future__ import annotations

from collections.abc import Iterator

from partitioner.errors import BundleError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_SHIFT = 63


def fields(message: bytes) -> Iterator[tuple[int, int | bytes, bytes]]:
    """The fields of a message: number, value, and the bytes of the whole field.

    Raises:
        BundleError: the bytes are no message.
    """
    at, end = 0, len(message)
    while at < end:
        begin = at
        key, at = _varint(message, at)
        value: int | bytes
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
        elif kind in (_BYTES, _FIXED64, _FIXED32):
            length = {_FIXED64: 8, _FIXED32: 4}.get(kind)
            if length is None:
                length, at = _varint(message, at)
            value, at = message[at : at + length], at + length
        else:
            raise BundleError("the ONNX file is corrupt: it holds a field of no known kind")
        if at > end:
            raise BundleError("the ONNX file is truncated")
        yield key >> 3, value, message[begin:at]


def nested(number: int, content: bytes | str) -> bytes:
    """A field that holds a message, bytes or a text."""
    raw = content.encode() if isinstance(content, str) else content
    return _key(number, _BYTES) + _to_varint(len(raw)) + raw


def number(number: int, value: int) -> bytes:
    """A field that holds a whole number of zero or more."""
    return _key(number, _VARINT) + _to_varint(value)


def text(value: int | bytes) -> str:
    """A field's value as a text.

    Raises:
        BundleError: it is none.
    """
    try:
        if isinstance(value, bytes):
            return value.decode()
    except UnicodeDecodeError:
        pass
    raise BundleError("the ONNX file is corrupt: a name in it is no text")


def message(value: int | bytes) -> bytes:
    """A field's value as a message.

    Raises:
        BundleError: it is a number.
    """
    if isinstance(value, bytes):
        return value
    raise BundleError("the ONNX file is corrupt: a number stands where a message belongs")


def _key(number: int, kind: int) -> bytes:
    return _to_varint(number << 3 | kind)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > _MAX_SHIFT:
            raise BundleError("the ONNX file is truncated")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _to_varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
