"""Checks what a segment is given, and finds the sizes that follow from it; the same for every runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from partitioner.dims import evaluate, solve, symbols_of
from partitioner.errors import InputError
from partitioner.graph import Graph, Symbol, Value
from partitioner.runtimes import Array
from partitioner.subgraph import Subgraph


class Binder:
    """What goes into one segment. ``numbers`` are the inputs that are sizes, with their expressions."""

    def __init__(self, graph: Graph, subgraph: Subgraph) -> None:
        self._inputs = subgraph.inputs
        self._known = subgraph.known
        self._symbols = graph.symbols
        self.numbers = {
            value.name: graph.node[value.name].expression or 0
            for value in subgraph.inputs
            if value.name not in graph.values
        }

    def bind(self, tensors: Mapping[str, Array]) -> dict[str, int]:
        """Check names, dtypes and shapes, and solve the symbols.

        Raises:
            InputError: a tensor is missing, or its shape or dtype does not fit.
        """
        names = [value.name for value in self._inputs]
        if set(tensors) != set(names):
            raise InputError(f"expected tensors {', '.join(names) or '(none)'}; got {', '.join(tensors) or '(none)'}")
        for value in self._inputs:
            array = tensors[value.name]
            if array.dtype.name != value.dtype or array.ndim != len(value.shape):
                raise InputError(f"{value.name}: expected {_describe(value)}, got {array.dtype.name} {array.shape}")
        shapes = [(value.shape, tensors[value.name].shape) for value in self._inputs]
        numbers = [((expression,), (int(tensors[name]),)) for name, expression in self.numbers.items()]
        binding = solve([*shapes, *numbers])
        for value in self._inputs:
            actual = tensors[value.name].shape
            for dim, size in zip(value.shape, actual, strict=True):
                if symbols_of(dim) <= self._known:
                    if not symbols_of(dim) <= binding.keys() or evaluate(dim, binding) != size:
                        raise InputError(f"{value.name}: expected {_describe(value)}, got {shape_text(actual)}")
        for (expression,), (number,) in numbers:
            if symbols_of(expression) <= self._known and evaluate(expression, binding) != number:
                raise InputError(f"size {expression} is given as {number}, which contradicts the tensors' shapes")
        check_ranges(self._symbols, binding)
        return binding


def check_ranges(symbols: Sequence[Symbol], binding: Mapping[str, int]) -> None:
    """Check that sizes lie within what the model was packed for.

    Raises:
        InputError: one does not.
    """
    for symbol in symbols:
        size = binding.get(symbol.name, symbol.low)
        if not symbol.from_data and (size < symbol.low or (symbol.high is not None and size > symbol.high)):
            high = "" if symbol.high is None else symbol.high
            raise InputError(
                f"size {symbol.name} is {size}, outside {symbol.low}..{high}, which the model was packed for"
            )


def shape_text(shape: Sequence[int | str]) -> str:
    """``1x3x224x224``; ``scalar`` for a shape of no axes."""
    return "x".join(str(dim) for dim in shape) or "scalar"


def _describe(value: Value) -> str:
    return f"{value.dtype} {shape_text(value.shape)}"
