"""``cleft-plan show``: what a model's layers take and what its plans cost, as tables, figures or a page to explore.

Tables and machine output need numpy alone; figures need matplotlib, the page a browser to look at it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from partitioner.cli.joules import energy_notes, leakage_notes
from partitioner.cli.link import add_link_arguments, link_of
from partitioner.cli.output import print_json, print_table
from partitioner.cli.planning import add_planning_arguments, planner_of, profiles_of, worker_load
from partitioner.cli.table import record
from partitioner.errors import UsageError
from partitioner.optimize.objectives import OBJECTIVES, objective_of
from partitioner.optimize.scan import Priced
from partitioner.profile import Profile, noise_of
from partitioner.records import to_json
from partitioner.report import tables
from partitioner.report.figures import FIGURES, FORMATS, check_picture, drawable, write, write_page
from partitioner.report.shown import Front, Line, Plans, Rates, Shown, plans_of
from partitioner.report.words import device_of
from partitioner.units import mbit, ms

HELP = "show a profile's layers, and what every cut costs: tables, figures, or a page to explore"
EXAMPLES = """\
examples:
  cleft-plan show edge.json
  cleft-plan show edge.json --cloud cloud.json --link wifi --edge-slowdown 8 -o plans.svg
  cleft-plan show edge.json --cloud cloud.json --figure rates -o rates.pdf
  cleft-plan show edge.json --cloud cloud.json -o plans.html
"""
SCHEMA = "cleft.show/1"
PAGE = ".html"

_DEFAULT_LINK = "4g"
_OPTIONAL = (7, 3, 6, 1)
"""Columns of the table of layers that a narrow terminal goes without, first to last."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "profile",
        nargs="?",
        metavar="PROFILE",
        help="profile of the device (cleft-plan profile MODEL -o FILE); may be left out where --predict makes one",
    )
    add_planning_arguments(parser)
    add_link_arguments(parser)
    parser.add_argument(
        "--objective", default="latency", metavar="WHAT", help=f"what a plan is chosen by: {', '.join(OBJECTIVES)}, ..."
    )
    parser.add_argument(
        "--figure",
        choices=(*FIGURES, "all"),
        default="all",
        help="layers; cuts: latency of each over the link; rates: the best plan for each; pareto: what no plan beats; "
        "all but layers need --cloud (default: all that can be shown)",
    )
    parser.add_argument(
        "-o",
        dest="output",
        type=Path,
        metavar="FILE",
        help=f"draw into a file: {', '.join(FORMATS)} (pip install 'cleft[plot]'), or {PAGE}: a page to explore",
    )
    parser.add_argument("--json", action="store_true", help=f"print JSON of schema {SCHEMA}")


def run(args: argparse.Namespace) -> int:
    """Gather, then draw or print."""
    is_page = args.output is not None and args.output.suffix.lower() == PAGE
    if args.output is not None:
        check_picture(args.output, formats=(*FORMATS, PAGE))
    if is_page and args.figure != "all":
        raise UsageError(f"--figure {args.figure} is of pictures; a page has all that can be shown")
    args.edge = [*([args.profile] if args.profile else []), *args.edge]
    has_link = any(value is not None for value in (args.link, args.uplink_mbit, args.downlink_mbit, args.rtt_ms))
    if not has_link:
        args.link = _DEFAULT_LINK
    link = link_of(args)
    edge, cloud = profiles_of(args)
    if not edge:
        raise UsageError(
            "give the device's profile (cleft-plan profile MODEL -o FILE), or predict it with --predict FIT"
        )
    if has_link and not cloud:
        raise UsageError("a link is for plans: give the worker's profile with --cloud")
    planner = plans = None
    if cloud:
        ratio = link.down_bytes_per_s / link.up_bytes_per_s
        planner = planner_of(args, objective=objective_of(args.objective), down_per_up=ratio, sides=(edge, cloud))
        plans = plans_of(planner, link, worker_load(args))
    shown = Shown(edge=_device(edge, plans), plans=plans)
    wanted = _wanted(args, shown)
    if is_page:
        write_page(planner, shown.edge, cloud, link=link, load=worker_load(args), path=args.output)
    elif args.output is not None:
        write(shown, wanted, args.output)
    if args.json:
        print_json(answer(shown, wanted))
    elif args.output is not None:
        print(f"wrote {args.output}: {'a page' if is_page else ', '.join(wanted)} of {shown.edge.model_name}")
    else:
        _print(shown, wanted)
    return 0


