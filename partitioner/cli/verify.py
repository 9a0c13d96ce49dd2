"""``cleft-plan verify``: measure plans end to end over emulated links, and compare with what was chosen."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from partitioner.cli import arguments
from partitioner.cli.models import MODEL_HELP, add_packing_arguments, print_notes, request_of
from partitioner.cli.output import print_json, print_table, progress
from partitioner.cli.predicting import structure_from
from partitioner.cli.runtime import add_runtime_argument
from partitioner.errors import UsageError
from partitioner.link import PRESETS
from partitioner.profiles import load_fit
from partitioner.units import digits

if TYPE_CHECKING:
    from partitioner.bundle import Bundle
    from partitioner.predict import Fit
    from partitioner.verify import Settings, Subject
    from partitioner.verify.findings import Finding

HELP = "measure plans end to end over emulated links, and say how good the chosen ones are"
EXAMPLES = """\
examples:
  cleft-plan verify torchvision:resnet18 --links wifi --edge-slowdown 8
  cleft-plan verify torchvision:alexnet torchvision:resnet18 --links 3g,wifi --edge-slowdown 4,16 --resume found.jsonl

The findings go to --save FILE one by one, as JSON lines; --resume FILE does the same, and leaves out what FILE holds.
"""
SCHEMA = "cleft.verify/1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("models", nargs="+", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument(
        "--links",
        type=_links,
        default=tuple(PRESETS),
        metavar="A,B",
        help=f"links to emulate (default: {','.join(PRESETS)})",
    )
    parser.add_argument(
        "--edge-slowdown",
        type=_factors,
        default=(4.0, 16.0),
        metavar="N,M",
        help="how many times slower the device is than this machine (default: 4,16)",
    )
    parser.add_argument(
        "--input", type=Path, metavar="FILE", help="what is answered (default: a photograph, or random input)"
    )
    parser.add_argument(
        "--codecs", type=arguments.names, metavar="A,B", help="consider these only (default: the exact ones)"
    )
    parser.add_argument(
        "--max-deviation",
        type=arguments.not_negative,
        metavar="X",
        help="also consider lossy codecs that change the outputs by at most this: max|a-b| / max|a|",
    )
    add_runtime_argument(parser)
    parser.add_argument(
        "--predict",
        metavar="FIT",
        help="do not profile the device: predict its times (cleft-plan fit, made without these models)",
    )
    parser.add_argument(
        "--budget",
        type=arguments.duration_s,
        default=15.0,
        metavar="TIME",
        help="time to profile each side of a model (default: 15s)",
    )
    parser.add_argument(
        "--time-per-config",
        type=arguments.duration_s,
        default=25.0,
        metavar="TIME",
        help="time to measure plans of one model over one link on one device (default: 25s)",
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--save", type=Path, metavar="FILE", help="write the findings here, one a line")
    group.add_argument("--resume", type=Path, metavar="FILE", help="the same, but keep what is there and go on from it")
    parser.add_argument("--json", action="store_true", help=f"print JSON of schema {SCHEMA}")
    add_packing_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, compare and print."""
    from partitioner.verify import Settings, steps, verify

    found = _kept(args.resume)
    fit = None if args.predict is None else load_fit(args.predict)
    if fit is not None and args.runtime not in ("auto", fit.runtime.name):
        raise UsageError(f"--predict: this fit is of the runtime {fit.runtime.name}, not {args.runtime}")
    settings = Settings(
        links=tuple(PRESETS[name] for name in args.links),
        slowdowns=args.edge_slowdown,
        codecs=_codecs(args),
        max_deviation=args.max_deviation,
        runtime=args.runtime if fit is None else fit.runtime.name,
        fit=fit,
        profile_budget_s=args.budget,
        time_per_config_s=args.time_per_config,
    )
    with (
        _quiet_relay(),
        _appending(args.resume or args.save, is_kept=args.resume is not None) as save,
        tempfile.TemporaryDirectory(prefix="cleft-verify-") as folder,
    ):
        subjects = _subjects(args, Path(folder), fit)
        done = {finding.key for finding in found if _is_asked(finding, subjects, settings)}
        with progress("verify", total=steps(len(subjects), settings, done=len(done))) as advance:

            def step(what: str) -> None:
                advance(1, what)
                if not sys.stderr.isatty():
                    print(f"verify: {what}", file=sys.stderr, flush=True)

            for finding in verify(subjects, settings, done=done, advance=step):
                found.append(finding)
                if save is not None:
                    save.write(json.dumps(finding.to_json(), allow_nan=False) + "\n")
                    save.flush()
    asked = [finding for finding in found if _is_asked(finding, subjects, settings)]
    if args.json:
        print_json(answer(asked, settings))
    else:
        _print(asked, settings)
    return 0


