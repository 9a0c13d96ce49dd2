"""The shape of what a model returns, as JSON: dicts, lists and tuples of indices into its flat outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import torch


def output_tree(program: torch.export.ExportedProgram, count: int) -> object:
    """``0`` for a single tensor, ``{"dict": [["boxes", 0], ["scores", {"list": [1, 2]}]]}`` and so on.

    A registered type of the user's (a dataclass, a model output class) becomes a dict of its fields.
    """
    spec = program.call_spec.out_spec
    if spec is None:
        return {"tuple": list(range(count))}
    return _tree(torch.utils._pytree.tree_unflatten(list(range(count)), spec))


def _tree(value: object) -> object:
    if isinstance(value, int):
        return value
    if isinstance(value, dict):
        return _record(value.items())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        return _record((name, item) for name, item in fields if item is not None)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return _record(zip(value._fields, value, strict=True))
    if isinstance(value, tuple | list):
        return {"list" if isinstance(value, list) else "tuple": [_tree(item) for item in value]}
    return {"tuple": [leaf for leaf in torch.utils._pytree.tree_leaves(value) if isinstance(leaf, int)]}


def _record(items: Iterable[tuple[object, object]]) -> object:
    """Pairs, not a JSON object: canonical JSON sorts keys, and the model's order is part of what it returns."""
    return {"dict": [[str(key), _tree(item)] for key, item in items]}