def _device(edge: Sequence[Profile], plans: Plans | None) -> Profile:
    """The device's profile whose layers are shown: of the runtime that the best plan takes."""
    named = [each for each in edge if plans and each.runtime.name == plans.chosen.edge_runtime]
    return [*named, *edge][0]


def answer(shown: Shown, wanted: Sequence[str]) -> dict[str, object]:
    """What is shown as ``cleft.show/1``: what was not asked for, or cannot be, is null."""
    edge, plans = shown.edge, shown.plans
    return {
        "schema": SCHEMA,
        "model": {"name": edge.model_name, "digest": edge.model_digest},
        "device": to_json(edge.device),
        "runtime": to_json(edge.runtime),
        "binding": dict(edge.binding),
        "slowdown": edge.slowdown,
        "whole": to_json(edge.whole),
        "layers_s": _layers_s(edge),
        "layers": _layers(edge) if "layers" in wanted else None,
        "energy": _energy(edge),
        "plans": _plans(plans, wanted) if plans else None,
        "notes": _notes(shown),
    }


def _layers(edge: Profile) -> list[dict[str, object]]:
    energies = edge.energy.layers if edge.energy else [None] * len(edge.layers)
    return [
        {**cast("dict[str, object]", to_json(layer)), "energy": to_json(energy)}
        for layer, energy in zip(edge.layers, energies, strict=True)
    ]


def _energy(edge: Profile) -> dict[str, object] | None:
    energy = edge.energy
    if energy is None:
        return None
    names = ("meter", "source", "scope", "resolution_j", "idle_w", "active_w", "whole_j")
    return {name: to_json(getattr(energy, name)) for name in names}


def _plans(plans: Plans, wanted: Sequence[str]) -> dict[str, object]:
    chosen = plans.choice.chosen
    return {
        "link": plans.link.to_json(),
        "load": plans.load.to_json(),
        "objective": plans.choice.objective.name,
        "chosen": chosen.to_json(),
        "cuts": [each.to_json() for each in plans.cuts] if "cuts" in wanted else None,
        "cuts_refused": plans.refused,
        "rates": _rates(plans.rates) if plans.rates and "rates" in wanted else None,
        "pareto": _pareto(plans.front) if "pareto" in wanted else None,
    }


def _rates(rates: Rates) -> dict[str, object]:
    return {
        "down_per_up": rates.down_per_up,
        "rtt_s": rates.rtt_s,
        "breakpoints": [record(point) for point in rates.points],
        "all_local": _line(rates.all_local),
        "all_cloud": _line(rates.all_cloud),
    }


def _line(line: Line) -> dict[str, object]:
    """What a plan costs at any rate: latency is the fixed part and the bytes over their rates."""
    candidate, one = line.candidate, line.row
    fixed_s = (
        one.compute_s[0] + one.tail_s[0] * line.load.slowdown + one.remote[0] * (line.link.rtt_s + line.load.queue_s)
    )
    return {
        "cut": candidate.cut,
        "cut_id": candidate.cut_id,
        "codec": candidate.codec,
        "fixed_s": float(fixed_s),
        "up_bytes": candidate.up_bytes,
        "down_bytes": candidate.down_bytes,
    }


