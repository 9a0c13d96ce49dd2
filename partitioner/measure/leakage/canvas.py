"""What an inverter is to rebuild, and what it sees: inputs as pictures or rows of numbers, features laid over them.

A picture is rebuilt at no more than 32 x 32, a sequence at no more than 256 places; other inputs by an even choice of
their numbers. Words (integers that an embedding looks up) are rebuilt as which of the most frequent ones they are.
Features count as a *map* where their axes lie over the input's: pictures' channels first or last, tokens in a square,
sequences. All maps of a cut are brought to one size, a whole fraction of the picture's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from partitioner.graph import Graph, refs_in
from partitioner.measure.leakage.features import as_floats
from partitioner.runtimes import Array

FloatArray32 = npt.NDArray[np.float32]
Size = tuple[int, int]

_SIDE = 32
_PLACES = 256
_NUMBERS = 4096
"""Of an input that is no picture and no sequence."""
_WORD_NUMBERS = 16384
"""Places times words that are told apart."""
_MOST_FACTOR = 8
"""How many times smaller than the picture a map may be, for a network to begin with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """The inputs to rebuild, (n, channels, height, width); plain rows of numbers are (n, numbers, 1, 1).

    ``size`` is the input's own height and width, which maps are told by; None where it is no picture or sequence.
    """

    pixels: FloatArray32
    size: Size | None

    @property
    def rows(self) -> FloatArray32:
        """(n, numbers)."""
        return self.pixels.reshape(len(self.pixels), -1)


def words(graph: Graph) -> frozenset[str]:
    """Integer inputs that only name something: those that an embedding looks up, as they are or after views of them."""
    found: set[str] = set()
    for node in graph.nodes:
        if node.op.startswith("aten.embedding") and len(node.args) > 1:
            stack = list(refs_in(node.args[1]))
            while stack:
                name = stack.pop()
                if name in graph.input_names and graph.value_of(name).dtype.lstrip("u").startswith("int"):
                    found.add(name)
                elif name in graph.node and graph.node[name].kind == "view":
                    stack.extend(graph.node[name].refs())
    return frozenset(found)


def size_of(shape: tuple[int, ...], *, is_named: bool) -> Size | None:
    """Height and width of an input, a sequence's width being 1; None where it is neither picture nor sequence."""
    if is_named:
        length = math.prod(shape)
        return (length, 1) if 1 < length <= _PLACES else None
    if len(shape) == 4 and shape[0] == 1 and min(shape[2:]) > 1:
        return shape[2], shape[3]
    if len(shape) == 3 and shape[0] == 1 and shape[2] > 1:
        return shape[2], 1
    return None


def shrunk(array: Array, *, is_named: bool) -> Array:
    """What is rebuilt of one sample's input: words (places,), everything else (channels, height, width) float32."""
    size = size_of(array.shape, is_named=is_named)
    if is_named or size is None:
        flat = array.reshape(-1)
        chosen = flat[_even(flat.size, _PLACES if is_named else _NUMBERS)]
        return chosen if is_named else as_floats(chosen).astype(np.float32)[:, np.newaxis, np.newaxis]
    plane = as_floats(array[0]).astype(np.float32).reshape(array.shape[1], *size)
    if size[1] == 1:
        return resized(plane, (min(size[0], _PLACES), 1))
    scale = min(1.0, _SIDE / max(size))
    return resized(plane, (max(1, round(size[0] * scale)), max(1, round(size[1] * scale))))


def canvas_of(stack: Array, size: Size | None, *, is_named: bool) -> Canvas:
    """What is to be rebuilt of one input that varies, of what ``shrunk`` left of each sample's; it varies by 1."""
    pixels = _told_apart(stack) if is_named else stack.astype(np.float32)
    variance = float(pixels.var(axis=0, dtype=np.float64).sum())
    return Canvas(pixels=pixels / np.float32(math.sqrt(variance or 1.0)), size=size)


