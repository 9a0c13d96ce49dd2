"""``cleft-edge status``: what a daemon serves, and why a model of it is not ready."""

from __future__ import annotations

import argparse

from partitioner.cli.arguments import duration_s, target
from partitioner.cli.output import print_json, print_table
from partitioner.cli.security import add_client_security_arguments, client_security_of

HELP = "ask a daemon which models it serves"
EXAMPLES = """\
examples:
  cleft-edge status
  cleft-edge status 192.168.1.20:8001 --tls-ca ca.pem --token-file token --json
"""
SCHEMA = "cleft.edge-status/1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "target",
        nargs="?",
        type=target,
        default="127.0.0.1:8001",
        metavar="HOST:PORT",
        help="where the daemon listens (default: 127.0.0.1:8001)",
    )
    parser.add_argument(
        "--timeout", type=duration_s, default=5.0, metavar="TIME", help="how long to wait for it (default: 5s)"
    )
    parser.add_argument("--json", action="store_true", help=f"print JSON of schema {SCHEMA}")
    add_client_security_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Ask and print."""
    from edge.errors import EdgeError
    from edge.reach import split_target
    from protos.channel import dial
    from protos.errors import Unreachable, Unsupported
    from protos.inference import InferenceStub
    from protos.reach import silence_of

    security = client_security_of(args)
    try:
        with dial(args.target, security=security) as channel:
            stub = InferenceStub(channel, target=args.target, security=security)
            server, index = stub.status(timeout_s=args.timeout)
    except Unreachable as error:
        found = silence_of(*split_target(args.target), security=security)
        why = f": {found.reason}" if found.is_untrusted else "; is cleft-edge serve running there?"
        raise EdgeError(f"no daemon answers at {args.target}{why}") from error
    except Unsupported as error:
        raise EdgeError(f"something answers at {args.target}, but it is no daemon of this version") from error
    if args.json:
        models = [
            {"name": model.name, "version": model.version, "ready": model.state == "READY", "reason": model.reason}
            for model in index.models
        ]
        print_json({"schema": SCHEMA, "server": server.name, "version": server.version, "models": models})
        return 0
    print(f"{server.name} {server.version} at {args.target}")
    rows = [
        (model.name, model.version, "ready" if model.state == "READY" else f"not ready: {model.reason}")
        for model in index.models
    ]
    print_table(("model", "version", "state"), rows, left=(0, 1, 2))
    return 0
