"""``cleft-edge simulate``: how the policy would do over a link that is known in advance, against those who know more.

Reads saved profiles only; nothing is measured, sent or run.
"""

from __future__ import annotations

import argparse
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from partitioner.cli import arguments
from partitioner.cli.output import print_json, print_table, progress, warn
from partitioner.cli.planning import add_planning_arguments, planner_of, profiles_of

if TYPE_CHECKING:
    from edge.simulate.contest import Contest, Course
    from edge.simulate.trace import Trace
    from edge.simulate.truth import Truth
    from partitioner.planner import Planner
    from partitioner.profile import Profile

HELP = "replay a link's rate through the policy, against an oracle and every fixed cut"
EXAMPLES = """\
examples:
  cleft-edge simulate --trace steps sawtooth drive noise --edge edge.json --cloud cloud.json --edge-slowdown 8
  cleft-edge simulate --trace Verizon-LTE-driving.up --trace-down Verizon-LTE-driving.down --rtt-ms 40 \\
    --edge edge.json --cloud cloud.json --plot drive.png
  cleft-edge simulate --trace log.csv --edge edge.json --cloud cloud.json --deadline 300ms --decisions

A trace is a file in the format of mahimahi (one whole number a line: the millisecond at which a packet of 1500 bytes
can leave) or CSV (seconds,up_mbit[,down_mbit][,rtt_ms]), or one of: steps, sawtooth, drive, noise, jitter.
Profiles are made by: cleft-plan profile MODEL -o edge.json (on the device), and cleft-edge fetch-profile HOST:PORT
-o cloud.json (of a worker).
"""
SCHEMA = "cleft.simulate/1"
_TOP = 5
_PLAYED = 12
_LEAST_FRAMES = 50
_MOST_FRAMES = 100_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--trace", nargs="+", required=True, metavar="FILE|NAME", help="what the link does; see below")
    parser.add_argument("--trace-down", type=Path, metavar="FILE", help="the way down of one mahimahi trace")
    parser.add_argument(
        "--rtt-ms", type=arguments.not_negative, metavar="MS", help="round trip in place of the traces'"
    )
    parser.add_argument(
        "--frames",
        type=arguments.positive_int,
        metavar="N",
        help="requests (default: as many as the trace is long for)",
    )
    parser.add_argument(
        "--period",
        type=_period_s,
        metavar="TIME",
        help="time from one request to the next; 0: back to back (default: what the device takes alone)",
    )
    group = parser.add_argument_group("truth", "what the planner is not told")
    group.add_argument(
        "--true-edge", type=arguments.positive, default=1.0, metavar="X", help="the device takes X times as long"
    )
    group.add_argument(
        "--true-cloud", type=arguments.positive, default=1.0, metavar="X", help="the worker takes X times as long"
    )
    group.add_argument(
        "--time-noise", type=arguments.share, default=0.0, metavar="X", help="noise of a frame's times, such as 10%%"
    )
    parser.add_argument(
        "--seed", type=arguments.not_negative_int, default=0, metavar="N", help="seed of noise and built-in traces"
    )
    parser.add_argument("--model", metavar="MODEL", help="what the profiles are of; says how to make them")
    add_planning_arguments(parser)
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument(
        "--top", type=arguments.positive_int, default=_TOP, metavar="N", help=f"show N fixed cuts (default: {_TOP})"
    )
    shown.add_argument(
        "--all", action="store_true", help=f"play out and show every fixed cut, not only the {_PLAYED} most promising"
    )
    parser.add_argument("--decisions", action="store_true", help="print each switch with its time and reason")
    parser.add_argument("--plot", type=Path, metavar="FILE.png|svg", help="draw rate, cut and latency over time")
    parser.add_argument("--json", action="store_true", help=f"print JSON of schema {SCHEMA}")


