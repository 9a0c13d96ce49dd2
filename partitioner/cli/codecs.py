"""Which codecs may be chosen: flags that every command which chooses shares."""

from __future__ import annotations

import argparse

from partitioner.cli import arguments
from partitioner.cost import LOSSLESS


def add_codec_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that ``codecs_of`` reads, and the bounds ``max_deviation`` and ``min_accuracy``."""
    group = parser.add_argument_group("codecs", f"default: what keeps the answer exact ({', '.join(LOSSLESS)})")
    group.add_argument(
        "--codecs", type=arguments.names, metavar="A,B", help="admit these codecs only, such as none,int8"
    )
    group.add_argument("--lossy", action="store_true", help="admit every measured codec, whatever its error")
    group.add_argument(
        "--max-deviation",
        type=arguments.not_negative,
        metavar="X",
        help="admit lossy codecs that change the answer by at most X: max|a-b|/max|a| of the outputs, as profiled",
    )
    group.add_argument(
        "--min-accuracy",
        type=arguments.not_negative,
        metavar="X",
        help="admit lossy codecs with which at least this share of the labelled samples is answered rightly",
    )


def codecs_of(args: argparse.Namespace) -> tuple[str, ...] | None:
    """The codecs that may be chosen; None admits every measured one (within the bounds)."""
    if args.codecs:
        return tuple(args.codecs)
    is_bounded = args.max_deviation is not None or args.min_accuracy is not None
    return None if args.lossy or is_bounded else LOSSLESS
