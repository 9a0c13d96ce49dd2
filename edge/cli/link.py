"""``cleft-edge link``: how fast the network to a worker is, each way, and how long a round trip takes."""

from __future__ import annotations

import argparse

from partitioner.cli.arguments import duration_s, target
from partitioner.cli.output import print_json, print_table
from partitioner.cli.security import add_client_security_arguments, client_security_of

HELP = "measure the link to a worker"
EXAMPLES = """\
examples:
  cleft-edge link 127.0.0.1:50051
  cleft-edge link 10.0.0.5:50051 --tls-ca ca.pem --token-file token --budget 5s --json
  cleft-edge link 10.0.0.5:50051 --insecure
"""
SCHEMA = "cleft.link/1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("cloud", type=target, metavar="HOST:PORT", help="the worker")
    parser.add_argument(
        "--budget", type=duration_s, default=2.0, metavar="TIME", help="time to measure for (default: 2s)"
    )
    add_client_security_arguments(parser)
    parser.add_argument("--json", action="store_true", help=f"print JSON of schema {SCHEMA}")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    from edge.client import Client
    from partitioner.units import mbit, ms

    with Client.dial(args.cloud, security=client_security_of(args)) as client:
        link = client.measure_link(budget_s=args.budget)
    if args.json:
        print_json(
            {
                "schema": SCHEMA,
                "target": args.cloud,
                **link.to_json(),
                "up_mbit": link.up_mbit,
                "down_mbit": link.down_mbit,
                "up_spread": link.up_spread,
                "down_spread": link.down_spread,
                "rtt_spread": link.rtt_spread,
            }
        )
        return 0
    rows = [
        ("up", mbit(link.up_bytes_per_s), f"{link.up_spread:.0%}"),
        ("down", mbit(link.down_bytes_per_s), f"{link.down_spread:.0%}"),
        ("round trip", ms(link.rtt_s), f"{link.rtt_spread:.0%}"),
    ]
    print_table(("", "median", "spread"), rows)
    return 0
