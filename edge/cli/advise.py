"""``cleft-edge advise``: is splitting worth it, where, and what does it gain, on this link and on others?"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge.cli.settings import add_session_arguments, progress_bars, session_of
from partitioner.cli.arguments import size_bytes
from partitioner.cli.codecs import bound_of, codecs_of
from partitioner.cli.models import add_model_arguments, open_model
from partitioner.cli.output import print_json, print_table
from partitioner.cli.radio import add_radio_arguments, radio_for, with_power

if TYPE_CHECKING:
    from partitioner.bundle import Bundle
    from partitioner.cost import CandidateTable, Load
    from partitioner.inputs import Sample
    from partitioner.optimize.gains import Gains

HELP = "say whether splitting a model pays, where to cut it, and what that gains"
EXAMPLES = """\
examples:
  cleft-edge advise torchvision:resnet18 --cloud 10.0.0.5:50051 --tls --input photo.jpg
  cleft-edge advise resnet18.bundle --cloud 10.0.0.5:50051 --tls --slowdown 8 --max-deviation 0.01
"""
SCHEMA = "cleft.advise/1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model_arguments(parser)
    add_session_arguments(parser)
    add_radio_arguments(parser)
    parser.add_argument(
        "--input", type=Path, metavar="FILE", help="an input like those to come (default: a made-up one)"
    )
    parser.add_argument(
        "--input-bytes", type=size_bytes, metavar="N", help="size of the original input (default: the profile's)"
    )
    parser.add_argument("--json", action="store_true", help=f"print JSON of schema {SCHEMA}")


def run(args: argparse.Namespace) -> int:
    """Measure, compare and print."""
    from partitioner.link import PRESETS
    from partitioner.optimize.gains import gains

    bundle = open_model(args)
    sample = _sample(args.input, bundle) if args.input is not None else None
    with progress_bars() as on_progress, session_of(args, bundle, on_progress) as session:
        evidence = session.evidence() if sample is None else session.evidence_for(sample)
        asked = session.constraints
    if sample is not None and sample.source is not None and args.input_bytes is None:
        args.input_bytes = sample.nbytes_original
    evidence = replace(evidence, edge=with_power(args, [evidence.edge])[0])
    planner = evidence.planner(
        codecs=codecs_of(args),
        bound=bound_of(args),
        constraints=asked,
        source_bytes=args.input_bytes,
    )
    table, load = planner.everything, evidence.load
    found = [
        gains(table.over(radio_for(args, link)), link, load, allowed=planner.allowed(link, load))
        for link in (evidence.link, *PRESETS.values())
    ]
    notes = [*table.notes, *_energy_notes(args, found)]
    if sample is None and bundle.preprocess is not None:
        notes.append("measured without a picture: --input FILE counts its size, and what preparing it takes")
    notes.extend(load_notes(load))
    if args.cloud is None:
        notes.append("no --cloud was given: the worker measured is a child process on this machine")
    if args.json:
        print_json(_record(table, found, notes))
    else:
        _print(table, found, notes)
    return 0


def _energy_notes(args: argparse.Namespace, found: list[Gains]) -> list[str]:
    """Where energies come from, where there are some."""
    if all(each.chosen.energy is None for each in found):
        return []
    radio = f"the {args.radio} radio's" if args.radio else "that of a radio of each link's name, on this link none"
    return [f"the network's energy is {radio}; ~ is modelled from what was measured, ? assumed"]


def load_notes(load: Load) -> list[str]:
    """What of a worker's load is worth telling."""
    from partitioner.units import ms

    if not load.is_felt:
        return []
    return [f"the worker is busy: {ms(load.queue_s)} of waiting and tails {load.slowdown:.3g} times as long count"]


def _sample(path: Path, bundle: Bundle) -> Sample:
    from partitioner import inputs

    values = [each.value for each in bundle.graph.inputs]
    return inputs.read(path, bundle_inputs=values, preprocess=bundle.preprocess)[0]


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
    from partitioner.report.tables import energy_cell
    from partitioner.units import digits

    print(f"{table.model_name}: {found[0].verdict}")
    print()
    rows: list[tuple[str, ...]] = [
        (
            each.link.name,
            f"{digits(each.link.up_mbit)} / {digits(each.link.down_mbit)}",
            digits(each.link.rtt_s * 1e3),
            digits(each.all_local.predicted_s * 1e3),
            digits(each.all_cloud.predicted_s * 1e3),
            digits(each.chosen.predicted_s * 1e3),
            f"{each.chosen.candidate.label} ({each.chosen.candidate.codec})",
            f"{each.gain:.2f}x",
        )
        for each in found
    ]
    headings = ["link", "Mbit/s up / down", "ms round trip", "all-local", "all-cloud", "best", "where (codec)", "gain"]
    if table.has_energy:
        headings += ["energy: all-local", "all-cloud", "best"]
        ends = [(each.all_local, each.all_cloud, each.chosen) for each in found]
        rows = [(*row, *(energy_cell(each.energy) for each in end)) for row, end in zip(rows, ends, strict=True)]
    print_table(headings, rows, left=(0, 6), highlight=0, optional=(2, 1))
    print("times in ms")
    for note in notes:
        print(f"note: {note}")
