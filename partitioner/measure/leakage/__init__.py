"""Measure how much of the input each cut gives away, on sample inputs, within a budget of time.

1. The inputs are read once: their distances, and a small copy of each to rebuild.
2. Cuts are taken in the order of their promise, as ``measure`` does, but spread over the depth from the beginning, for
   one bounds all that follow it; as many at a time as the features of all samples fit in memory, so that the model runs
   once for all of them. Those asked for come first.
3. Of each, the distance correlation, then (where torch is installed) the inverters, while time lasts. What several
   tensors that cross give away is taken of all together and of each alone, whichever is more: an attacker may ignore
   some. A cut at which an input's shape or distances tell nothing stays unmeasured.

The two ends are defined, not measured, and so is a cut at which the inputs themselves cross. Cuts that are left are
bounded by their neighbours (``partitioner.leakage.bounded``). The figures are the same for the same seed, samples and
machine; which cuts are reached depends on the time.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

import numpy as np

from partitioner.bundle import Bundle
from partitioner.dims import Binding
from partitioner.errors import InputError, PlanError
from partitioner.inputs import Sample
from partitioner.leakage import CutLeakage, LeakageProfile, composed, everything, nothing
from partitioner.measure import promising
from partitioner.measure.leakage.canvas import (
    Canvas,
    FloatArray32,
    Size,
    as_map,
    canvas_of,
    fitted,
    grid,
    joined,
    resized,
    shrunk,
    size_of,
    words,
)
from partitioner.measure.leakage.correlation import Correlation, FloatArray, distance_correlation
from partitioner.measure.leakage.features import HELD_BYTES, Features, as_floats, differing, together
from partitioner.measure.leakage.inversion import Network, Split, invert
from partitioner.measure.statistics import spread_out
from partitioner.measure.subject import Subject, spread
from partitioner.runtimes import Array, Engine
from partitioner.samples import SampleSet
from partitioner.segments import Cut, Cuts

DEFAULT_BUDGET_S = 60.0
LEAST_SAMPLES = 20
MOST_SAMPLES = 512
"""More are left out, evenly: distances are between all pairs."""
_MAP_NUMBERS = 1 << 17
"""Of one sample's features, as a network is given them."""

Steps = Generator[float, None, LeakageProfile]


def leakage_steps(
    bundle: Bundle,
    engine: Engine,
    samples: SampleSet,
    *,
    budget_s: float = DEFAULT_BUDGET_S,
    binding: Binding | None = None,
    first: Sequence[str] = (),
    network: Network | None = None,
    seed: int = 0,
    held_bytes: int = HELD_BYTES,
) -> Steps:
    """Measure in steps: yields progress from 0 to 1, and returns what was found.

    Args:
        budget_s: no further cut is begun after it; what ``first`` names, or the most promising cut, is measured anyway.
        binding: sizes of the graph's symbols; default: those the model was packed with.
        first: names of cuts to measure before all others.
        network: trains the network among the inverters; without one none is trained.
        held_bytes: of features that may be in memory at once.

    Raises:
        InputError: there are too few samples, or they are all alike, of different shapes, or do not fit the model.
        PlanError: the model computes nothing that could be split, or has no such cut.
        SegmentError: the model fails on this device.
    """
    if len(samples.samples) < LEAST_SAMPLES:
        raise InputError(
            f"leakage is measured on at least {LEAST_SAMPLES} inputs, better hundreds, and there are "
            f"{len(samples.samples)}: give --samples DIR"
        )
    cuts = Cuts(bundle.graph, bundle.digest, binding=binding)
    if len(cuts.candidates) == 1:
        raise PlanError(f"{bundle.name} has nothing to split: its outputs are its inputs or its weights")
    wanted = [cuts.find(name) for name in first]
    chosen = spread(samples).samples[:MOST_SAMPLES]
    return _Measurement(
        bundle, engine, cuts, chosen, budget_s=budget_s, first=wanted, network=network, seed=seed, held_bytes=held_bytes
    ).steps()


@dataclass(slots=True, kw_only=True)
class _Inputs:
    """The samples' inputs that vary: squared distances by each, by all of them, and what is to be rebuilt of each."""

    squared: dict[str, FloatArray] = field(default_factory=dict)
    distances: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))
    canvases: dict[str, Canvas] = field(default_factory=dict)


