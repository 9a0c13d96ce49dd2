"""Arguments that open a session, shared by the commands that do."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from partitioner.cli.arguments import at_least_one, duration_s, positive_int, target
from partitioner.cli.codecs import add_codec_arguments, codecs_of
from partitioner.cli.constraints import add_constraint_arguments, constraints_of
from partitioner.cli.output import progress
from partitioner.cli.runtime import add_runtime_argument
from partitioner.cli.samples import add_sample_arguments, samples_of

if TYPE_CHECKING:
    from edge.advisor import OnProgress
    from edge.session import Session
    from partitioner.bundle import Bundle


def add_session_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the worker is, what computes here, and which codecs may be chosen."""
    parser.add_argument(
        "--cloud",
        type=target,
        metavar="HOST:PORT",
        help="the worker (default: one is started here as a child process, and stopped at the end)",
    )
    add_codec_arguments(parser)
    add_constraint_arguments(parser, has_deadline=False)
    add_sample_arguments(parser, has_input=False)
    parser.add_argument(
        "--slowdown", type=at_least_one, default=1.0, metavar="N", help="emulate a device N times slower"
    )
    parser.add_argument(
        "--threads", type=positive_int, default=1, metavar="N", help="threads of one operator (default: 1)"
    )
    add_runtime_argument(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument(
        "--allow-ops", action="append", default=[], metavar="NAMESPACE", help="an operator namespace beside aten"
    )
    parser.add_argument(
        "--budget",
        type=duration_s,
        default=20.0,
        metavar="TIME",
        help="time to profile each side, where no profile of it is kept (default: 20s)",
    )
    parser.add_argument(
        "--fresh", action="store_true", help="profile both sides again within --budget, although profiles are kept"
    )


def session_of(
    args: argparse.Namespace, bundle: Bundle, on_progress: OnProgress, *, cut: str = "auto", codec: str | None = None
) -> Session:
    """A session as the command line asks for it; not opened yet."""
    from edge.session import Session
    from partitioner.segments import Cuts

    return Session(
        bundle,
        cloud=args.cloud,
        cut=cut,
        codec=codec,
        codecs=codecs_of(args),
        max_deviation=args.max_deviation,
        min_accuracy=args.min_accuracy,
        max_accuracy_drop=args.max_accuracy_drop,
        constraints=constraints_of(
            args, lambda name: Cuts(bundle.graph, bundle.digest).find(name).depth, has_deadline=False
        ),
        samples=samples_of(args, bundle, has_input=False),
        runtime=args.runtime,
        device=args.device,
        threads=args.threads,
        allow_ops=args.allow_ops,
        slowdown=args.slowdown,
        deadline_s=getattr(args, "deadline", None),
        fallback=not getattr(args, "no_fallback", False),
        pin_plan=getattr(args, "pin_plan", False),
        profile_budget_s=args.budget,
        fresh_profiles=args.fresh,
        notify=lambda line: print(f"cleft-edge: {line}", file=sys.stderr),
        on_progress=on_progress,
    )


@contextmanager
def progress_bars() -> Iterator[OnProgress]:
    """A progress bar for each thing that is measured, on a terminal only."""
    with ExitStack() as shown:
        bars: dict[str, _Bar] = {}

        def on_progress(what: str, share: float) -> None:
            if what not in bars:
                shown.close()
                bars[what] = _Bar(shown, what)
            bars[what].move(share)

        yield on_progress


class _Bar:
    def __init__(self, shown: ExitStack, what: str) -> None:
        self._advance = shown.enter_context(progress(what, total=1.0))
        self._share = 0.0

    def move(self, share: float) -> None:
        if share > self._share:
            self._advance(share - self._share, "")
            self._share = share
