"""What a request gives back: the model's outputs, where they were made, and where the time went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge.errors import BadReply
from partitioner.difference import INCOMPARABLE, relative_difference
from partitioner.graph import Graph
from partitioner.plan import Segment
from partitioner.runtimes import Array

Where = Literal["edge", "cloud", "split"]
TOP = 5
_MAX_CLASSES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds of one request by what they were spent on.

    ``encode_s`` and ``decode_s`` hold both directions and both machines. ``preprocess_s`` is the time wherever it was
    done; ``tail_s`` is the worker's computing, ``wire_s`` what the link and the messages took. What ``total_s`` holds
    beyond their sum is the device's own bookkeeping.
    """

    total_s: float
    preprocess_s: float = 0.0
    head_s: float = 0.0
    encode_s: float = 0.0
    wire_s: float = 0.0
    queue_s: float = 0.0
    decode_s: float = 0.0
    tail_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer. ``outputs`` are the model's in its own order, by path (``logits``, ``boxes.0``).

    ``value`` has the shape of what the model returns: an array, or a dict, list or tuple of them. ``is_fallback``:
    the worker was to finish this one and did not, so the device did. ``predicted_s`` is what its plan was thought to
    take when it was chosen; None where no measurement chose it.
    """

    outputs: Mapping[str, Array]
    value: object
    cut: str
    cut_id: str
    codec: str
    where: Where
    is_fallback: bool
    times: Times
    up_bytes: int
    down_bytes: int
    slowdown: float
    predicted_s: float | None = None


def check_reply(graph: Graph, segment: Segment, tensors: Mapping[str, Array]) -> None:
    """Compare what came back with what the segment makes: names, element types, axes and sizes that are fixed.

    Raises:
        BadReply: it is something else.
    """
    if set(tensors) != set(segment.outputs):
        raise BadReply(f"the worker answered {', '.join(sorted(tensors))[:200]}, not {', '.join(segment.outputs)}")
    for name in segment.outputs:
        wanted, found = graph.values.get(name), tensors[name]
        if wanted is None:
            continue  # a number: any of the kinds that arithmetic on sizes makes
        fits = found.ndim == len(wanted.shape) and all(
            isinstance(dim, str) or dim == size for dim, size in zip(wanted.shape, found.shape, strict=True)
        )
        if not fits or found.dtype.name != wanted.dtype:
            raise BadReply(
                f"the worker answered {name} as {found.dtype.name} {found.shape}, which the model never makes"
            )


def assemble(graph: Graph, values: Mapping[str, Array]) -> tuple[dict[str, Array], object]:
    """Outputs by path in the model's order, and the structure that the model returns."""
    leaves: list[object] = [output.constant if output.name is None else values[output.name] for output in graph.outputs]
    paths = {output.path: values[output.name] for output in graph.outputs if output.name is not None}
    return paths, _build(graph.tree, leaves)


def _build(tree: object, leaves: list[object]) -> object:
    if isinstance(tree, int):
        return leaves[tree]
    assert isinstance(tree, dict)
    ((kind, items),) = tree.items()
    if kind == "dict":
        return {key: _build(item, leaves) for key, item in items}
    built = [_build(item, leaves) for item in items]
    return tuple(built) if kind == "tuple" else built


def top_labels(outputs: Mapping[str, Array], labels: tuple[str, ...] | None) -> list[tuple[str, float]] | None:
    """The five likeliest labels with their softmax probability; None unless the only output holds a score per label."""
    if labels is None or len(outputs) != 1:
        return None
    scores = np.asarray(next(iter(outputs.values())), dtype=np.float64)
    if scores.size != len(labels) or scores.shape[-1] != len(labels) or not np.isfinite(scores).all():
        return None
    weights = np.exp(scores.ravel() - scores.max())
    weights /= weights.sum()
    return [(labels[index], float(weights[index])) for index in np.argsort(-weights, kind="stable")[:TOP]]


def top_scores(array: Array) -> list[tuple[int, float]] | None:
    """Index and score of the five highest; None unless it looks like scores of classes: (N,) or (1, N) floats."""
    is_row = array.ndim in (1, 2) and array.size == array.shape[-1] and TOP < array.size <= _MAX_CLASSES
    if not is_row or array.dtype.kind in "biuc":
        return None
    scores = array.astype(np.float64).ravel()
    if not np.isfinite(scores).all():
        return None
    return [(int(index), float(scores[index])) for index in np.argsort(-scores, kind="stable")[:TOP]]


def max_rel_diff(found: Mapping[str, Array], wanted: Mapping[str, Array]) -> float:
    """``relative_difference`` of the worst output; the largest float where the two have other outputs."""
    if found.keys() != wanted.keys():
        return INCOMPARABLE
    return max((relative_difference(found[name], wanted[name]) for name in wanted), default=0.0)
