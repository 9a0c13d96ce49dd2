"""Tensors of the Open Inference Protocol as arrays, and back, trusting nothing.

A request holds the numbers of all its inputs raw (little-endian, row-major), or each in the field of its datatype.
Every size is checked in Python integers against the bytes that are there before an array is made; raw numbers are read
in place. ``BYTES`` is what the protocol has for text and files: each element with its length before it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from protos.codecs import DTYPES
from protos.errors import InvalidMessage, TooLarge, Unsupported
from protos.inference import InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse

Array = npt.NDArray[np.generic]

BYTES = "BYTES"
DATATYPES: Mapping[str, str] = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    "BF16": "bfloat16",
}
"""The protocol's name of each datatype -> numpy's."""

_OF_NUMPY = {name: datatype for datatype, name in DATATYPES.items()}
_FIELDS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
_MAX_TENSORS = 256
_MAX_RANK = 16
_MAX_SIZE = 1 << 40
_LENGTH_BYTES = 4
_Input = ModelInferRequest.InferInputTensor


def datatype_of(dtype: str) -> str | None:
    """The protocol's name of numpy's dtype; None where it has none (complex numbers)."""
    return _OF_NUMPY.get(dtype)


def read_inputs(request: ModelInferRequest) -> dict[str, Array | list[bytes]]:
    """The request's inputs by name: arrays that may not be written to, and lists of bytes where the datatype is BYTES.

    Raises:
        InvalidMessage: an input contradicts itself or another; names it.
        Unsupported: numbers that lie in shared memory.
        TooLarge: more tensors, or more axes, than anybody needs.
    """
    if len(request.inputs) > _MAX_TENSORS:
        raise TooLarge(f"the request has {len(request.inputs)} inputs; at most {_MAX_TENSORS} are taken")
    for tensor in request.inputs:
        refuse_shared_memory(tensor.name, tensor.parameters)
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise InvalidMessage(f"{len(request.inputs)} inputs have {len(raw)} raw contents: give each one, or none")
    found: dict[str, Array | list[bytes]] = {}
    for index, tensor in enumerate(request.inputs):
        if tensor.name in found:
            raise InvalidMessage(f"input {tensor.name!r} comes twice")
        count = _elements(tensor)
        if raw and tensor.HasField("contents"):
            raise InvalidMessage(f"input {tensor.name!r} has typed contents beside raw ones: give one of them")
        found[tensor.name] = _from_raw(tensor, raw[index], count) if raw else _from_typed(tensor, count)
    return found


def write_outputs(response: ModelInferResponse, outputs: Mapping[str, Array]) -> None:
    """Add arrays to an answer, raw.

    Raises:
        Unsupported: the protocol has no datatype for one.
    """
    for name, array in outputs.items():
        datatype = datatype_of(array.dtype.name)
        if datatype is None:
            raise Unsupported(f"output {name!r} is {array.dtype.name}, for which this protocol has no datatype")
        response.outputs.add(name=name, datatype=datatype, shape=array.shape)
        little = array.astype(array.dtype.newbyteorder("<"), copy=False) if array.dtype.byteorder == ">" else array
        response.raw_output_contents.append(np.ascontiguousarray(little).tobytes())


def refuse_shared_memory(name: str, parameters: Mapping[str, InferParameter]) -> None:
    """Check that a tensor's numbers travel with the message.

    Raises:
        Unsupported: they lie in shared memory.
    """
    if "shared_memory_region" in parameters:
        raise Unsupported(f"tensor {name!r} lies in shared memory, which is not offered here: send its numbers")


def parameter(value: bool | int | float | str) -> InferParameter:
    """A value as a parameter."""
    if isinstance(value, bool):
        return InferParameter(bool_param=value)
    if isinstance(value, int):
        return InferParameter(int64_param=value)
    return InferParameter(string_param=value) if isinstance(value, str) else InferParameter(double_param=value)


def _elements(tensor: _Input) -> int:
    """How many elements an input's shape names."""
    if tensor.datatype != BYTES and tensor.datatype not in DATATYPES:
        known = ", ".join((*DATATYPES, BYTES))
        raise InvalidMessage(f"input {tensor.name!r} is of datatype {tensor.datatype!r}; known are {known}")
    if len(tensor.shape) > _MAX_RANK:
        raise TooLarge(f"input {tensor.name!r} has {len(tensor.shape)} axes; at most {_MAX_RANK} are taken")
    if any(not 0 <= size < _MAX_SIZE for size in tensor.shape):
        raise InvalidMessage(f"input {tensor.name!r} has shape {_shown(tensor.shape)}: a size is negative or absurd")
    return math.prod(tensor.shape)


