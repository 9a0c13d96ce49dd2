"""What a model is measured with: the user's own input, or one made up and marked as assumed.

Floats are drawn at random; integers and booleans are those the model was captured with, where their sizes fit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from partitioner import preprocess
from partitioner.bundle import Bundle
from partitioner.dims import Binding, shape_of
from partitioner.inputs import Sample, random_samples
from partitioner.profile import SourceKind
from partitioner.runtimes import Array
from partitioner.samples import SampleSet


class Subject:
    """One sample of a model: its original bytes where it has any, and the tensors it becomes.

    Where an image model is measured without a sample, random pixels stand in: they cost what any pixels cost to
    prepare, and as *original bytes* they are what a camera without an encoder would send.
    """

    def __init__(self, bundle: Bundle, binding: Binding, sample: Sample | None) -> None:
        self._record = bundle.preprocess
        self.how: Literal["measured", "assumed"] = "assumed" if sample is None else "measured"
        if sample is None:
            sample = self._assumed(bundle, binding)
        self.source: npt.NDArray[np.uint8] | None = sample.source
        self.nbytes = sample.nbytes_original
        self.tensors: Mapping[str, Array] = sample.tensors if sample.tensors is not None else self._prepare()
        if self.source is None:
            self.kind: SourceKind = "tensor"
        else:
            self.kind = "file" if self.source.ndim == 1 else "pixels"

    @property
    def is_prepared(self) -> bool:
        """Whether preparing the input is part of the work."""
        return self.source is not None

    def prepare_times(self, *, runs: int, pause: Callable[[], None]) -> list[float]:
        """Seconds that preparing the input took, per run after the first, each after a pause."""
        times: list[float] = []
        self._prepare()
        for _ in range(runs):
            pause()
            begun = time.perf_counter()
            self._prepare()
            times.append(time.perf_counter() - begun)
        return times

    def _prepare(self) -> Mapping[str, Array]:
        if self._record is None or self.source is None:
            return {}
        return preprocess.apply(self._record, self.source)

    def _assumed(self, bundle: Bundle, binding: Binding) -> Sample:
        graph = bundle.graph
        if self._record is not None:
            recipe = preprocess.check(self._record)
            channels = 1 if recipe.mode == "L" else 3
            height, width = shape_of(graph.inputs[0].value.shape, binding)[-2:]
            pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
            return Sample(name="random pixels", source=pixels, nbytes_original=pixels.nbytes)
        ranges = {each.name: (each.low, each.high + 1) for each in graph.inputs}
        values = [each.value for each in graph.inputs]
        drawn = random_samples(1, values, binding=binding, ranges=ranges)[0]
        return replace(drawn, tensors={**(drawn.tensors or {}), **_fitting(bundle, binding)})


def middling(samples: Sequence[Sample]) -> Sample | None:
    """The sample of median size; None where there is none."""
    ordered = sorted(samples, key=lambda sample: sample.nbytes_original)
    return ordered[len(ordered) // 2] if ordered else None


def spread(samples: SampleSet) -> SampleSet:
    """The samples in an order of which every beginning stands for the whole, however they were sorted.

    Steps of the golden section of their number visit all of them, and cover the whole evenly at every length.
    """
    count = len(samples.samples)
    step = next((each for each in range(round(0.618 * count), count) if math.gcd(each, count) == 1), 1)
    order = [(count // 2 + index * step) % count for index in range(count)]
    labels = None if samples.labels is None else tuple(samples.labels[index] for index in order)
    return SampleSet(samples=tuple(samples.samples[index] for index in order), labels=labels)


def _fitting(bundle: Bundle, binding: Binding) -> dict[str, Array]:
    """The examples that the model was captured with, where they are of the sizes asked for."""
    shapes = {each.name: shape_of(each.value.shape, binding) for each in bundle.graph.inputs}
    return {name: array for name, array in bundle.examples.items() if shapes.get(name) == array.shape}
