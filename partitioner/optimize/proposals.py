"""Which closed sets of layers are worth pricing: proposals of the additive model, to be judged by measured times.

For latency these are the sets of the min-cut envelope: one of them is best at any uplink rate. What is best by another
objective may lie between them, since a largest of stages is no sum. Then envelopes with the worker taken for faster and
slower join, and the sets that differ from a proposal or a prefix by a layer or two; of all these, those that no other
beats in work on either side, bytes either way and, if it is bounded, memory: a Pareto local search. How far that is
from the optimum, ``tests/benchmarks/test_planner.py`` says.

Source: Paquete, Chiarandini and Stuetzle, "Pareto local optimum sets in the biobjective TSP", 2004.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

import numpy as np

from partitioner.cost import FloatArray
from partitioner.optimize.additive import AdditiveModel, Line
from partitioner.optimize.chain import prefix_prices
from partitioner.optimize.envelope import envelope
from partitioner.optimize.pareto import front
from partitioner.optimize.problem import Wiring

_TILTS = (1 / 8, 1 / 2.8, 1.0, 2.8, 8.0)
_STEPS = 2
_TANGLE = 250
_PATIENCE_LAYERS = 24_000
"""Of a tangle's envelope so many min-cuts, times layers, are made at any rate: a quarter of a second."""
TOLERANCE = 1e-3
FEW = 32
"""So many closed sets are all priced with every codec and runtime; of more, those that are best somewhere."""
_RATES_BYTES_PER_S = tuple(10.0 ** (exponent / 4) for exponent in range(16, 35))
_MAX_LAYERS = 300
"""Above this the neighbours of prefixes are left out: there are a thousand prefixes then, and they lie close."""


def lines(model: AdditiveModel, *, down_per_up: float, is_rough: bool = False) -> list[Line]:
    """The closed sets of the envelope with the codecs that are best there.

    They are exact but for a tangle, hundreds of layers without a waist, whose envelope has dozens of spans: there they
    come within ``TOLERANCE`` of it, mostly a hundred times closer. ``is_rough``: that will do for any tangle.
    """
    widest = int(np.diff([-1, *model.wiring.waists, model.wiring.layers]).max())
    is_tangle = widest > _TANGLE
    found = envelope(
        model,
        down_per_up=down_per_up,
        tolerance=TOLERANCE if is_tangle else 0.0,
        patience=0 if is_rough else _PATIENCE_LAYERS // widest,
    )
    return [span.line for span in found]


def proposals(
    model: AdditiveModel, *, down_per_up: float, is_wide: bool, weight_bytes: FloatArray | None = None
) -> set[frozenset[int]]:
    """Closed sets to price beside all prefixes.

    Args:
        model: layer times that add.
        down_per_up: how many times faster the way down is.
        is_wide: whether something else than latency is asked for.
        weight_bytes: of each layer (n,), where memory is bounded.
    """
    found = {line.edge for line in lines(model, down_per_up=down_per_up)}
    if not is_wide:
        return found
    for tilt in _TILTS:
        tilted = replace(model, cloud_s=model.cloud_s * tilt)
        found |= {line.edge for line in lines(tilted, down_per_up=down_per_up, is_rough=True)}
    near = set(found)
    if model.wiring.layers <= _MAX_LAYERS:
        near.update(frozenset(range(depth)) for depth in prefix_depths(model))
    walk = _Walk(model.wiring)
    pinned = frozenset(np.flatnonzero(model.pinned).tolist())
    for _ in range(_STEPS):
        near |= {edge for each in near for edge in walk.neighbours(each) if pinned <= edge}
        near = _unbeaten(model, near, weight_bytes)
    return found | near


def fewer(model: AdditiveModel, sets: Collection[frozenset[int]], *, down_per_up: float) -> list[frozenset[int]]:
    """Of many closed sets those that are best, by latency or their slowest stage, at some rate and load of a grid."""
    found = list(sets)
    if len(found) <= FEW:
        return found
    near_s, far_s, up_bytes, down_bytes = np.array([_amounts(model, edge) for edge in found]).T
    kept: dict[int, None] = {}
    for rate in _RATES_BYTES_PER_S:
        up_s, down_s = up_bytes / rate, down_bytes / (rate * down_per_up)
        for tilt in _TILTS:
            kept[int((near_s + up_s + tilt * far_s + down_s).argmin())] = None
            kept[int(np.max([near_s, up_s, tilt * far_s, down_s], axis=0).argmin())] = None
    return [found[row] for row in kept]


def prefix_depths(model: AdditiveModel) -> list[int]:
    """Depths of the prefixes that hold what is pinned and send nothing that may not be sent."""
    depths: list[int] = np.flatnonzero(np.isfinite(prefix_prices(model.at(0.0, 0.0)))).tolist()
    return depths


class _Walk:
    """Steps from a closed set to those that have one layer more or less."""

    def __init__(self, wiring: Wiring) -> None:
        self._before: list[set[int]] = [set() for _ in range(wiring.layers)]
        self._after: list[set[int]] = [set() for _ in range(wiring.layers)]
        for reader, maker in zip(*(ends.tolist() for ends in wiring.edges), strict=True):
            self._before[reader].add(maker)
            self._after[maker].add(reader)

    def neighbours(self, edge: frozenset[int]) -> Iterator[frozenset[int]]:
        """Closed sets, each once."""
        for layer, (before, after) in enumerate(zip(self._before, self._after, strict=True)):
            if layer in edge:
                if after.isdisjoint(edge):
                    yield edge - {layer}
            elif before <= edge:
                yield edge | {layer}


def _unbeaten(
    model: AdditiveModel, found: Collection[frozenset[int]], weight_bytes: FloatArray | None
) -> set[frozenset[int]]:
    sets = list(found)
    amounts = np.array([_amounts(model, edge) for edge in sets])
    if weight_bytes is not None:
        near_bytes = np.array([weight_bytes[list(edge)].sum() for edge in sets])
        amounts = np.column_stack([amounts, near_bytes, weight_bytes.sum() - near_bytes])
    kept = front(amounts)
    return {sets[row] for row in kept.tolist()}


def _amounts(model: AdditiveModel, edge: frozenset[int]) -> FloatArray:
    """Work on either side and bytes either way, everything sent as it is."""
    kept = model.wiring.mask(edge)
    if model.wiring.is_local(kept):
        return np.array([model.edge_s[kept].sum(), 0.0, 0.0, 0.0])
    sent = np.flatnonzero(model.wiring.crosses(kept)).tolist()
    far = np.flatnonzero(~model.wiring.is_near(kept)).tolist()
    up_bytes = sum(model.options[flow][0].nbytes if model.options[flow] else np.inf for flow in sent)
    down_bytes = sum(model.replies[flow].nbytes for flow in far if flow in model.replies)
    return np.array([model.edge_s[kept].sum(), model.cloud_s[~kept].sum(), up_bytes, down_bytes])
