"""The engine: one bundle opened with ONNX Runtime, the segments it hands out, and the blocks they share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from partitioner.bundle import Bundle
from partitioner.errors import ModelError, SegmentError, UsageError
from partitioner.plan import Segment
from partitioner.runtimes import ORT, RuntimeInfo
from partitioner.runtimes.ort.blocks import Bound, bound_of, bounds
from partitioner.runtimes.ort.onnxfile import OnnxFile
from partitioner.runtimes.ort.parts import part_of, told_sizes
from partitioner.runtimes.ort.rows import OrtRows
from partitioner.runtimes.ort.rows import with_rows as part_with_rows
from partitioner.runtimes.ort.segment import OrtSegment
from partitioner.runtimes.ort.sessions import Block, Sessions, device_of
from partitioner.runtimes.rows import leading_of, with_rows
from partitioner.segments import Cuts
from partitioner.subgraph import extract, weight_bytes

SETTLED_RUNS = 8
"""Runs after which a segment is taken to stay, and is fused."""

_MOST_THREADS = 256
_KEPT_SEGMENTS = 64
_KEPT_MODELS, _KEPT_BYTES = 4, 256 * 2**20
"""Of what is kept ready, at most as many times the model's weights, or as many bytes: a session packs its own copy."""
_KEPT_THREADS = 512
"""Threads of one operator times segments: every session has a pool of its own."""
_FINE_BLOCKS = 32
_MOST_BLOCKS = 64
"""That are shared: cuts take about ten, but a plan may ask for any values beside what crosses."""


