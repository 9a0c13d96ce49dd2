"""Arguments that open a session, shared by the commands that do."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from partitioner.cli.arguments import at_least_one, duration_s, positive_int, targets
from partitioner.cli.codecs import add_codec_arguments, codecs_of
from partitioner.cli.constraints import add_constraint_arguments, constraints_of
from partitioner.cli.output import progress
from partitioner.cli.runtime import add_runtime_argument
from partitioner.cli.samples import add_sample_arguments, samples_of
from partitioner.cli.security import add_client_security_arguments, client_security_of

if TYPE_CHECKING:
    from edge.advisor import OnProgress
    from edge.session import Session
    from partitioner.bundle import Bundle
    from partitioner.leakage import LeakageProfile


def add_session_arguments(
    parser: argparse.ArgumentParser,
    *,
    without_cloud: str = "one is started here as a child process, and stopped at the end",
) -> None:
    """Where the workers are, what computes here, and which codecs may be chosen."""
    parser.add_argument(
        "--cloud",
        type=targets,
        action="append",
        metavar="HOST:PORT",
        help=f"the worker; several, best first, with commas or repeated (default: {without_cloud})",
    )
    add_codec_arguments(parser)
    add_constraint_arguments(parser, has_profiles=False)
    parser.add_argument(
        "--leakage",
        action="append",
        default=[],
        metavar="FILE",
        help="a profile of the model that cleft-plan leakage wrote into: limits on leakage take one of each model",
    )
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
    add_client_security_arguments(parser)


def add_request_arguments(parser: argparse.ArgumentParser, *, depth: int) -> None:
    """Which plan requests take, how long, and how many at once."""
    parser.add_argument("--cut", default="auto", help="auto, local, cloud, or a cut's name or id (default: auto)")
    parser.add_argument(
        "--codec",
        metavar="NAME",
        help="codec of what crosses (int8+zstd), of each tensor (a=int8,b=none) or of the input (source:fit-webp); "
        "auto chooses (default: exact where the cut is named)",
    )
    parser.add_argument("--deadline", type=duration_s, metavar="TIME", help="time that a request may take")
    parser.add_argument(
        "--no-fallback", action="store_true", help="fail where the worker does, instead of finishing here"
    )
    parser.add_argument("--pin-plan", action="store_true", help="drop the weights that the plan does not need here")
    parser.add_argument(
        "--depth",
        type=positive_int,
        default=depth,
        metavar="N",
        help=f"requests under way at once, so that computing and sending overlap (default: {depth})",
    )
    parser.add_argument(
        "--live",
        choices=("block", "drop-oldest"),
        help="what happens where no more can wait (default: block; drop-oldest for cameras)",
    )


def clouds_of(args: argparse.Namespace) -> tuple[str, ...]:
    """Every worker that was named, each once."""
    return tuple(dict.fromkeys(each for group in args.cloud or () for each in group))


def session_of(
    args: argparse.Namespace,
    bundle: Bundle,
    on_progress: OnProgress,
    *,
    cut: str = "auto",
    codec: str | None = None,
    start_alone: bool = False,
) -> Session:
    """A session as the command line asks for it; not opened yet."""
    from edge.session import Session
    from partitioner.segments import Cuts

    return Session(
        bundle,
        cloud=clouds_of(args) or None,
        cut=cut,
        codec=codec,
        codecs=codecs_of(args),
        max_deviation=args.max_deviation,
        min_accuracy=args.min_accuracy,
        max_accuracy_drop=args.max_accuracy_drop,
        constraints=constraints_of(
            args, lambda name: Cuts(bundle.graph, bundle.digest).find(name).depth, has_profiles=False
        ),
        samples=samples_of(args, bundle, has_input=False),
        leakage=_leakage_of(args, bundle),
        runtime=args.runtime,
        device=args.device,
        threads=args.threads,
        allow_ops=args.allow_ops,
        slowdown=args.slowdown,
        deadline_s=getattr(args, "deadline", None),
        fallback=not getattr(args, "no_fallback", False),
        pin_plan=getattr(args, "pin_plan", False),
        depth=getattr(args, "depth", 1),
        most_waiting=getattr(args, "max_requests", None),
        live=getattr(args, "live", None) or "block",
        start_alone=start_alone,
        profile_budget_s=args.budget,
        fresh_profiles=args.fresh,
        security=client_security_of(args),
        notify=say,
        on_progress=on_progress,
    )


def _leakage_of(args: argparse.Namespace, bundle: Bundle) -> LeakageProfile | None:
    """What the files that were named say of this model."""
    from partitioner.errors import UsageError
    from partitioner.profiles import load_profile

    for profile in map(load_profile, args.leakage):
        if profile.model_digest == bundle.digest and profile.leakage is not None:
            return profile.leakage
    if args.leakage or args.max_leakage is not None or args.min_inversion_error is not None:
        raise UsageError(
            f"no --leakage FILE says what {bundle.name} gives away: measure it with `cleft-plan leakage MODEL "
            "--samples DIR --profile FILE -o FILE`, of the same bundle"
        )
    return None


def say(line: str) -> None:
    """Tell people a line in one piece: the sessions of a daemon may each have one at the same time."""
    print(f"cleft-edge: {line}\n", end="", file=sys.stderr)


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
