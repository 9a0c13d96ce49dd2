"""``cleft-edge run``: answer inputs, split where it pays.

Inputs are drawn from files, pipes, videos and cameras as they are answered, ``--depth`` of them at once, and told in
their order. An input that cannot be read, or does not fit, is reported in its place and the others go on; the exit code
tells at the end.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from edge.cli.settings import add_request_arguments, add_session_arguments, progress_bars, session_of
from partitioner.cli.arguments import not_negative_int, positive_int
from partitioner.cli.models import MODEL_HELP, add_packing_arguments, open_model
from partitioner.cli.output import progress

if TYPE_CHECKING:
    from edge.sources import Inputs
    from partitioner.bundle import Bundle

HELP = "answer inputs with a model, split between this device and a worker"
EXAMPLES = """\
examples:
  cleft-edge run --model torchvision:resnet18 --input photo.jpg
  cleft-edge run --model resnet18.bundle --cloud 10.0.0.5:50051 --tls --input photos/ more/*.jpg --depth 4 --json
  cleft-edge run --model resnet18.bundle --cloud 10.0.0.5:50051 --tls --input camera:0 --deadline 200ms
  curl -s https://example.org/cat.jpg | cleft-edge run --model torchvision:resnet18 --input -
  cleft-edge run --model digits --random 3 --cut cloud --codec int8 --check
  cleft-edge run --model detector.bundle --input photo.jpg --save outputs.npz
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--model", required=True, metavar="MODEL", help=MODEL_HELP)
    parser.add_argument(
        "--input",
        nargs="+",
        default=[],
        metavar="FILE",
        help="pictures, .npy or .npz: files, folders, patterns, - for one file on standard input; videos; camera:N",
    )
    parser.add_argument("--random", type=positive_int, default=0, metavar="N", help="answer N random inputs")
    parser.add_argument("--seed", type=not_negative_int, default=0, metavar="N", help="seed of the random inputs")
    parser.add_argument("--repeat", type=positive_int, default=1, metavar="N", help="answer every input N times")
    parser.add_argument("--limit", type=positive_int, metavar="N", help="end after N inputs (default: with the last)")
    add_request_arguments(parser, depth=1)
    add_session_arguments(parser)
    parser.add_argument("--check", action="store_true", help="also run the whole model here and report the difference")
    parser.add_argument(
        "--post",
        metavar="PACKAGE.MODULE:CALLABLE",
        help="call this here with the outputs by name, and print the result",
    )
    parser.add_argument(
        "--save",
        type=Path,
        metavar="FILE.npz",
        help="write the outputs by name to this file; of several inputs the first to FILE-1.npz, and so on",
    )
    parser.add_argument("--json", action="store_true", help="print one object per input (schema cleft.run/1)")
    add_packing_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Answer every input; 1 when one of them has no answer."""
    from edge.cli.feeding import Feed
    from edge.cli.post import load_post
    from edge.cli.report import Report
    from edge.cli.save import check_target
    from edge.cli.telling import Teller
    from edge.clock import DeviceClock
    from edge.sources.random import Random
    from partitioner.errors import InputError, UsageError

    if not args.input and not args.random:
        raise UsageError("nothing to answer: give --input FILE or --random N")
    if args.check and args.pin_plan:
        raise UsageError("--check runs the whole model here, and --pin-plan drops its weights: choose one")
    if args.cut == "local" and args.codec not in (None, "auto", "none"):
        print(
            f"cleft-edge: note: --codec {args.codec} changes nothing: with --cut local nothing crosses", file=sys.stderr
        )
    post = load_post(args.post) if args.post else None
    if args.save is not None:
        check_target(args.save, count=args.random + len(args.input))
    bundle = open_model(args)
    report = Report(bundle, as_json=args.json, clock=DeviceClock(slowdown=args.slowdown))
    inputs = _inputs(args, bundle)
    made_up = Random(bundle.graph, args.random, seed=args.seed)
    feed = Feed(chain(inputs, made_up), repeat=args.repeat, most=args.limit)
    first = feed.peek()
    if first is None or first.sample is None:
        for told in feed.unread():
            assert told.error is not None
            report.failure(told.drawn.name, told.error)
        return 1
    if args.live is None:
        args.live = "drop-oldest" if inputs.is_live else "block"
    is_alone = first.share == 1.0 and (inputs.count, args.random) in ((1, 0), (0, 1))
    with (
        progress_bars() as on_progress,
        session_of(args, bundle, on_progress, cut=args.cut, codec=args.codec) as session,
    ):
        with suppress(InputError):  # told when it is answered
            session.select(first.sample)
        teller = Teller(args, session, report, post=post, is_alone=is_alone)
        with _bar(args, inputs) as advance:
            for told in feed.told(session.stream(feed.samples())):
                teller.tell(told)
                advance(told.drawn.share)
    teller.end()
    return 1 if report.failures else 0


def _inputs(args: argparse.Namespace, bundle: Bundle) -> Inputs:
    from edge.sources import Reading, open_sources

    values = tuple(each.value for each in bundle.graph.inputs)
    reading = Reading(values=values, preprocess=bundle.preprocess)
    return open_sources(args.input, reading, stdin=_stdin)


def _stdin() -> BinaryIO:
    from partitioner.errors import InputError

    if sys.stdin is None:
        raise InputError("standard input is closed")
    return sys.stdin.buffer


@contextmanager
def _bar(args: argparse.Namespace, inputs: Inputs) -> Iterator[Callable[[float], None]]:
    """A progress bar where the answers go elsewhere than the terminal, and the number of inputs is known."""
    if inputs.count is None or args.limit is not None or sys.stdout.isatty():
        yield lambda share: None
        return
    with progress("answering", total=args.repeat * (inputs.count + args.random)) as advance:
        yield lambda share: advance(share, "")
