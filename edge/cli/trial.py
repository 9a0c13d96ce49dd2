"""``cleft-edge trial``: measure plans against each other, interleaved, in one process."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from partitioner.cli.arguments import at_least_one, duration_s, not_negative_int, positive_int, target
from partitioner.cli.models import MODEL_HELP, add_packing_arguments, open_model
from partitioner.cli.output import print_json, print_table
from partitioner.cli.runtime import add_runtime_argument

if TYPE_CHECKING:
    from edge.session import Session
    from edge.trial import Measured, Trial
    from partitioner.bundle import Bundle
    from partitioner.inputs import Sample

HELP = "answer one input by several plans in turn, to measure them against each other"
EXAMPLES = """\
examples:
  echo '{"plans": [{"cut": "local"}, {"cut": "cloud"}, {"cut": "after:stage2.0", "codec": "none+zstd"}]}' |
    cleft-edge trial --model digits --cloud 10.0.0.5:50051 --tls --plans - --repeat 10

Each line of --plans is one trial: a JSON object with "plans" (each a "cut", and if wanted a "codec" and "rounds") and,
if wanted, "cloud", "slowdown", "seed" and "time_limit_s" in place of the options. Lines are taken as they come.
"""
SCHEMA = "cleft.trial/1"
END_SCHEMA = "cleft.trial-end/1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--model", required=True, metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("--plans", required=True, metavar="FILE", help="trials, one JSON object a line; - is stdin")
    parser.add_argument(
        "--cloud",
        type=target,
        metavar="HOST:PORT",
        help="the worker (default: one is started here as a child process, and stopped at the end)",
    )
    parser.add_argument("--input", type=Path, metavar="FILE", help="what is answered (default: a random input)")
    parser.add_argument("--seed", type=not_negative_int, default=0, metavar="N", help="seed of order and random input")
    parser.add_argument(
        "--repeat", type=positive_int, default=5, metavar="N", help="runs of a plan after the first (default: 5)"
    )
    parser.add_argument(
        "--slowdown", type=at_least_one, default=1.0, metavar="N", help="emulate a device N times slower"
    )
    parser.add_argument("--time-limit", type=duration_s, metavar="TIME", help="time that a trial may take")
    parser.add_argument("--deadline", type=duration_s, metavar="TIME", help="time that a request may take")
    parser.add_argument(
        "--threads", type=positive_int, default=1, metavar="N", help="threads of one operator (default: 1)"
    )
    add_runtime_argument(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument(
        "--json", action="store_true", help=f"print one object per answer ({SCHEMA}) and one per trial ({END_SCHEMA})"
    )
    add_packing_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run every trial."""
    from edge.trial import NEVER_S, Trial, read_trial, run_trial

    defaults = Trial(
        plans=(), cloud=args.cloud, slowdown=args.slowdown, seed=args.seed, time_limit_s=args.time_limit or NEVER_S
    )
    bundle = open_model(args)
    sample = _sample(args, bundle)
    with _opened(args.plans) as lines, _Sessions(args, bundle) as sessions:
        for number, line in enumerate(_filled(lines)):
            trial = read_trial(line, defaults, rounds=args.repeat)
            left_out: dict[int, int] = {}
            report = _Report(trial, number, as_json=args.json)
            for measured in run_trial(sessions.of(trial), sample, trial, left_out=left_out):
                report.answer(measured)
            report.end(left_out)
    return 0


class _Sessions:
    """The session of one trial; the next trial over the same link, by the same device, takes it over."""

    def __init__(self, args: argparse.Namespace, bundle: Bundle) -> None:
        self._args = args
        self._bundle = bundle
        self._resources = ExitStack()
        self._key: tuple[str | None, float] | None = None
        self._session: Session | None = None

    def __enter__(self) -> _Sessions:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._resources.close()

    def of(self, trial: Trial) -> Session:
        from edge.session import Session

        key = trial.cloud, trial.slowdown
        if self._session is None or key != self._key:
            self._resources.close()
            session = Session(
                self._bundle,
                cloud=trial.cloud,
                runtime=self._args.runtime,
                device=self._args.device,
                threads=self._args.threads,
                slowdown=trial.slowdown,
                deadline_s=self._args.deadline,
                fallback=False,
            )
            self._key, self._session = key, self._resources.enter_context(session)
        return self._session


class _Report:
    """Prints answers as they come, or the medians at the end."""

    def __init__(self, trial: Trial, number: int, *, as_json: bool) -> None:
        self._trial = trial
        self._number = number
        self._as_json = as_json
        self._measured: list[Measured] = []

    def answer(self, measured: Measured) -> None:
        from edge.trial import record_of

        if self._as_json:
            print_json({"schema": SCHEMA, "trial": self._number, **record_of(measured)}, indent=None)
            sys.stdout.flush()
        else:
            self._measured.append(measured)

    def end(self, left_out: dict[int, int]) -> None:
        if self._as_json:
            plans = [
                {"plan": index, "cut": self._trial.plans[index].cut, "runs": runs}
                for index, runs in sorted(left_out.items())
            ]
            print_json({"schema": END_SCHEMA, "trial": self._number, "left_out": plans}, indent=None)
            sys.stdout.flush()
            return
        rows = [self._row(index, left_out.get(index, 0)) for index in range(len(self._trial.plans))]
        print_table(("cut", "codec", "runs", "median ms", "bytes up", "left out"), rows, left=(0, 1))

    def _row(self, index: int, left_out: int) -> tuple[str, ...]:
        from partitioner.units import digits, size

        plan = self._trial.plans[index]
        runs = [each for each in self._measured if each.plan == index and (each.round or not plan.rounds)]
        if not runs:
            return (plan.cut, plan.codec or "-", "0", "-", "-", str(left_out))
        median_s = statistics.median(each.answer.times.total_s for each in runs)
        sent = size(runs[0].answer.up_bytes)
        return (plan.cut, runs[0].answer.codec, str(len(runs)), digits(median_s * 1e3), sent, str(left_out))


def _sample(args: argparse.Namespace, bundle: Bundle) -> Sample:
    """The file's first input, or a random one."""
    from partitioner import inputs

    graph = bundle.graph
    values = [each.value for each in graph.inputs]
    if args.input is not None:
        return inputs.read(args.input, bundle_inputs=values, preprocess=bundle.preprocess)[0]
    ranges = {each.name: (each.low, each.high + 1) for each in graph.inputs}
    drawn = inputs.random_samples(1, values, binding=graph.example_binding, ranges=ranges, seed=args.seed)
    return replace(drawn[0], name="random")


def _opened(path: str) -> IO[str]:
    from partitioner.errors import UsageError

    if path == "-":
        return open(sys.stdin.fileno(), encoding="utf-8", closefd=False)
    try:
        return open(path, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--plans {path}: {error.strerror or error}") from error


def _filled(lines: IO[str]) -> Iterator[str]:
    """Lines that hold anything, each as soon as it is there."""
    from partitioner.errors import UsageError

    try:
        while line := lines.readline():
            if line.strip():
                yield line
    except UnicodeDecodeError as error:
        raise UsageError(f"this is no trial: it is not UTF-8 text ({error.reason})") from error
