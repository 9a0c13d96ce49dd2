"""Sizes that vary: ``--dynamic ids=b,t:1..512`` to what ``torch.export`` wants.

One entry per axis, in order: a name, a name with its range, a multiple of one (``16*h:2..32`` for a network that halves
an image four times), or ``_`` for a size that is fixed. Axes that are left out are fixed, and the same name means the
same size. An input is named as in the module's ``forward``; one inside a dict or
tuple by its path (``batch.ids``).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch.utils import _pytree as pytree

from partitioner.errors import ModelError, UsageError

_AXIS = re.compile(r"(?:(?P<times>[1-9]\d{0,5})\*)?(?P<name>[A-Za-z][A-Za-z0-9_]*)(?::(?P<low>\d+)\.\.(?P<high>\d+))?")
_RESERVED = frozenset({"Max", "Min", "Mod", "FloorDiv", "floor", "ceiling"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A size that varies, or (``name`` empty) one that does not; it is ``times`` the named number."""

    name: str = ""
    low: int = 1
    high: int | None = None
    times: int = 1


DynamicSizes = Mapping[str, tuple[Axis, ...]]


def parse(specs: Sequence[str]) -> DynamicSizes:
    """Read ``ids=b,t:1..512`` entries.

    Raises:
        UsageError: an entry makes no sense.
    """
    found: dict[str, tuple[Axis, ...]] = {}
    for spec in specs:
        name, equals, axes = spec.partition("=")
        if not equals or not name:
            raise UsageError(f"--dynamic {spec!r}: expected INPUT=AXIS,AXIS such as ids=b,t:1..512")
        found[name.strip()] = tuple(_axis(text.strip(), spec) for text in axes.split(","))
    return found


def sizes_for(placeholder: str, dynamic: DynamicSizes | None) -> tuple[Axis, ...]:
    """The axes of the input that ``torch.export`` calls ``placeholder``."""
    for name, axes in (dynamic or {}).items():
        if placeholder == name.replace(".", "_"):
            return axes
    return ()


def to_export(
    module: torch.nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object], dynamic: DynamicSizes
) -> dict[str, object]:
    """The ``dynamic_shapes`` argument of ``torch.export.export``.

    Raises:
        UsageError: an input of that name does not exist, or has fewer axes.
    """
    unused = set(dynamic)
    dims: dict[str, torch.export.Dim] = {}

    def shape(path: str, leaf: object) -> object:
        if not isinstance(leaf, torch.Tensor):
            return None
        axes = dynamic.get(path, ())
        unused.discard(path)
        if len(axes) > leaf.dim():
            raise UsageError(f"--dynamic names {len(axes)} axes of {path!r}, which has {leaf.dim()}")
        chosen: dict[int, object] = {}
        for index, axis in enumerate(axes):
            if axis.name:
                if axis.name not in dims:
                    dims[axis.name] = torch.export.Dim(axis.name, min=axis.low, max=axis.high)
                chosen[index] = dims[axis.name] if axis.times == 1 else axis.times * dims[axis.name]
        return chosen

    shapes = _map_inputs(module, args, kwargs, shape)
    if unused:
        raise UsageError(f"--dynamic names {sorted(unused)[0]!r}; the model's inputs are {', '.join(_paths(shapes))}")
    return shapes


def lengthen(
    module: torch.nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object], dynamic: DynamicSizes
) -> tuple[tuple[object, ...], dict[str, object]]:
    """Repeat examples along varying axes of size 1: ``torch.export`` would take that 1 for a constant."""

    def longer(path: str, leaf: object) -> object:
        if isinstance(leaf, torch.Tensor):
            for index, axis in enumerate(dynamic.get(path, ())):
                if axis.name and index < leaf.dim() and leaf.shape[index] == 1 and (axis.high is None or axis.high > 1):
                    leaf = torch.cat([leaf, leaf], dim=index)
        return leaf

    bound = _bind(module, args, kwargs)
    bound.arguments = _map_inputs(module, args, kwargs, longer)
    return bound.args, dict(bound.kwargs)


def _map_inputs(
    module: torch.nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object], change: _Change
) -> dict[str, object]:
    return {
        name: pytree.tree_map_with_path(lambda path, leaf, name=name: change(_join(name, path), leaf), value)
        for name, value in _bind(module, args, kwargs).arguments.items()
    }


def _bind(module: torch.nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]) -> inspect.BoundArguments:
    try:
        return inspect.signature(module.forward).bind(*args, **kwargs)
    except TypeError as error:
        raise ModelError(f"the example inputs do not fit the model's forward(): {error}") from error


def _join(name: str, path: Sequence[object]) -> str:
    keys = [str(getattr(each, "key", getattr(each, "idx", getattr(each, "name", each)))) for each in path]
    return ".".join([name, *keys])


def _paths(shapes: Mapping[str, object]) -> list[str]:
    return sorted(shapes)


def _axis(text: str, spec: str) -> Axis:
    if text in ("_", ""):
        return Axis()
    match = _AXIS.fullmatch(text)
    if match is None or match["name"] in _RESERVED:
        raise UsageError(f"--dynamic {spec!r}: {text!r} is no axis: use a name, NAME:LOW..HIGH, or _ for a fixed size")
    low = int(match["low"]) if match["low"] else 1
    high = int(match["high"]) if match["high"] else None
    if high is not None and high < max(low, 2):
        raise UsageError(f"--dynamic {spec!r}: the range of {match['name']!r} must reach at least 2")
    return Axis(name=match["name"], low=low, high=high, times=int(match["times"] or 1))


class _Change(Protocol):
    def __call__(self, path: str, leaf: object, /) -> object: ...
