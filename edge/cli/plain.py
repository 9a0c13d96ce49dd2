"""Any Python value as one that JSON can hold, for what a user's own last step returns.

Arrays become lists, records and mappings objects, complex numbers pairs. JSON has no NaN and no infinity: they become
the texts ``NaN``, ``Infinity`` and ``-Infinity``, as in protobuf's mapping. What is left becomes its text.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Mapping, Set

import numpy as np

from partitioner.runtimes import Array


def plain(value: object) -> object:
    """The value for JSON; one that holds itself becomes its text."""
    try:
        return _plain(value)
    except RecursionError:
        return repr(value)


def _plain(value: object) -> object:
    match value:
        case np.ndarray() | np.generic():
            return _of_array(np.asarray(value))
        case None | bool() | str():
            return value
        case int():
            return int(value)
        case float():
            return _of_float(value)
        case complex():
            return [_of_float(value.real), _of_float(value.imag)]
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple() | deque() | Set():
            return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(value, "__array__"):
        return _of_foreign(value)
    return str(value)


def _of_float(value: float) -> float | str:
    if math.isfinite(value):
        return float(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _of_array(array: Array) -> object:
    kind = array.dtype.kind
    if kind == "V" and array.dtype.names is None:  # bfloat16 and its like
        return _plain(array.astype(np.float64).tolist())
    if kind == "f":
        return _plain(array.astype(np.float64).tolist())
    if kind == "c":
        return _plain(array.astype(np.complex128).tolist())
    return _plain(array.tolist())


def _of_foreign(value: object) -> object:
    """What another library's array holds, where numpy can read it."""
    try:
        array = np.asarray(value)
    except Exception:
        return str(value)
    return str(value) if array.dtype.hasobject else _of_array(array)