class _Measurement:
    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        cuts: Cuts,
        samples: Sequence[Sample],
        *,
        budget_s: float,
        first: Sequence[Cut],
        network: Network | None,
        seed: int,
        held_bytes: int,
    ) -> None:
        self._cuts = cuts
        self._count = len(samples)
        self._budget_s = budget_s
        self._begun = time.perf_counter()
        self._first = {cut.id: cut for cut in first}
        self._network = network
        self._seed = seed
        self._held_bytes = held_bytes
        prepared = [functools.partial(_prepared, bundle, cuts.binding, sample) for sample in samples]
        self._features = Features(engine, cuts, prepared, held_bytes=held_bytes)
        self._inputs = _Inputs()
        self._squared: dict[str, FloatArray] = {}
        self._read_s = 0.0
        self._found: dict[str, CutLeakage] = {}

    def steps(self) -> Steps:
        yield from self._read_inputs()
        for cut in self._order():
            if cut.is_local or not cut.crossing:
                self._found[cut.id] = nothing(cut.id)
            elif cut.depth == 0 or self._inputs.squared.keys() <= {value.name for value in cut.crossing}:
                self._found[cut.id] = everything(cut.id)
        left = [cut for cut in self._order() if cut.id not in self._found]
        for group in self._groups(left):
            is_late = self._elapsed() + self._read_s > self._budget_s
            if is_late and group[0].id not in self._first and group[0] is not left[0]:
                break
            yield from self._measure(group)
        return self._profile()

    def _read_inputs(self) -> Generator[float, None, None]:
        graph = self._cuts.graph
        named = words(graph)
        stacks: dict[str, list[Array]] = {name: [] for name in graph.input_names}
        ids: dict[str, list[Array]] = {name: [] for name in named}
        sizes: dict[str, Size | None] = {}

        def seen(_: int, name: str, array: Array) -> None:
            array = as_floats(array).reshape(-1) if array.dtype.kind == "c" else array
            sizes[name] = size_of(array.shape, is_named=name in named)
            stacks[name].append(shrunk(array, is_named=name in named))
            if name in named:
                ids[name].append(array.reshape(-1))

        nbytes = {each.name: each.value.nbytes(self._cuts.binding) for each in graph.inputs}
        squared = yield from self._shown(self._features.squared_distances(nbytes, seen=seen))
        if missing := [name for name in nbytes if name not in squared]:
            raise InputError(f"the samples' {missing[0]} are of different shapes: leakage compares inputs of one shape")
        squared.update({name: differing(np.stack(each)) for name, each in ids.items()})
        varying = {name: each for name, each in squared.items() if each.max() > 0}
        if not varying:
            raise InputError("the samples are all alike, so nothing can be told of them: give --samples that differ")
        distances = np.sqrt(together(list(varying.values())))
        if distance_correlation(distances, distances) is None:
            raise InputError("the samples are all equally far apart, so no cut can be told from another: give others")
        drawn = {name: canvas_of(np.stack(stacks[name]), sizes[name], is_named=name in named) for name in varying}
        self._inputs = _Inputs(squared=varying, distances=distances, canvases=drawn)

    def _order(self) -> Iterator[Cut]:
        """Those asked for, then those that send less than every shallower one, spread over the depth, then the rest."""
        inner = [cut for cut in self._cuts.candidates if cut.depth and not cut.is_local]
        sent = [sum(value.nbytes(self._cuts.binding) for value in cut.crossing) for cut in inner]
        fewest = accumulate(sent, min, initial=math.inf)
        ahead = spread_out([cut for cut, nbytes, least in zip(inner, sent, fewest, strict=False) if nbytes < least])
        others = promising(self._cuts.candidates, self._cuts.binding)
        yield from {cut.id: cut for cut in (*self._first.values(), *ahead, *others)}.values()

    def _groups(self, cuts: Sequence[Cut]) -> Iterator[list[Cut]]:
        """Cuts whose features fit in memory together; those that were asked for come apart from the others."""
        group: list[Cut] = []
        names: dict[str, int] = {}
        for cut in cuts:
            added = {value.name: value.nbytes(self._cuts.binding) for value in cut.crossing}
            is_full = sum((names | added).values()) * self._count > self._held_bytes
            if group and (is_full or (group[0].id in self._first) != (cut.id in self._first)):
                yield group
                group, names = [], {}
            group.append(cut)
            names |= added
        if group:
            yield group

    def _measure(self, group: Sequence[Cut]) -> Generator[float, None, None]:
        """The correlation of every cut of a group, then the inverters while time is left."""
        maps = yield from self._read(group)
        for cut in group:
            parts = self._parts(cut)
            found = self._correlation(parts)
            if found is not None:
                self._found[cut.id] = CutLeakage(
                    cut_id=cut.id, distance_correlation=found.value, interval=found.interval
                )
            yield self._progress()
        is_begun = False
        for cut in group:
            if cut.id not in self._found or self._network is None:
                continue
            if is_begun and self._is_over and cut.id not in self._first:
                return
            self._invert(cut, maps)
            is_begun = True
            yield self._progress()

    def _read(self, group: Sequence[Cut]) -> Generator[float, None, dict[str, FloatArray32]]:
        """Distances by the tensors of a group, and those tensors that are maps, (n, channels, height, width)."""
        sizes = {
            value.name: value.nbytes(self._cuts.binding)
            for cut in group
            for value in cut.crossing
            if value.name not in self._inputs.squared
        }
        canvases = [*self._inputs.canvases.values()]
        size = canvases[0].size if len(canvases) == 1 and self._network is not None else None
        height, width = canvases[0].pixels.shape[2:]
        stacks: dict[str, FloatArray32] = {}

        def seen(index: int, name: str, array: Array) -> None:
            if size is not None and (laid := as_map(array, size)) is not None:
                small = fitted(laid, (height, width), _MAP_NUMBERS)
                stack = stacks.setdefault(name, np.zeros((self._count, *small.shape), np.float32))
                if stack.shape[1:] == small.shape:  # else its size changes, and it is left out below
                    stack[index] = small

        begun_s = self._elapsed()
        read = yield from self._shown(self._features.squared_distances(sizes, seen=seen))
        self._read_s = self._elapsed() - begun_s
        self._squared = {**self._inputs.squared, **read}
        return {name: each for name, each in stacks.items() if name in read}

    def _parts(self, cut: Cut) -> list[FloatArray] | None:
        """Squared distances by each tensor that crosses; None where they cannot be had of one."""
        names = [value.name for value in cut.crossing]
        if any(name not in self._squared and name not in self._cuts.graph.input_names for name in names):
            return None
        return [self._squared[name] for name in names if name in self._squared]

    def _correlation(self, parts: Sequence[FloatArray] | None) -> Correlation | None:
        if not parts:
            return None
        tried = [together(parts), *(parts if len(parts) > 1 else ())]
        found = [distance_correlation(self._inputs.distances, np.sqrt(each)) for each in tried]
        known = [each for each in found if each is not None]
        return max(known, key=lambda each: each.value, default=None)

    def _invert(self, cut: Cut, maps: Mapping[str, FloatArray32]) -> None:
        """Rebuild the inputs that do not cross as they are; of those that do nothing is wrong."""
        parts = self._parts(cut)
        if parts is None or self._network is None:
            return
        sent = {value.name for value in cut.crossing}
        canvases = [each for name, each in self._inputs.canvases.items() if name not in sent]
        drawn = joined(canvases)
        found = invert(
            together(parts),
            drawn,
            Split.of(self._count, seed=self._seed),
            self._network,
            maps=self._maps(cut, maps, drawn),
            seed=self._seed,
        )
        share = len(canvases) / len(self._inputs.canvases)
        self._found[cut.id] = replace(
            self._found[cut.id],
            inversion_error=share * found.error,
            inversion_interval=share * found.interval,
            inverter=found.inverter,
        )

    def _maps(self, cut: Cut, maps: Mapping[str, FloatArray32], drawn: Canvas) -> tuple[FloatArray32, int] | None:
        """The maps among what crosses, in one size, and how many times larger the canvas is."""
        own = [maps[value.name] for value in cut.crossing if value.name in maps]
        if not own:
            return None
        height, width = drawn.pixels.shape[2:]
        found = grid([(each.shape[2], each.shape[3]) for each in own], (height, width))
        if found is None:
            return None
        size, factor = found
        laid = [resized(each, size) for each in own]
        return np.concatenate(laid, axis=1) if len(laid) > 1 else laid[0], factor

    def _profile(self) -> LeakageProfile:
        order = [*self._cuts.candidates, *(cut for cut in self._first.values() if cut not in self._cuts.candidates)]
        split = Split.of(self._count, seed=self._seed)
        trained = f"the best of mean, ridge and network, {len(split.train)} samples to train, {len(split.choose)} to "
        trained += f"choose and {len(split.judge)} to judge"
        profile = LeakageProfile(
            samples=self._count,
            inverter="none" if self._network is None else f"{trained}, seed {self._seed}, {self._elapsed():.0f} s",
            cuts=tuple(self._found[cut.id] for cut in order if cut.id in self._found),
        )
        return composed(profile, {cut.id: cut.edge_layers for cut in order})

    def _shown(
        self, steps: Generator[None, None, dict[str, FloatArray]]
    ) -> Generator[float, None, dict[str, FloatArray]]:
        while True:
            try:
                next(steps)
            except StopIteration as end:
                found: dict[str, FloatArray] = end.value
                return found
            yield self._progress()

    @property
    def _is_over(self) -> bool:
        return self._elapsed() > self._budget_s

    def _elapsed(self) -> float:
        return time.perf_counter() - self._begun

    def _progress(self) -> float:
        return min(0.99, self._elapsed() / max(self._budget_s, 1e-6))


def _prepared(bundle: Bundle, binding: Binding, sample: Sample) -> Mapping[str, Array]:
    return Subject(bundle, binding, sample).tensors
