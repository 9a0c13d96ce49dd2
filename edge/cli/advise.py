"""``cleft-edge advise``: is splitting worth it, where, and what does it gain, on this link and on others?"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from edge.cli.settings import add_session_arguments, progress_bars, session_of
from partitioner.cli.arguments import size_bytes
from partitioner.cli.codecs import codecs_of
from partitioner.cli.models import add_model_arguments, open_model
from partitioner.cli.output import print_json, print_table

if TYPE_CHECKING:
    from partitioner.cost import CandidateTable
    from partitioner.optimize.gains import Gains

HELP = "say whether splitting a model pays, where to cut it, and what that gains"
EXAMPLES = """\
examples:
  cleft-edge advise torchvision:resnet18 --cloud 10.0.0.5:50051
  cleft-edge advise resnet18.bundle --cloud 10.0.0.5:50051 --slowdown 8 --lossy
"""
SCHEMA = "cleft.advise/1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model_arguments(parser)
    add_session_arguments(parser)
    parser.add_argument(
        "--input-bytes", type=size_bytes, metavar="N", help="size of the original input (default: the profile's)"
    )
    parser.add_argument("--json", action="store_true", help=f"print JSON of schema {SCHEMA}")


def run(args: argparse.Namespace) -> int:
    """Measure, compare and print."""
    from partitioner.link import PRESETS
    from partitioner.optimize.gains import gains

    bundle = open_model(args)
    with progress_bars() as on_progress, session_of(args, bundle, on_progress) as session:
        evidence = session.evidence()
    table = evidence.table(codecs=codecs_of(args), max_error=args.max_error, source_bytes=args.input_bytes)
    found = [gains(table, link) for link in (evidence.link, *PRESETS.values())]
    notes = list(table.notes)
    if args.cloud is None:
        notes.append("no --cloud was given: the worker measured is a child process on this machine")
    if args.json:
        print_json(_record(table, found, notes))
    else:
        _print(table, found, notes)
    return 0


def _record(table: CandidateTable, found: list[Gains], notes: list[str]) -> dict[str, object]:
    measured, *presets = [each.to_json() for each in found]
    return {
        "schema": SCHEMA,
        "model": {"name": table.model_name, "digest": table.model_digest},
        **measured,
        "presets": presets,
        "notes": notes,
    }


def _print(table: CandidateTable, found: list[Gains], notes: list[str]) -> None:
    from partitioner.units import mbit, ms

    print(f"{table.model_name}: {found[0].verdict}")
    print()
    rows = [
        (
            each.link.name,
            f"{mbit(each.link.up_bytes_per_s)} / {mbit(each.link.down_bytes_per_s)}",
            ms(each.link.rtt_s),
            ms(each.all_local.predicted_s),
            ms(each.all_cloud.predicted_s),
            ms(each.chosen.predicted_s),
            f"{each.chosen.candidate.cut} ({each.chosen.candidate.codec})",
            f"{each.gain:.2f}x",
        )
        for each in found
    ]
    headings = ("link", "up / down", "round trip", "all-local", "all-cloud", "best", "where (codec)", "gain")
    print_table(headings, rows, left=(0, 6), highlight=0)
    for note in notes:
        print(f"note: {note}")
