from __future__ import annotations

import google_crc32c
import numpy as np
import pytest

from protos import messages as pb
from protos.errors import CorruptPayload, InvalidMessage, TooLarge, Unsupported, WireError
from protos.tensors import Limits, check_headers, crc32c, frame_bytes, join, pack, unpack

LIMITS = Limits(max_frame_bytes=10_000, max_tensors=4, max_rank=5, max_name_chars=20)


def frame(**codecs: str) -> tuple[list[pb.TensorHeader], bytes]:
    arrays = {
        "flags": np.array([True, False, True]),
        "map": np.linspace(-1, 1, 192, dtype=np.float32).reshape(1, 3, 8, 8),
        "ids": np.arange(5),
        "none": np.zeros((0, 3), np.float32),
    }
    headers, buffers, payload_bytes = pack(arrays, codecs, limits=LIMITS)
    payload = join(buffers)
    assert len(payload) == payload_bytes
    return headers, payload


def test_a_frame_comes_back_as_it_was():
    headers, payload = frame()
    tensors = unpack(headers, payload, limits=LIMITS)
    assert list(tensors) == ["flags", "map", "ids", "none"]
    np.testing.assert_array_equal(tensors["ids"], np.arange(5))
    assert tensors["none"].shape == (0, 3)


def test_nothing_that_travels_as_it_is_gets_copied():
    headers, payload = frame()
    raw = np.frombuffer(payload, np.uint8)
    for tensor in unpack(headers, payload, limits=LIMITS).values():
        assert not tensor.size or np.shares_memory(tensor, raw)
        assert tensor.flags.aligned


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_the_checksum_is_that_of_the_library_for_every_kind_of_buffer(kind):
    data = np.random.default_rng(0).bytes(200_001)
    assert crc32c(kind(data)) == google_crc32c.value(data)
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720, and every table since


def test_one_flipped_bit_is_noticed_wherever_it_is():
    headers, payload = frame(map="int8+zstd")
    for position in range(0, len(payload), 7):
        broken = bytearray(payload)
        broken[position] ^= 0x10
        with pytest.raises(CorruptPayload, match="tensor"):
            unpack(headers, broken, limits=LIMITS)


def altered(index: int, **fields: object) -> list[pb.TensorHeader]:
    headers, _ = frame(map="int8")
    for name, value in fields.items():
        if name in ("shape", "dim_order"):
            del getattr(headers[index], name)[:]
            getattr(headers[index], name).extend(value)
        else:
            setattr(headers[index], name, value)
    return headers


LIES = {
    "no type": (0, {"dtype": 0}, InvalidMessage),
    "a type of the future": (0, {"dtype": 99}, InvalidMessage),
    "another type": (2, {"dtype": pb.DType.DTYPE_UINT8}, InvalidMessage),
    "no name": (0, {"name": ""}, InvalidMessage),
    "a long name": (0, {"name": "x" * 21}, InvalidMessage),
    "a name twice": (0, {"name": "ids"}, InvalidMessage),
    "an unknown codec": (0, {"codec": "gzip"}, Unsupported),
    "a codec for other types": (2, {"codec": "int8"}, InvalidMessage),
    "scales without int8": (1, {"codec": "none"}, InvalidMessage),
    "a negative size": (2, {"shape": [-5]}, InvalidMessage),
    "two negative sizes": (2, {"shape": [-5, -1]}, InvalidMessage),
    "a huge size": (2, {"shape": [2**62]}, TooLarge),
    "sizes whose product overflows": (2, {"shape": [2**32, 2**32]}, TooLarge),
    "a huge size beside a zero": (2, {"shape": [2**62, 0]}, TooLarge),
    "a high rank": (2, {"shape": [1] * 6}, TooLarge),
    "more elements than bytes": (2, {"shape": [6]}, InvalidMessage),
    "an order of another rank": (1, {"dim_order": [0, 1]}, InvalidMessage),
    "an order that repeats": (1, {"dim_order": [0, 0, 1, 2]}, InvalidMessage),
    "an overlap": (0, {"offset_bytes": 1}, InvalidMessage),
    "an offset far out": (0, {"offset_bytes": 2**63}, InvalidMessage),
    "a size far out": (0, {"size_bytes": 2**63}, InvalidMessage),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused_before_anything_is_allocated(lie):
    index, fields, kind = LIES[lie]
    _, payload = frame(map="int8")
    with pytest.raises(kind):
        check_headers(altered(index, **fields), len(payload), LIMITS)


def test_what_unpacks_to_more_than_the_limit_is_refused_although_it_is_small():
    headers, buffers, payload_bytes = pack({"zeros": np.zeros(20_000, np.uint8)}, {"zeros": "none+zstd"})
    assert payload_bytes < 100
    with pytest.raises(TooLarge):
        check_headers(headers, payload_bytes, LIMITS)
    with pytest.raises(TooLarge):
        unpack(headers, join(buffers), limits=LIMITS)


def test_too_many_tensors_are_refused():
    arrays = {str(index): np.zeros(1) for index in range(5)}
    with pytest.raises(TooLarge, match="5 tensors"):
        pack(arrays, limits=LIMITS)


def test_a_payload_of_another_size_is_refused():
    headers, payload = frame()
    for wrong in (payload[:-1], payload + b"x", b""):
        with pytest.raises(WireError):
            unpack(headers, wrong, limits=LIMITS)


def test_faults_name_their_tensor():
    with pytest.raises(InvalidMessage, match="tensor 'words'"):
        pack({"words": np.array(["a"])})
    with pytest.raises(InvalidMessage, match="tensor 'map'"):
        check_headers(altered(1, shape=[1, 3, 8, 9]), 1000, LIMITS)


def test_the_unpacked_size_is_what_the_tensors_take():
    headers, payload = frame(map="int8+zstd")
    tensors = unpack(headers, payload, limits=LIMITS)
    assert check_headers(headers, len(payload), LIMITS) == sum(tensor.nbytes for tensor in tensors.values())


@pytest.mark.parametrize("codec", ["none", "int8"])
def test_a_frame_costs_a_link_its_headers_and_scales_too(codec):
    array = np.random.default_rng(0).standard_normal((1, 64, 4, 4)).astype(np.float32)
    headers, _, payload_bytes = pack({"x": array}, {"x": codec})
    sent = b"".join(header.SerializeToString() for header in headers)
    assert frame_bytes(headers, payload_bytes) == payload_bytes + len(sent)
    if codec == "int8":
        assert len(sent) > 64 * 4