def answer(found: Sequence[Finding], settings: Settings) -> dict[str, object]:
    """The findings as ``cleft.verify/1``."""
    from partitioner.verify.summary import EMULATION, FAIRNESS, summarise, verdict

    summary = summarise(found)
    return {
        "schema": SCHEMA,
        "settings": {
            "links": [link.to_json() for link in settings.links],
            "slowdowns": list(settings.slowdowns),
            "codecs": None if settings.codecs is None else list(settings.codecs),
            "max_deviation": settings.max_deviation,
            "runtime": settings.runtime,
            "predicted": settings.fit is not None,
            "profile_budget_s": settings.profile_budget_s,
            "time_per_config_s": settings.time_per_config_s,
        },
        "configurations": [finding.to_json() for finding in found],
        "summary": summary.to_json(),
        "verdict": list(verdict(summary)),
        "notes": [*_prediction(settings), EMULATION, FAIRNESS],
    }


def _prediction(settings: Settings) -> list[str]:
    return [] if settings.fit is None else [f"the device was not profiled but predicted: {settings.fit.verdict}"]


def _is_asked(finding: Finding, subjects: Sequence[Subject], settings: Settings) -> bool:
    names = {subject.name for subject in subjects}
    links = {link.name for link in settings.links}
    if settings.runtime not in ("auto", finding.runtime) or settings.max_deviation != finding.max_deviation:
        return False
    if finding.is_predicted != (settings.fit is not None):
        return False
    return finding.model in names and finding.link.name in links and finding.slowdown in settings.slowdowns


def _print(found: Sequence[Finding], settings: Settings) -> None:
    from partitioner.verify.summary import EMULATION, FAIRNESS, summarise, verdict

    print_table(
        (
            "model",
            "link",
            "device",
            "chosen",
            "codec",
            "predicted ms",
            "measured ms",
            "best measured",
            "regret",
            "error, median",
            "over all-cloud",
            "over all-local",
            "plans",
        ),
        [_cells(finding) for finding in found],
        left=(0, 1, 3, 4, 7),
        optional=(12, 4, 9, 5),
    )
    print()
    summary = summarise(found)
    for sentence in verdict(summary):
        print(sentence)
    print()
    if summary.plans_left_out:
        print(
            f"note: {summary.plans_left_out} plans were not measured: each time the ten best predicted were, "
            "all-local, all-cloud and an even sample of the rest by predicted rank (--json lists the measured ones)"
        )
    for note in (*_prediction(settings), FAIRNESS, EMULATION):
        print(f"note: {note}")
    print(f"note: measuring took {summary.took_s / 60:.1f} min, profiling not counted")


def _cells(finding: Finding) -> tuple[str, ...]:
    chosen, best = finding.chosen, finding.best
    return (
        finding.model,
        finding.link.name,
        f"{finding.slowdown:g}x",
        chosen.cut,
        "-" if chosen.is_local else chosen.codec,
        digits(chosen.predicted_s * 1e3),
        digits(chosen.measured_s * 1e3),
        "the chosen one" if best is chosen else f"{best.cut} ({best.codec})",
        f"{finding.regret:.1%}",
        f"{sorted(finding.errors)[len(finding.errors) // 2]:.1%}",
        f"{finding.over_cloud:.2f}x",
        f"{finding.over_local:.2f}x",
        f"{len(finding.plans)} of {len(finding.plans) + finding.left_out}",
    )


