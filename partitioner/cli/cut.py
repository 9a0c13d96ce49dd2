"""``cleft-plan cut``: two profiles and a link in, the best cut out, with why each other candidate lost.

Reads saved profiles only: no torch, no grpc, no protobuf, so that the whole process takes about a tenth of a second.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from partitioner.cli import arguments
from partitioner.cli.joules import energy_notes, energy_rows, leakage_notes
from partitioner.cli.link import add_link_arguments, link_of
from partitioner.cli.output import print_json, print_table
from partitioner.cli.planning import add_planning_arguments, planner_of, worker_load
from partitioner.cost import TERMS, Candidate, CandidateTable, EnergyBreakdown
from partitioner.link import Link
from partitioner.optimize.gains import gains_of
from partitioner.optimize.objectives import OBJECTIVES, UNKNOWN_J, Energy, Latency, Objective, objective_of
from partitioner.optimize.scan import Choice, Priced, choose
from partitioner.planner import Trade
from partitioner.report.tables import energy_cell, leakage_cells
from partitioner.units import mbit, ms, size

HELP = "choose the best cut and codec for one link, from profiles of both sides"
EXAMPLES = """\
examples:
  cleft-plan cut --edge edge.json --cloud cloud.json --uplink-mbit 5.85 --downlink-mbit 13.76 --rtt-ms 40
  cleft-plan cut --edge edge.json --cloud cloud.json --link wifi --rtt-ms 12 --edge-slowdown 8 --max-deviation 0.02
  cleft-plan cut --edge edge.json --cloud cloud.json --link 4g --objective energy --edge-power idle=2W,active=5W
  cleft-plan cut --edge edge.json --cloud cloud.json --link 4g --max-energy 0.5J --max-leakage 0.6
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
    add_planning_arguments(parser)
    add_link_arguments(parser)
    parser.add_argument(
        "--objective",
        default="latency",
        metavar="WHAT",
        help=f"{', '.join(OBJECTIVES)}, weighted:latency=1,energy=0.1 or lexicographic:latency,upload,tolerance=0.1"
        " (default: latency)",
    )
    parser.add_argument(
        "--pareto",
        type=arguments.names,
        metavar="A,B",
        help="also show what no other plan is as good as by all of these, such as latency,energy,upload",
    )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument(
        "--top", type=arguments.positive_int, metavar="N", help=f"show the N best candidates (default: {_DEFAULT_ROWS})"
    )
    shown.add_argument("--all", action="store_true", help="show every candidate")
    parser.add_argument("--json", action="store_true", help=f"print JSON of schema {SCHEMA}")


def run(args: argparse.Namespace) -> int:
    """Choose and print."""
    link = link_of(args)
    by = [objective_of(name) for name in args.pareto or ()]
    planner = planner_of(
        args,
        objective=objective_of(args.objective),
        down_per_up=link.down_bytes_per_s / link.up_bytes_per_s,
    )
    load = worker_load(args)
    table = planner.everything
    allowed = planner.allowed(link, load)
    choice = choose(table, link, load, objective=planner.objective, allowed=allowed)
    choice = replace(choice, ranked=_by_best_runtimes(choice))
    trades = planner.front(by, link, load) if by else ()
    if args.json:
        print_json(answer(table, choice, top=args.top, trades=trades, by=by))
    else:
        _print_choice(table, choice, top=None if args.all else args.top or _DEFAULT_ROWS)
        _print_front(trades, by, _energies(table, choice))
    return 0


def answer(
    table: CandidateTable,
    choice: Choice,
    *,
    top: int | None = None,
    trades: Sequence[Trade] = (),
    by: Sequence[Objective] = (),
) -> dict[str, object]:
    """The choice as ``cleft.cut/2``; ``top`` keeps the best ones and both extremes."""
    energies = _energies(table, choice) if trades else {}
    return {
        "schema": SCHEMA,
        "model": {"name": table.model_name, "digest": table.model_digest},
        "link": choice.link.to_json(),
        "load": choice.load.to_json(),
        "objective": choice.objective.name,
        "chosen": choice.chosen.to_json(),
        "verdict": _verdict(choice),
        "gain": gains_of(choice).gain,
        "candidates": [priced.to_json() for priced in _shown(choice, top)],
        "front": [
            {
                "cut": trade.candidate.cut,
                "cut_id": trade.candidate.cut_id,
                "codec": trade.candidate.codec,
                "scores": {
                    each.name: None if score == UNKNOWN_J else score
                    for each, score in zip(by, trade.scores, strict=True)
                },
                "energy_origin": energy.origin if (energy := energies.get(trade.candidate)) else None,
            }
            for trade in trades
        ],
        "radio": {"name": table.radio.model.name, "origin": table.radio.model.origin},
        "frame_interval_s": table.radio.frame_interval_s,
        "notes": [*table.notes, *energy_notes(table, (), choice.link), *leakage_notes(table, ())],
    }


def _verdict(choice: Choice) -> str:
    """The advice; a comparison of latencies, where that is the objective."""
    if isinstance(choice.objective, Latency):
        return gains_of(choice).verdict
    if isinstance(choice.objective, Energy):
        local = next((each for each in choice.ranked if each.candidate.is_local), None)
        cloud = next((each for each in choice.ranked if each.candidate.is_all_cloud), None)
        known = [
            f"{who} takes {energy_cell(each.energy)}"
            for who, each in (("the device alone", local), ("all-cloud", cloud))
            if each is not None and each.energy is not None and each is not choice.chosen
        ]
        return "; ".join((f"{choice.chosen.candidate.label} takes least from the device", *known))
    return f"{choice.chosen.candidate.label} is best by {choice.objective.name}"


