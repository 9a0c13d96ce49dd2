"""Runs segments on the device and times them.

Any thread may ask; the engine is used by one at a time, in the order of ``edge.turnstile``. Building a segment, and
waiting for a turn, are never part of its time; waiting for an emulated slower device always is (see ``edge.clock``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge.clock import DeviceClock
from edge.turnstile import LAST, NotWanted, Turnstile, Until
from partitioner import pictures, preprocess
from partitioner.errors import InputError, SegmentError
from partitioner.inputs import Sample
from partitioner.plan import SOURCE, Segment
from partitioner.runtimes import Array, Engine, RunnableSegment


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a segment gave, and the device's time for it."""

    outputs: dict[str, Array]
    compute_s: float
    preprocess_s: float


class Runner:
    """Segments of one bundle on this device. Thread-safe; ``turnstile`` says whose turn at the engine it is."""

    def __init__(self, engine: Engine, *, record: Mapping[str, object] | None, clock: DeviceClock) -> None:
        self.engine = engine
        self.turnstile = Turnstile()
        self._record = record
        self.clock = clock

    def preprocess(self, source: Array) -> tuple[dict[str, Array], float]:
        """Model inputs made from original input bytes, and the time that took.

        Raises:
            InputError: the model takes tensors, or the bytes are no input of it.
        """
        with self.clock.step() as step:
            tensors = self._preprocess(source)
        return tensors, step.seconds

    def reencode(self, source: Array, name: str) -> tuple[Array, float]:
        """Original input bytes as one of ``protos.pictures.PICTURES``, and the time that took.

        Raises:
            InputError: the model takes tensors, or the bytes are no input of it, or they cannot be written so.
        """
        with self.clock.step() as step:
            picture = pictures.encode(self._checked(source), source.astype(np.uint8, copy=False), name)
        return picture, step.seconds

    def tensors_of(self, sample: Sample) -> Mapping[str, Array]:
        """A sample's model inputs, prepared untimed where it has only its original bytes.

        Raises:
            InputError: the bytes are no input of the model.
        """
        if sample.tensors is not None:
            return sample.tensors
        assert sample.source is not None
        return self._preprocess(sample.source)

    def run(
        self,
        segment: Segment,
        tensors: Mapping[str, Array],
        *,
        order: int = LAST,
        is_finish: bool = False,
        until: Until | None = None,
    ) -> Ran:
        """Run a segment once; one that only passes its inputs on costs nothing.

        Args:
            segment: what to run.
            tensors: its inputs, and maybe more.
            order: the request's place among all.
            is_finish: it finishes a request that the worker was to finish.
            until: what would make it needless; asked between layers.

        Raises:
            InputError: a tensor is missing or does not fit.
            SegmentError: the segment does not fit the model, or its run failed.
            NotWanted: ``until`` came first.
            DeviceBusy: too many wait for the engine already.
        """
        preprocess_s = 0.0
        if segment.preprocess:
            tensors, preprocess_s = self.preprocess(tensors[SOURCE])
        if segment.is_identity:
            return Ran(outputs=_passed_on(segment, tensors), compute_s=0.0, preprocess_s=0.0)
        with self.turnstile.turn(order, is_finish=is_finish, until=until):
            runnable = self.engine.segment(segment)
            given = _given(runnable, tensors)
            with self.clock.step(until) as step:
                outputs = _call(runnable, given, until)
        return Ran(outputs=outputs, compute_s=step.seconds, preprocess_s=preprocess_s)

    def compute(self, segment: Segment, tensors: Mapping[str, Array]) -> dict[str, Array]:
        """Run a segment as fast as this machine can, untimed.

        Raises:
            InputError: a tensor is missing or does not fit.
            SegmentError: the segment does not fit the model, or its run failed.
        """
        if segment.is_identity:
            return _passed_on(segment, tensors)
        with self.turnstile.turn(LAST):
            runnable = self.engine.segment(segment)
            return runnable(_given(runnable, tensors))

    def pin(self, segments: Sequence[Segment]) -> int:
        """Drop the weights that these segments do not read; returns the bytes held afterwards."""
        with self.turnstile.turn(LAST):
            return self.engine.pin([segment for segment in segments if not segment.is_identity])

    def _preprocess(self, source: Array) -> dict[str, Array]:
        return dict(preprocess.apply(self._checked(source), source.astype(np.uint8, copy=False)))

    def _checked(self, source: Array) -> dict[str, object]:
        """The record by which to read this source."""
        if self._record is None:
            raise InputError("this model has no preprocess record: give it tensors (.npy, .npz), not a file to decode")
        if source.dtype != np.uint8:
            raise InputError(f"original input is bytes or 8-bit pixels, not {source.dtype}")
        return dict(self._record)


def _passed_on(segment: Segment, tensors: Mapping[str, Array]) -> dict[str, Array]:
    return {name: tensors[name] for name in segment.outputs}


def _given(runnable: RunnableSegment, pool: Mapping[str, Array]) -> dict[str, Array]:
    """What a segment takes out of a pool of tensors that may hold more."""
    return {value.name: pool[value.name] for value in runnable.inputs if value.name in pool}


def _call(runnable: RunnableSegment, given: Mapping[str, Array], until: Until | None) -> dict[str, Array]:
    if until is None:
        return runnable(given)
    try:
        return runnable(given, should_stop=lambda: until.is_answered)
    except SegmentError:
        if until.is_answered:
            raise NotWanted from None
        raise
