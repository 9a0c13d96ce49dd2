"""``cleft-plan fit``: learn a device's times from profiles of several models, and how far off predictions will be."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from partitioner.cli.output import print_json, print_table, progress, warn
from partitioner.files import check_writable, replace_text
from partitioner.units import digits

if TYPE_CHECKING:
    from partitioner.predict import Fit

HELP = "learn a device's times from profiles of several models, to predict models that it never ran"
EXAMPLES = """\
examples:
  cleft-plan fit profiles/*.json -o device.fit.json
  cleft-plan cut --predict device.fit.json --cloud cloud.json --link 4g
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "profiles",
        nargs="+",
        metavar="PROFILE",
        help="profiles of different models on one device with one runtime, a dozen or more (cleft-plan profile)",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the fit here")
    parser.add_argument("--json", action="store_true", help="print the fit (schema cleft.fit/1)")


def run(args: argparse.Namespace) -> int:
    """Learn, and show or write what was learned."""
    # OpenBLAS reads it when numpy loads it; its threads would wait for each other over matrices as small as these.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from partitioner.predict import fit
    from partitioner.profiles import load_profile

    if args.output is not None:
        check_writable(args.output, flag="-o")
    profiles = [load_profile(path) for path in args.profiles]
    if noisy := [profile.model_name for profile in profiles if profile.noisy]:
        warn(f"the fit cannot be better than the profiles, and some are noisy: {', '.join(noisy)}")
    with progress("fitting", total=len(profiles) + 1) as advance:
        found = fit(profiles, advance=lambda what: advance(1, what))
    if args.output is not None:
        replace_text(args.output, found.dumps())
    if args.json:
        print_json(found.to_json(), indent=1)
    else:
        _print(found)
        if args.output is not None:
            print(f"written to {args.output}")
    return 0


def _print(found: Fit) -> None:
    rows = [
        (
            model.name,
            digits(model.whole_s * 1e3),
            digits(model.whole_s * (1 + model.whole_error) * 1e3),
            f"{model.whole_error:+.1%}",
            "-" if model.local_error is None else f"{model.local_error:+.1%}",
            "-" if model.prefix_error is None else f"{model.prefix_error:.1%}",
        )
        for model in found.models
    ]
    print_table(("model, held out", "measured ms", "predicted ms", "whole", "all-local", "fronts, median"), rows)
    print()
    print(f"{found.device.label}: {found.verdict}")
    print(found.local_verdict)
