"""``cleft-plan relay``: put a slow link between a device and a worker, without root."""

from __future__ import annotations

import argparse
import signal
import sys

from partitioner.cli import arguments
from partitioner.cli.link import add_link_arguments, link_of
from partitioner.cli.output import print_json

HELP = "relay TCP connections through a link of a given rate and round trip, until told to stop"
EXAMPLES = """\
examples:
  cleft-plan relay --to 127.0.0.1:50051 --link 4g
  cleft-plan relay --to 127.0.0.1:50051 --uplink-mbit 2 --downlink-mbit 8 --rtt-ms 60 --listen 127.0.0.1:6000
"""
SCHEMA = "cleft.relay/1"


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
    parser.add_argument("--json", action="store_true", help=f"print the ready line as JSON (schema {SCHEMA})")


def run(args: argparse.Namespace) -> int:
    """Relay until SIGINT or SIGTERM."""
    from partitioner.relay import Relay, Shape

    link = link_of(args)
    shape = Shape(up_bytes_per_s=link.up_bytes_per_s, down_bytes_per_s=link.down_bytes_per_s, delay_s=link.rtt_s / 2)
    stops = {signal.SIGINT, signal.SIGTERM}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    try:
        with Relay(_address(args.to), shape, listen=_address(args.listen)) as relay:
            if args.json:
                ready = {"schema": SCHEMA, "host": relay.host, "port": relay.port, "to": args.to}
                print_json({**ready, "link": link.to_json()}, indent=None)
            else:
                rates = f"{link.up_mbit:g} / {link.down_mbit:g} Mbit/s up / down, round trip {link.rtt_s * 1e3:g} ms"
                print(f"cleft-plan relay: {relay.address} to {args.to}, {rates}")
            sys.stdout.flush()
            signal.sigwait(stops)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    return 0


def _address(text: str) -> tuple[str, int]:
    """Host without an IPv6 address's brackets, and port, as sockets want them."""
    host, port = arguments.split_target(text)
    return host.strip("[]"), port
