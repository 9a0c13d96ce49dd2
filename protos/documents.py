"""A JSON document on the wire: one Zstandard frame of its UTF-8 text, in small pieces.

A worker's profile of a large model is 700 kB of text that repeats itself, and packs to a twelfth. It shares its
connection with a session, and bytes ahead of a heartbeat delay it: 4 KiB pieces keep what arrives in sight even at
0.05 Mbit/s, where a piece takes 0.7 s.
"""

from __future__ import annotations

from collections.abc import Iterator

import zstandard

from protos.errors import CorruptPayload, TooLarge

PIECE_BYTES = 4 * 1024
_LEVEL = 9
_WINDOW_MAX_BYTES = 1 << 27


def pack_document(text: str) -> Iterator[bytes]:
    """The document's pieces, in order."""
    packed = zstandard.ZstdCompressor(level=_LEVEL).compress(text.encode())
    for start in range(0, len(packed), PIECE_BYTES):
        yield packed[start : start + PIECE_BYTES]


def unpack_document(packed: bytes | bytearray, *, max_bytes: int) -> str:
    """The document whose pieces these are, joined; never makes more than ``max_bytes`` of text.

    Raises:
        TooLarge: it is longer, or does not say how long it is.
        CorruptPayload: it is no such document.
    """
    try:
        announced = zstandard.get_frame_parameters(packed).content_size
        if announced > max_bytes:
            raise TooLarge(f"the document is longer than {max_bytes} bytes, or does not say how long it is")
        decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_MAX_BYTES)
        return decompressor.decompress(packed, max_output_size=max(1, announced), allow_extra_data=False).decode()
    except zstandard.ZstdError as error:
        raise CorruptPayload(f"the document cannot be unpacked: {error}") from error
    except UnicodeDecodeError as error:
        raise CorruptPayload("the document is no UTF-8 text") from error
