from __future__ import annotations

import time

import ml_dtypes
import numpy as np
import pytest
import zstandard

from protos.codecs import (
    CODECS,
    DTYPES,
    Encoded,
    Quantisation,
    applies_to,
    decode,
    effective,
    encode,
    estimate_bytes,
)
from protos.errors import CorruptPayload, InvalidMessage, TooLarge
from protos.quantise import MAX_CHANNELS
from protos.tensors import frame_bytes, pack

RNG = np.random.default_rng(7)
SHAPES = [(), (0,), (3, 0, 2), (1,), (5,), (1, 10), (4, 7), (2, 3, 5), (1, 8, 6, 6), (2, 4, 3, 5, 2)]


def sample(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    kind = DTYPES[dtype]
    if dtype == "bool":
        return RNG.integers(0, 2, shape).astype(bool)
    if kind.kind in "iu":
        info = np.iinfo(kind)
        return RNG.integers(info.min, info.max, shape, dtype=kind, endpoint=True)
    values = RNG.standard_normal(shape)
    return np.asarray(values + 1j * values if kind.kind == "c" else values).astype(kind)


def grid_error(array: np.ndarray, encoded: Encoded) -> np.ndarray:
    """Half a step of each element's own scale, with a little room for float32 arithmetic."""
    quantisation = encoded.quantisation
    assert quantisation is not None
    shape = [1] * array.ndim
    if quantisation.axis >= 0:
        shape[quantisation.axis] = -1
    step = quantisation.scale.astype(np.float64).reshape(shape)
    return step * 0.5 + np.abs(array.astype(np.float64)) * 2.0**-21


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_lossless_codecs_give_back_every_bit(dtype, shape):
    array = sample(dtype, shape)
    for codec in ("none", "none+zstd"):
        back = decode(encode(array, codec))
        assert back.dtype == array.dtype
        assert back.shape == array.shape
        assert back.tobytes() == array.tobytes()
        assert not back.flags.writeable


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_codec_gives_back_the_logical_type_and_shape(codec, dtype):
    for shape in SHAPES:
        array = sample(dtype, shape)
        encoded = encode(array, codec)
        back = decode(encoded)
        assert (back.dtype, back.shape) == (array.dtype, array.shape)
        assert not back.flags.writeable
        if not applies_to(dtype, codec):
            assert back.tobytes() == array.tobytes()
            assert encoded.codec == effective(codec, dtype)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES[3:], ids=str)
@pytest.mark.parametrize("offset", [0.0, 50.0, -1000.0])
@pytest.mark.parametrize("codec", ["int8", "int4"])
def test_quantising_is_off_by_half_a_step_at_most(dtype, shape, offset, codec):
    array = (RNG.standard_normal(shape) * 3 + offset).astype(DTYPES[dtype])
    encoded = encode(array, codec)
    bound = grid_error(array, encoded)
    if dtype in ("float16", "bfloat16"):  # the answer is rounded to the logical type once more
        bound = bound + np.abs(array.astype(np.float64)) * float(ml_dtypes.finfo(DTYPES[dtype]).eps)
    assert (np.abs(decode(encoded).astype(np.float64) - array.astype(np.float64)) <= bound).all()


@pytest.mark.parametrize(("codec", "steps", "top"), [("int8", 254, 255), ("int4", 14, 15)])
@pytest.mark.parametrize("width", [7, 8])
def test_quantising_is_the_definition_in_the_docstring(codec, steps, top, width):
    array = (RNG.standard_normal((1, 3, 5, width)) * [[[[1]], [[10]], [[0.01]]]]).astype(np.float32)
    encoded = encode(array, codec)
    assert encoded.quantisation.axis == 1
    for channel in range(3):
        x = array[:, channel]
        lo, hi = np.float64(x.min()), np.float64(x.max())
        tiny = np.finfo(np.float32).tiny
        scale = np.float32(max((hi - lo) / steps, max(abs(lo), abs(hi)) / 2**22, tiny))
        zero_point = np.float32(-np.rint(lo / scale))
        q = np.uint8(np.clip(np.rint(x / scale) + zero_point, 0, top))
        assert encoded.quantisation.scale[channel] == scale
        assert encoded.quantisation.zero_point[channel] == zero_point
        stored = numbers(encoded).reshape(array.shape)
        np.testing.assert_array_equal(stored[:, channel], q)
        back = (q.astype(np.float32) - zero_point) * scale
        np.testing.assert_array_equal(decode(encoded)[:, channel], back)


def numbers(encoded: Encoded) -> np.ndarray:
    """One number per element, byte by byte as the docstring says."""
    if encoded.codec == "int8":
        return np.frombuffer(encoded.payload, np.uint8)
    found = [half for byte in bytes(encoded.payload) for half in (byte & 15, byte >> 4)]
    elements = int(np.prod(encoded.shape))
    assert found[elements:] in ([], [0])
    return np.array(found[:elements], np.uint8)


