"""What a program hands to a session, as a sample: tensors, a picture's bytes, or its pixels."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from partitioner.bundle import Bundle
from partitioner.dims import solve
from partitioner.errors import InputError
from partitioner.graph import Graph, Symbol
from partitioner.inputs import Sample, read
from partitioner.runtimes import Array
from partitioner.runtimes.binding import check_ranges


def to_sample(given: object, bundle: Bundle) -> Sample:
    """A sample of whatever a program holds.

    A path names a file as ``cleft-edge run --input`` takes it. A mapping holds one tensor per model input. Bytes are an
    encoded picture. An array of uint8 is pixels (or an encoded picture, where it has one axis) for a model that
    prepares pictures; any other array is the model's one input. Whatever numpy can read counts as an array.

    Raises:
        InputError: it fits none of these.
    """
    inputs = bundle.graph.inputs
    if isinstance(given, Sample):
        return given
    if isinstance(given, str | os.PathLike):
        values = [each.value for each in inputs]
        return read(Path(given), bundle_inputs=values, preprocess=bundle.preprocess)[0]
    if isinstance(given, Mapping):
        tensors = {str(name): _array(value) for name, value in given.items()}
        return _of_tensors(tensors, bundle.graph)
    if isinstance(given, bytes | bytearray | memoryview):
        return _of_source(np.frombuffer(given, np.uint8), bundle)
    array = _array(given)
    if array.dtype == np.uint8 and bundle.preprocess is not None:
        return _of_source(array, bundle)
    if len(inputs) != 1:
        names = ", ".join(each.name for each in inputs)
        raise InputError(f"the model has {len(inputs)} inputs ({names}): give a mapping of names to arrays")
    return _of_tensors({inputs[0].name: array}, bundle.graph)


def sizes_of(tensors: Mapping[str, Array], graph: Graph) -> dict[str, int]:
    """The sizes that tensors give the graph's symbols, kept in the range that the model was captured for.

    A symbol that they do not determine has the size it was captured with.
    """
    stated = [(each.value.shape, tensors[each.name].shape) for each in graph.inputs if each.name in tensors]
    found = solve([(shape, actual) for shape, actual in stated if len(shape) == len(actual)])
    return {symbol.name: _within(symbol, found.get(symbol.name, symbol.example)) for symbol in graph.symbols}


def _within(symbol: Symbol, size: int) -> int:
    return max(symbol.low, size if symbol.high is None else min(size, symbol.high))


def _of_source(source: Array, bundle: Bundle) -> Sample:
    if bundle.preprocess is None:
        raise InputError("the model has no preprocess record for pictures: give its input tensors")
    pixels = np.ascontiguousarray(source, np.uint8)
    return Sample(name="given", source=pixels, nbytes_original=pixels.nbytes)


def _of_tensors(tensors: Mapping[str, Array], graph: Graph) -> Sample:
    _check(tensors, graph)
    return Sample(name="given", tensors=tensors, nbytes_original=sum(array.nbytes for array in tensors.values()))


def _check(tensors: Mapping[str, Array], graph: Graph) -> None:
    """Check names, types and sizes here: where all runs in the cloud, no segment of the device's would."""
    if tensors.keys() != set(graph.input_names):
        raise InputError(f"the model's inputs are {', '.join(graph.input_names)}, not {', '.join(tensors) or 'none'}")
    binding: dict[str, int] = {}
    for each in graph.inputs:
        array, dims = tensors[each.name], each.value.shape
        is_right = array.dtype.name == each.value.dtype and array.ndim == len(dims)
        for dim, size in zip(dims, array.shape, strict=False):
            if isinstance(dim, str) and dim.isidentifier():
                is_right = is_right and binding.setdefault(dim, size) == size
            elif isinstance(dim, int):
                is_right = is_right and dim == size
        if not is_right:
            wanted = f"{each.value.dtype} ({', '.join(map(str, dims))})"
            raise InputError(f"{each.name} needs {wanted}, got {array.dtype} {array.shape}")
    check_ranges(graph.symbols, binding)


def _array(given: object) -> Array:
    try:
        array: Array = np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{type(given).__name__} cannot be read as an array: {error}") from error
    if array.dtype.hasobject:
        raise InputError(f"{type(given).__name__} is no array of numbers")
    return array
