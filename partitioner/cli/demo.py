"""``cleft-plan demo``: the whole system at work on this machine, in one table."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from typing import TYPE_CHECKING

from partitioner.cli.output import print_json, print_table, progress
from partitioner.units import digits, size

if TYPE_CHECKING:
    from partitioner.demo import Demonstration
    from partitioner.demo.networks import NetworkRow

HELP = "split real models between two processes over three emulated links, and show what that gains"
SCHEMA = "cleft.demo/1"
NOTES = (
    "the device is emulated: after each of its own steps it waits, so that it is 8x slower than this machine",
    "the links are emulated by a relay: rates as JointDNN and DADS use them, round trips of 100, 40 and 5 ms",
    "the weights of alexnet and resnet18 are random (nothing is downloaded): answers mean nothing, but can be compared",
    "times are medians over three photographs; all-cloud sends the photograph's own bytes where that is best",
    "> marks what the planner chose, * what was fastest; codecs may change the answers by 2 % of the largest value",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--json", action="store_true", help=f"print JSON of schema {SCHEMA}")


def run(args: argparse.Namespace) -> int:
    """Demonstrate and print; 1 when an answer differs from the whole model's."""
    from partitioner import demo

    began = time.monotonic()
    with progress("demo", total=demo.steps()) as advance:

        def step(what: str) -> None:
            advance(1, what)
            if not sys.stderr.isatty():
                print(f"demo: {what}", file=sys.stderr, flush=True)

        found = demo.demonstrate(advance=step)
    took_s = time.monotonic() - began
    if args.json:
        print_json(answer(found, took_s=took_s))
    else:
        show(found, took_s=took_s)
    return 0 if found.is_right else 1


def answer(found: Demonstration, *, took_s: float) -> dict[str, object]:
    """The demonstration as ``cleft.demo/1``."""
    from partitioner.demo.networks import SLOWDOWN

    return {
        "schema": SCHEMA,
        "slowdown": SLOWDOWN,
        "digits": {"weights": "trained", "rows": [dataclasses.asdict(row) for row in found.digits]},
        "networks": {"weights": "random", "rows": [dataclasses.asdict(row) for row in found.networks]},
        "verdicts": [dataclasses.asdict(verdict) for verdict in found.verdicts],
        "notes": [*NOTES, *found.notes],
        "took_s": took_s,
    }


def show(found: Demonstration, *, took_s: float) -> None:
    """Print the demonstration for people."""
    print("The shipped model (trained) on the held-out handwritten digits:\n")
    print_table(
        ("digits", "codec", "accuracy", "as the whole model", "max_rel_diff", "bytes up"),
        [
            (
                "whole, on the device" if row.cut == "local" else f"split {row.cut}",
                "-" if row.cut == "local" else row.codec,
                f"{row.accuracy:.2%}",
                f"{row.same_answers:.1%}",
                f"{row.max_rel_diff:.1e}",
                "-" if row.cut == "local" else size(row.up_bytes),
            )
            for row in found.digits
        ],
        left=(0, 1),
    )
    print("\nFull-size networks (random weights) on photographs, the device 8x slower:\n")
    groups = {(row.model, row.link) for row in found.networks}
    fastest = {
        group: min(row.measured_s for row in found.networks if (row.model, row.link) == group) for group in groups
    }
    print_table(
        ("model", "link", "way", "cut", "codec", "predicted ms", "measured ms", "bytes up", "answers", "max_rel_diff"),
        [_cells(row, is_fastest=row.measured_s == fastest[row.model, row.link]) for row in found.networks],
        left=(0, 1, 2, 3, 4, 8),
        optional=(9, 7, 8, 4),
    )
    print()
    for verdict in found.verdicts:
        print(f"{verdict.model} over {verdict.link}: {verdict.text}")
    print()
    for note in (*NOTES, *found.notes):
        print(f"note: {note}")
    print(f"note: all of this took {took_s:.0f} s")


def _cells(row: NetworkRow, *, is_fastest: bool) -> tuple[str, ...]:
    is_local = row.cut == "local"
    return (
        row.model,
        row.link,
        ("> " if row.is_chosen else "  ") + row.role,
        row.cut,
        "-" if is_local else row.codec,
        digits(row.predicted_s * 1e3),
        digits(row.measured_s * 1e3) + (" *" if is_fastest else "  "),
        "-" if is_local else size(row.up_bytes),
        "as the whole" if row.is_same_answer else "DIFFERENT",
        f"{row.max_rel_diff:.1e}",
    )
