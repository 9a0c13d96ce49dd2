"""A part of an ONNX file that was exported with one row, for any number of rows.

Two things name the number: the shapes of what goes in, and the constant shapes that ``Reshape`` is given. The first
become symbolic; in the second a leading 1 becomes -1, "what is left over", where no other size is open. A constant that
anything but a ``Reshape`` reads is left as it is.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Mapping

from partitioner.errors import InputError, SegmentError
from partitioner.graph import Value
from partitioner.runtimes import Array
from partitioner.runtimes.ort import wire
from partitioner.runtimes.ort.onnxfile import Part, value_info
from partitioner.runtimes.ort.segment import OrtSegment
from partitioner.runtimes.ort.sessions import Block
from partitioner.runtimes.rows import ROWS

_GRAPH, _NODE, _INITIALIZER, _INPUT = 7, 1, 5, 11
_NODE_INPUT, _NODE_OP = 1, 4
_TENSOR_TYPE, _TENSOR_NAME, _TENSOR_RAW = 2, 8, 9
_INT64 = 7


class OrtRows:
    """A segment that was exported with one row, for as many as come."""

    def __init__(self, single: OrtSegment, block: Block) -> None:
        self._single = single
        self._block = block

    def __call__(
        self, tensors: Mapping[str, Array], *, should_stop: Callable[[], bool] | None = None
    ) -> dict[str, Array]:
        """Run once; see ``RowsRunnable``."""
        if len({array.shape[:1] for array in tensors.values()}) != 1:
            raise InputError("the tensors do not have the same number of rows")
        if should_stop is not None and should_stop():
            raise SegmentError("stopped: nobody waits for the answer any more")
        return self._single.run_rows(self._block, tensors)


def with_rows(part: Part, values: Mapping[str, Value]) -> Part:
    """A part for any number of rows; ``values`` are those that come in, by our names."""
    given = {onnx_name: values[name] for name, onnx_name in part.feeds if name in values}
    fields = [
        wire.nested(_GRAPH, _graph(wire.message(value), given)) if number == _GRAPH else raw
        for number, value, raw in wire.fields(part.model)
    ]
    return dataclasses.replace(part, model=b"".join(fields))


def _graph(graph: bytes, given: Mapping[str, Value]) -> bytes:
    sizes = _sizes(graph)
    made: list[bytes] = []
    for number, value, raw in wire.fields(graph):
        if number == _INITIALIZER:
            made.append(_initializer(wire.message(value), raw, sizes))
        elif number == _INPUT and (name := _name(wire.message(value), 1)) in given:
            shape = given[name].shape
            open_value = dataclasses.replace(given[name], shape=(ROWS, *shape[1:]))
            made.append(wire.nested(_INPUT, value_info(name, open_value)))
        else:
            made.append(raw)
    return b"".join(made)


def _sizes(graph: bytes) -> set[str]:
    """Names of what is read as the shape of a ``Reshape`` and nowhere else."""
    sizes: set[str] = set()
    others: set[str] = set()
    for number, value, _ in wire.fields(graph):
        if number != _NODE:
            continue
        inputs = [wire.text(each) for kind, each, _ in wire.fields(wire.message(value)) if kind == _NODE_INPUT]
        is_reshape = _name(wire.message(value), _NODE_OP) == "Reshape"
        sizes.update(inputs[1:2] if is_reshape else ())
        others.update([*inputs[:1], *inputs[2:]] if is_reshape else inputs)
    return sizes - others


def _initializer(tensor: bytes, raw: bytes, sizes: set[str]) -> bytes:
    """A size's constant with -1 for a leading 1; everything else as it is."""
    fields = list(wire.fields(tensor))
    kind = next((value for number, value, _ in fields if number == _TENSOR_TYPE), None)
    if kind != _INT64 or _name(tensor, _TENSOR_NAME) not in sizes:
        return raw
    return wire.nested(
        _INITIALIZER,
        b"".join(
            wire.nested(_TENSOR_RAW, _from_rows(wire.message(value))) if number == _TENSOR_RAW else each
            for number, value, each in fields
        ),
    )


def _from_rows(data: bytes) -> bytes:
    first, *rest = struct.unpack(f"<{len(data) // 8}q", data[: len(data) // 8 * 8]) or (0,)
    return struct.pack("<q", -1) + data[8:] if first == 1 and all(size > 0 for size in rest) else data


def _name(message: bytes, wanted: int) -> str:
    return next((wire.text(value) for number, value, _ in wire.fields(message) if number == wanted), "")
