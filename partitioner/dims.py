"""Sizes that may be symbolic: integers, or expressions such as ``"2*t + 1"`` over named symbols.

The grammar is the part of Python that sympy prints for tensor sizes: ``+ - * / // % **``, numbers, names, and calls
of a few functions (``Max Min Mod FloorDiv floor ceiling TruncToInt``...). Expressions come from files, so they are read
by the parser below and never evaluated as code.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache

from partitioner.errors import BundleError

Dim = int | str
Binding = Mapping[str, int]

_Number = int | Fraction | float

_BINARY: dict[type[ast.operator], Callable[[_Number, _Number], _Number]] = {
    ast.Div: lambda a, b: a / b if isinstance(a, float) or isinstance(b, float) else Fraction(a) / Fraction(b),
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_CALLS: dict[str, Callable[..., _Number]] = {
    "Max": max,
    "Min": min,
    "Mod": operator.mod,
    "PythonMod": operator.mod,
    "FloorDiv": operator.floordiv,
    "CleanDiv": operator.floordiv,
    "CeilDiv": lambda a, b: -(-a // b),
    "IntTrueDiv": lambda a, b: Fraction(a) / Fraction(b),
    "FloatTrueDiv": lambda a, b: float(a) / float(b),
    "ToFloat": float,
    "TruncToInt": math.trunc,
    "FloorToInt": math.floor,
    "CeilToInt": math.ceil,
    "RoundToInt": round,
    "floor": math.floor,
    "ceiling": math.ceil,
    "Abs": abs,
}
_MAX_LENGTH = 2000
_MAX_EXPONENT = 16
_MAX_DEPTH = 200
_MAX_BITS = 128
_MAX_FLOAT = 2.0**_MAX_BITS


def evaluate(dim: Dim, binding: Binding) -> int:
    """The size that ``dim`` stands for.

    Raises:
        BundleError: the expression is not of the grammar, or a symbol has no value in ``binding``.
    """
    if isinstance(dim, int):
        return dim
    size = _evaluate(_parse(dim), binding, dim)
    if isinstance(size, int):
        return size
    if size != int(size):
        raise BundleError(f"size {dim!r} is {size}, which is not a whole number")
    return int(size)


def shape_of(shape: Sequence[Dim], binding: Binding) -> tuple[int, ...]:
    """Every size of a shape."""
    return tuple(evaluate(dim, binding) for dim in shape)


def symbols_of(dim: Dim) -> frozenset[str]:
    """Names of the symbols that ``dim`` depends on."""
    if isinstance(dim, int):
        return frozenset()
    calls = {id(node.func) for node in ast.walk(_parse(dim)) if isinstance(node, ast.Call)}
    return frozenset(node.id for node in ast.walk(_parse(dim)) if isinstance(node, ast.Name) and id(node) not in calls)


def product(shape: Sequence[Dim]) -> Dim:
    """The number of elements of a shape, as a size."""
    number = 1
    factors: list[str] = []
    for dim in shape:
        if isinstance(dim, int):
            number *= dim
        else:
            factors.append(dim if dim.isidentifier() else f"({dim})")
    if not factors or number == 0:
        return number
    return "*".join([str(number), *factors] if number != 1 else factors)


@lru_cache(maxsize=4096)
def _parse(text: str) -> ast.expr:
    if len(text) > _MAX_LENGTH:
        raise BundleError(f"a size expression is longer than {_MAX_LENGTH} characters")
    try:
        body = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BundleError(f"size expression {text!r} cannot be read") from error
    level: list[ast.AST] = [body]
    for _ in range(_MAX_DEPTH):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    if level:
        raise BundleError(f"size expression {text[:40]!r}... is nested deeper than {_MAX_DEPTH} levels")
    if not _is_readable(body):
        raise BundleError(f"size expression {text!r} cannot be read")
    return body


def _is_readable(node: ast.expr) -> bool:
    """Whether a node and all below it are of the grammar."""
    match node:
        case ast.Constant(value=number):
            return isinstance(number, int | float) and not isinstance(number, bool)
        case ast.Name():
            return True
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _is_readable(operand)
        case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=int(exponent))):
            return 0 <= exponent <= _MAX_EXPONENT and not isinstance(exponent, bool) and _is_readable(left)
        case ast.BinOp(left=left, op=op, right=right):
            return type(op) in _BINARY and _is_readable(left) and _is_readable(right)
        case ast.Call(func=ast.Name(id=name), args=[_, *_] as args, keywords=[]):
            return name in _CALLS and all(map(_is_readable, args))
    return False


def _evaluate(node: ast.expr, binding: Binding, text: str) -> _Number:
    match node:
        case ast.Constant(value=int() | float() as number):
            return _bounded(number, text)
        case ast.Name(id=name):
            if name in binding:
                return binding[name]
            raise BundleError(f"size {text!r} needs a value for {name!r}")
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand, binding, text)
        case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=int(exponent))):
            return _apply(lambda base: math.prod([base] * exponent), [_evaluate(left, binding, text)], text)
        case ast.BinOp(left=left, op=op, right=right):
            return _apply(_BINARY[type(op)], [_evaluate(left, binding, text), _evaluate(right, binding, text)], text)
        case ast.Call(func=ast.Name(id=name), args=args):
            return _apply(_CALLS[name], [_evaluate(arg, binding, text) for arg in args], text)
    raise BundleError(f"size expression {text!r} cannot be read")


def _apply(function: Callable[..., _Number], values: list[_Number], text: str) -> _Number:
    try:
        return _bounded(function(*values), text)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise BundleError(f"size expression {text!r} has no value: {error}") from error


def _bounded(number: _Number, text: str) -> _Number:
    """The number, unless it is beyond any size (or no number at all)."""
    if isinstance(number, float):
        if abs(number) < _MAX_FLOAT:
            return number
    elif max(abs(number.numerator), number.denominator).bit_length() <= _MAX_BITS:
        return number
    raise BundleError(f"size expression {text!r} is too large")


def solve(shapes: Sequence[tuple[Sequence[Dim], Sequence[int]]]) -> dict[str, int]:
    """The symbols that actual sizes determine.

    Args:
        shapes: pairs of (stated shape, actual shape) of the same rank.

    A size of the form a * symbol + b is solved for its one unknown symbol; others are left alone. Nothing is checked
    here: compare ``shape_of(stated, result)`` with the actual shape afterwards.
    """
    binding: dict[str, int] = {}
    open_dims = [(dim, size) for stated, actual in shapes for dim, size in zip(stated, actual, strict=True)]
    progress = True
    while progress:
        progress = False
        for dim, size in open_dims:
            unknown = symbols_of(dim) - binding.keys()
            if len(unknown) == 1 and (found := _solve_one(dim, size, next(iter(unknown)), binding)) is not None:
                binding[next(iter(unknown))] = found
                progress = True
    return binding


def solvable(shapes: Sequence[Sequence[Dim]], example: Binding) -> frozenset[str]:
    """Names of the symbols that ``solve`` finds from tensors of these shapes."""
    return frozenset(solve([(shape, shape_of(shape, example)) for shape in shapes]))


def _solve_one(dim: Dim, size: int, symbol: str, binding: Binding) -> int | None:
    if isinstance(dim, int) or (found := _affine(_parse(dim), symbol, binding, dim)) is None:
        return None
    slope, constant = found
    if slope == 0:
        return None
    value = (size - constant) / slope
    return value.numerator if value.denominator == 1 else None


def _affine(node: ast.expr, symbol: str, binding: Binding, text: str) -> tuple[Fraction, Fraction] | None:
    """(a, b) where the node is a * symbol + b for every value of the symbol, by its form alone; else None."""
    match node:
        case ast.Name(id=name) if name == symbol:
            return Fraction(1), Fraction(0)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            found = _affine(operand, symbol, binding, text)
            return found and (-found[0], -found[1])
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div() as op, right=right):
            one, two = _affine(left, symbol, binding, text), _affine(right, symbol, binding, text)
            return one and two and _combine(op, one, two)
        case _ if not any(isinstance(each, ast.Name) and each.id == symbol for each in ast.walk(node)):
            try:
                return Fraction(0), Fraction(_evaluate(node, binding, text))
            except BundleError:
                return None
    return None


def _combine(
    op: ast.operator, one: tuple[Fraction, Fraction], two: tuple[Fraction, Fraction]
) -> tuple[Fraction, Fraction] | None:
    if isinstance(op, ast.Add):
        return one[0] + two[0], one[1] + two[1]
    if isinstance(op, ast.Sub):
        return one[0] - two[0], one[1] - two[1]
    if isinstance(op, ast.Div):
        return None if two[0] or not two[1] else (one[0] / two[1], one[1] / two[1])
    if one[0] and two[0]:
        return None
    return one[0] * two[1] + two[0] * one[1], one[1] * two[1]