def _pareto(front: Front) -> dict[str, object]:
    names = [each.name for each in front.objectives]
    kept = {id(trade.candidate) for trade in front.trades}
    return {
        "objectives": names,
        "plans": [
            {
                "cut": candidate.cut,
                "cut_id": candidate.cut_id,
                "codec": candidate.codec,
                "scores": dict(zip(names, scores, strict=True)),
                "energy_origin": origin,
                "unbeaten": id(candidate) in kept,
            }
            for candidate, scores, origin in zip(front.candidates, front.scores.tolist(), front.origins, strict=True)
        ],
    }


def _print(shown: Shown, wanted: Sequence[str]) -> None:
    edge, plans = shown.edge, shown.plans
    print(f"{edge.model_name} on {device_of(edge)}: {tables.timing(edge.whole)} for the whole")
    shapes = {"layers": lambda: tables.layers_table(edge)}
    if plans is not None:
        link = plans.link
        both = f"{mbit(link.up_bytes_per_s)} up, {mbit(link.down_bytes_per_s)} down"
        print(f"over {link.name or 'this link'}: {both}, round trip {ms(link.rtt_s)}")
        best = plans.choice.chosen
        print(f"best by {plans.choice.objective.name}: {_said(best)}")
        shapes |= {"cuts": lambda: tables.cuts_table(plans), "pareto": lambda: tables.front_table(plans.front)}
        if (rates := plans.rates) is not None:
            shapes["rates"] = lambda: tables.rates_table(rates)
    found = {name: shapes[name]() for name in wanted}
    for name, (headings, rows) in found.items():
        print()
        left = [index for index, heading in enumerate(headings) if heading in tables.TEXTS]
        print_table(headings, rows, left=left, optional=_OPTIONAL if name == "layers" else ())
    for note in _notes(shown):
        print(f"note: {note}")


def _said(best: Priced) -> str:
    candidate = best.candidate
    codec = "" if candidate.is_local else f", codec {candidate.codec}"
    energy = f", {tables.energy_cell(best.energy)} from the device" if best.energy else ""
    return f"cut {candidate.label}{codec}, {ms(best.predicted_s)}{candidate.mark} predicted{energy}"


def _wanted(args: argparse.Namespace, shown: Shown) -> tuple[str, ...]:
    """The figures that were asked for.

    Raises:
        UsageError: one cannot be shown of what was given.
    """
    able = drawable(shown)
    if args.figure == "all":
        return able
    if args.figure not in able:
        if shown.plans is None:
            raise UsageError(f"--figure {args.figure} is of plans: give the worker's profile with --cloud")
        name = shown.plans.choice.objective.name
        raise UsageError(f"--figure {args.figure} is of latency or energy of single frames, not of {name}")
    return (args.figure,)


def _layers_s(profile: Profile) -> float:
    return sum(layer.forward.median_s for layer in profile.layers)


def _notes(shown: Shown) -> list[str]:
    edge, plans = shown.edge, shown.plans
    origins = {edge.whole.how, *(layer.forward.how for layer in edge.layers)}
    energies = {each.origin for each in edge.energy.layers} if edge.energy else set()
    if plans:
        origins |= {
            "predicted" if each.candidate.is_predicted else "calibrated" for each in plans.cuts if each.candidate.mark
        }
        energies |= {each.energy.origin for each in plans.cuts if each.energy}
        notes = [
            *plans.table.notes,
            *energy_notes(plans.table, energies, plans.link),
            *leakage_notes(plans.table, plans.cuts),
        ]
        notes += tables.explained(origins)
    else:
        noise = noise_of({"the device": edge})
        notes = [*([noise] if noise else []), *tables.explained(origins | energies)]
    if edge.whole.median_s > 0 and edge.layers:
        total_s = _layers_s(edge)
        notes.append(f"the layers add up to {ms(total_s)}, {total_s / edge.whole.median_s - 1:+.1%} of the whole")
    if edge.energy is None:
        notes.append("this profile has no energy; `cleft-plan profile MODEL --energy auto` measures it")
    if plans and plans.refused:
        notes.append(f"{plans.refused} cuts do not keep what is asked and are not shown")
    return notes
