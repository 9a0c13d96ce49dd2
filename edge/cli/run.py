"""``cleft-edge run``: answer inputs, split where it pays.

An input that cannot be read, or does not fit, is reported in its place and the others go on; the exit code tells at
the end.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from edge.cli.settings import add_session_arguments, progress_bars, session_of
from partitioner.cli.arguments import duration_s, not_negative_int, positive_int
from partitioner.cli.models import MODEL_HELP, add_packing_arguments, open_model

if TYPE_CHECKING:
    from edge.cli.post import Post
    from edge.cli.report import Report
    from edge.session import Session
    from partitioner.bundle import Bundle
    from partitioner.errors import InputError
    from partitioner.graph import Value
    from partitioner.inputs import Sample

HELP = "answer inputs with a model, split between this device and a worker"
EXAMPLES = """\
examples:
  cleft-edge run --model torchvision:resnet18 --input photo.jpg
  cleft-edge run --model resnet18.bundle --cloud 10.0.0.5:50051 --input *.jpg --json
  cleft-edge run --model digits --random 3 --cut cloud --codec int8 --check
  cleft-edge run --model detector.bundle --input photo.jpg --save outputs.npz
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--model", required=True, metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("--input", nargs="+", default=[], metavar="FILE", help="pictures, .npy or .npz files")
    parser.add_argument("--random", type=positive_int, default=0, metavar="N", help="answer N random inputs")
    parser.add_argument("--seed", type=not_negative_int, default=0, metavar="N", help="seed of the random inputs")
    parser.add_argument("--repeat", type=positive_int, default=1, metavar="N", help="answer every input N times")
    parser.add_argument("--cut", default="auto", help="auto, local, cloud, or a cut's name or id (default: auto)")
    parser.add_argument(
        "--codec",
        metavar="NAME",
        help="codec of what crosses (int8+zstd), of each tensor (a=int8,b=none) or of the input (source:fit-webp); "
        "auto chooses (default: exact where the cut is named)",
    )
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
    parser.add_argument("--deadline", type=duration_s, metavar="TIME", help="time that a request may take")
    parser.add_argument(
        "--no-fallback", action="store_true", help="fail where the worker does, instead of finishing here"
    )
    parser.add_argument("--pin-plan", action="store_true", help="drop the weights that the plan does not need here")
    parser.add_argument("--json", action="store_true", help="print one object per input (schema cleft.run/1)")
    add_packing_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Answer every input; 1 when one of them has no answer."""
    from edge.cli.post import load_post
    from edge.cli.report import Report
    from edge.cli.save import check_target, path_of
    from edge.clock import DeviceClock
    from partitioner.errors import UsageError

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
    found = enumerate(_samples(args, bundle), start=1)
    readable = list(islice(_readable(found, report), 1))
    if not readable:
        return 1
    with (
        progress_bars() as on_progress,
        session_of(args, bundle, on_progress, cut=args.cut, codec=args.codec) as session,
    ):
        for number, sample in chain(readable, _readable(found, report)):
            save = None if args.save is None else path_of(args.save, number, count=args.random + len(args.input))
            for _ in range(args.repeat):
                if not _answer(session, sample, report, is_checked=args.check, post=post, save=save):
                    break
    return 1 if report.failures else 0


def _readable(
    found: Iterator[tuple[int, tuple[str, Sample | InputError]]], report: Report
) -> Iterator[tuple[int, Sample]]:
    """Inputs that could be read, one by one, with their number; the others are reported in their place."""
    from partitioner.errors import InputError

    for number, (name, sample) in found:
        if isinstance(sample, InputError):
            report.failure(name, sample)
        else:
            yield number, sample


def _samples(args: argparse.Namespace, bundle: Bundle) -> Iterator[tuple[str, Sample | InputError]]:
    """Every input in the order asked for; one that cannot be read comes as its error."""
    from partitioner import inputs

    graph = bundle.graph
    values = [each.value for each in graph.inputs]
    for path in args.input:
        yield from _read(path, values, bundle)
    if args.random:
        ranges = {each.name: (each.low, each.high + 1) for each in graph.inputs}
        binding = graph.example_binding
        for index in range(args.random):
            drawn = inputs.random_samples(1, values, binding=binding, ranges=ranges, seed=args.seed + index)
            yield f"random[{index}]", replace(drawn[0], name=f"random[{index}]")


def _read(path: str, values: Sequence[Value], bundle: Bundle) -> list[tuple[str, Sample | InputError]]:
    from partitioner import inputs
    from partitioner.errors import InputError

    try:
        samples = inputs.read(path, bundle_inputs=values, preprocess=bundle.preprocess)
    except InputError as error:
        return [(path, error)]
    return [(sample.name, sample) for sample in samples]


def _answer(
    session: Session, sample: Sample, report: Report, *, is_checked: bool, post: Post | None, save: Path | None
) -> bool:
    """Answer one input and print it; false when there is no answer."""
    from edge.answer import max_rel_diff
    from edge.cli.report import Extra
    from edge.cli.save import save_outputs
    from edge.errors import EdgeError
    from partitioner.errors import InputError, SegmentError

    try:
        selected = session.select(sample)
    except InputError as error:
        report.failure(sample.name, error)
        return False
    try:
        answer = session(sample)
        extra = Extra(
            weight_bytes_held=session.engine.weight_bytes_held,  # before a check loads the rest
            max_rel_diff=max_rel_diff(answer.outputs, session.whole(sample)) if is_checked else None,
            post=post(answer.outputs) if post is not None else None,
            predicted_s=selected.predicted_s(sample),
        )
    except (InputError, SegmentError, EdgeError) as error:
        report.failure(sample.name, error)
        return False
    if save is not None:
        save_outputs(save, answer.outputs)
    report.answer(sample.name, answer, extra)
    return True
