"""``cleft-plan compare``: two profiles of one bundle side by side, and which differences are more than noise."""

from __future__ import annotations

import argparse
from pathlib import Path

from partitioner.cli.output import print_json, print_table
from partitioner.compare import Comparison, CutPair, Energies, LayerPair, Times, compare
from partitioner.profile import noise_of
from partitioner.profiles import load_profile
from partitioner.records import to_json
from partitioner.report import tables
from partitioner.report.figures import FORMATS, check_picture, write_comparison
from partitioner.units import digits

HELP = "set two profiles of one bundle side by side: devices, runtimes, versions"
EXAMPLES = """\
examples:
  cleft-plan compare eager.json ort.json
  cleft-plan compare before.json after.json -o changes.svg
"""
SCHEMA = "cleft.compare/1"

_VERDICTS = {"same": "no difference", "unknown": "not measured"}
_WHOLE = "the whole"
_VERDICT = 5
"""Column of what a difference means."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("a", metavar="A", help="a profile (cleft-plan profile MODEL -o FILE)")
    parser.add_argument("b", metavar="B", help="the profile to compare with it")
    parser.add_argument(
        "-o",
        dest="output",
        type=Path,
        metavar="FILE",
        help=f"draw it into a file: {', '.join(FORMATS)} (pip install 'cleft[plot]')",
    )
    parser.add_argument("--json", action="store_true", help=f"print JSON of schema {SCHEMA}")


def run(args: argparse.Namespace) -> int:
    """Compare, then draw or print."""
    if args.output is not None:
        check_picture(args.output)
    found = compare(load_profile(args.a), load_profile(args.b))
    if args.output is not None:
        write_comparison(found, args.output)
    if args.json:
        print_json(answer(found))
    elif args.output is not None:
        print(f"wrote {args.output}: {found.a.model_name} twice")
    else:
        _print(found)
    return 0


def answer(found: Comparison) -> dict[str, object]:
    """The comparison as ``cleft.compare/1``; a ratio is of B over A."""
    return {
        "schema": SCHEMA,
        "same_model": found.is_same_model,
        "a": {"name": found.a.model_name, "digest": found.a.model_digest},
        "b": {"name": found.b.model_name, "digest": found.b.model_digest},
        "differences": [{"what": each.what, "a": each.a, "b": each.b} for each in found.differences],
        "whole": _times(found.whole),
        "whole_energy": _energies(found.whole_energy),
        "layers": [
            {"id": each.a.id, "kind": each.a.kind, "forward": _times(each.forward), "energy": _energies(each.energy)}
            for each in found.layers
        ],
        "cuts": [
            {
                "id": each.a.id,
                "name": each.a.name,
                "prefix": _times(each.prefix),
                "suffix": _times(each.suffix),
                "energy": _energies(each.energy),
            }
            for each in found.cuts
        ],
        "notes": _notes(found),
    }


def _times(pair: Times) -> dict[str, object]:
    return {"a": to_json(pair.a), "b": to_json(pair.b), "ratio": pair.ratio, "verdict": pair.verdict}


def _energies(pair: Energies | None) -> dict[str, object] | None:
    if pair is None:
        return None
    return {"a": to_json(pair.a), "b": to_json(pair.b), "ratio": pair.ratio, "verdict": pair.verdict}


def _print(found: Comparison) -> None:
    name, has_energy = found.a.model_name, found.whole_energy is not None
    print(f"{name}: B takes {_said(found.whole)} for the whole\n" if found.whole.ratio else f"{name}\n")
    if found.differences:
        named = [(each.what, each.a or "-", each.b or "-") for each in found.differences]
        print_table(("not the same", "A", "B"), named, left=(0, 1, 2))
        print()
    layers = [_row(_WHOLE, "", found.whole, found.whole_energy), *map(_layer, found.layers)]
    _print_rows(("layer", "kind", "A", "B", "B / A", "", "energy A", "energy B"), layers, has_energy=has_energy)
    print()
    headings = ("cut", "", "front A", "front B", "B / A", "", "energy A", "energy B")
    _print_rows(headings, [_front(each) for each in found.cuts], has_energy=has_energy)
    print()
    rows = [_row(each.a.name, "", each.suffix, None) for each in found.cuts]
    _print_rows(("cut", "", "back A", "back B", "B / A", "", "", ""), rows, has_energy=False)
    for note in _notes(found):
        print(f"note: {note}")


def _layer(pair: LayerPair) -> tuple[str, ...]:
    return _row(pair.a.id, pair.a.kind, pair.forward, pair.energy)


def _front(pair: CutPair) -> tuple[str, ...]:
    return _row(pair.a.name, "", pair.prefix, pair.energy)


def _row(name: str, kind: str, pair: Times, energy: Energies | None) -> tuple[str, ...]:
    ratio = digits(pair.ratio) if pair.ratio is not None else "-"
    left, right = (tables.joules(energy.a), tables.joules(energy.b)) if energy else ("-", "-")
    return name, kind, tables.timing(pair.a), tables.timing(pair.b), ratio, _VERDICTS.get(pair.verdict, ""), left, right


def _print_rows(headings: tuple[str, ...], rows: list[tuple[str, ...]], *, has_energy: bool) -> None:
    """Print what there is: columns without a heading that are empty, and energies that nobody knows, are left out."""
    shown = [
        index
        for index, heading in enumerate(headings)
        if (heading and (has_energy or "energy" not in heading)) or index == _VERDICT
    ]
    left = [place for place, index in enumerate(shown) if index in (0, 1, _VERDICT)]
    print_table([headings[index] for index in shown], [[row[index] for index in shown] for row in rows], left=left)


def _said(pair: Times) -> str:
    if pair.ratio is None:
        return "a time that A has not"
    if pair.verdict == "same":
        return f"as long as A, as far as can be told ({digits(pair.ratio)} times)"
    return f"{digits(pair.ratio)} times as long as A"


def _notes(found: Comparison) -> list[str]:
    notes = list(found.notes)
    origins = {each.how for pair in found.times for each in (pair.a, pair.b)}
    notes += tables.explained([*origins, *(each.origin for pair in found.energies for each in (pair.a, pair.b))])
    if noise := noise_of({"A": found.a, "B": found.b}):
        notes.append(noise)
    return notes
