"""The Open Inference Protocol's messages: ours are Triton's, on the wire and in one process with its client."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import numpy as np
import pytest
from google.protobuf import descriptor_pool
from hypothesis import given
from hypothesis import strategies as st

from protos import inference as oip
from protos.contents import DATATYPES, datatype_of, parameter, read_inputs, write_outputs
from protos.errors import InvalidMessage, TooLarge, Unsupported, WireError

triton = pytest.importorskip("tritonclient.grpc")
service_pb2 = triton.service_pb2
RNG = np.random.default_rng(3)


def fields(descriptor) -> dict[str, tuple[int, int, bool]]:
    return {each.name: (each.number, each.type, each.is_repeated) for each in descriptor.fields}


@pytest.mark.parametrize("name", [name for name in oip.__all__ if name[0].isupper() and name != "InferenceStub"])
def test_names_numbers_and_types_of_fields_are_those_of_tritons_client(name):
    ours, theirs = fields(getattr(oip, name).DESCRIPTOR), fields(getattr(service_pb2, name).DESCRIPTOR)
    if name == "ModelMetadataResponse":
        assert ours.pop("parameters")[0] not in {number for number, *_ in theirs.values()}
    assert ours == theirs
    for nested in getattr(oip, name).DESCRIPTOR.nested_types:
        found = getattr(service_pb2, name).DESCRIPTOR.nested_types_by_name.get(nested.name)
        assert nested.name == "ParametersEntry" if found is None else fields(nested) == fields(found)


def test_nothing_of_ours_stands_in_the_default_pool():
    found = descriptor_pool.Default().FindMessageTypeByName("inference.ModelInferRequest")
    assert found is not oip.ModelInferRequest.DESCRIPTOR
    assert found is service_pb2.ModelInferRequest.DESCRIPTOR


@pytest.mark.parametrize(
    "first", ["import protos.inference, tritonclient.grpc", "import tritonclient.grpc, protos.inference"]
)
def test_both_live_in_one_process_whichever_is_imported_first(first):
    code = f"""{first}
from tritonclient.grpc import service_pb2
asked = service_pb2.ModelInferRequest(model_name="m", id="7", raw_input_contents=[b"ab"])
asked.parameters["timeout"].int64_param = 5
ours = protos.inference.ModelInferRequest.FromString(asked.SerializeToString())
print(ours.model_name, ours.id, ours.parameters["timeout"].int64_param, *ours.raw_input_contents)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("m 7 5 b'ab'\n", 0), done.stderr


def request(*tensors, raw=True):
    """What tritonclient sends for (name, array) pairs, or for raw=False the same in typed contents."""
    message = oip.ModelInferRequest()
    for name, array in tensors:
        tensor = message.inputs.add(name=name, datatype=datatype_of(array.dtype.name), shape=array.shape)
        if raw:
            message.raw_input_contents.append(array.tobytes())
        else:
            kind, bits = array.dtype.kind, array.dtype.itemsize * 8
            word = {"b": "bool", "f": f"fp{bits}", "i": "int", "u": "uint"}[kind] + (
                "64" if kind in "iu" and bits == 64 else ""
            )
            getattr(tensor.contents, f"{word}_contents").extend(array.ravel().tolist())
    return message


def example(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    from protos.codecs import DTYPES

    return (RNG.integers(0, 2 if dtype == "bool" else 100, shape)).astype(DTYPES[dtype])


@pytest.mark.parametrize("dtype", DATATYPES.values())
@pytest.mark.parametrize("shape", [(2, 3), (), (0, 4)])
def test_raw_numbers_come_out_as_they_went_in_and_cannot_be_written_to(dtype, shape):
    array = example(dtype, shape)
    found = read_inputs(oip.ModelInferRequest.FromString(request(("x", array)).SerializeToString()))["x"]
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()
    assert not found.flags.writeable


@pytest.mark.parametrize("dtype", sorted(set(DATATYPES.values()) - {"float16", "bfloat16"}))
def test_typed_numbers_come_out_as_they_went_in(dtype):
    array = example(dtype, (2, 3))
    found = read_inputs(request(("x", array), raw=False))["x"]
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)


def test_half_floats_have_no_typed_field():
    message = oip.ModelInferRequest()
    message.inputs.add(name="x", datatype="FP16", shape=[1])
    with pytest.raises(InvalidMessage, match="raw_input_contents"):
        read_inputs(message)


