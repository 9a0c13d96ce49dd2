"""The engine: one bundle opened on one device, and the segments it hands out."""

from __future__ import annotations

import dataclasses
import os
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence

import ml_dtypes
import numpy as np
import torch

from partitioner.bundle import Bundle
from partitioner.errors import InputError, SegmentError, UsageError
from partitioner.graph import Value
from partitioner.plan import Segment
from partitioner.runtimes import EAGER, Array, RuntimeInfo
from partitioner.runtimes.binding import Binder
from partitioner.runtimes.eager.program import Program, size_of
from partitioner.runtimes.eager.weights import WeightTable
from partitioner.runtimes.rows import ROWS, leading_of, with_rows
from partitioner.subgraph import Subgraph, extract, weight_bytes

_ALIGNMENT_BYTES = 64
_KEPT_SEGMENTS = 64
_MOST_THREADS = 256


def open_engine(
    bundle: Bundle, *, device: str = "auto", threads: int = 1, allow_ops: Collection[str] = ()
) -> EagerEngine:
    """Open a bundle for running.

    Args:
        device: ``auto`` (CUDA where there is a device, else the CPU), ``cpu``, ``cuda`` or ``cuda:N``.
        threads: threads of one operator, for the whole process.
        allow_ops: operator namespaces beyond ``aten``.

    Raises:
        UsageError: there is no such device, or as many threads make no sense.
    """
    most = max(_MOST_THREADS, os.cpu_count() or 1)
    if not 1 <= threads <= most:
        raise UsageError(f"--threads {threads}: from 1 to {most} can be used on this machine")
    chosen = _device(device)
    torch.set_num_threads(threads)
    return EagerEngine(bundle, chosen, threads, allow_ops)


class EagerEngine:
    """Segments of one bundle, run by torch. One thread owns it."""

    def __init__(self, bundle: Bundle, device: torch.device, threads: int, allow_ops: Collection[str]) -> None:
        self.bundle = bundle
        self.device = device
        self._threads = threads
        self._allowed = frozenset(allow_ops)
        self._weights = WeightTable(bundle, device)
        self._segments: dict[Segment, EagerSegment] = {}

    @property
    def info(self) -> RuntimeInfo:
        """Which runtime this is."""
        return RuntimeInfo(
            name=EAGER,
            device=str(self.device),
            threads=self._threads,
            versions={"torch": str(torch.__version__), "numpy": np.__version__},
        )

    @property
    def weight_bytes_held(self) -> int:
        """Bytes of weights in memory now; each weight counts once."""
        return self._weights.nbytes

    def segment(self, segment: Segment) -> EagerSegment:
        """Make a segment ready; asking again for one of the last few dozen is free.

        Raises:
            SegmentError: the segment names another model, or its names do not fit the graph.
        """
        if segment.model_digest != self.bundle.digest:
            raise SegmentError(f"this segment is of model {segment.model_digest[:12]}, not {self.bundle.digest[:12]}")
        found = self._segments.pop(segment, None)
        if found is None:
            found = EagerSegment(self, segment, self._weights, self._allowed)
        self._segments[segment] = found
        if len(self._segments) > _KEPT_SEGMENTS:
            del self._segments[next(iter(self._segments))]
        return found

    def batched(self, segment: Segment) -> EagerSegment | None:
        """A form of a segment that takes any number of rows; see ``Batching``."""
        graph = self.bundle.graph
        subgraph = extract(graph, segment)
        leading = leading_of(graph, subgraph)
        if leading != "one":
            return self.segment(segment) if leading is not None else None
        nodes = with_rows(graph, subgraph)
        if nodes is None:
            return None
        return RowsSegment(self, segment, self._weights, self._allowed, rows=dataclasses.replace(subgraph, nodes=nodes))

    def pin(self, segments: Sequence[Segment]) -> int:
        """Drop every weight that these segments do not read; returns the bytes held afterwards."""
        kept = {segment: self.segment(segment) for segment in segments}
        self._segments = kept
        self._weights.keep({name for each in kept.values() for name in each.weight_names})
        return self._weights.nbytes

    def synchronise(self) -> None:
        """Wait until the device has finished what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class EagerSegment:
    """A segment, compiled and with its weights at hand."""

    def __init__(
        self,
        engine: EagerEngine,
        segment: Segment,
        weights: WeightTable,
        allowed: Collection[str],
        *,
        rows: Subgraph | None = None,
    ) -> None:
        graph = engine.bundle.graph
        self._engine = engine
        self._subgraph = rows or extract(graph, segment)
        self._binder = Binder(graph, self._subgraph)
        self.weight_names = self._subgraph.weights
        names = (
            *(value.name for value in self._subgraph.inputs),
            *self._subgraph.weights,
            *(node.name for node in self._subgraph.sizes),
            *((ROWS,) if rows is not None else ()),
        )
        self._program = Program(
            self._subgraph.nodes,
            given=names,
            wanted=self._subgraph.outputs,
            device=engine.device,
            allowed=allowed,
            layer_of=graph.layer_of,
        )
        self._weights = tuple(weights.get(self._subgraph.weights).values())
        self._outputs = tuple(graph.value_of(name) for name in self._subgraph.outputs)
        self._layer_starts = _layer_starts(self._program.layer_at)
        self.weight_bytes = weight_bytes(graph, self._subgraph.weights)

    @property
    def inputs(self) -> tuple[Value, ...]:
        """What goes in."""
        return self._subgraph.inputs

    @property
    def outputs(self) -> tuple[Value, ...]:
        """What comes out; a number comes out as a tensor of no axes."""
        return self._outputs

    def settle(self) -> None:
        """Nothing to do: every run is like the first."""

    @property
    def layers(self) -> tuple[int, ...]:
        """Indices of the layers that run, in order; one entry per stretch of calls."""
        return tuple(layer for _, layer in self._layer_starts)

    def __call__(
        self, tensors: Mapping[str, Array], *, should_stop: Callable[[], bool] | None = None
    ) -> dict[str, Array]:
        """Run once; see ``RunnableSegment``."""
        before = None
        if should_stop is not None:
            stops = frozenset(index for index, _ in self._layer_starts)

            def before(index: int) -> None:
                if index in stops and should_stop():
                    raise SegmentError("stopped: nobody waits for the answer any more")

        return self._run(tensors, before)

    def timeline(self, tensors: Mapping[str, Array]) -> tuple[float, list[float]]:
        """Run once and take the time: seconds of the whole run, and the second at which each of ``layers`` ended.

        Moving tensors to and from the device counts to the first and the last layer.
        """
        starts = {index: position for position, (index, _) in enumerate(self._layer_starts)}
        ends: list[float] = []
        begun = time.perf_counter()

        def before(index: int) -> None:
            if starts.get(index, 0) > 0:
                self._engine.synchronise()
                ends.append(time.perf_counter() - begun)

        self._run(tensors, before)
        total = time.perf_counter() - begun
        return total, [*ends, total] if self._layer_starts else []

    def _run(self, tensors: Mapping[str, Array], before: Callable[[int], None] | None) -> dict[str, Array]:
        sizes = self._sizes(tensors)
        try:
            with torch.inference_mode():
                given = [self._given(value.name, tensors[value.name]) for value in self.inputs]
                results = self._program.run([*given, *self._weights, *sizes], before=before)
                self._engine.synchronise()
                return {name: _to_numpy(result) for name, result in zip(self._subgraph.outputs, results, strict=True)}
        except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError) as error:
            raise SegmentError(f"the model failed: {_first_line(error)}") from error

    def _sizes(self, tensors: Mapping[str, Array]) -> list[int]:
        """Check what is given; the numbers that the program takes after the weights."""
        binding = self._binder.bind(tensors)
        return [size_of(node, binding) for node in self._subgraph.sizes]

    def _given(self, name: str, array: Array) -> torch.Tensor | int:
        return int(array) if name in self._binder.numbers else self._to_torch(array)

    def _to_torch(self, array: Array) -> torch.Tensor:
        """A tensor over the array's memory, or over a copy of it where kernels would round differently on it."""
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        if not array.flags.aligned or any(stride < 0 for stride in array.strides):
            array = np.ascontiguousarray(array).copy()
        if array.dtype == ml_dtypes.bfloat16:
            tensor = torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
        else:
            tensor = torch.from_numpy(array)
        if self._engine.device.type == "cpu":
            return tensor.clone() if tensor.data_ptr() % _ALIGNMENT_BYTES else tensor
        return tensor.to(self._engine.device)


