"""Which link: flags that every command shares which plans for one or emulates one."""

from __future__ import annotations

import argparse
from dataclasses import replace

from partitioner.cli import arguments
from partitioner.errors import UsageError
from partitioner.link import BYTES_PER_MBIT, PRESETS, Link


def add_link_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that ``link_of`` reads."""
    presets = ", ".join(
        f"{name} {link.up_mbit:g}/{link.down_mbit:g}/{link.rtt_s * 1e3:g}" for name, link in PRESETS.items()
    )
    group = parser.add_argument_group("link", f"presets, as Mbit/s up / Mbit/s down / ms: {presets}")
    group.add_argument("--link", choices=tuple(PRESETS), help="start from a preset; the flags below override it")
    group.add_argument("--uplink-mbit", type=arguments.positive, metavar="RATE", help="goodput to the cloud, Mbit/s")
    group.add_argument("--downlink-mbit", type=arguments.positive, metavar="RATE", help="goodput to the device, Mbit/s")
    group.add_argument("--rtt-ms", type=arguments.not_negative, metavar="MS", help="round trip, ms")


def link_of(args: argparse.Namespace) -> Link:
    """The link that the arguments describe.

    Raises:
        UsageError: neither a preset nor all three figures are given.
    """
    given = {
        "--uplink-mbit": args.uplink_mbit,
        "--downlink-mbit": args.downlink_mbit,
        "--rtt-ms": args.rtt_ms,
    }
    missing = [flag for flag, value in given.items() if value is None]
    if args.link is None:
        if missing:
            raise UsageError(f"the link is not known: give {', '.join(missing)}, or --link {'|'.join(PRESETS)}")
        return Link.from_mbit(args.uplink_mbit, args.downlink_mbit, args.rtt_ms)
    link = PRESETS[args.link]
    if args.uplink_mbit is not None:
        link = replace(link, up_bytes_per_s=args.uplink_mbit * BYTES_PER_MBIT)
    if args.downlink_mbit is not None:
        link = replace(link, down_bytes_per_s=args.downlink_mbit * BYTES_PER_MBIT)
    if args.rtt_ms is not None:
        link = replace(link, rtt_s=args.rtt_ms * 1e-3)
    return link if len(missing) == len(given) else replace(link, name=f"{args.link}, changed")
