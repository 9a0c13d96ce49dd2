"""Example inputs from shapes: ``1x3x224x224``, ``2x16:int64``, ``2x16:bool``."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch

from partitioner.errors import UsageError

_SHAPE = re.compile(r"(?P<sizes>\d+(?:x\d+)*|scalar)(?::(?P<dtype>[a-z0-9]+))?")
_MAX_ELEMENTS = 2**31


def from_shapes(texts: Sequence[str]) -> tuple[torch.Tensor, ...]:
    """Tensors of these shapes: normal floats, integers of 0 and 1, true booleans; the same every time.

    Raises:
        UsageError: a text is no shape, or names no dtype.
    """
    generator = torch.Generator().manual_seed(0)
    return tuple(_example(text, generator) for text in texts)


def _example(text: str, generator: torch.Generator) -> torch.Tensor:
    match = _SHAPE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"--shape {text!r}: expected sizes such as 1x3x224x224, with a dtype such as 2x16:int64")
    sizes = [] if match["sizes"] == "scalar" else [int(size) for size in match["sizes"].split("x")]
    dtype = getattr(torch, match["dtype"] or "float32", None)
    if not isinstance(dtype, torch.dtype):
        raise UsageError(f"--shape {text!r}: {match['dtype']!r} is no dtype")
    count = 1
    for size in sizes:
        count *= size
    if count > _MAX_ELEMENTS:
        raise UsageError(f"--shape {text!r} has {count} elements, over the limit of {_MAX_ELEMENTS}")
    if dtype is torch.bool:
        return torch.ones(sizes, dtype=dtype)
    if dtype.is_floating_point or dtype.is_complex:
        return torch.randn(sizes, generator=generator).to(dtype)
    return torch.randint(0, 2, sizes, generator=generator).to(dtype)
