"""A runtime is admitted to a bundle when it computes what the eager runtime computed when the model was packed.

The record (``check.safetensors``) holds one input, the eager runtime's outputs for it, and what crosses a few cuts. A
runtime is asked for the whole model, for the head of each of these cuts, and for its tail over the eager runtime's own
crossing tensors. Two right runtimes differ by rounding: over the test models and torchvision's classifiers ONNX Runtime
stayed below 4e-6 of the largest value in single precision and 6e-4 in half precision; a wrong operator is off by far
more than the limits here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from partitioner.bundle import Bundle
from partitioner.difference import INCOMPARABLE, relative_difference
from partitioner.errors import BundleError, CleftError
from partitioner.runtimes import Array, Engine
from partitioner.segments import Cut, Cuts

TOLERANCE = 1e-4
HALF_TOLERANCE = 5e-3
MOST_CUTS = 3
MOST_BYTES = 4 * 2**20
"""Of one cut's tensors in the record."""

_INPUT, _VALUE = "input:", "value:"


def checked_cuts(cuts: Cuts) -> tuple[Cut, ...]:
    """The cuts whose tensors are recorded: those that send the least in each part of the model."""
    inner = [cut for cut in cuts.candidates if not cut.is_local and cut.depth]
    found: list[Cut] = []
    for part in range(MOST_CUTS):
        those = inner[part * len(inner) // MOST_CUTS : (part + 1) * len(inner) // MOST_CUTS]
        sizes = {cut: sum(value.nbytes(cuts.binding) for value in cut.crossing) for cut in those}
        smallest = min(those, key=lambda cut: sizes[cut], default=None)
        if smallest is not None and sizes[smallest] <= MOST_BYTES:
            found.append(smallest)
    return tuple(found)


def record(bundle: Bundle, engine: Engine, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """What the check needs, by name: the inputs, and the engine's values for them.

    Raises:
        SegmentError: the model fails on these inputs.
    """
    cuts = Cuts(bundle.graph, bundle.digest)
    found = {_INPUT + name: array for name, array in inputs.items()}
    values = engine.segment(cuts.whole())(inputs)
    for cut in checked_cuts(cuts):
        head, _ = cuts.segments(cut)
        made = engine.segment(head)(inputs)
        values.update({value.name: made[value.name] for value in cut.crossing})
    found.update({_VALUE + name: np.ascontiguousarray(array).reshape(array.shape) for name, array in values.items()})
    return found


def fault(bundle: Bundle, engine: Engine) -> str | None:
    """Why a runtime may not run this bundle, in one line; None where it computes what it should."""
    try:
        inputs, values = _read(bundle.check)
        worst, where = 0.0, ""
        for place, found in _answers(bundle, engine, inputs, values):
            for name, array in found.items():
                share = relative_difference(array, values[name]) / _tolerance(bundle, values[name])
                if share > 1.0 and share > worst:
                    worst, where = share, f"{name} {place}"
    except CleftError as error:
        return str(error)
    except KeyError as error:
        return f"the bundle's check record lacks {error}: pack the model again"
    if not where:
        return None
    how_far = "in shape or dtype, or beyond all bounds" if worst >= INCOMPARABLE else f"by {worst:.2g} times the limit"
    return f"it differs from the eager runtime {how_far} ({where})"


def read_inputs(bundle: Bundle) -> dict[str, Array]:
    """The inputs of the record.

    Raises:
        BundleError: there is none, or it is damaged.
    """
    return _read(bundle.check)[0]


def _answers(
    bundle: Bundle, engine: Engine, inputs: Mapping[str, Array], values: Mapping[str, Array]
) -> Iterable[tuple[str, dict[str, Array]]]:
    cuts = Cuts(bundle.graph, bundle.digest)
    yield "of the whole model", engine.segment(cuts.whole())(inputs)
    for cut in checked_cuts(cuts):
        head, tail = cuts.segments(cut)
        yield f"before the cut {cut.name}", engine.segment(head)(inputs)
        if tail is not None:
            yield f"behind the cut {cut.name}", engine.segment(tail)({name: values[name] for name in tail.inputs})


def _tolerance(bundle: Bundle, wanted: Array) -> float:
    """Half precision anywhere makes every value as coarse."""
    is_half = any(value.dtype in ("float16", "bfloat16") for value in bundle.graph.values.values())
    return HALF_TOLERANCE if is_half or wanted.dtype == np.float16 else TOLERANCE


def _read(path: Path) -> tuple[dict[str, Array], dict[str, Array]]:
    try:
        stored = cast("dict[str, Array]", load_file(path))
    except (SafetensorError, OSError, KeyError) as error:
        raise BundleError(f"{path} cannot be read: {error}") from error
    inputs = {name.removeprefix(_INPUT): array for name, array in stored.items() if name.startswith(_INPUT)}
    values = {name.removeprefix(_VALUE): array for name, array in stored.items() if name.startswith(_VALUE)}
    return inputs, values
