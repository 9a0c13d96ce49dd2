"""``cleft-plan table``: the plan of least latency or energy for every uplink rate, from profiles of both sides.

The rates between which one plan is best are exact, not sampled. Reads saved profiles only: no torch, no grpc.
"""

from __future__ import annotations

import argparse
import math

from partitioner.cli import arguments
from partitioner.cli.joules import energy_notes
from partitioner.cli.output import print_json, print_table
from partitioner.cli.planning import add_planning_arguments, planner_of, worker_load
from partitioner.cost import Load
from partitioner.optimize.objectives import objective_of
from partitioner.planner import DOWN_PER_UP, Breakpoint, Planner
from partitioner.report.words import MARKS
from partitioner.units import digits, joules, ms, size

HELP = "show the best plan for every uplink rate, from profiles of both sides"
EXAMPLES = """\
examples:
  cleft-plan table --edge edge.json --cloud cloud.json --down-per-up 2.3 --rtt-ms 40
  cleft-plan table --edge edge.json --cloud cloud.json --edge-slowdown 8 --busy 0.7 --max-upload 100kB
  cleft-plan table --edge edge.json --cloud cloud.json --objective energy --radio 4g
"""
SCHEMA = "cleft.table/1"

_DEFAULT_RTT_MS = 20.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_planning_arguments(parser)
    group = parser.add_argument_group("links", "all uplink rates; what else a link has is fixed")
    group.add_argument(
        "--down-per-up",
        type=arguments.positive,
        default=DOWN_PER_UP,
        metavar="R",
        help=f"how many times faster the way down is (default: {DOWN_PER_UP:g})",
    )
    group.add_argument(
        "--rtt-ms",
        type=arguments.not_negative,
        default=_DEFAULT_RTT_MS,
        metavar="MS",
        help=f"round trip, ms (default: {_DEFAULT_RTT_MS:g})",
    )
    parser.add_argument(
        "--objective",
        choices=("latency", "energy"),
        default="latency",
        help="what the plan of a rate is best by (default: latency)",
    )
    parser.add_argument("--json", action="store_true", help=f"print JSON of schema {SCHEMA}")


def run(args: argparse.Namespace) -> int:
    """Plan and print."""
    load = worker_load(args)
    planner = planner_of(args, objective=objective_of(args.objective), down_per_up=args.down_per_up)
    rtt_s = args.rtt_ms * 1e-3
    points = planner.table(down_per_up=args.down_per_up, rtt_s=rtt_s, load=load)
    if args.json:
        print_json(answer(planner, points, down_per_up=args.down_per_up, rtt_s=rtt_s, load=load))
    else:
        _print(planner, points, down_per_up=args.down_per_up, rtt_s=rtt_s, load=load)
    return 0


def answer(
    planner: Planner, points: tuple[Breakpoint, ...], *, down_per_up: float, rtt_s: float, load: Load
) -> dict[str, object]:
    """The table as ``cleft.table/1``; null stands for an infinite rate or time, and for no plan."""
    table = planner.everything
    return {
        "schema": SCHEMA,
        "model": {"name": table.model_name, "digest": table.model_digest},
        "down_per_up": down_per_up,
        "rtt_s": rtt_s,
        "load": load.to_json(),
        "objective": planner.objective.name,
        "radio": {"name": table.radio.model.name, "origin": table.radio.model.origin},
        "frame_interval_s": table.radio.frame_interval_s,
        "breakpoints": [record(point) for point in points],
        "notes": _notes(planner, points),
    }


