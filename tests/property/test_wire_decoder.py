"""Malformed, random and lying messages against the decoder: it refuses with an error of the wire, or is right."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cloud.config import Config
from cloud.plans import read_plan
from protos import messages as pb
from protos.chunks import Assembler, Pacer
from protos.codecs import CODECS, DTYPES, applies_to, decode, encode
from protos.errors import WireError
from protos.tensors import Limits, check_headers, join, pack, unpack

QUICK = settings(max_examples=150, deadline=None)
LIMITS = Limits(max_frame_bytes=1 << 20, max_tensors=8, max_rank=6)
SIZES = st.one_of(st.integers(-3, 9), st.sampled_from([2**31, 2**32, 2**62, 2**63 - 1, -(2**63)]))
UINTS = st.one_of(st.integers(0, 64), st.sampled_from([2**31, 2**32 - 1, 2**63, 2**64 - 1]))
SHORT = st.text(max_size=8)

arrays = st.sampled_from([name for name in DTYPES if name != "bfloat16"]).flatmap(
    lambda name: hnp.arrays(DTYPES[name], hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6))
)
headers = st.builds(
    pb.TensorHeader,
    name=SHORT,
    dtype=st.integers(0, 20),
    shape=st.lists(SIZES, max_size=8),
    dim_order=st.lists(st.integers(0, 6), max_size=6),
    codec=st.one_of(st.sampled_from(CODECS), SHORT),
    offset_bytes=UINTS,
    size_bytes=UINTS,
    crc32c=st.integers(0, 2**32 - 1),
    quantisation=st.one_of(
        st.none(),
        st.builds(
            pb.Quantisation,
            axis=st.integers(-5, 5),
            scale=st.lists(st.floats(width=32), max_size=4),
            zero_point=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
        ),
    ),
)


@QUICK
@given(st.lists(headers, max_size=4), st.binary(max_size=200))
def test_random_headers_are_refused_or_true(given_headers, payload):
    try:
        tensors = unpack(given_headers, payload, limits=LIMITS)
    except WireError:
        pass
    else:
        assert sum(tensor.nbytes for tensor in tensors.values()) <= LIMITS.max_frame_bytes


@QUICK
@given(arrays, st.sampled_from(CODECS))
def test_any_array_crosses_in_any_codec(array, codec):
    made, buffers, payload_bytes = pack({"t": array}, {"t": codec}, limits=LIMITS)
    back = unpack(made, join(buffers), limits=LIMITS)["t"]
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert check_headers(made, payload_bytes, LIMITS) == array.nbytes
    if not applies_to(array.dtype.name, codec):
        assert back.tobytes() == array.tobytes()
    elif codec.startswith("int") and array.size and made[0].codec == codec:
        span = np.float64(array.max()) - np.float64(array.min())
        largest = np.abs(array.astype(np.float64)).max()
        rounding = largest * max(2.0**-20, float(np.finfo(array.dtype).eps))
        bound = (
            0.51 * span / (254 if codec.startswith("int8") else 14)
            + rounding
            + float(np.finfo(np.float32).tiny)
            + float(np.finfo(array.dtype).tiny)
        )
        assert np.abs(back.astype(np.float64) - array.astype(np.float64)).max() <= bound


@QUICK
@given(
    st.sampled_from(CODECS),
    st.integers(0, 10_000),
    st.integers(0, 7),
    st.sampled_from(["size", "shape", "codec", "dtype", "axis", "payload", "cut"]),
    st.data(),
)
def test_one_lie_in_a_true_frame_is_refused_or_harmless(codec, position, bit, lie, data):
    array = np.linspace(-3, 3, 512, dtype=np.float32).reshape(1, 8, 8, 8)
    made, buffers, _ = pack({"t": array}, {"t": codec})
    payload = bytearray(join(buffers))
    if lie == "size":
        made[0].size_bytes = data.draw(UINTS)
    elif lie == "shape":
        made[0].shape[data.draw(st.integers(0, 3))] = data.draw(SIZES)
    elif lie == "codec":
        made[0].codec = data.draw(st.sampled_from(CODECS))
    elif lie == "dtype":
        made[0].dtype = data.draw(st.integers(0, 15))
    elif lie == "axis":
        made[0].quantisation.axis = data.draw(st.integers(-9, 9))
    elif lie == "payload":
        payload[position % len(payload)] ^= 1 << bit
    else:
        del payload[position % len(payload) :]
    try:
        tensors = unpack(made, payload, limits=LIMITS)
    except WireError:
        return
    assert lie != "cut"
    assert lie != "payload"
    assert tensors["t"].nbytes <= LIMITS.max_frame_bytes


@QUICK
@given(st.binary(max_size=300))
def test_random_bytes_are_no_packed_tensor(payload):
    genuine = encode(np.arange(50, dtype=np.uint8), "none+zstd")
    fields = {name: getattr(genuine, name) for name in type(genuine).__slots__}
    try:
        back = decode(type(genuine)(**(fields | {"payload": payload})))
    except WireError:
        return
    assert back.size == 50


@QUICK
@given(st.binary(max_size=400))
def test_random_bytes_are_no_plan(data):
    proposal = pb.Propose()
    try:
        proposal.ParseFromString(data)
    except DecodeError:
        return
    with pytest.raises(WireError):
        read_plan(proposal, Config())


@QUICK
@given(st.lists(st.tuples(st.integers(-2, 40), st.binary(max_size=20)), max_size=20))
def test_a_payload_is_never_wrong_whatever_the_chunks(chunks):
    truth = bytes(range(32))
    assembler = Assembler(len(truth))
    for start, data in chunks:
        true_data = truth[start : start + len(data)] if start >= 0 else data
        try:
            assembler.add(start, true_data)
        except WireError:
            continue
    assert bytes(assembler.payload) == truth[: assembler.received_bytes]


@QUICK
@given(st.lists(st.tuples(st.sampled_from(["send", "ack", "forget"]), st.integers(1, 3), UINTS), max_size=60))
def test_a_pacer_never_loses_count(events):
    pacer, ends, flying, now_s = Pacer(), dict.fromkeys(range(1, 4), 0), {}, 0.0
    for kind, frame_id, number in events:
        now_s += 0.01
        if kind == "send":
            room = pacer.room_bytes()
            if room:
                ends[frame_id] += room
                flying.setdefault(frame_id, []).append((ends[frame_id], room))
                pacer.sent(frame_id, ends[frame_id], room, now_s)
        elif kind == "ack":
            newly = sum(size for end, size in flying.get(frame_id, ()) if end <= number)
            flying[frame_id] = [(end, size) for end, size in flying.get(frame_id, ()) if end > number]
            delivery = pacer.acked(frame_id, number, now_s)
            assert (0 if delivery is None else delivery.size_bytes) == newly
        else:
            flying.pop(frame_id, None)
            pacer.forget(frame_id)
        assert pacer.unacked_bytes == sum(size for each in flying.values() for _, size in each)
        assert pacer.rate_bytes_per_s > 0
        assert pacer.chunk_bytes > 0
        if not pacer.unacked_bytes:
            assert pacer.room_bytes() > 0