def test_bits_after_the_last_number_are_refused():
    encoded = encode(np.linspace(-1, 1, 15, dtype=np.float32), "int4")
    payload = bytes(encoded.payload)
    assert len(payload) == 8
    fields = {name: getattr(encoded, name) for name in Encoded.__slots__}
    spoilt = Encoded(**(fields | {"payload": payload[:-1] + bytes([payload[-1] | 0x10])}))
    with pytest.raises(CorruptPayload, match="after the last"):
        decode(spoilt)


@pytest.mark.parametrize("codec", ["int8", "int4"])
def test_quantising_keeps_zero_and_constant_channels_exactly(codec):
    array = np.maximum(RNG.standard_normal((1, 4, 8, 8)), 0).astype(np.float32)
    array[:, 1] = 7.1
    array[:, 2] = -3e-20
    array[:, 3] = 0
    back = decode(encode(array, codec))
    assert (back[array == 0] == 0).all()
    np.testing.assert_array_equal(back[:, 1:], array[:, 1:])


def test_one_wild_channel_does_not_spoil_the_others():
    array = RNG.standard_normal((1, 16, 10, 10)).astype(np.float32)
    array[:, 3] *= 1e6
    error = np.abs(decode(encode(array, "int8")) - array)
    assert error[:, :3].max() < 0.02


def test_the_axis_is_the_one_with_the_smaller_error():
    features = RNG.standard_normal((1, 64, 96)).astype(np.float32)
    wild = np.exp(3 * RNG.standard_normal(96)).astype(np.float32)
    assert encode(features * wild, "int8").quantisation.axis == 2
    assert encode((features * wild).transpose(0, 2, 1), "int8").quantisation.axis == 1


def test_scales_never_outweigh_the_tensor():
    for shape in [(1, 4096), (1, 100_000, 1, 1), (1, MAX_CHANNELS + 1, 16, 1), (3, 3)]:
        encoded = encode(RNG.standard_normal(shape).astype(np.float32), "int8")
        assert encoded.quantisation.axis == -1
        assert encoded.quantisation.scale.size == 1
    wide = encode(RNG.standard_normal((1, MAX_CHANNELS, 4, 4)).astype(np.float32), "int8")
    assert wide.quantisation.scale.size == MAX_CHANNELS
    headers, _, payload_bytes = pack({"x": np.ones((1, MAX_CHANNELS, 4, 4), np.float32)}, {"x": "int8"})
    assert frame_bytes(headers, payload_bytes) < MAX_CHANNELS * 16 * 4


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_quantising_sends_what_it_cannot_represent_exactly_as_it_is(value, dtype):
    array = np.array([[0.5, value], [1.5, -2.0]]).astype(DTYPES[dtype])
    for codec, done in [("int8", "none"), ("int8+zstd", "none+zstd"), ("int4", "none"), ("int4+zstd", "none+zstd")]:
        encoded = encode(array, codec)
        assert encoded.codec == done
        assert decode(encoded).tobytes() == array.tobytes()


@pytest.mark.parametrize(("codec", "halves"), [("int8", 127), ("int4", 7)])
def test_quantising_the_whole_float32_range_stays_finite(codec, halves):
    largest = np.finfo(np.float32).max
    array = np.array([-largest, 0, largest, largest / 3], np.float32)
    back = decode(encode(array, codec))
    assert np.isfinite(back).all()
    np.testing.assert_allclose(back, array, atol=largest / halves)
    beyond = np.array([0.0, 1e300])
    assert encode(beyond, codec).codec == "none"


