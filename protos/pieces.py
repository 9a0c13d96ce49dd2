"""Chunks without protobuf: the same bytes, written with one copy instead of three, and read with none.

A session's payload travels in ``Chunk`` messages. Protobuf copies their data when the message is built, when it is
written, when it is read and when the field is taken, and at 1 MB a frame these copies cost more than everything else
that a frame waits for. ``Piece`` stands for an envelope (``ToWorker`` or ``ToEdge``: the field has the same number in
both) that holds a chunk; it behaves like one, and writes what protobuf would (a test compares the bytes). Reading takes
only the one layout that protobuf itself writes; whatever else comes is left to protobuf.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar, cast

from protos.messages import ToEdge, ToWorker
from protos.tensors import Buffer

_CHUNK = b"\x22"
_FRAME_ID = 0x08
_OFFSET = 0x10
_DATA = 0x1A
_LEAST_BYTES = 64
"""Shorter messages are left to protobuf, whose copies of them cost nothing."""


class _Written(Protocol):
    def SerializeToString(self) -> bytes:  # noqa: N802 - the name is protobuf's
        """As it travels."""


M = TypeVar("M")


class Piece:
    """An envelope with a chunk; ``data`` must not change until it was written."""

    __slots__ = ("data", "frame_id", "offset_bytes")

    def __init__(self, frame_id: int, offset_bytes: int, data: Buffer) -> None:
        self.frame_id = frame_id
        self.offset_bytes = offset_bytes
        self.data = data

    @property
    def chunk(self) -> Piece:
        """The chunk within."""
        return self

    def WhichOneof(self, group: str) -> str:  # noqa: N802 - the name is protobuf's
        """What the envelope holds."""
        return "chunk"

    def HasField(self, name: str) -> bool:  # noqa: N802 - the name is protobuf's
        """Whether the envelope holds this."""
        return name == "chunk"

    def SerializeToString(self) -> bytes:  # noqa: N802 - the name is protobuf's
        """As it travels."""
        size = len(self.data)
        head = bytearray()
        if self.frame_id:
            head.append(_FRAME_ID)
            _put(head, self.frame_id)
        if self.offset_bytes:
            head.append(_OFFSET)
            _put(head, self.offset_bytes)
        if size:
            head.append(_DATA)
            _put(head, size)
        envelope = bytearray(_CHUNK)
        _put(envelope, len(head) + size)
        return b"".join((envelope, head, self.data))


def to_worker(frame_id: int, offset_bytes: int, data: Buffer) -> ToWorker:
    """A chunk for the worker; what comes back stands for the message."""
    return cast(ToWorker, Piece(frame_id, offset_bytes, data))


def to_edge(frame_id: int, offset_bytes: int, data: Buffer) -> ToEdge:
    """A chunk for the device; what comes back stands for the message."""
    return cast(ToEdge, Piece(frame_id, offset_bytes, data))


def write(message: _Written) -> bytes:
    """An envelope as it travels."""
    return message.SerializeToString()


def reader(parse: Callable[[bytes], M]) -> Callable[[bytes], M]:
    """What reads an envelope: a chunk as a ``Piece`` over the bytes that came, anything else by ``parse``."""

    def read(data: bytes) -> M:
        piece = read_piece(data)
        return parse(data) if piece is None else cast(M, piece)

    return read


def read_piece(data: bytes) -> Piece | None:
    """The chunk in an envelope; None where it holds anything else, or is not written as protobuf writes it."""
    size = len(data)
    if size < _LEAST_BYTES or data[:1] != _CHUNK:
        return None
    inside, at = _take(data, 1)
    if inside != size - at or at < 0:
        return None
    frame_id = offset_bytes = 0
    if data[at] == _FRAME_ID:
        frame_id, at = _take(data, at + 1)
    if 0 < at < size and data[at] == _OFFSET:
        offset_bytes, at = _take(data, at + 1)
    if not 0 < at < size or data[at] != _DATA:
        return None
    length, at = _take(data, at + 1)
    if at < 0 or length != size - at or not length:
        return None
    return Piece(frame_id, offset_bytes, memoryview(data)[at:])


def _put(out: bytearray, value: int) -> None:
    """Append a number of 64 bits in sevens, lowest first."""
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _take(data: bytes, at: int) -> tuple[int, int]:
    """A number written so, and where it ends; -1 where it is not written in its shortest form of at most 63 bits."""
    value = shift = 0
    while at < len(data) and shift < 63:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value, at) if byte or not shift else (0, -1)
        shift += 7
    return 0, -1
