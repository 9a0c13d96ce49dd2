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


def print_json(answer: Mapping[str, object], *, indent: int | None = 2) -> None:
    """Print one JSON object to stdout; ``indent=None`` makes it one line. It names its ``schema``, and holds no NaN."""
    if "schema" not in answer:
        raise ValueError("machine output names its schema")
    print(json.dumps(answer, indent=indent, allow_nan=False, ensure_ascii=False))


def warn(message: str) -> None:
    """Print one line for people to stderr."""
    print(f"warning: {message}", file=sys.stderr)


def print_table(
    headings: Row, rows: Sequence[Row], *, left: Sequence[int] = (0,), highlight: int | None = None
) -> None:
    """Print a table to stdout: with rich on a terminal, as aligned plain text in a pipe.

    Args:
        headings: one per column.
        rows: cells as text.
        left: columns that are aligned to the left; the others are numbers.
        highlight: row to stress where colours exist.
    """
    if not sys.stdout.isatty():
        for line in plain_table(headings, rows, left=left):
            print(line)
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index in left else "right", overflow="fold")
    for index, row in enumerate(rows):
        table.add_row(*map(Text, row), style="bold green" if index == highlight else None)
    Console().print(table)


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
    with Progress(*columns, console=Console(file=stream or sys.stderr), transient=True) as bar:
        task = bar.add_task(label, total=total, now="")
        yield lambda amount, what_now: bar.update(task, advance=amount, now=what_now)
