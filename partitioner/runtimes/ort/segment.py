"""A segment in ONNX Runtime: a chain of blocks at first, one fused session once it has shown that it stays.

The fused session is built by a short-lived thread, from data that nobody changes, and put into place by one assignment;
the next run takes it. Until then, and while it is built, the blocks answer. The thread ends when the session is there;
none waits for work.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np

from partitioner.dims import evaluate, symbols_of
from partitioner.errors import CleftError, SegmentError
from partitioner.graph import DTYPE_BYTES, Graph, Value
from partitioner.plan import Segment
from partitioner.runtimes import Array
from partitioner.runtimes.binding import Binder
from partitioner.runtimes.ort.blocks import Bound, chain
from partitioner.runtimes.ort.sessions import Block, to_ort
from partitioner.segments import Cuts
from partitioner.subgraph import extract, weight_bytes

if TYPE_CHECKING:
    import onnxruntime

Pool = dict[str, "onnxruntime.OrtValue"]


class Blocks(Protocol):
    """What a segment asks its engine for."""

    settled_runs: int | None

    @property
    def cuts(self) -> Cuts:
        """The model's cuts."""

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Where blocks meet."""

    @property
    def fine_bounds(self) -> tuple[Bound, ...]:
        """Where the clock is read for a timeline."""

    @property
    def size_names(self) -> Mapping[str, int | str]:
        """Numbers that a session may ask for."""

    def block(self, segment: Segment, weights: tuple[str, ...], *, is_shared: bool) -> Block:
        """A session for exactly this segment, perhaps one that others use too."""

    def build(self, segment: Segment) -> Block:
        """A session for exactly this segment; safe to call from another thread."""


class OrtSegment:
    """A segment that is ready to run."""

    def __init__(self, engine: Blocks, segment: Segment) -> None:
        graph = engine.cuts.graph
        self._engine = engine
        self._graph = graph
        self._segment = segment
        subgraph = extract(graph, segment)
        _refuse_dtypes(graph, segment)
        self.inputs = subgraph.inputs
        self.outputs = tuple(graph.value_of(name) for name in segment.outputs)
        self.weight_names = subgraph.weights
        self.weight_bytes = weight_bytes(graph, subgraph.weights)
        self._binder = Binder(graph, subgraph)
        self._sizes = {
            name: expression
            for name, expression in engine.size_names.items()
            if symbols_of(expression) <= subgraph.known
        }
        pieces = chain(engine.cuts, segment, engine.bounds)
        self._chain: tuple[Block, ...] = tuple(
            engine.block(piece, extract(graph, piece).weights, is_shared=_is_between(piece, engine)) for piece in pieces
        )
        self._fused: Block | None = self._chain[0] if len(pieces) == 1 else None
        self._runs = 0
        self._builder: threading.Thread | None = None
        self._fine: tuple[Segment, ...] | None = None
        self._fine_blocks: tuple[Block, ...] | None = None

    @property
    def is_fused(self) -> bool:
        """Whether the next run is of one session."""
        return self._fused is not None

    def __call__(
        self, tensors: Mapping[str, Array], *, should_stop: Callable[[], bool] | None = None
    ) -> dict[str, Array]:
        """Run once; see ``RunnableSegment``. ``should_stop`` is asked between blocks."""
        arrays = self._arrays(tensors)
        pool = given = {name: to_ort(array) for name, array in arrays.items()}
        for block in self._ready():
            if should_stop is not None and should_stop():
                raise SegmentError("stopped: nobody waits for the answer any more")
            pool = {**pool, **block.run(pool)}
        return self._answer(pool, given, arrays)

    def run_rows(self, block: Block, tensors: Mapping[str, Array]) -> dict[str, Array]:
        """Run a form of this segment that takes any number of rows in front."""
        arrays = {**self._arrays({name: array[:1] for name, array in tensors.items()}), **tensors}
        given = {name: to_ort(array) for name, array in arrays.items()}
        return self._answer({**given, **block.run(given)}, given, arrays)

    def settle(self) -> None:
        """Fuse now instead of in the background, and keep nothing but that."""
        self.finish()
        if self._fused is None:
            self._fused = self._engine.build(self._segment)
        self._chain = ()
        self._fine_blocks = None

    def finish(self) -> None:
        """Wait until the background has nothing to do for this segment."""
        if self._builder is not None:
            self._builder.join()

    @property
    def layers(self) -> tuple[int, ...]:
        """Indices of the layers that run, in order; one entry per stretch."""
        return tuple(layer for piece in self._pieces() for layer, _ in _shares(self._graph, piece, self._engine.cuts))

    def timeline(self, tensors: Mapping[str, Array]) -> tuple[float, list[float]]:
        """Run once, in the finest blocks there are, and take the time.

        A block's time falls on its layers by their share of operations and bytes, since ONNX Runtime fuses across them.
        """
        if self._fine_blocks is None:
            self._fine_blocks = tuple(self._engine.build(piece) for piece in self._pieces())
            self._timed(tensors)
        total, seconds = self._timed(tensors)
        ends: list[float] = []
        begun = 0.0
        for piece, end in zip(self._pieces(), seconds, strict=True):
            at = begun
            for _, share in _shares(self._graph, piece, self._engine.cuts):
                at += share * (end - begun)
                ends.append(at)
            begun = end
        return total, [*ends[:-1], total] if ends else []

    def _timed(self, tensors: Mapping[str, Array]) -> tuple[float, list[float]]:
        begun = time.perf_counter()
        arrays = self._arrays(tensors)
        pool = given = {name: to_ort(array) for name, array in arrays.items()}
        seconds: list[float] = []
        for block in self._fine_blocks or ():
            pool = {**pool, **block.run(pool)}
            seconds.append(time.perf_counter() - begun)
        self._answer(pool, given, arrays)
        return time.perf_counter() - begun, seconds

    def _pieces(self) -> tuple[Segment, ...]:
        if self._fine is None:
            self._fine = chain(self._engine.cuts, self._segment, self._engine.fine_bounds)
        return self._fine

    def _ready(self) -> tuple[Block, ...]:
        """What runs next: the fused session, or the blocks (and the fused one is built where it is time)."""
        self._runs += 1
        fused = self._fused
        if fused is not None:
            self._chain = ()
            return (fused,)
        settled = self._engine.settled_runs
        if settled is not None and self._runs >= settled and self._builder is None:
            self._builder = threading.Thread(target=self._fuse, name="cleft-ort-fuse")
            self._builder.start()
        return self._chain

    def _fuse(self) -> None:
        with contextlib.suppress(CleftError):  # the blocks go on answering
            self._fused = self._engine.build(self._segment)

    def _arrays(self, tensors: Mapping[str, Array]) -> dict[str, Array]:
        """What is given, and the sizes that follow from it."""
        binding = self._binder.bind(tensors)
        sizes = {name: np.asarray(evaluate(each, binding), np.int64) for name, each in self._sizes.items()}
        return {**tensors, **sizes}

    def _answer(self, pool: Pool, given: Pool, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs as arrays; one that was given comes back as it came, for ONNX Runtime does not own its memory."""
        origin = {id(value): arrays[name] for name, value in given.items()}
        found: dict[str, Array] = {}
        for name in self._segment.outputs:
            array = origin.get(id(pool[name]))
            found[name] = self._array(name, pool[name].numpy()) if array is None else array
        return found

    def _array(self, name: str, array: Array) -> Array:
        if name not in self._graph.values and array.dtype == np.float32:
            return array.astype(np.float64)  # a number, which Python computes in double precision
        return array


