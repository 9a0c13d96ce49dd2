"""Which operators a graph may name: functional ``aten`` operators, arithmetic on sizes, and what the operator of the
machine adds.

A name is looked up, never evaluated. Operators that write to their arguments, read files or talk to a process are
refused, whatever namespace was allowed.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Collection

import torch

from partitioner.errors import UnsupportedOperator

ALWAYS_ALLOWED = frozenset({"aten"})
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\.[A-Za-z_][A-Za-z0-9_]*\.[A-Za-z_][A-Za-z0-9_]*")
_REFUSED = frozenset({
    "from_file", "_print", "_assert_async", "record_stream", "_thnn_fused_lstm_cell_backward_impl", "_copy_from",
    "_copy_from_and_resize",
})  # fmt: skip
_NUMBERS: dict[str, Callable[..., object]] = {
    **{
        name: getattr(operator, name)
        for name in ("add", "sub", "mul", "floordiv", "truediv", "mod", "pow", "neg", "abs", "and_", "or_", "not_")
    },
    **{name: getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    **{name: getattr(math, name) for name in ("ceil", "floor", "trunc")},
    "sqrt": math.sqrt,
    "round": round,
    "max": max,
    "min": min,
    "sym_max": max,
    "sym_min": min,
    "sym_int": int,
    "sym_float": float,
    "sym_not": operator.not_,
    "sym_ite": lambda condition, yes, no: yes if condition else no,
    "sym_sqrt": math.sqrt,
    "_sym_sqrt": math.sqrt,
}
_STRIDE_BLIND = {"aten.view.default", "aten._unsafe_view.default"}
"""A view asks for strides that a tensor which crossed may not have; a reshape gives the same elements from any."""


def lookup(op: str, *, allowed: Collection[str] = ()) -> Callable[..., object]:
    """The function that an operator's name stands for.

    Args:
        allowed: namespaces that the operator of the machine adds to ``aten``, such as ``torchvision``.

    Raises:
        UnsupportedOperator: the name is not allowed, unknown to this torch, or of an operator that is never allowed.
    """
    if op == "getitem":
        return operator.getitem
    if op.startswith("py."):
        found = _NUMBERS.get(op[3:])
        if found is None:
            raise UnsupportedOperator(op)
        return found
    if not _NAME.fullmatch(op):
        raise UnsupportedOperator(op, reason="it is no operator's name")
    namespace, name, overload = op.split(".")
    if namespace not in ALWAYS_ALLOWED and namespace not in allowed:
        raise UnsupportedOperator(op, reason=f"pass --allow-ops {namespace} to allow what {namespace} registers")
    if name in _REFUSED:
        raise UnsupportedOperator(op, reason="no model needs it, and it does more than compute")
    try:
        function = getattr(getattr(getattr(torch.ops, namespace), name), overload)
    except (AttributeError, RuntimeError) as error:
        raise UnsupportedOperator(op, reason=f"torch {torch.__version__} has no such operator") from error
    if not isinstance(function, torch._ops.OpOverload):
        raise UnsupportedOperator(op, reason="it is no operator's name")
    dispatched = f"{namespace}::{name}" + ("" if overload == "default" else f".{overload}")
    if not function._schema.returns or not torch._C._dispatch_has_kernel(dispatched):
        raise UnsupportedOperator(op, reason="it computes no tensor")  # TorchScript's own: aten.save, aten.manual_seed
    if function._schema.is_mutable:
        raise UnsupportedOperator(op, reason="it writes to its arguments")
    if op in _STRIDE_BLIND:
        return torch.ops.aten.reshape.default
    return function
