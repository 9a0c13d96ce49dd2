"""Which codecs may be chosen, and how far they may change the answer: flags that every command which chooses shares."""

from __future__ import annotations

import argparse

from partitioner.cli import arguments
from partitioner.codecmix import EXACT, Bound, check_known, is_exact


def add_codec_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that ``codecs_of`` and ``bound_of`` read."""
    group = parser.add_argument_group(
        "codecs",
        "without a bound only what keeps the answer exact; within one, every codec that was measured to keep it",
    )
    group.add_argument("--codecs", type=arguments.names, metavar="A,B", help="consider these only, such as none,int8")
    group.add_argument(
        "--max-deviation",
        type=arguments.not_negative,
        metavar="X",
        help="bound: max|a-b|/max|a| of the model's outputs on every sample",
    )
    group.add_argument(
        "--min-accuracy", type=arguments.share, metavar="X", help="bound: share of labelled samples answered rightly"
    )
    group.add_argument(
        "--max-accuracy-drop",
        type=arguments.share,
        metavar="X",
        help="bound: how much of the exact model's share may be lost; 0 allows no loss",
    )


def bound_of(args: argparse.Namespace) -> Bound:
    """How far the answer may be from the exact one."""
    return Bound(
        max_deviation=args.max_deviation,
        min_accuracy=args.min_accuracy,
        max_accuracy_drop=args.max_accuracy_drop,
    )


def codecs_of(args: argparse.Namespace) -> tuple[str, ...] | None:
    """The codecs to consider; None considers every measured one, within the bound.

    Raises:
        UsageError: one is named that is not, or a lossy one, and no bound.
    """
    bound = bound_of(args)
    if not args.codecs:
        return None if bound.is_given else EXACT
    check_known(args.codecs)
    if lossy := [codec for codec in args.codecs if not is_exact(codec)]:
        bound.check_given(", ".join(lossy))
    return tuple(args.codecs)