def test_fp16_clips_large_numbers_and_keeps_infinities_and_nan():
    array = np.array([1e30, -1e30, 65504, 65519, 65520, np.inf, -np.inf, np.nan, 1e-30, 0.1], np.float32)
    back = decode(encode(array, "fp16"))
    np.testing.assert_array_equal(back[:7], [65504, -65504, 65504, 65504, 65504, np.inf, -np.inf])
    assert np.isnan(back[7])
    np.testing.assert_array_equal(back[8:], array[8:].astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("codec", CODECS)
def test_layouts_cross_without_changing_the_values(codec):
    base = RNG.standard_normal((2, 6, 5, 4)).astype(np.float32)
    plain = decode(encode(base, codec))
    channels_last = np.ascontiguousarray(base.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    encoded = encode(channels_last, codec)
    assert encoded.dim_order == (0, 2, 3, 1)
    back = decode(encoded)
    np.testing.assert_array_equal(back, plain)
    assert back.strides == channels_last.strides
    swapped = base.astype(">f4")
    np.testing.assert_array_equal(decode(encode(swapped, codec)), plain)
    sparse = np.repeat(base, 2, axis=3)[..., ::2]
    assert not sparse.flags.c_contiguous
    np.testing.assert_array_equal(decode(encode(sparse, codec)), plain)
    backwards = base[:, :, ::-1]
    np.testing.assert_array_equal(
        decode(encode(backwards, codec)), decode(encode(np.ascontiguousarray(backwards), codec))
    )


def test_a_dense_array_is_neither_copied_on_the_way_out_nor_on_the_way_in():
    array = np.arange(64, dtype=np.float32)
    encoded = encode(array, "none")
    assert np.shares_memory(np.frombuffer(encoded.payload, np.uint8), array)
    assert np.shares_memory(decode(encoded), array)


def test_a_misaligned_payload_is_read_all_the_same():
    array = np.arange(16, dtype=np.float64)
    data = bytearray(1 + array.nbytes)
    data[1:] = array.tobytes()
    encoded = Encoded(codec="none", dtype="float64", shape=(16,), dim_order=(), payload=memoryview(data)[1:])
    back = decode(encoded)
    np.testing.assert_array_equal(back, array)
    assert back.flags.aligned


@pytest.mark.parametrize("codec", CODECS)
def test_the_estimate_is_near_the_real_size(codec):
    maps = np.maximum(RNG.standard_normal((1, 32, 56, 56)), 0).astype(np.float32)
    for array in (maps, maps[:, :1, :4, :4], np.zeros((0, 4), np.float32), np.arange(50_000), np.float32(3)):
        array = np.asarray(array)
        headers, _, payload_bytes = pack({"x": array}, {"x": codec})
        real = frame_bytes(headers, payload_bytes)
        assert abs(estimate_bytes(array, codec) - real) <= 0.1 * real + 300


def test_an_unknown_codec_or_type_is_refused_by_name():
    with pytest.raises(InvalidMessage, match="'int3'"):
        encode(np.zeros(1, np.float32), "int3")
    with pytest.raises(InvalidMessage, match="object"):
        encode(np.array([object()]), "none")
    with pytest.raises(InvalidMessage, match="cannot cross"):
        encode(np.array(["text"]), "none")


def lie(encoded: Encoded, **fields: object) -> Encoded:
    values = {name: getattr(encoded, name) for name in Encoded.__slots__} | fields
    return Encoded(**values)


def test_contradictions_are_refused():
    good = encode(RNG.standard_normal((2, 3, 8, 8)).astype(np.float32), "int8")
    decode(good)
    scales = good.quantisation
    for fields in (
        {"shape": (2, 3, 8, 9)},
        {"shape": (2, -3, 8, 8)},
        {"dim_order": (0, 1, 2)},
        {"dim_order": (0, 0, 1, 2)},
        {"dim_order": (0, 1, 2, 9)},
        {"dtype": "int64"},
        {"dtype": "object"},
        {"quantisation": None},
        {"quantisation": Quantisation(axis=4, scale=scales.scale, zero_point=scales.zero_point)},
        {"quantisation": Quantisation(axis=0, scale=scales.scale, zero_point=scales.zero_point)},
        {"quantisation": Quantisation(axis=1, scale=scales.scale, zero_point=scales.zero_point[:1])},
        {"quantisation": Quantisation(axis=1, scale=-scales.scale, zero_point=scales.zero_point)},
        {"quantisation": Quantisation(axis=1, scale=scales.scale * np.nan, zero_point=scales.zero_point)},
        {"payload": bytes(good.payload)[:-1]},
        {"payload": bytes(good.payload) + b"x"},
    ):
        with pytest.raises((InvalidMessage, CorruptPayload)):
            decode(lie(good, **fields))


def test_a_boolean_holds_nothing_but_0_and_1():
    with pytest.raises(CorruptPayload, match="0 and 1"):
        decode(Encoded(codec="none", dtype="bool", shape=(2,), dim_order=(), payload=b"\x01\x02"))


def packed(payload: bytes, elements: int) -> Encoded:
    return Encoded(codec="none+zstd", dtype="uint8", shape=(elements,), dim_order=(), payload=payload)


def test_a_bomb_is_refused_by_what_it_announces():
    bomb = zstandard.ZstdCompressor().compress(bytes(50_000_000))
    with pytest.raises(TooLarge):
        decode(packed(bomb, 10))
    unannounced = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(50_000_000))
    with pytest.raises(TooLarge):
        decode(packed(unannounced, 10))


def test_packed_bytes_that_are_cut_extended_or_random_are_refused():
    good = zstandard.ZstdCompressor().compress(bytes(range(100)))
    assert decode(packed(good, 100)).size == 100
    for payload in (good[:-3], good + b"more", good + good, b"", b"random bytes", good[:4]):
        with pytest.raises((CorruptPayload, TooLarge)):
            decode(packed(payload, 100))


@pytest.mark.benchmark
def test_a_megabyte_is_quantised_in_a_few_milliseconds():
    array = np.maximum(RNG.standard_normal((1, 64, 64, 64)), 0).astype(np.float32)
    best = {}
    for codec in CODECS:
        times_s = []
        for _ in range(7):
            start_s = time.perf_counter()
            encoded = encode(array, codec)
            middle_s = time.perf_counter()
            decode(encoded)
            times_s.append((middle_s - start_s, time.perf_counter() - middle_s))
        best[codec] = tuple(min(column) * 1e3 for column in zip(*times_s, strict=True))
        payload_bytes = len(encoded.payload)
        print(f"{codec:10s} encode {best[codec][0]:6.2f} ms, decode {best[codec][1]:6.2f} ms, {payload_bytes} bytes")
    assert sum(best["int8"]) < 20
