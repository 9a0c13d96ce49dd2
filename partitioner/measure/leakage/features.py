"""What crosses at cuts, for every sample: squared distances between samples, in memory that does not grow with them.

Tensors are read in blocks of samples that fit the memory allowed; of any two blocks one is held while the other is
read again, so the model runs more than once only where all samples' features do not fit. Distances come of inner
products in float64, a stretch of columns at a time, whatever the dtype of the features. What is not finite counts as 0.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence

import numpy as np

from partitioner.measure.leakage.correlation import FloatArray
from partitioner.plan import Segment
from partitioner.runtimes import Array, Engine
from partitioner.segments import Cuts

HELD_BYTES = 256 << 20
"""Features of all samples that are held at once."""
_STRETCH = 1 << 22
"""Numbers of a stretch of columns in float64."""

Tensors = Mapping[str, Array]
Seen = Callable[[int, str, Array], None]


class Features:
    """Reads tensors of one model on the samples.

    Args:
        inputs: prepares the model's inputs of each sample.
        held_bytes: features that may be in memory at once, beside one sample's.
    """

    def __init__(
        self, engine: Engine, cuts: Cuts, inputs: Sequence[Callable[[], Tensors]], *, held_bytes: int = HELD_BYTES
    ) -> None:
        self._engine = engine
        self._cuts = cuts
        self._inputs = inputs
        self._held_bytes = held_bytes

    def squared_distances(
        self, sizes: Mapping[str, int], *, seen: Seen | None = None
    ) -> Generator[None, None, dict[str, FloatArray]]:
        """Squared distances (n, n) between the samples by each tensor, in a unit of its own; yields after every run.

        A tensor that is not of the same shape on all samples is left out.

        Args:
            sizes: bytes of each tensor, by its name; one sample's.
            seen: is shown every tensor of every sample once: the sample's index, the tensor's name, its values.

        Raises:
            SegmentError: the runtime cannot give out these tensors.
        """
        count = len(self._inputs)
        blocks = _blocks(count, self._held_bytes, max(1, sum(sizes.values())))
        products = {name: np.zeros((count, count)) for name in sizes}
        shifts: dict[str, Array] = {}
        for index, block in enumerate(blocks):
            held = yield from self._read(block, list(products), seen)
            _drop(products, held)
            shifts = shifts or {name: np.array(rows[0]) for name, rows in held.items()}
            for name, values in products.items():
                values[block, block] = _products(held[name], held[name], shifts[name])
            for other in blocks[index + 1 :]:
                again = yield from self._read(other, list(products), None)
                _drop(products, again, shapes=held)
                for name, values in products.items():
                    values[block, other] = _products(held[name], again[name], shifts[name])
                    values[other, block] = values[block, other].T
        return {name: _squared_distances(values) for name, values in products.items()}

    def _read(self, block: slice, names: list[str], seen: Seen | None) -> Generator[None, None, dict[str, Array]]:
        """One matrix per tensor, a row per sample of the block; without those whose shape changes."""
        run = self._runner(names)
        rows: dict[str, Array] = {}
        shapes: dict[str, tuple[int, ...]] = {}
        for place, inputs in enumerate(self._inputs[block]):
            made = run(inputs())
            for name in names if not place else list(rows):
                array = np.asarray(made[name])
                if not place:
                    shapes[name] = array.shape
                    rows[name] = np.empty((block.stop - block.start, array.size), array.dtype)
                if array.shape != shapes[name]:
                    del rows[name]
                    continue
                rows[name][place] = array.reshape(-1)
                if seen is not None:
                    seen(block.start + place, name, array)
            yield
        return rows

    def _runner(self, names: Sequence[str]) -> Callable[[Tensors], Tensors]:
        whole = self._cuts.whole()
        asked = tuple(name for name in names if name not in whole.inputs)
        if not asked:
            return lambda tensors: tensors
        segment = Segment(model_digest=whole.model_digest, inputs=whole.inputs, outputs=asked)
        ready = self._engine.segment(segment)
        return lambda tensors: {**tensors, **ready(tensors)}


def as_floats(array: Array) -> FloatArray:
    """The numbers of an array as float64: real and imaginary parts apart, 0 for what is not finite."""
    if array.dtype.kind == "c":
        array = np.stack([array.real, array.imag], axis=-1).reshape(*array.shape[:-1], -1)
    found: FloatArray = array.astype(np.float64)
    found[~np.isfinite(found)] = 0.0
    return found


def differing(ids: Array) -> FloatArray:
    """Squared distances of rows of names without an order, such as words: in how many places two rows differ."""
    flat = ids.reshape(len(ids), -1)
    return np.stack([(flat != row).sum(axis=1) for row in flat]).astype(np.float64)


def together(parts: Sequence[FloatArray]) -> FloatArray:
    """Squared distances by several tensors at once, each weighed so that all spread alike."""
    total = np.zeros_like(parts[0])
    for part in parts:
        mean = float(part.mean())
        if mean > 0:
            total += part / mean
    return total


def _blocks(count: int, held_bytes: int, sample_bytes: int) -> list[slice]:
    """Stretches of samples: one of all, or such that two of them fit."""
    size = count if count * sample_bytes <= held_bytes else max(1, held_bytes // 2 // sample_bytes)
    return [slice(begin, min(begin + size, count)) for begin in range(0, count, size)]


def _drop(products: dict[str, FloatArray], rows: dict[str, Array], shapes: Mapping[str, Array] | None = None) -> None:
    """Forget tensors that are not of one shape."""
    for name in list(products):
        if name not in rows or (shapes is not None and rows[name].shape[1] != shapes[name].shape[1]):
            del products[name]


def _products(first: Array, second: Array, shift: Array) -> FloatArray:
    """Inner products of the rows less one common row, whose choice does not matter for distances."""
    scale = 1.0 / (float(np.abs(as_floats(shift)).max(initial=0.0)) or 1.0)
    columns = max(1, _STRETCH // max(len(first), len(second)))
    total = np.zeros((len(first), len(second)))
    for begin in range(0, first.shape[1], columns):
        end = begin + columns
        base = as_floats(shift[begin:end])
        left = (as_floats(first[:, begin:end]) - base) * scale
        right = left if second is first else (as_floats(second[:, begin:end]) - base) * scale
        total += left @ right.T
    return total


def _squared_distances(products: FloatArray) -> FloatArray:
    lengths = np.diag(products)
    squared: FloatArray = np.maximum(lengths[:, np.newaxis] + lengths[np.newaxis, :] - products - products.T, 0.0)
    np.fill_diagonal(squared, 0.0)
    return squared
