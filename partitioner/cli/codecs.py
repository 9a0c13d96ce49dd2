"""Which codecs may be chosen: flags that every command which chooses shares."""

from __future__ import annotations

import argparse

from partitioner.cli import arguments
from partitioner.cost import LOSSLESS


def add_codec_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that ``codecs_of`` and ``args.max_error`` read."""
    group = parser.add_argument_group("codecs", f"default: what keeps the answer exact ({', '.join(LOSSLESS)})")
    group.add_argument(
        "--codecs", type=arguments.names, metavar="A,B", help="admit these codecs only, such as none,int8"
    )
    group.add_argument("--lossy", action="store_true", help="admit every measured codec, whatever its error")
    group.add_argument(
        "--max-error",
        type=arguments.not_negative,
        metavar="X",
        help="admit lossy codecs whose measured max|a-b|/max|a| at the cut is at most X",
    )


def codecs_of(args: argparse.Namespace) -> tuple[str, ...] | None:
    """The codecs that may be chosen; None admits every measured one (within ``args.max_error``)."""
    if args.codecs:
        return tuple(args.codecs)
    return None if args.lossy or args.max_error is not None else LOSSLESS
