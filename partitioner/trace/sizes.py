"""Sizes of captured tensors, as integers or as expressions of named symbols."""

from __future__ import annotations

from collections.abc import Sequence

import sympy
import torch

from partitioner.dims import Dim, symbols_of
from partitioner.errors import BundleError, ModelError
from partitioner.graph import DTYPE_BYTES, Symbol, Value
from partitioner.trace.dynamic import Axis, DynamicSizes, sizes_for

_UNKNOWN_EXAMPLE = 8
"""Stands in for a size that depends on data, where bytes and FLOPs are estimated before anything ran."""


class Sizes:
    """Turns torch's symbolic sizes into ours. The user's names replace torch's (``s27`` becomes ``t``)."""

    def __init__(
        self, program: torch.export.ExportedProgram, inputs: Sequence[torch.fx.Node], dynamic: DynamicSizes | None
    ) -> None:
        self._ranges = {str(symbol): limits for symbol, limits in program.range_constraints.items()}
        self._names: dict[sympy.Symbol, sympy.Symbol] = {}
        self._examples: dict[str, int] = {}
        self._seen: dict[str, None] = {}
        self._from_inputs: set[str] = set()
        self._torch_names: dict[str, str] = {}
        for node in inputs:
            names = sizes_for(node.name, dynamic)
            for axis, size in enumerate(node.meta["val"].shape):
                if isinstance(size, torch.SymInt):
                    self._learn(size, names[axis] if axis < len(names) else Axis())

    def value(self, name: str, tensor: torch.Tensor) -> Value:
        """The value that a (fake) tensor describes.

        Raises:
            ModelError: its dtype or layout cannot be stored or sent.
        """
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in DTYPE_BYTES:
            raise ModelError(f"tensor {name!r} is of dtype {dtype}, which cannot be sent: convert it in the model")
        if tensor.layout is not torch.strided:
            raise ModelError(f"tensor {name!r} is sparse, which cannot be stored or sent: make it dense in the model")
        return Value(name=name, dtype=dtype, shape=tuple(self.dim(size) for size in tensor.shape))

    def dim(self, size: int | torch.SymInt) -> Dim:
        """One size."""
        if isinstance(size, int):
            return size
        expression = size.node.expr.xreplace(self._names)
        if expression.is_Integer:
            return int(expression)
        text = str(expression)
        try:
            found = symbols_of(text)
        except BundleError as error:
            raise ModelError(f"a size of this model, {text}, is no expression we can store") from error
        for symbol in found:
            self._seen.setdefault(symbol)
        return text

    def symbols(self) -> tuple[Symbol, ...]:
        """Every symbol met so far."""
        return tuple(self._symbol(name) for name in self._seen)

    def _learn(self, size: torch.SymInt, axis: Axis) -> None:
        symbol = size.node.expr / axis.times
        hint = size.node.hint
        if not symbol.is_Symbol:
            return
        self._from_inputs.add(str(symbol))
        if axis.name:
            self._names[symbol] = sympy.Symbol(axis.name, integer=True)
        shown = str(self._names.get(symbol, symbol))
        self._torch_names[shown] = str(symbol)
        if hint is not None:
            self._examples[shown] = int(hint) // axis.times

    def _symbol(self, name: str) -> Symbol:
        torch_name = self._torch_names.get(name, name)
        limits = self._ranges.get(torch_name)
        low = _finite(limits.lower, 0) if limits is not None else 0
        high = _finite(limits.upper, None) if limits is not None else None
        from_data = torch_name not in self._from_inputs
        example = self._examples.get(name)
        if example is None:
            example = max(low or 0, min(_UNKNOWN_EXAMPLE, high if high is not None else _UNKNOWN_EXAMPLE))
        return Symbol(name=name, low=low or 0, high=high, example=example, from_data=from_data)


def _finite(limit: object, otherwise: int | None) -> int | None:
    try:
        value = int(limit)  # type: ignore[call-overload]  # sympy's infinities refuse
    except (TypeError, ValueError, OverflowError, AttributeError):
        return otherwise
    return value if abs(value) < 2**62 else otherwise