def joined(canvases: Sequence[Canvas]) -> Canvas:
    """Several inputs as one to rebuild, each weighed alike; more than one are rows of numbers."""
    if len(canvases) == 1:
        return canvases[0]
    rows = np.concatenate([each.rows for each in canvases], axis=1)
    return Canvas(pixels=rows[:, :, np.newaxis, np.newaxis], size=None)


def as_map(array: Array, size: Size) -> FloatArray32 | None:
    """One sample's features as (channels, height, width) over an input of this size; None where they are no map."""
    found = _laid(array, size)
    if found is None or found.shape[1] * found.shape[2] == 1:
        return None
    return as_floats(found).astype(np.float32)


def grid(sizes: Sequence[Size], wanted: Size) -> tuple[Size, int] | None:
    """The size that all maps of a cut are brought to, and how many times larger the picture is; None: too small."""
    largest = max(sizes, key=lambda each: each[0] * each[1])
    factor = max(math.ceil(whole / part) for whole, part in zip(wanted, largest, strict=True))
    if factor > _MOST_FACTOR:
        return None
    height, width = (max(1, each // factor) for each in wanted)
    return (height, width), factor


def resized(maps: FloatArray32, size: Size) -> FloatArray32:
    """(..., height, width) in another size: means where it is smaller, repeats where it is larger."""
    for axis, wanted in ((-2, size[0]), (-1, size[1])):
        have = maps.shape[axis]
        if wanted < have:
            begins = np.arange(wanted) * have // wanted
            counts = np.diff([*begins.tolist(), have]).astype(np.float32)
            sums = np.add.reduceat(maps, begins, axis=axis)
            maps = np.asarray(sums / (counts if axis == -1 else counts[:, np.newaxis]), np.float32)
        elif wanted > have:
            maps = np.take(maps, np.arange(wanted) * have // wanted, axis=axis)
    return maps


def fitted(maps: FloatArray32, wanted: Size, numbers: int) -> FloatArray32:
    """One sample's map, no larger than the picture to rebuild, and of no more than so many numbers if it can be."""
    height, width = (min(pair) for pair in zip(maps.shape[1:], wanted, strict=True))
    scale = min(1.0, math.sqrt(numbers / (len(maps) * height * width)))
    return resized(maps, (max(1, int(height * scale)), max(1, int(width * scale))))


def _told_apart(ids: Array) -> FloatArray32:
    """(n, words, places, 1): which of the most frequent words is where; all others are one more."""
    known, counts = np.unique(ids, return_counts=True)
    most = max(2, _WORD_NUMBERS // ids.shape[1])
    frequent = known[np.argsort(-counts, kind="stable")[: most - 1]]
    hits = (ids[:, np.newaxis, :] == frequent[np.newaxis, :, np.newaxis]).astype(np.float32)
    others = 1.0 - hits.sum(axis=1, keepdims=True)
    return np.concatenate([hits, others], axis=1)[..., np.newaxis]


def _laid(array: Array, size: Size) -> Array | None:
    """The axes in the order channels, height, width; None where they do not lie over the input's."""
    height, width = size
    if len(array.shape) < 3 or array.shape[0] != 1:
        return None
    plane: Array = array[0]
    if width == 1:
        if plane.ndim != 2:
            return None
        return plane.T[:, :, np.newaxis] if plane.shape[0] == height else plane[:, :, np.newaxis]
    if plane.ndim == 3:
        first, second, third = plane.shape
        if _is_like((second, third), size):
            return plane
        return plane.transpose(2, 0, 1) if _is_like((first, second), size) else None
    if plane.ndim != 2 or height != width:
        return None
    side = math.isqrt(plane.shape[0])
    extra = plane.shape[0] - side * side
    return plane[extra:].T.reshape(-1, side, side) if side > 1 and extra <= 1 else None


def _is_like(found: Size, size: Size) -> bool:
    """Whether two sizes have the same proportions, but for rounding."""
    scales = [part / whole for part, whole in zip(found, size, strict=True)]
    return max(found) > 1 and max(scales) <= 1.25 * min(scales) + 1 / min(size)


def _even(count: int, most: int) -> npt.NDArray[np.int64]:
    """Indices of so many, evenly chosen."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
