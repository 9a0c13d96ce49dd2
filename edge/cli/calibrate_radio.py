"""``cleft-edge calibrate-radio``: what this device's radio takes, from its own meter and the real link to a worker."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from partitioner.cli import arguments
from partitioner.cli.output import print_json, print_table, warn
from partitioner.cli.security import add_client_security_arguments, client_security_of

if TYPE_CHECKING:
    from edge.calibration import Course, Watched
    from edge.radiofit import Fitted
    from partitioner.meters import Meter

HELP = "measure what this device's radio takes at several rates, for --radio FILE"
EXAMPLES = """\
examples:
  cleft-edge calibrate-radio 10.0.0.5:50051 --insecure -o radio.json
  cleft-edge calibrate-radio 10.0.0.5:50051 --tls-ca ca.pem --meter csv:watts.csv --idle 30s --step 10s -o lte.json
  cleft-edge calibrate-radio 10.0.0.5:50051 --insecure --up-mbit 1,3,6 --down-mbit 2,10,20 --json

Megabytes are sent and received: at each rate, for the time of a step, in every pass. Nothing else should use the radio
meanwhile, and the device be as it is in use.
"""
SCHEMA = "cleft.radio/1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("cloud", type=arguments.target, metavar="HOST:PORT", help="the worker")
    parser.add_argument(
        "--meter",
        default="auto",
        metavar="METER",
        help="a meter of `cleft-plan meters`, or csv:FILE, http:URL, mqtt:...",
    )
    parser.add_argument(
        "--idle", type=arguments.duration_s, default=15.0, metavar="TIME", help="rest before and after (default: 15s)"
    )
    parser.add_argument(
        "--step", type=arguments.duration_s, default=4.0, metavar="TIME", help="time at each rate (default: 4s)"
    )
    parser.add_argument(
        "--passes", type=arguments.positive_int, default=2, metavar="N", help="times through all rates (default: 2)"
    )
    for way in ("up", "down"):
        parser.add_argument(
            f"--{way}-mbit",
            type=_rates,
            default=(),
            metavar="RATE,...",
            help=f"rates {way}, Mbit/s (default: shares of what the link carries)",
        )
    parser.add_argument(
        "--most-mbit", type=arguments.positive, default=100.0, metavar="RATE", help="and no faster (default: 100)"
    )
    parser.add_argument("--name", default="calibrated", help="what to call the radio (default: calibrated)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to write it, for --radio FILE")
    add_client_security_arguments(parser)
    parser.add_argument("--json", action="store_true", help=f"print JSON of schema {SCHEMA}")


def run(args: argparse.Namespace) -> int:
    """Watch, fit, print and write."""
    from edge.calibration import BLIND, Course, check_scope
    from edge.radiofit import fit
    from partitioner.files import check_writable, replace_text
    from partitioner.meters import MeterError
    from partitioner.meters.finding import AUTO, open_meter

    course = Course(
        idle_s=args.idle,
        step_s=args.step,
        passes=args.passes,
        up_mbit=args.up_mbit,
        down_mbit=args.down_mbit,
        most_mbit=args.most_mbit,
    )
    if args.output is not None:
        check_writable(args.output, flag="-o")
    try:
        meter = open_meter(args.meter, blind=BLIND)
    except MeterError as error:
        if args.meter != AUTO:
            raise
        raise MeterError(f"{error}; name a meter of the whole board, such as csv:FILE (--meter)") from error
    try:
        check_scope(meter)
        watched = _watched(args, meter, course)
    finally:
        meter.close()
    fitted = fit(watched.observed, name=args.name)
    if args.output is not None:
        replace_text(args.output, fitted.radio.dumps())
    _print(args, watched, fitted)
    return 0


def _watched(args: argparse.Namespace, meter: Meter, course: Course) -> Watched:
    from edge.calibration import watch
    from edge.client import Client
    from partitioner.cli.output import progress

    security = client_security_of(args)
    total_s = course.seconds(meter.info.period_s)
    with progress("watching the radio", total=total_s) as advance:
        return watch(
            args.cloud,
            meter,
            course,
            dial=lambda: Client.dial(args.cloud, security=security),
            on_progress=advance,
        )


def _print(args: argparse.Namespace, watched: Watched, fitted: Fitted) -> None:
    from partitioner.records import to_json
    from partitioner.units import digits, size

    radio = fitted.radio
    if args.json:
        print_json(
            {
                **radio.to_json(),
                "target": args.cloud,
                "idle_w": to_json(fitted.idle_w),
                "residual_w": fitted.residual_w,
                "moved_bytes": watched.moved_bytes,
                "steps": to_json(watched.observed.steps),
                "notes": list(fitted.notes),
            }
        )
        return
    rows = [
        (what, f"{digits(getattr(radio, field) * 1e3)} {unit}", f"{digits(radio.intervals[field] * 1e3)}")
        for what, field, unit in (
            ("up", "up_w_per_mbit", "mW per Mbit/s"),
            ("down", "down_w_per_mbit", "mW per Mbit/s"),
            ("base, while bytes move", "base_w", "mW"),
        )
    ]
    rows.append(("the device at rest", f"{digits(fitted.idle_w.value * 1e3)} mW", digits(fitted.idle_w.interval * 1e3)))
    rows.append(("tail", f"{digits(radio.tail_w * 1e3)} mW for {digits(radio.tail_s)} s" if radio.tail_s else "-", "-"))
    rows.append(
        ("promotion", f"{digits(radio.promotion_w * 1e3)} mW for {digits(radio.promotion_s)} s", "-")
        if radio.promotion_s
        else ("promotion", "-", "-")
    )
    print_table(("", "measured", "+/-"), rows)
    most = f"{digits(radio.max_up_mbit or 0)} / {digits(radio.max_down_mbit or 0)} Mbit/s up / down"
    print(
        f"{radio.source}, up to {most}; {size(watched.moved_bytes)} moved; "
        f"steps are {digits(fitted.residual_w * 1e3)} mW from the line"
    )
    for note in fitted.notes:
        warn(note)
    if args.output is not None:
        print(f"{args.output}: plan with --radio {args.output}")


def _rates(text: str) -> tuple[float, ...]:
    found = tuple(dict.fromkeys(arguments.positive(part) for part in text.split(",") if part.strip()))
    if len(found) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} is not two rates or more, such as 1,3,6")
    return found
