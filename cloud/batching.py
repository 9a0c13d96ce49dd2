"""Frames of several clients in one run of a segment: where that is right, and where it pays.

Right: a segment is run for several frames at once only after that was seen to give each frame what it gives alone, on
random inputs of just these shapes, to 1e-5. The check is a chore of the compute thread, begun when frames of one shape
first meet in the queue and done a step at a time, with frames in between; a segment that mixes its rows anywhere is
never batched. Pays: see ``batchsizes``.

A frame in a batch has its own fate. One that cannot be decoded fails alone; if the run fails, each is run again by
itself; nobody's cancel stops the others.
"""

from __future__ import annotations

import logging
import math
import time
import weakref
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from typing import TypeVar, cast

import numpy as np

from cloud.batchsizes import BatchSizes
from cloud.frames import Decoded, Work, to_wire
from cloud.jobs import Ticket
from cloud.store import Model, Prepared
from partitioner.difference import relative_difference
from partitioner.dims import shape_of
from partitioner.errors import CleftError
from partitioner.graph import Value
from partitioner.plan import Segment
from partitioner.runtimes import Array, Batching, RowsRunnable, RunnableSegment
from protos.codecs import DTYPES

_LOG = logging.getLogger(__name__)

TOLERANCE = 1e-5
_CHECKED = (2, 3)
_MOST_BYTES = 64 * 1024 * 1024
_KEPT_SHAPES = 32

Shapes = tuple[tuple[str, tuple[int, ...]], ...]
_T = TypeVar("_T")
Steps = Generator[None, None, _T]
"""Work in steps, each of about a frame's length, and what came of it."""


class Subject:
    """A segment whose frames are to be run together: alone, together, and examples of what goes in."""

    def __init__(self, model: Model, segment: Segment, single: RunnableSegment) -> None:
        self._model = model
        self._segment = segment
        self.single = single

    def open(self, shapes: Shapes) -> Steps[RowsRunnable | None]:
        """The form that takes rows, if it is right for frames of these shapes; the reason is logged where not."""
        engine = self._model.engine
        name = self._model.bundle.name
        try:
            is_known = all(value.dtype in DTYPES for value in self.single.inputs)
            rows = engine.batched(self._segment) if isinstance(engine, Batching) and is_known else None
            if rows is None:
                _LOG.info("frames of %s are run one by one: there is no axis of rows", name)
                return None
            yield
            if (why := (yield from fault(self.single, rows, self._examples(shapes)))) is not None:
                _LOG.info("frames of %s are run one by one: %s", name, why)
                return None
        except (CleftError, MemoryError, ValueError) as error:
            _LOG.info("frames of %s are run one by one: %s", name, error or "out of memory")
            return None
        _LOG.info("frames of %s may be run together", name)
        return rows

    def inputs(self, shapes: Shapes) -> list[tuple[Value, tuple[int, ...]]]:
        """What goes into the segment for one frame; where the shapes say nothing, in the sizes of the capture."""
        binding = self._model.bundle.graph.example_binding
        given = dict(shapes)
        return [
            (value, given[value.name] if value.name in given else shape_of(value.shape, binding))
            for value in self.single.inputs
        ]

    def _examples(self, shapes: Shapes) -> list[dict[str, Array]]:
        """Random inputs, for all batches that are tried."""
        random = np.random.default_rng(0)
        ranges = {each.name: (each.low, max(each.high, each.low + 1)) for each in self._model.bundle.graph.inputs}
        return [
            {
                value.name: _random(value, shape, random, *ranges.get(value.name, (0, 1)))
                for value, shape in self.inputs(shapes)
            }
            for _ in range(sum(_CHECKED))
        ]


class Batcher:
    """One segment's batches, by the shapes of what comes in. Belongs to the event loop."""

    def __init__(self, subject: Subject, *, digest: int, most: int) -> None:
        self._subject = subject
        self._digest = digest
        self._most = most
        self._groups: dict[Shapes, ShapeGroup] = {}

    def group(self, shapes: Shapes) -> ShapeGroup:
        """The frames of these shapes."""
        found = self._groups.pop(shapes, None) or ShapeGroup(self._subject, shapes, most=self._most)
        self._groups[shapes] = found
        if len(self._groups) > _KEPT_SHAPES:
            del self._groups[next(iter(self._groups))]
        return found

    def kind(self, shapes: Shapes) -> Hashable:
        """What frames that cost the same have in common."""
        return self._digest, shapes


class Batchers:
    """The batchers of the segments in use, shared by all sessions that use them. Belongs to one event loop."""

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._held: weakref.WeakValueDictionary[Segment, Batcher] = weakref.WeakValueDictionary()

    def of(self, model: Model, prepared: Prepared) -> Batcher:
        """The batcher of a segment; it lives as long as somebody holds it."""
        found = self._held.get(prepared.name)
        if found is None:
            subject = Subject(model, prepared.name, prepared.segment)
            found = Batcher(subject, digest=hash(prepared.name), most=self._most)
            self._held[prepared.name] = found
        return found