class RowsSegment(EagerSegment):
    """A segment captured with one row, for as many as come."""

    def _sizes(self, tensors: Mapping[str, Array]) -> list[int]:
        counts = {array.shape[0] if array.ndim else 0 for array in tensors.values()}
        if len(counts) != 1 or 0 in counts:
            raise InputError("the tensors do not have the same number of rows")
        return [*super()._sizes({name: array[:1] for name, array in tensors.items()}), *counts]


def _to_numpy(result: object) -> Array:
    if not isinstance(result, torch.Tensor):
        return np.asarray(result)
    tensor = result.detach().resolve_conj().resolve_neg().cpu()
    if tensor.dtype is torch.bfloat16:
        return tensor.view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def _layer_starts(layer_at: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """(first call, layer) of each stretch of one layer; calls of no layer belong to the one that follows."""
    starts: list[tuple[int, int]] = []
    pending: int | None = None
    for index, layer in enumerate(layer_at):
        if layer < 0:
            pending = index if pending is None else pending
        else:
            if not starts or starts[-1][1] != layer:
                starts.append((index if pending is None else pending, layer))
            pending = None
    return tuple(starts)


def _device(name: str) -> torch.device:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda:0" if count else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device {name}: expected auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device {name}: expected auto, cpu, cuda or cuda:N")
    if device.type == "cuda":
        if (device.index or 0) >= count:
            raise UsageError(f"--device {name}: this machine has {count} CUDA devices that torch can use")
        device = torch.device("cuda", device.index or 0)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    return device


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _mute_read_only_warning() -> None:
    """Torch warns once that a read-only array becomes a tensor one could write to; we never write."""
    array = np.zeros(1, dtype=np.float32)
    array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.from_numpy(array)


_mute_read_only_warning()
