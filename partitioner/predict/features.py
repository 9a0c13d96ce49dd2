"""Layers as operators with features: what a fit learns from, and what a prediction is computed of.

A layer is a run of operators; its first one does the work, and those behind it are element-wise (``layers``). Each is
described by what it computes, what it moves and the weights it reads, and by the logarithms of its sizes. An operator
that does two multiplications or more for each number it makes is taken as a product of matrices of ``rows`` by
``inner`` by ``columns`` (a convolution is one), whatever its name is; every other as a pass over memory.

Parameters have names (``dense``, ``dense:conv2d``, ``dense:conv2d rows``): every feature counts for its family, and
again for its operator. So an operator that no fit has seen is predicted as its family is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from partitioner.errors import ProfileError
from partitioner.graph import DTYPE_BYTES
from partitioner.layergraph import Flow
from partitioner.profile import LayerProfile, Profile

_LEAST_INNER = 2.0
_SCALE = 3.0
"""Logarithms of sizes are divided by this, so that they and their products are around one."""
_ITEM_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One operator of layer ``layer``: operations, bytes of activations and of weights, and features by name.

    ``family`` says how it is described, ``key`` adds its name. ``sizes`` are the features that a range is kept of.
    """

    layer: int
    family: str
    key: str
    work: float
    moved_bytes: float
    weight_bytes: float
    features: Mapping[str, float]
    sizes: Mapping[str, float]


def operators_of(profile: Profile) -> tuple[Operator, ...]:
    """The operators of all layers, in running order.

    Raises:
        ProfileError: the profile was made before layers said what they read.
    """
    if any(layer.window is None or layer.groups is None for layer in profile.layers):
        raise ProfileError(
            f"the profile of {profile.model_name} was made by an older version and does not say how its layers read "
            "their inputs; profile the bundle again"
        )
    given: list[list[Flow]] = [[] for _ in profile.layers]
    item_bytes = [_ITEM_BYTES] * len(profile.layers)
    for flow in profile.flows:
        for reader in flow.consumers:
            given[reader].append(flow)
        if flow.producer >= 0:
            item_bytes[flow.producer] = DTYPE_BYTES.get(flow.dtype, _ITEM_BYTES)
    return tuple(
        operator
        for index, layer in enumerate(profile.layers)
        for operator in _of_layer(index, layer, sum(flow.nbytes for flow in given[index]), item_bytes[index])
    )


def _of_layer(index: int, layer: LayerProfile, given_bytes: int, item_bytes: int) -> Iterator[Operator]:
    first, *rest = layer.kind.split("+")
    made = max(layer.output_bytes / item_bytes, 1.0)
    work = max(layer.flops - len(rest) * made, 0.0)
    moved_bytes = given_bytes + layer.output_bytes
    inner = work / (2 * made)
    window, groups = layer.window or 1, layer.groups or 1
    if inner >= _LEAST_INNER:
        family = "grouped" if groups > 1 else "window" if window > 1 else "dense"
        columns = max(layer.weight_bytes / item_bytes / inner, 1.0) if layer.weight_bytes else 1.0
        sizes = {"rows": max(made / columns, 1.0) / 784, "inner": inner / 256, "columns": columns / 128}
        sizes |= {"window": window / 9} if family != "dense" else {}
        sizes |= {"groups": groups / 64} if family == "grouped" else {}
    else:
        family = "pass"
        work = max(work, made * window)
        sizes = {"bytes": (moved_bytes + 4) / 1e6, "window": float(window)}
    yield _operator(index, family, first, work, moved_bytes, layer.weight_bytes, sizes)
    for name in rest:
        sizes = {"bytes": (2 * layer.output_bytes + 4) / 1e6, "window": 1.0}
        yield _operator(index, "pass", name, made, 2 * layer.output_bytes, 0, sizes, is_fused=True)


def _operator(
    layer: int,
    family: str,
    name: str,
    work: float,
    moved_bytes: float,
    weight_bytes: float,
    sizes: Mapping[str, float],
    *,
    is_fused: bool = False,
) -> Operator:
    key = f"{family}:{name}"
    logs = {size: math.log(value) / _SCALE for size, value in sizes.items()}
    features = {family: 1.0, key: 1.0}
    features |= {"fused": 1.0, f"fused:{name}": 1.0} if is_fused else {}
    for size, value in logs.items():
        features[f"{family} {size}"] = features[f"{key} {size}"] = value
    features |= dict(_products(family, logs))
    return Operator(
        layer=layer,
        family=family,
        key=f"fused:{name}" if is_fused else key,
        work=work,
        moved_bytes=moved_bytes,
        weight_bytes=weight_bytes,
        features=features,
        sizes=logs,
    )


def _products(family: str, logs: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    names: Sequence[str] = tuple(logs)
    for index, name in enumerate(names):
        for other in names[index:]:
            yield f"{family} {name}*{other}", logs[name] * logs[other]


def octaves(scaled: float) -> float:
    """How many doublings a difference of two ``sizes`` is."""
    return scaled * _SCALE / math.log(2)
