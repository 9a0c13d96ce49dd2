"""The operator graph of one model, torch-free."""

from __future__ import annotations

import math
from dataclasses import dataclass

from partitioner.dims import Binding, Dim, shape_of

DTYPE_BYTES = {
    "bool": 1,
    "uint8": 1,
    "int8": 1,
    "uint16": 2,
    "int16": 2,
    "float16": 2,
    "bfloat16": 2,
    "uint32": 4,
    "int32": 4,
    "float32": 4,
    "uint64": 8,
    "int64": 8,
    "float64": 8,
    "complex64": 8,
    "complex128": 16,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A tensor that flows in the graph. ``dtype`` is numpy's name (``float32``, ``bfloat16``); sizes may be symbolic."""

    name: str
    dtype: str
    shape: tuple[Dim, ...]

    def nbytes(self, binding: Binding) -> int:
        """Size in bytes under a binding of the symbols."""
        return math.prod(shape_of(self.shape, binding)) * DTYPE_BYTES[self.dtype]
