"""``cleft-edge fetch-profile``: a worker's own profile of a model, measured there on first use, into a file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from edge.cli.settings import progress_bars
from partitioner.cli.arguments import duration_s, target
from partitioner.cli.security import add_client_security_arguments, client_security_of

if TYPE_CHECKING:
    from edge.client import Client

HELP = "fetch a worker's own profile of a model, for cleft-plan cut"
EXAMPLES = """\
examples:
  cleft-edge fetch-profile 127.0.0.1:50051 -o cloud.json
  cleft-edge fetch-profile 10.0.0.5:50051 --tls-ca ca.pem --token-file token --model resnet18 -o cloud.json --budget 60s
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("cloud", type=target, metavar="HOST:PORT", help="the worker")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="where to write the profile")
    parser.add_argument("--model", metavar="NAME|DIGEST", help="which model, where the worker serves several")
    parser.add_argument(
        "--budget", type=duration_s, default=0.0, metavar="TIME", help="time to measure for (default: the worker's)"
    )
    parser.add_argument("--fresh", action="store_true", help="measure again, although the worker has a profile")
    add_client_security_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Fetch, check and write."""
    from edge.client import Client
    from partitioner.files import check_writable
    from partitioner.profile import Profile
    from partitioner.profiles import dump_profile

    check_writable(args.output, flag="-o")
    security = client_security_of(args)
    with Client.dial(args.cloud, security=security) as client, progress_bars() as on_progress:
        text = client.fetch_profile(
            _digest(client, args.model),
            budget_s=args.budget,
            is_fresh=args.fresh,
            on_progress=lambda share: on_progress("profiling the worker", share),
        )
    profile = Profile.loads(text)
    dump_profile(profile, args.output)
    print(f"{args.output}: {profile.model_name} on {profile.device.name}, {len(profile.cuts)} cuts")
    return 0


def _digest(client: Client, wanted: str | None) -> str:
    from partitioner.errors import UsageError

    models = client.info.models if client.info is not None else ()
    found = [model for model in models if wanted is None or model.name == wanted or model.digest.startswith(wanted)]
    if len(found) == 1:
        return found[0].digest
    served = ", ".join(f"{model.name} ({model.digest[:12]})" for model in models) or "nothing"
    if wanted is None:
        raise UsageError(f"say which model with --model: the worker serves {served}")
    raise UsageError(f"{wanted!r} names {len(found) or 'no'} models there: the worker serves {served}")