def _by_best_runtimes(choice: Choice) -> tuple[Priced, ...]:
    """Each cut and codec once, by the pair of runtimes that is best at it."""
    found: dict[tuple[str, str], Priced] = {}
    for priced in choice.ranked:
        found.setdefault((priced.candidate.cut_id, priced.candidate.codec), priced)
    return tuple(found.values())


def _shown(choice: Choice, top: int | None) -> list[Priced]:
    ends = (choice.all_local.candidate, choice.all_cloud.candidate)
    return [
        priced for rank, priced in enumerate(choice.ranked) if top is None or rank < top or priced.candidate in ends
    ]


def _print_choice(table: CandidateTable, choice: Choice, *, top: int | None) -> None:
    chosen, link = choice.chosen, choice.link
    name = f"{link.name}: " if link.name else ""
    rates = f"{mbit(link.up_bytes_per_s)} up, {mbit(link.down_bytes_per_s)} down"
    print(f"{table.model_name} over {name}{rates}, round trip {ms(link.rtt_s)}")
    if not choice.load.is_idle:
        print(
            f"worker under load: {ms(choice.load.queue_s)} of waiting, tails {choice.load.slowdown:.3g} times as long"
        )
    by = f", runtimes {chosen.candidate.runtimes}" if table.has_choice_of_runtimes else ""
    print(f"cut {chosen.candidate.cut}, codec {chosen.candidate.codec}{by}: {_prediction(choice)}")
    print(f"{_verdict(choice)}\n")
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
    if chosen.energy is not None:
        print_table(("where the energy goes", "energy", "share"), energy_rows(chosen.energy))
        print()
    shown = _shown(choice, top)
    columns = _columns(table)
    listed = [tuple(cell(priced) for cell in columns.values()) for priced in shown]
    print_table(tuple(columns), listed, left=(0, 1, len(columns) - 1), highlight=0)
    if hidden := len(choice.ranked) - len(shown):
        print(f"{hidden} more candidates: --all shows them")
    for note in _notes(table, shown, choice.link):
        print(f"note: {note}")


def _columns(table: CandidateTable) -> dict[str, Callable[[Priced], str]]:
    """Headings, and what stands under each for a candidate; what nobody knows has no column."""
    columns: dict[str, Callable[[Priced], str]] = {
        "cut": lambda each: each.candidate.label,
        "codec": lambda each: "-" if each.candidate.is_local else each.candidate.codec,
        "predicted": lambda each: f"{ms(each.predicted_s)}{each.candidate.mark}",
    }
    if table.has_energy:
        columns["energy"] = lambda each: energy_cell(each.energy)
    columns["up"] = lambda each: "-" if each.candidate.is_local else size(each.candidate.up_bytes)
    columns["down"] = lambda each: "-" if each.candidate.is_local else size(each.candidate.down_bytes)
    if table.has_leakage:
        columns["leaks"] = lambda each: leakage_cells(each.candidate)[0]
    if table.has_inversion:
        columns["inversion"] = lambda each: leakage_cells(each.candidate)[1]
    if table.has_choice_of_runtimes:
        columns["runtimes"] = lambda each: each.candidate.runtimes
    columns["why it lost"] = lambda each: each.why
    return columns


def _prediction(choice: Choice) -> str:
    chosen = choice.chosen
    predicted = f"{ms(chosen.predicted_s)} predicted"
    if chosen.energy is not None:
        predicted += f", {energy_cell(chosen.energy)} from the device"
    if isinstance(choice.objective, Latency):
        return predicted
    return f"{predicted}, an answer every {ms(chosen.stage_s)} (best by {choice.objective.name})"


def _energies(table: CandidateTable, choice: Choice) -> dict[Candidate, EnergyBreakdown | None]:
    return dict(zip(table.candidates, table.energy_breakdowns(choice.link, choice.load), strict=True))


def _print_front(
    trades: Sequence[Trade], by: Sequence[Objective], energies: Mapping[Candidate, EnergyBreakdown | None]
) -> None:
    if not trades:
        return
    print()
    rows = [
        (
            trade.candidate.label,
            "-" if trade.candidate.is_local else trade.candidate.codec,
            *(
                energy_cell(energies[trade.candidate]) if isinstance(each, Energy) else _score(each.name, score)
                for each, score in zip(by, trade.scores, strict=True)
            ),
        )
        for trade in trades
    ]
    print_table(("no plan beats", "codec", *(each.name for each in by)), rows, left=(0, 1))


def _score(name: str, value: float) -> str:
    if name in ("latency", "throughput"):
        return ms(value)
    return size(value) if name == "upload" else f"{value:.3g}"


def _notes(table: CandidateTable, shown: list[Priced], link: Link) -> list[str]:
    origins = [each.energy.origin for each in shown if each.energy is not None]
    notes = [*table.notes, *energy_notes(table, origins, link), *leakage_notes(table, shown)]
    names = {priced.candidate.label: priced.candidate.cut for priced in shown}
    notes += [f"{label} is {cut}" for label, cut in names.items() if label != cut]
    marks = {priced.candidate.mark for priced in shown}
    if "^" in marks:
        notes.append("^ a compute time of this row is predicted from other models (--predict)")
    if "*" in marks:
        notes.append("* a compute time of this row is calibrated, not measured: profile with a larger --budget")
    changes = [priced.candidate.measured_deviation for priced in shown]
    if worst := max((change for change in changes if change is not None), default=0.0):
        notes.append(f"lossy codecs are admitted: the largest change of the answer among these rows is {worst:.2g}")
    if None in changes:
        notes.append("lossy codecs are admitted whose change of the answer has no bound")
    return notes