def _is_between(piece: Segment, engine: Blocks) -> bool:
    """Whether a piece lies between two bounds or ends of the model, so that other cuts use it too."""
    ends = {frozenset(engine.cuts.graph.input_names), *(bound.crossing for bound in engine.bounds)}
    begins = frozenset(piece.inputs) in ends
    wanted = set(piece.outputs)
    outputs = set(engine.cuts.graph.output_names)
    return begins and (wanted <= outputs or any(bound.crossing <= wanted for bound in engine.bounds))


def _shares(graph: Graph, piece: Segment, cuts: Cuts) -> list[tuple[int, float]]:
    """The layers of a piece in order, each with its share of the work."""
    work: dict[int, float] = {}
    for node in extract(graph, piece).nodes:
        layer = graph.layer_of.get(node.name)
        if layer is not None:
            value = node.value
            nbytes = value.nbytes(cuts.binding) if value is not None and node.kind != "view" else 0
            flops = evaluate(node.flops, cuts.binding)
            work[layer] = work.get(layer, 0.0) + flops + DTYPE_BYTES["float32"] * nbytes + 1.0
    total = sum(work.values())
    return [(layer, each / total) for layer, each in work.items()]


def _refuse_dtypes(graph: Graph, segment: Segment) -> None:
    """Raise where a tensor that goes in or out has no array of ONNX Runtime's."""
    for name in (*segment.inputs, *segment.outputs):
        value: Value = graph.value_of(name)
        if value.dtype in ("bfloat16", "complex64", "complex128"):
            raise SegmentError(f"ONNX Runtime takes no {value.dtype} tensors, and {name!r} is one")