def record(point: Breakpoint) -> dict[str, object]:
    """One entry of ``breakpoints``."""
    chosen = point.candidate
    return {
        "from_up_bytes_per_s": point.from_up_bytes_per_s,
        "to_up_bytes_per_s": _finite(point.to_up_bytes_per_s),
        "cut": chosen.cut if chosen else None,
        "cut_id": chosen.cut_id if chosen else None,
        "codec": chosen.codec if chosen else None,
        "codecs": dict(chosen.codecs) if chosen else {},
        "edge_runtime": chosen.edge_runtime if chosen else None,
        "cloud_runtime": chosen.cloud_runtime if chosen else None,
        "up_bytes": chosen.up_bytes if chosen else None,
        "leakage": chosen.leakage.distance_correlation if chosen and chosen.leakage else None,
        "inversion_error": chosen.leakage.inversion_error if chosen and chosen.leakage else None,
        "calibrated": chosen.is_calibrated if chosen else None,
        "predicted": chosen.is_predicted if chosen else None,
        "from_s": _finite(point.from_s),
        "to_s": point.to_s,
        "from_j": point.from_j,
        "to_j": point.to_j,
        "energy_origin": point.energy_origin,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _print(planner: Planner, points: tuple[Breakpoint, ...], *, down_per_up: float, rtt_s: float, load: Load) -> None:
    name = planner.everything.model_name
    least = "" if planner.objective.name == "latency" else f"of least {planner.objective.name} "
    print(f"{name}: best plan {least}by uplink rate; down {down_per_up:g} times as fast, round trip {ms(rtt_s)}")
    if not load.is_idle:
        print(f"worker under load: {ms(load.queue_s)} of waiting, tails {load.slowdown:.3g} times as long")
    print()
    headings: tuple[str, ...] = ("uplink Mbit/s", "cut", "codec", "sends", "predicted")
    nothing = "none is in time" if planner.constraints.max_energy_j is None else "none keeps the limits"
    rows = [_row(point, nothing) for point in points]
    if planner.everything.has_energy:
        headings = (*headings, "energy")
        rows = [(*row, _energy(point)) for row, point in zip(rows, points, strict=True)]
    if planner.everything.has_choice_of_runtimes:
        headings = (*headings, "runtimes")
        by = [point.candidate.runtimes if point.candidate else "-" for point in points]
        rows = [(*row, each) for row, each in zip(rows, by, strict=True)]
    print_table(headings, rows, left=(1, 2))
    for note in _notes(planner, points):
        print(f"note: {note}")


def _row(point: Breakpoint, nothing: str) -> tuple[str, ...]:
    chosen = point.candidate
    rates = f"{_rate(point.from_up_bytes_per_s)} - {_rate(point.to_up_bytes_per_s)}"
    if chosen is None:
        return rates, nothing, "-", "-", "-"
    mark = chosen.mark
    slow, fast = f"{ms(point.from_s)}" if math.isfinite(point.from_s) else "never", ms(point.to_s)
    times = fast if slow == fast else f"{slow} - {fast}"
    if chosen.is_local:
        return rates, chosen.cut, "-", "-", f"{times}{mark}"
    return rates, chosen.label, chosen.codec, size(chosen.up_bytes), f"{times}{mark}"


def _energy(point: Breakpoint) -> str:
    if point.to_j is None or point.energy_origin is None:
        return "-"
    most, least = "any" if point.from_j is None else joules(point.from_j), joules(point.to_j)
    return f"{least if most == least else f'{most} - {least}'}{MARKS[point.energy_origin]}"


def _rate(bytes_per_s: float) -> str:
    if bytes_per_s == 0:
        return "0"
    return digits(bytes_per_s * 8e-6) if math.isfinite(bytes_per_s) else "any faster"


def _notes(planner: Planner, points: tuple[Breakpoint, ...]) -> list[str]:
    origins = [point.energy_origin for point in points]
    notes = [*planner.everything.notes, *energy_notes(planner.everything, origins)]
    if planner.constraints.bounds_leakage:
        notes.append("a limit on leakage is one on an indicator, and no guarantee")
    shown = {point.candidate.label: point.candidate.cut for point in points if point.candidate is not None}
    notes += [f"{label} is {cut}" for label, cut in shown.items() if label != cut]
    marks = {point.candidate.mark for point in points if point.candidate is not None}
    if "^" in marks:
        notes.append("^ a compute time of this row is predicted from other models (--predict)")
    if "*" in marks:
        notes.append("* a compute time of this row is calibrated, not measured: profile with a larger --budget")
    return notes