def open_engine(
    bundle: Bundle, *, device: str = "auto", threads: int = 1, settled_runs: int | None = SETTLED_RUNS
) -> OrtEngine:
    """Open a bundle for running.

    Args:
        device: ``auto`` (CUDA where this ONNX Runtime has it, else the CPU), ``cpu``, ``cuda`` or ``cuda:N``.
        threads: threads of one operator.
        settled_runs: fuse a segment after as many runs; None leaves that to ``settle``.

    Raises:
        UsageError: there is no such device, or as many threads make no sense.
        ModelError: ONNX Runtime is not installed, or the bundle has no file for it.
        BundleError: the file is damaged.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelError("ONNX Runtime is not installed: pip install 'cleft[ort]'") from error
    most = max(_MOST_THREADS, os.cpu_count() or 1)
    if not 1 <= threads <= most:
        raise UsageError(f"--threads {threads}: from 1 to {most} can be used on this machine")
    onnxruntime.set_default_logger_severity(4)
    sessions = Sessions(bundle.path, device=device_of(device), threads=threads)
    model = OnnxFile(bundle.runtime_file(ORT).read_bytes())
    return OrtEngine(bundle, model, sessions, threads, settled_runs)


class OrtEngine:
    """Segments of one bundle, run by ONNX Runtime. One thread owns it."""

    def __init__(
        self, bundle: Bundle, model: OnnxFile, sessions: Sessions, threads: int, settled_runs: int | None
    ) -> None:
        self.bundle = bundle
        self.settled_runs = settled_runs
        self._model = model
        self._sessions = sessions
        self._threads = threads
        self._segments: dict[Segment, OrtSegment] = {}
        self._blocks: dict[Segment, Block] = {}
        self._block_weights: dict[Segment, tuple[str, ...]] = {}

    @property
    def info(self) -> RuntimeInfo:
        """Which runtime this is."""
        import onnxruntime

        return RuntimeInfo(
            name=ORT,
            device=self._sessions.device,
            threads=self._threads,
            versions={"onnxruntime": onnxruntime.__version__, "numpy": np.__version__},
        )

    @property
    def weight_bytes_held(self) -> int:
        """Bytes of weights that the sessions in memory read; each weight counts once."""
        names = {name for each in self._segments.values() for name in each.weight_names}
        names.update(name for each in self._block_weights.values() for name in each)
        return weight_bytes(self.bundle.graph, names)

    def segment(self, segment: Segment) -> OrtSegment:
        """Make a segment ready; asking again for one of the last few is free.

        Raises:
            SegmentError: the segment names another model, its names do not fit the graph, or ONNX Runtime refuses it.
        """
        if segment.model_digest != self.bundle.digest:
            raise SegmentError(f"this segment is of model {segment.model_digest[:12]}, not {self.bundle.digest[:12]}")
        segment = self._plain(segment)
        found = self._segments.pop(segment, None)
        if found is None:
            found = OrtSegment(self, segment)
        self._segments[segment] = found
        self._trim()
        return found

    def batched(self, segment: Segment) -> OrtSegment | OrtRows | None:
        """A form of a segment that takes any number of rows; see ``Batching``."""
        graph = self.bundle.graph
        segment = self._plain(segment)
        subgraph = extract(graph, segment)
        leading = leading_of(graph, subgraph)
        if leading != "one":
            return self.segment(segment) if leading is not None else None
        if with_rows(graph, subgraph) is None:
            return None
        values = {value.name: value for value in subgraph.inputs}
        part = part_with_rows(part_of(self._model, graph, segment), values)
        _ = self.bundle.weights_path
        return OrtRows(self.segment(segment), self._sessions.make(part))

    def pin(self, segments: Sequence[Segment]) -> int:
        """Drop every session but those of these segments, which are fused; returns the bytes held afterwards."""
        kept = {self._plain(segment): self.segment(segment) for segment in segments}
        for each in kept.values():
            each.settle()
        self.finish()
        self._segments = kept
        self._blocks.clear()
        self._block_weights.clear()
        return self.weight_bytes_held

    def finish(self) -> None:
        """Wait until nothing is fused in the background any more."""
        for each in self._segments.values():
            each.finish()

    def _plain(self, segment: Segment) -> Segment:
        """The segment after its preprocess, which gives the model's inputs; sessions know nothing of pictures."""
        if not segment.preprocess:
            return segment
        return replace(segment, inputs=self.bundle.graph.input_names, preprocess=False)

    @cached_property
    def cuts(self) -> Cuts:
        """The model's cuts, at the sizes it was captured with."""
        return Cuts(self.bundle.graph, self.bundle.digest)

    @cached_property
    def bounds(self) -> tuple[Bound, ...]:
        """Where blocks meet."""
        return bounds(self.cuts)

    @cached_property
    def fine_bounds(self) -> tuple[Bound, ...]:
        """Where the clock is read for a timeline: at every cut, or at an even sample of them."""
        inner = [cut for cut in self.cuts.candidates if not cut.is_local and cut.depth]
        step = max(1, -(-len(inner) // _FINE_BLOCKS))
        return tuple(bound_of(cut) for cut in inner[::step])

    def block(self, segment: Segment, weights: tuple[str, ...], *, is_shared: bool) -> Block:
        """A session for exactly this segment; a shared one stays, so that the next cut finds it, as long as few do."""
        found = self._blocks.get(segment)
        if found is None:
            found = self.build(segment)
            if is_shared and len(self._blocks) < _MOST_BLOCKS:
                self._blocks[segment] = found
                self._block_weights[segment] = weights
        return found

    def build(self, segment: Segment) -> Block:
        """A session for exactly this segment; safe to call from another thread.

        Raises:
            SegmentError: the segment's names do not fit the graph, or ONNX Runtime refuses it.
            BundleError: the weights are no longer those that were checked.
        """
        _ = self.bundle.weights_path
        return self._sessions.make(part_of(self._model, self.bundle.graph, segment))

    @cached_property
    def size_names(self) -> dict[str, int | str]:
        """Numbers that a session may ask for beside its inputs, with their expressions."""
        return told_sizes(self.bundle.graph)

    def _trim(self) -> None:
        """Forget the segments that were not asked for the longest."""
        limit = max(_KEPT_MODELS * weight_bytes(self.bundle.graph, self.bundle.graph.weight), _KEPT_BYTES)
        held = sum(each.weight_bytes for each in self._segments.values())
        most = min(_KEPT_SEGMENTS, _KEPT_THREADS // self._threads)
        while len(self._segments) > 2 and (len(self._segments) > most or held > limit):
            first = next(iter(self._segments))
            held -= self._segments.pop(first).weight_bytes
