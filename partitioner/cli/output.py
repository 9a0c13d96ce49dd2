"""How commands print: tables, progress, JSON for machines; ``partitioner.units`` writes the quantities.

stdout is the answer. rich draws tables and progress bars on a terminal only: importing it costs as much as planning,
and a pipe wants plain text.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TextIO

Row = Sequence[str]
_GAP = 3
"""Blanks that rich leaves between columns."""


def print_json(answer: Mapping[str, object], *, indent: int | None = 2) -> None:
    """Print one JSON object to stdout; ``indent=None`` makes it one line. It names its ``schema``, and holds no NaN."""
    if "schema" not in answer:
        raise ValueError("machine output names its schema")
    print(json.dumps(answer, indent=indent, allow_nan=False, ensure_ascii=False))


def warn(message: str) -> None:
    """Print one line for people to stderr."""
    print(f"warning: {message}", file=sys.stderr)


def print_table(
    headings: Row,
    rows: Sequence[Row],
    *,
    left: Sequence[int] = (0,),
    highlight: int | None = None,
    optional: Sequence[int] = (),
) -> None:
    """Print a table to stdout: with rich on a terminal, as aligned plain text in a pipe.

    No cell is ever folded, so that names can be copied. On a terminal that is too narrow, optional columns are left
    out; where that is not enough, lines run over.

    Args:
        headings: one per column.
        rows: cells as text.
        left: columns that are aligned to the left; the others are numbers.
        highlight: row to stress where colours exist.
        optional: columns that may be left out on a narrow terminal, the first to go first.
    """
    if not sys.stdout.isatty():
        for line in plain_table(headings, rows, left=left):
            print(line)
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(soft_wrap=True)
    shown = _fitting(headings, rows, optional, console.width)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for index in shown:
        table.add_column(headings[index], justify="left" if index in left else "right", no_wrap=True)
    for number, row in enumerate(rows):
        cells = [Text(row[index]) for index in shown]
        table.add_row(*cells, style="bold green" if number == highlight else None)
    console.print(table, width=_width(headings, rows, shown), crop=False, soft_wrap=True)


def _fitting(headings: Row, rows: Sequence[Row], optional: Sequence[int], width: int) -> list[int]:
    """The columns to show: all of them, less optional ones while the table is wider than the terminal."""
    shown = list(range(len(headings)))
    for index in optional:
        if _width(headings, rows, shown) <= width:
            break
        shown.remove(index)
    return shown


def _width(headings: Row, rows: Sequence[Row], shown: Sequence[int]) -> int:
    return sum(max(len(row[index]) for row in (headings, *rows)) + _GAP for index in shown)


def plain_table(headings: Row, rows: Sequence[Row], *, left: Sequence[int] = (0,)) -> Iterator[str]:
    """The lines of an aligned table of plain text."""
    widths = [max(len(row[column]) for row in (headings, *rows)) for column in range(len(headings))]
    for row in (headings, *rows):
        cells = (
            cell.ljust(width) if index in left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


@contextmanager
def progress(label: str, *, total: float, stream: TextIO | None = None) -> Iterator[Callable[[float, str], None]]:
    """A progress bar on stderr if that is a terminal, else nothing. Yields ``advance(amount, what_now)``."""
    if not (stream or sys.stderr).isatty():
        yield lambda amount, what_now: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), TextColumn("{task.fields[now]}"))
    console = Console(file=stream or sys.stderr)
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:  # stdout is the answer
        task = bar.add_task(label, total=total, now="")
        yield lambda amount, what_now: bar.update(task, advance=amount, now=what_now)
