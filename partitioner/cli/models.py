"""Naming a model on the command line, and what every command says about the one it got."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from partitioner.dims import evaluate, symbols_of
from partitioner.errors import UsageError
from partitioner.runtimes import EAGER, RUNTIMES

if TYPE_CHECKING:
    from partitioner.bundle import Bundle
    from partitioner.graph import Graph
    from partitioner.zoo import ModelRequest

MODEL_HELP = (
    "torchvision:NAME[?weights=DEFAULT], package.module:callable, a bundle's directory, "
    "a .pt2 file (with --trust), or 'digits', the model that ships with cleft"
)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare MODEL and what applies when it is packed."""
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    add_packing_arguments(parser)


def add_packing_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what applies where a model is packed first."""
    group = parser.add_argument_group("packing", "where MODEL is not a bundle yet")
    group.add_argument(
        "--shape",
        action="append",
        default=[],
        metavar="SIZES[:DTYPE]",
        help="an example input such as 1x3x224x224 or 2x16:int64; once per input, in forward's order",
    )
    group.add_argument(
        "--dynamic",
        action="append",
        default=[],
        metavar="INPUT=AXIS,...",
        help="name the sizes that vary: ids=b,t:1..512; _ is an axis that is fixed, 16*h:2..32 a multiple",
    )
    group.add_argument("--preprocess", type=Path, metavar="FILE", help="preprocess record (JSON) of an image model")
    group.add_argument("--labels", type=Path, metavar="FILE", help="names of the classes, one a line")
    group.add_argument(
        "--runtimes",
        type=_runtimes,
        default=RUNTIMES,
        metavar="A,B",
        help=f"runtimes that the bundle gets files for (default: {','.join(RUNTIMES)}; {EAGER} needs none)",
    )
    group.add_argument("--trust", action="store_true", help="load a .pt2 file, which can run code from it")


def request_of(args: argparse.Namespace, spec: str | None = None) -> ModelRequest:
    """What the arguments ask for; ``spec`` where several models are named."""
    from partitioner.zoo import ModelRequest

    return ModelRequest(
        spec=args.model if spec is None else spec,
        shapes=tuple(args.shape),
        dynamic=tuple(args.dynamic),
        is_trusted=args.trust,
        preprocess=args.preprocess,
        labels=args.labels,
        runtimes=args.runtimes,
    )


def open_model(args: argparse.Namespace) -> Bundle:
    """Open the model, packing it first where it has to be, and say on stderr what the user should know."""
    from partitioner.zoo import resolve_request

    bundle = resolve_request(request_of(args))
    print_notes(bundle)
    return bundle


def without_lines(bundle: Bundle) -> tuple[str, ...]:
    """One line for each runtime that the bundle has no file for, with the reason."""
    return tuple(
        f"note: {bundle.name}: no file for the runtime {name}: {why}" for name, why in bundle.manifest.without.items()
    )


def _runtimes(text: str) -> tuple[str, ...]:
    """Names of runtimes, with commas between."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names or set(names) - set(RUNTIMES):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of {', '.join(RUNTIMES)}")
    return names


def print_notes(bundle: Bundle) -> None:
    """Print the notes of a bundle to stderr."""
    for note in bundle.manifest.notes:
        print(f"note: {bundle.name}: {note}", file=sys.stderr)


def add_bind_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--bind``."""
    parser.add_argument(
        "--bind",
        action="append",
        default=[],
        metavar="NAME=SIZE",
        help="size of a symbolic dimension (default: the one it was packed with)",
    )


def binding_of(args: argparse.Namespace, graph: Graph) -> dict[str, int]:
    """Sizes of the graph's symbols: as packed, changed by ``--bind``.

    Raises:
        UsageError: a symbol does not exist, or the size is outside its range.
    """
    binding = dict(graph.example_binding)
    symbols = {symbol.name: symbol for symbol in graph.symbols}
    for text in args.bind:
        name, _, size = text.partition("=")
        if name not in symbols:
            known = ", ".join(symbols) or "none"
            raise UsageError(f"--bind {text}: the model has no size named {name!r} (it has: {known})")
        symbol = symbols[name]
        if not size.isdecimal() or int(size) < symbol.low or (symbol.high is not None and int(size) > symbol.high):
            limit = "" if symbol.high is None else symbol.high
            raise UsageError(f"--bind {text}: {name} must be a whole number in {symbol.low}..{limit}")
        binding[name] = int(size)
    return binding


def shape_text(shape: tuple[int | str, ...], binding: dict[str, int] | None = None) -> str:
    """``1x3x224x224``; with a binding, symbols are shown with their size: ``b=2 x t=7``."""
    if binding is None or not any(symbols_of(dim) for dim in shape):
        return "x".join(str(dim) for dim in shape) or "scalar"
    return "x".join(str(evaluate(dim, binding)) for dim in shape)