class ShapeGroup:
    """Frames of one segment and of the same shapes. Implements ``jobs.Group``."""

    def __init__(self, subject: Subject, shapes: Shapes, *, most: int) -> None:
        self._subject = subject
        self._shapes = shapes
        self._most = most
        self._sizes = BatchSizes(most=most)
        self._rows: RowsRunnable | None = None
        self._is_wanted = self._is_stepping = self._is_checked = False
        self._steps = _check(subject, shapes, self._sizes)

    @property
    def key(self) -> Hashable:
        """The group itself: there is one for each segment and shape."""
        return self

    @property
    def preferred(self) -> int:
        """How many together pay most, as far as is known."""
        return self._sizes.best if self._rows is not None else 1

    @property
    def sizes(self) -> BatchSizes:
        """What was measured."""
        return self._sizes

    def most(self, waiting: int) -> int:
        """How many of so many that wait should run together now."""
        if self._rows is None:
            self._is_wanted = self._most > 1
            return 1
        return self._sizes.most(waiting)

    def note(self, size: int, took_s: float) -> None:
        """So many together have taken so long."""
        self._sizes.note(size, took_s)

    def take_chore(self) -> Callable[[], None] | None:
        """The next step of the check, once frames have met."""
        if not self._is_wanted or self._is_stepping or self._is_checked:
            return None
        self._is_stepping = True
        return self._step

    def run(self, works: Sequence[Callable[[Ticket], object]], tickets: Sequence[Ticket]) -> Sequence[object]:
        """Run several frames; for each its ``Answer``, or the error that is its own."""
        frames = cast("Sequence[Work]", works)
        outcomes: list[object] = [None] * len(frames)
        decoded: dict[int, Decoded] = {}
        for index, frame in enumerate(frames):
            try:
                decoded[index] = frame.decode()
            except Exception as error:
                outcomes[index] = to_wire(error)
        alike = _alike(decoded)
        answers = self._together(frames, tickets, {index: decoded[index] for index in alike})
        for index, each in decoded.items():
            outcomes[index] = answers.get(index) or _alone(frames[index], each, tickets[index])
        return outcomes

    def _together(
        self, frames: Sequence[Work], tickets: Sequence[Ticket], decoded: Mapping[int, Decoded]
    ) -> dict[int, object]:
        """The outcome of each frame; empty where they have to be run one by one."""
        if self._rows is None or len(decoded) < 2:
            return {}
        start_s = time.perf_counter()
        try:
            names = next(iter(decoded.values())).tensors
            stacked = {name: np.concatenate([each.tensors[name] for each in decoded.values()]) for name in names}
            stop = [tickets[index].should_stop for index in decoded]
            outputs = self._rows(stacked, should_stop=lambda: all(each() for each in stop))
            parts = {name: _split(array, len(decoded)) for name, array in outputs.items()}
        except Exception as error:
            _LOG.info("a batch of %d failed, so its frames run one by one: %s", len(decoded), error)
            return {}
        compute_s = time.perf_counter() - start_s
        found: dict[int, object] = {}
        for place, (index, each) in enumerate(decoded.items()):
            own = {name: part[place] for name, part in parts.items()}
            try:
                found[index] = frames[index].encode(own, each, compute_s=compute_s, ticket=tickets[index])
            except Exception as error:
                found[index] = to_wire(error)
        return found

    def _step(self) -> None:
        try:
            next(self._steps)
        except StopIteration as end:
            self._rows, self._is_checked = end.value, True
        finally:
            self._is_stepping = False


def _check(subject: Subject, shapes: Shapes, sizes: BatchSizes) -> Steps[RowsRunnable | None]:
    """The form that takes rows, and in ``sizes`` how many of them fit; None where they are run one by one."""
    size_bytes = sum(math.prod(shape) * DTYPES[value.dtype].itemsize for value, shape in subject.inputs(shapes))
    fitting = _MOST_BYTES // max(1, size_bytes)
    if fitting < 2:
        return None
    sizes.limit(fitting)
    return (yield from subject.open(shapes))


def fault(single: RunnableSegment, rows: RowsRunnable, examples: Sequence[Mapping[str, Array]]) -> Steps[str | None]:
    """Why running these together is not the same as running them one by one; None where it is."""
    left = list(examples)
    for size in _CHECKED:
        frames, left = left[:size], left[size:]
        apart = []
        for frame in frames:
            apart.append(single(frame))
            yield
        together = rows({name: np.concatenate([frame[name] for frame in frames]) for name in frames[0]})
        for name, array in together.items():
            for part, answer in zip(_split(array, size), apart, strict=True):
                wanted = answer[name]
                if part.shape != wanted.shape or part.dtype != wanted.dtype:
                    return f"{name} comes out as {part.dtype} {part.shape}"
                if not relative_difference(part, wanted) <= TOLERANCE:
                    return f"{name} differs by {relative_difference(part, wanted):.2g}"
        yield
    return None


def _alone(frame: Work, decoded: Decoded, ticket: Ticket) -> object:
    try:
        return frame.compute(decoded, ticket)
    except Exception as error:
        return to_wire(error)


def _alike(decoded: Mapping[int, Decoded]) -> list[int]:
    """The frames whose tensors have the shapes and types of the first's: a preprocess may give what no header says."""
    if not decoded:
        return []
    forms = {
        index: {name: (array.shape, array.dtype) for name, array in each.tensors.items()}
        for index, each in decoded.items()
    }
    first = next(iter(forms.values()))
    return [index for index, form in forms.items() if form == first]


def _split(array: Array, count: int) -> list[Array]:
    """Equal parts along the first axis, each in memory of its own.

    Raises:
        ValueError: it has no such axis.
    """
    if not array.ndim or array.shape[0] % count:
        raise ValueError(f"{array.shape} cannot be split in {count}")
    return [part.copy() for part in np.split(array, count)]


def _random(value: Value, shape: tuple[int, ...], random: np.random.Generator, low: int, high: int) -> Array:
    dtype = np.dtype(DTYPES[value.dtype])
    if dtype.kind in "iu":
        return random.integers(low, high, shape, endpoint=True).astype(dtype)
    if dtype.kind == "b":
        return random.integers(0, 2, shape).astype(dtype)
    return random.standard_normal(shape).astype(dtype)
