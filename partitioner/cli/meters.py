"""``cleft-plan meters``: which energy meters this device has, and what they tell now."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from partitioner.cli import arguments
from partitioner.cli.output import print_json, print_table
from partitioner.units import digits, ms

if TYPE_CHECKING:
    from partitioner.meters import Meter, MeterInfo
    from partitioner.meters.finding import Found
    from partitioner.meters.sampling import Sampler

HELP = "show the energy meters of this device: what they cover and tell now, and why others are unavailable"
EXAMPLES = """\
examples:
  cleft-plan meters
  cleft-plan meters rapl --watch --every 500ms
  cleft-plan meters csv:watts.csv --json
"""
SCHEMA = "cleft.meters/1"
_LEAST_S = 0.25
_LEAST_PERIODS = 2
_MOST_S = 0.5
_ASSUME = "energy may be assumed from a data sheet (cleft-plan profile --power), but is not measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A meter and its mean power over a moment, or why there is none; ``info`` is None where it was not even opened."""

    kind: str
    info: MeterInfo | None = None
    power_w: float | None = None
    reason: str = ""

    def to_json(self) -> dict[str, object]:
        """As JSON: what is not known is null."""
        info = self.info
        return {
            "kind": self.kind,
            "available": self.power_w is not None,
            "reason": self.reason,
            "source": info.source if info else None,
            "scope": info.scope if info else None,
            "power_w": self.power_w,
            "period_s": info.period_s if info else None,
            "step_w": (info.step_w or None) if info else None,
            "step_j": (info.step_j or None) if info else None,
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "meters", nargs="*", metavar="METER", help="open these, such as rapl or csv:watts.csv (default: look for all)"
    )
    parser.add_argument("--watch", action="store_true", help="go on telling their power until interrupted")
    parser.add_argument(
        "--every", type=arguments.duration_s, default=1.0, metavar="TIME", help="with --watch: how often (default: 1s)"
    )
    parser.add_argument(
        "--count", type=arguments.positive_int, metavar="N", help="with --watch: end after this many times"
    )
    parser.add_argument(
        "--root", type=Path, metavar="DIR", help="look for the device's files below this (default: CLEFT_SYSROOT, or /)"
    )
    parser.add_argument("--json", action="store_true", help=f"print JSON of schema {SCHEMA}; with --watch, one a line")


def run(args: argparse.Namespace) -> int:
    """Look, read and print. A meter that was named and tells nothing is a failure; one that was looked for is not."""
    with _opened(args.meters, args.root) as found:
        if args.watch:
            with contextlib.suppress(KeyboardInterrupt):
                _watch(found, args)
            return 0
        seen = look(found, _moment_s(found))
        auto = None if args.meters else _auto(found, seen)
        if args.json:
            print_json(answer(seen, auto=auto))
        else:
            _print(seen)
            if not args.meters:
                print(f"auto takes {auto}" if auto else f"no meter works here: {_ASSUME}")
    return 1 if args.meters and any(each.power_w is None for each in seen) else 0


def answer(seen: Sequence[Seen], *, auto: str | None = None) -> dict[str, object]:
    """What was seen as ``cleft.meters/1``; ``auto`` is the kind that commands take when they are not told."""
    return {"schema": SCHEMA, "auto": auto, "meters": [each.to_json() for each in seen]}


def _watch(found: Sequence[Found], args: argparse.Namespace) -> None:
    for _ in itertools.repeat(None, args.count) if args.count else itertools.repeat(None):
        seen = look(found, args.every)
        if args.json:
            print_json(answer(seen, auto=None if args.meters else _auto(found, seen)), indent=None)
        else:
            told = [f"{each.kind} {_watts(each)}" for each in seen if each.info is not None]
            print(f"{time.strftime('%H:%M:%S')}  {'  '.join(told) or 'no meter was found'}")
        sys.stdout.flush()


def look(found: Sequence[Found], moment_s: float) -> list[Seen]:
    """Sample all meters at the same time for a moment."""
    from partitioner.meters import MeterError
    from partitioner.meters.sampling import Sampler

    begun: dict[str, tuple[Sampler, float]] = {}
    failed: dict[str, str] = {each.kind: each.reason for each in found}
    with ExitStack() as stack:
        for each in found:
            if each.meter is not None:
                try:
                    sampler = stack.enter_context(Sampler(each.meter))
                    begun[each.kind] = (sampler, sampler.mark())
                except MeterError as error:
                    failed[each.kind] = str(error)
        time.sleep(moment_s)
        return [_seen(each, begun.get(each.kind), failed[each.kind]) for each in found]


def _seen(found: Found, begun: tuple[Sampler, float] | None, reason: str) -> Seen:
    from partitioner.meters import MeterError
    from partitioner.meters.sampling import check_told, power_between

    info = found.meter.info if found.meter is not None else None
    if begun is None or info is None:
        return Seen(kind=found.kind, info=info, reason=reason)
    sampler, begin_s = begun
    try:
        end_s = sampler.mark()
        readings = sampler.readings()
        check_told(readings, info)
        power_w = power_between(readings, begin_s, end_s)
    except MeterError as error:
        return Seen(kind=found.kind, info=info, reason=str(error))
    if power_w <= 0:
        return Seen(kind=found.kind, info=info, reason=f"{info.source} told no power for {end_s - begin_s:.2g} s")
    return Seen(kind=found.kind, info=info, power_w=power_w)


@contextmanager
def _opened(names: Sequence[str], root: Path | None) -> Iterator[Sequence[Found]]:
    """The meters that were named, or all that are found; closed in the end."""
    from partitioner.meters.finding import Found, close_all, find_meters, open_meter

    found: list[Found] = []
    try:
        found.extend(Found(kind=name, meter=open_meter(name, root=root)) for name in dict.fromkeys(names))
        if not names:
            found.extend(find_meters(root))
        yield found
    finally:
        close_all(found)


def _auto(found: Sequence[Found], seen: Sequence[Seen]) -> str | None:
    from partitioner.meters.finding import widest

    meter = widest([each for each, told in zip(found, seen, strict=True) if told.power_w is not None])
    return None if meter is None else meter.info.kind


def _moment_s(found: Sequence[Found]) -> float:
    """Long enough for every meter to renew its figure, as long as that is not too long to wait."""
    meters: list[Meter] = [each.meter for each in found if each.meter is not None]
    if not meters:
        return 0.0
    return min(_MOST_S, max(_LEAST_S, *(_LEAST_PERIODS * meter.info.period_s for meter in meters)))


def _print(seen: Sequence[Seen]) -> None:
    rows = [
        (each.kind, each.info.scope, _watts(each), ms(each.info.period_s), _step(each.info), each.info.source)
        for each in seen
        if each.info is not None and each.power_w is not None
    ]
    if rows:
        print_table(("meter", "covers", "now", "period", "step", "reads"), rows, left=(0, 1, 5), optional=(4, 3))
        print()
    if unavailable := [each for each in seen if each.power_w is None]:
        print("unavailable:")
    for each in unavailable:
        print(f"  {each.kind}: {each.reason}")


def _watts(seen: Seen) -> str:
    return "-" if seen.power_w is None else f"{digits(seen.power_w)} W"


def _step(info: MeterInfo) -> str:
    if info.step_j:
        return f"{info.step_j * 1e6:.0f} uJ"
    return f"{digits(info.step_w)} W" if info.step_w else "-"