def run(args: argparse.Namespace) -> int:
    """Simulate and print."""
    from edge.simulate.contest import hold
    from edge.simulate.report import record

    _check_profiles(args)
    if args.plot is not None:
        from edge.simulate.plot import check_path

        check_path(args.plot)
    sides = profiles_of(args)
    deadline_s, args.deadline = args.deadline, None  # of requests, as a session has it: no plan is ruled out by it
    planner = planner_of(args, objective=None, sides=sides)
    truth = _truth(args, planner, sides[0])
    traces = [_trace(args, name) for name in args.trace]
    most = None if args.all else max(args.top, _PLAYED)
    contests = []
    with progress("simulating", total=len(traces) * (len(truth.candidates) if most is None else most + 1)) as advance:
        for trace in traces:
            course = _course(args, trace, planner, deadline_s)
            tell = partial(advance, 1.0, trace.name)
            contests.append(hold(trace, truth, planner, course, most=most, on_run=tell))
    if args.plot is not None:
        from edge.simulate.plot import draw

        draw(contests, args.plot)
    notes = list(planner.everything.notes)
    if args.json:
        model = {"name": planner.everything.model_name, "digest": planner.everything.model_digest}
        print_json({"schema": SCHEMA, "model": model, "contests": [record(each) for each in contests], "notes": notes})
        return 0
    for contest in contests:
        _print(contest, top=None if args.all else args.top, has_decisions=args.decisions)
    for note in notes:
        print(f"note: {note}")
    return 0


def _check_profiles(args: argparse.Namespace) -> None:
    from partitioner.errors import UsageError

    sides = (("--edge", args.edge or args.predict), ("--cloud", args.cloud or args.predict_cloud))
    missing = [flag for flag, given in sides if not given]
    if missing:
        model = args.model or "MODEL"
        raise UsageError(
            f"simulating takes what was measured of both sides, and {' and '.join(missing)} is not given: run "
            f"cleft-plan profile {model} -o edge.json on the device, and cleft-edge fetch-profile HOST:PORT "
            "-o cloud.json for a worker; one machine's profile serves as both with --edge-slowdown N"
        )


def _trace(args: argparse.Namespace, name: str) -> Trace:
    from edge.simulate.builtin import BUILTIN, builtin_trace
    from edge.simulate.trace import read_trace
    from partitioner.errors import UsageError

    rtt_s = None if args.rtt_ms is None else args.rtt_ms * 1e-3
    if args.trace_down is not None and len(args.trace) > 1:
        raise UsageError("--trace-down is the way down of one trace: give one --trace")
    if name in BUILTIN and not Path(name).exists():
        found = builtin_trace(name, seed=args.seed)
        return found if rtt_s is None else found.with_rtt(rtt_s)
    if not Path(name).exists():
        raise UsageError(f"--trace {name}: no such file, and none of the built-in traces: {', '.join(BUILTIN)}")
    return read_trace(Path(name), args.trace_down, rtt_s=rtt_s)


def _truth(args: argparse.Namespace, planner: Planner, edge: list[Profile]) -> Truth:
    from edge.simulate.truth import Truth

    return Truth(
        planner.frozen, edge, here=args.true_edge, there=args.true_cloud, noise=args.time_noise, seed=args.seed
    )


def _course(args: argparse.Namespace, trace: Trace, planner: Planner, deadline_s: float | None) -> Course:
    """By default a request comes as often as the device could answer alone, for as long as the trace is."""
    from edge.simulate.contest import Course

    table = planner.frozen
    alone_s = min(
        float(head_s) for head_s, candidate in zip(table.compute_s, table.candidates, strict=True) if candidate.is_local
    )
    period_s = alone_s * args.true_edge if args.period is None else args.period
    frames = args.frames
    if frames is None:
        each_s = period_s or alone_s
        frames = min(max(math.ceil(trace.length_s / each_s), _LEAST_FRAMES), _MOST_FRAMES)
        if frames == _MOST_FRAMES:
            warn(f"only {frames} requests are answered, not as many as the trace is long for: --frames N")
    return Course(frames=frames, period_s=period_s, deadline_s=deadline_s, seed=args.seed)


def _period_s(text: str) -> float:
    return 0.0 if text.strip() == "0" else arguments.duration_s(text)


def _print(contest: Contest, *, top: int | None, has_decisions: bool) -> None:
    from edge.simulate.report import HEADINGS, lines, rows, summary, title

    print(title(contest))
    print_table(HEADINGS, list(rows(contest, top=top)), left=(0, 1), optional=(6, 1))
    print(summary(contest))
    if has_decisions:
        for line in lines(contest):
            print(line)
    print()