def _subjects(args: argparse.Namespace, folder: Path, fit: Fit | None) -> list[Subject]:
    """The models, each packed, with what it answers."""
    from partitioner.verify import Subject
    from partitioner.zoo import resolve_request

    found: list[Subject] = []
    for spec in args.models:
        bundle = resolve_request(request_of(args, spec))
        print_notes(bundle)
        if fit is not None and fit.has_seen(structure_from(bundle, bundle.graph.example_binding)):
            raise UsageError(
                f"--predict: the fit was made of {bundle.name} too, which proves nothing; make one without it"
            )
        given = args.input.resolve() if args.input is not None else _picture(bundle, folder)
        found.append(Subject(spec=str(bundle.path.resolve()), name=bundle.name, input=given))
    if len({subject.name for subject in found}) < len(found):
        raise UsageError("two of these models have the same name: pack one of them under another (cleft-plan pack -o)")
    return found


def _picture(bundle: Bundle, folder: Path) -> Path | None:
    """A photograph for a model that prepares pictures, or random pixels of its size where there is none at hand."""
    from partitioner.verify.pictures import made_up, photograph

    if bundle.preprocess is None:
        return None
    return photograph() or made_up(bundle, folder / f"{bundle.name}.npy")


def _codecs(args: argparse.Namespace) -> tuple[str, ...] | None:
    from partitioner.codecmix import EXACT, check_known, is_exact

    if not args.codecs:
        return EXACT if args.max_deviation is None else None
    check_known(args.codecs)
    lossy = [codec for codec in args.codecs if not is_exact(codec)]
    if lossy and args.max_deviation is None:
        raise UsageError(f"{', '.join(lossy)} changes the answer: say by how much it may, with --max-deviation")
    return tuple(args.codecs)


def _kept(path: Path | None) -> list[Finding]:
    from partitioner.errors import ProfileError
    from partitioner.verify.findings import load_finding

    if path is None or not path.exists():
        return []
    try:
        _drop_half_a_line(path)
        found = [load_finding(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError, ProfileError) as error:
        raise UsageError(f"--resume {path}: {error}") from error
    return list({(*finding.key, finding.is_predicted): finding for finding in found}.values())


def _drop_half_a_line(path: Path) -> None:
    """Cut off a finding that has no end, as a process leaves it that is killed while it writes or fills the disk."""
    from partitioner.verify.findings import FIRST_CHARS

    content = path.read_bytes()
    whole_bytes = content.rfind(b"\n") + 1
    if content[whole_bytes:].startswith(FIRST_CHARS.encode()):
        os.truncate(path, whole_bytes)
        print(f"note: {path}: its last line has no end; that configuration is measured again", file=sys.stderr)


@contextmanager
def _quiet_relay() -> Iterator[None]:
    """A worker that is lost is told once, by the device; the relay's log would tell it again."""
    log = logging.getLogger("partitioner.relay")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


@contextmanager
def _appending(path: Path | None, *, is_kept: bool) -> Iterator[IO[str] | None]:
    if path is None:
        yield None
        return
    try:
        file = path.open("a" if is_kept else "w", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    with file:
        yield file


def _links(text: str) -> tuple[str, ...]:
    names = arguments.names(text)
    if unknown := [name for name in names if name not in PRESETS]:
        raise argparse.ArgumentTypeError(f"no link {', '.join(unknown)}; there are {', '.join(PRESETS)}")
    return names


def _factors(text: str) -> tuple[float, ...]:
    return tuple(dict.fromkeys(arguments.at_least_one(part) for part in arguments.names(text)))
