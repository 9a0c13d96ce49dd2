"""``cleft-plan relay``: put a slow or faulty link between a device and a worker, without root."""

from __future__ import annotations

import argparse
import signal
import sys
from typing import TYPE_CHECKING

from partitioner.cli import arguments
from partitioner.cli.link import add_link_arguments, link_of
from partitioner.cli.output import print_json

if TYPE_CHECKING:
    from partitioner.relay import Relay

HELP = "relay TCP connections through a link of a given rate and round trip, until told to stop"
EXAMPLES = """\
examples:
  cleft-plan relay --to 127.0.0.1:50051 --link 4g
  cleft-plan relay --to 127.0.0.1:50051 --uplink-mbit 2 --downlink-mbit 8 --rtt-ms 60 --listen 127.0.0.1:6000
  cleft-plan relay --to 127.0.0.1:50051 --link wifi --jitter-ms 2 --reset-every 10s --outage 30s:2s
"""
SCHEMA = "cleft.relay/1"
_SLICE_BYTES = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--to", required=True, type=arguments.target, metavar="HOST:PORT", help="where connections go on to"
    )
    parser.add_argument(
        "--listen",
        type=arguments.listen_target,
        default="127.0.0.1:0",
        metavar="HOST:PORT",
        help="where to listen (default: a free port of this machine)",
    )
    add_link_arguments(parser)
    faults = parser.add_argument_group("faults")
    faults.add_argument(
        "--jitter-ms",
        type=arguments.not_negative,
        default=0.0,
        metavar="MS",
        help="each piece is so much earlier or later, at most half the round trip",
    )
    faults.add_argument("--slice", action="store_true", help="hand bytes over in pieces of 1 to 64")
    faults.add_argument(
        "--reset-every", type=arguments.duration_s, metavar="TIME", help="reset all connections again and again"
    )
    faults.add_argument(
        "--outage", type=_outage, metavar="EVERY:LENGTH", help="nothing passes for so long, again and again: 30s:2s"
    )
    faults.add_argument(
        "--seed", type=arguments.not_negative_int, default=0, help="of what is random in the faults (default: 0)"
    )
    parser.add_argument("--json", action="store_true", help=f"print the ready line as JSON (schema {SCHEMA})")


def run(args: argparse.Namespace) -> int:
    """Relay until SIGINT or SIGTERM."""
    from partitioner.relay import Relay, Shape

    link = link_of(args)
    shape = Shape(
        up_bytes_per_s=link.up_bytes_per_s,
        down_bytes_per_s=link.down_bytes_per_s,
        delay_s=link.rtt_s / 2,
        jitter_s=args.jitter_ms * 1e-3,
    )
    stops = {signal.SIGINT, signal.SIGTERM}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    try:
        with Relay(_address(args.to), shape, listen=_address(args.listen), seed=args.seed) as relay:
            if args.json:
                ready = {"schema": SCHEMA, "host": relay.host, "port": relay.port, "to": args.to}
                print_json({**ready, "link": link.to_json()}, indent=None)
            else:
                rates = f"{link.up_mbit:g} / {link.down_mbit:g} Mbit/s up / down, round trip {link.rtt_s * 1e3:g} ms"
                print(f"cleft-plan relay: {relay.address} to {args.to}, {rates}")
            sys.stdout.flush()
            _spoil(relay, args, stops)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    return 0


def _spoil(relay: Relay, args: argparse.Namespace, stops: set[signal.Signals]) -> None:
    """Do what the flags ask for until a signal comes."""
    from partitioner.relay import Faults

    slices = (1, _SLICE_BYTES) if args.slice else None
    well, gone = Faults(slice_bytes=slices), Faults(is_black_hole=True)
    relay.spoil(up=well, down=well)
    if args.reset_every is not None:
        relay.reset_every(args.reset_every)
    if args.outage is None:
        signal.sigwait(stops)
        return
    every_s, length_s = args.outage
    while signal.sigtimedwait(stops, every_s) is None:
        relay.spoil(up=gone, down=gone)
        stopped = signal.sigtimedwait(stops, length_s)
        relay.spoil(up=well, down=well)
        if stopped is not None:
            return


def _outage(text: str) -> tuple[float, float]:
    """How long the link is well, and how long gone: ``30s:2s``."""
    every, colon, length = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"{text!r} is no outage: write EVERY:LENGTH, as in 30s:2s")
    return arguments.duration_s(every), arguments.duration_s(length)


def _address(text: str) -> tuple[str, int]:
    """Host without an IPv6 address's brackets, and port, as sockets want them."""
    host, port = arguments.split_target(text)
    return host.strip("[]"), port