def _from_raw(tensor: _Input, data: bytes, count: int) -> Array | list[bytes]:
    if tensor.datatype == BYTES:
        return _split(tensor, data, count)
    dtype = DTYPES[DATATYPES[tensor.datatype]].newbyteorder("<")
    if len(data) != count * dtype.itemsize:
        raise InvalidMessage(
            f"input {tensor.name!r} of {tensor.datatype} {_shown(tensor.shape)} takes {count * dtype.itemsize} bytes; "
            f"{len(data)} came"
        )
    if tensor.datatype == "BOOL" and data.strip(b"\x00\x01"):
        raise InvalidMessage(f"input {tensor.name!r} is BOOL, and some of its bytes are neither 0 nor 1")
    array: Array = np.frombuffer(data, dtype)
    return array.astype(dtype.newbyteorder("="), copy=False).reshape(tuple(tensor.shape))


def _from_typed(tensor: _Input, count: int) -> Array | list[bytes]:
    field = _FIELDS.get(tensor.datatype)
    if field is None:
        raise InvalidMessage(f"input {tensor.name!r} is {tensor.datatype}, which goes raw: fill raw_input_contents")
    others = [name for name in sorted(set(_FIELDS.values()) - {field}) if len(getattr(tensor.contents, name))]
    if others:
        raise InvalidMessage(f"input {tensor.name!r} is {tensor.datatype}, and its contents stand in {others[0]}")
    numbers = _numbers(tensor.contents, field)
    if len(numbers) != count:
        raise InvalidMessage(
            f"input {tensor.name!r} of {tensor.datatype} {_shown(tensor.shape)} takes {count} elements; "
            f"{len(numbers)} came in {field}"
        )
    if tensor.datatype == BYTES:
        return [bytes(number) for number in numbers]  # type: ignore[call-overload]
    dtype = DTYPES[DATATYPES[tensor.datatype]]
    if dtype.kind in "iu" and numbers:
        limits = np.iinfo(dtype.name)
        low, high = min(numbers), max(numbers)  # type: ignore[type-var]
        if low < limits.min or high > limits.max:  # type: ignore[operator]
            raise InvalidMessage(f"input {tensor.name!r} is {tensor.datatype}, and holds {low} to {high}")
    array: Array = np.array(numbers, dtype=dtype).reshape(tuple(tensor.shape))
    array.flags.writeable = False
    return array


def _numbers(contents: InferTensorContents, field: str) -> Sequence[object]:
    numbers: Sequence[object] = getattr(contents, field)
    return numbers


def _split(tensor: _Input, data: bytes, count: int) -> list[bytes]:
    """The elements of a raw BYTES tensor."""
    found: list[bytes] = []
    start = 0
    while start < len(data) and len(found) < count:
        end = start + _LENGTH_BYTES
        end += int.from_bytes(data[start:end], "little")
        found.append(data[start + _LENGTH_BYTES : end])
        start = end
    if start != len(data) or len(found) != count:
        raise InvalidMessage(f"input {tensor.name!r} of BYTES {_shown(tensor.shape)} does not hold {count} elements")
    return found


def _shown(shape: Sequence[int]) -> str:
    return f"[{', '.join(map(str, shape))}]"
