"""``cleft-plan cut``: two profiles and a link in, the best cut out, with why each other candidate lost.

Reads saved profiles only: no torch, no grpc, no protobuf, so that the whole process takes about a tenth of a second.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from partitioner.cli import arguments
from partitioner.cli.codecs import add_codec_arguments, bound_of, codecs_of
from partitioner.cli.output import print_json, print_table
from partitioner.cost import TERMS, CandidateTable
from partitioner.errors import UsageError
from partitioner.link import BYTES_PER_MBIT, PRESETS, Link
from partitioner.optimize.gains import Gains
from partitioner.optimize.scan import Choice, Priced, choose
from partitioner.profiles import load_profile
from partitioner.units import mbit, ms, size

HELP = "choose the cut and the codec with the lowest predicted latency, from two profiles and a link"
EXAMPLES = """\
examples:
  cleft-plan cut --edge edge.json --cloud cloud.json --uplink-mbit 5.85 --downlink-mbit 13.76 --rtt-ms 40
  cleft-plan cut --edge edge.json --cloud cloud.json --link wifi --rtt-ms 12 --edge-slowdown 8 --max-deviation 0.02
"""
SCHEMA = "cleft.cut/2"

_DEFAULT_ROWS = 10
_LABELS = {
    "head_s": "head, on the device",
    "encode_s": "encode",
    "up_s": "up",
    "rtt_s": "round trip",
    "queue_s": "queue",
    "decode_s": "decode",
    "tail_s": "tail, in the cloud",
    "encode_reply_s": "encode the reply",
    "down_s": "down",
    "decode_reply_s": "decode the reply",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--edge", required=True, metavar="FILE", help="profile of the device (cleft-plan profile)")
    parser.add_argument(
        "--cloud", required=True, metavar="FILE", help="profile of the worker (cleft-edge fetch-profile)"
    )
    add_link_arguments(parser)
    add_codec_arguments(parser)
    parser.add_argument(
        "--input-bytes",
        type=arguments.size_bytes,
        metavar="N",
        help="size of the original input (default: the profile's)",
    )
    parser.add_argument(
        "--edge-slowdown",
        type=arguments.positive,
        default=1.0,
        metavar="N",
        help="the device is N times slower than profiled",
    )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument(
        "--top", type=arguments.positive_int, metavar="N", help=f"show the N best candidates (default: {_DEFAULT_ROWS})"
    )
    shown.add_argument("--all", action="store_true", help="show every candidate")
    parser.add_argument("--json", action="store_true", help=f"print JSON of schema {SCHEMA}")


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


def run(args: argparse.Namespace) -> int:
    """Choose and print."""
    link = link_of(args)
    edge = load_profile(args.edge)
    table = CandidateTable.from_profiles(
        edge.slowed(args.edge_slowdown) if args.edge_slowdown != 1 else edge,
        load_profile(args.cloud),
        codecs=codecs_of(args),
        max_deviation=args.max_deviation,
        min_accuracy=bound_of(args).least_accuracy(edge.accuracy),
        source_bytes=args.input_bytes,
    )
    choice = choose(table, link)
    if args.json:
        print_json(answer(table, choice, top=args.top))
    else:
        _print_choice(table, choice, top=None if args.all else args.top or _DEFAULT_ROWS)
    return 0


def answer(table: CandidateTable, choice: Choice, *, top: int | None = None) -> dict[str, object]:
    """The choice as ``cleft.cut/2``; ``top`` keeps the best ones and both extremes."""
    return {
        "schema": SCHEMA,
        "model": {"name": table.model_name, "digest": table.model_digest},
        "link": choice.link.to_json(),
        "chosen": choice.chosen.to_json(),
        "verdict": _gains(choice).verdict,
        "gain": _gains(choice).gain,
        "candidates": [priced.to_json() for priced in _shown(choice, top)],
        "notes": list(table.notes),
    }


def _gains(choice: Choice) -> Gains:
    return Gains(link=choice.link, chosen=choice.chosen, all_local=choice.all_local, all_cloud=choice.all_cloud)


def _shown(choice: Choice, top: int | None) -> list[Priced]:
    ends = (choice.all_local, choice.all_cloud)
    return [priced for rank, priced in enumerate(choice.ranked) if top is None or rank < top or priced in ends]


def _print_choice(table: CandidateTable, choice: Choice, *, top: int | None) -> None:
    chosen, link = choice.chosen, choice.link
    name = f"{link.name}: " if link.name else ""
    rates = f"{mbit(link.up_bytes_per_s)} up, {mbit(link.down_bytes_per_s)} down"
    print(f"{table.model_name} over {name}{rates}, round trip {ms(link.rtt_s)}")
    print(f"cut {chosen.candidate.cut}, codec {chosen.candidate.codec}: {ms(chosen.predicted_s)} predicted")
    print(f"{_gains(choice).verdict}\n")
    total_s = chosen.predicted_s or 1.0
    sizes = {"up_s": chosen.candidate.up_bytes, "down_s": chosen.candidate.down_bytes}
    terms = [(term, getattr(chosen.breakdown, term)) for term in TERMS]
    rows = [
        (_LABELS[term], ms(term_s), f"{term_s / total_s:.0%}", size(sizes[term]) if term in sizes else "")
        for term, term_s in terms
        if term_s > 0
    ]
    print_table(("where the time goes", "time", "share", "bytes"), rows)
    print()
    shown = _shown(choice, top)
    print_table(
        ("cut", "codec", "predicted", "up", "down", "why it lost"),
        [_row(priced) for priced in shown],
        left=(0, 1, 5),
        highlight=0,
    )
    if hidden := len(choice.ranked) - len(shown):
        print(f"{hidden} more candidates: --all shows them")
    for note in _notes(table, shown):
        print(f"note: {note}")


def _row(priced: Priced) -> tuple[str, ...]:
    candidate = priced.candidate
    mark = "*" if candidate.is_calibrated else ""
    up, down = ("-", "-") if candidate.is_local else (size(candidate.up_bytes), size(candidate.down_bytes))
    return (
        candidate.cut,
        "-" if candidate.is_local else candidate.codec,
        f"{ms(priced.predicted_s)}{mark}",
        up,
        down,
        priced.why,
    )


def _notes(table: CandidateTable, shown: list[Priced]) -> list[str]:
    notes = list(table.notes)
    if any(priced.candidate.is_calibrated for priced in shown):
        notes.append("* a compute time of this row is calibrated, not measured: profile with a larger --budget")
    changes = [priced.candidate.measured_deviation for priced in shown]
    if worst := max((change for change in changes if change is not None), default=0.0):
        notes.append(f"lossy codecs are admitted: the largest change of the answer among these rows is {worst:.2g}")
    if None in changes:
        notes.append("lossy codecs are admitted whose change of the answer was not measured: profile again")
    return notes
