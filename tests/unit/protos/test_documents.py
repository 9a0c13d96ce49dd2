from __future__ import annotations

import json

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from protos.documents import PIECE_BYTES, pack_document, unpack_document
from protos.errors import CorruptPayload, TooLarge, WireError

PROFILE = json.dumps([{"name": f"layer{i}", "forward": {"median_s": i / 7, "how": "measured"}} for i in range(8000)])


@given(st.text(), st.integers(0, 8))
def test_a_document_comes_back_as_it_was(text: str, more: int) -> None:
    packed = b"".join(pack_document(text))
    assert unpack_document(packed, max_bytes=len(text.encode()) + more) == text


def test_a_large_document_travels_packed_and_in_small_pieces() -> None:
    pieces = list(pack_document(PROFILE))
    assert len(PROFILE) > 400_000
    assert sum(map(len, pieces)) < len(PROFILE) / 4
    assert all(0 < len(piece) <= PIECE_BYTES for piece in pieces)


def test_a_document_over_the_limit_is_refused_by_what_it_announces() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 28))
    assert len(bomb) < 1 << 15
    with pytest.raises(TooLarge):
        unpack_document(bomb, max_bytes=1 << 20)


def test_a_document_that_hides_its_length_is_refused() -> None:
    hidden = zstandard.ZstdCompressor(write_content_size=False).compress(b"{}")
    with pytest.raises(TooLarge):
        unpack_document(hidden, max_bytes=1 << 20)


@pytest.mark.parametrize("packed", [b"", b"{}", bytes(100)])
def test_what_is_no_packed_document_is_refused(packed: bytes) -> None:
    with pytest.raises(CorruptPayload):
        unpack_document(packed, max_bytes=1 << 20)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(CorruptPayload, match="UTF-8"):
        unpack_document(zstandard.ZstdCompressor().compress(b"\xff"), max_bytes=100)


@given(st.data())
def test_a_damaged_document_is_refused_or_read_within_the_limit(data: st.DataObject) -> None:
    packed = bytearray(b"".join(pack_document(PROFILE[:300])))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        text = unpack_document(packed, max_bytes=1000)
    except WireError:
        return
    assert len(text.encode()) <= 1000