def test_files_come_as_elements_with_their_length_or_typed():
    elements = [b"", b"two", b"\xff" * 300]
    tensor = triton.InferInput("x", [3], "BYTES")
    tensor.set_data_from_numpy(np.array(elements, dtype=np.object_))
    message = oip.ModelInferRequest()
    message.inputs.add(name="x", datatype="BYTES", shape=[3])
    message.raw_input_contents.append(tensor._get_content())
    assert read_inputs(message) == {"x": elements}
    del message.raw_input_contents[:]
    message.inputs[0].contents.bytes_contents.extend(elements)
    assert read_inputs(message) == {"x": elements}


@pytest.mark.parametrize(
    ("change", "kind", "line"),
    [
        (lambda m: m.raw_input_contents.append(b""), InvalidMessage, "give each one"),
        (lambda m: m.raw_input_contents.__setitem__(0, b"123"), InvalidMessage, "takes 24 bytes; 3 came"),
        (lambda m: m.inputs[0].shape.append(-1), InvalidMessage, "negative"),
        (lambda m: m.inputs[0].shape.append(1 << 50), InvalidMessage, "absurd"),
        (lambda m: m.inputs[0].shape.extend([1 << 39] * 12), InvalidMessage, "bytes"),
        (lambda m: m.inputs[0].shape.extend([1] * 20), TooLarge, "axes"),
        (lambda m: setattr(m.inputs[0], "datatype", "FP8"), InvalidMessage, "'FP8'; known are BOOL"),
        (lambda m: m.inputs[0].contents.fp32_contents.append(1), InvalidMessage, "beside raw ones"),
        (lambda m: m.inputs.extend(list(m.inputs) * 300), TooLarge, "inputs"),
        (
            lambda m: m.inputs[0].parameters["shared_memory_region"].CopyFrom(parameter("r")),
            Unsupported,
            "shared memory",
        ),
    ],
)
def test_what_contradicts_itself_is_refused_by_name(change, kind, line):
    message = request(("x", np.zeros((2, 3), np.float32)))
    change(message)
    with pytest.raises(kind, match=line):
        read_inputs(message)


def test_a_name_that_comes_twice_is_refused():
    array = np.zeros(2, np.float32)
    with pytest.raises(InvalidMessage, match="'x' comes twice"):
        read_inputs(request(("x", array), ("x", array)))


def test_typed_numbers_beyond_their_datatype_or_in_anothers_field_are_refused():
    message = oip.ModelInferRequest()
    tensor = message.inputs.add(name="x", datatype="INT8", shape=[2])
    tensor.contents.int_contents.extend([1, 300])
    with pytest.raises(InvalidMessage, match="holds 1 to 300"):
        read_inputs(message)
    tensor.datatype = "FP32"
    with pytest.raises(InvalidMessage, match="stand in int_contents"):
        read_inputs(message)


def test_bytes_that_are_no_truth_values_are_refused():
    message = request(("x", np.array([True, False])))
    message.raw_input_contents[0] = b"\x01\x02"
    with pytest.raises(InvalidMessage, match="neither 0 nor 1"):
        read_inputs(message)


def test_tritons_client_reads_our_answers():
    response = oip.ModelInferResponse(model_name="m")
    outputs = {name: example(name, (2, 2)) for name in DATATYPES.values()} | {"back": example("float32", (4, 2))[::-1]}
    write_outputs(response, outputs)
    result = triton.InferResult(service_pb2.ModelInferResponse.FromString(response.SerializeToString()))
    for name, array in outputs.items():
        assert np.array_equal(result.as_numpy(name), array.astype(np.float32) if name == "bfloat16" else array), name


def test_numbers_without_a_datatype_are_refused_on_the_way_out():
    with pytest.raises(Unsupported, match="'z' is complex64"):
        write_outputs(oip.ModelInferResponse(), {"z": np.zeros(1, np.complex64)})


@given(st.binary(max_size=300))
def test_garbage_is_read_or_refused_and_nothing_else(data):
    try:
        message = oip.ModelInferRequest.FromString(data)
    except Exception:
        return
    with contextlib.suppress(WireError):
        read_inputs(message)


@given(
    shape=st.lists(st.integers(-3, 1 << 62), max_size=4),
    datatype=st.sampled_from([*DATATYPES, "BYTES", ""]),
    raw=st.one_of(st.none(), st.binary(max_size=64)),
    numbers=st.lists(st.integers(-(1 << 31), (1 << 31) - 1), max_size=8),
)
def test_lying_shapes_are_refused_before_anything_is_made_of_them(shape, datatype, raw, numbers):
    message = oip.ModelInferRequest()
    tensor = message.inputs.add(name="x", datatype=datatype, shape=shape)
    if raw is not None:
        message.raw_input_contents.append(raw)
    else:
        tensor.contents.int_contents.extend(numbers)
    try:
        found = read_inputs(message)["x"]
    except WireError:
        return
    assert len(found) * 4 <= len(raw or b"") if isinstance(found, list) else list(found.shape) == shape
