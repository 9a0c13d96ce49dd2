"""A meter that writes lines of CSV into a file or a pipe, which is followed as it grows: ``csv:FILE#COLUMN``.

The first line names the columns; a file of one column may do without, and is watts. Only what is written from now on
counts, at the time that it is found. A file that is written anew, or replaced, is followed from its start.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

from partitioner.meters import MeterError, MeterInfo, Reading
from partitioner.meters.external import MOST_CHARS, PATIENCE_S, Arrivals, Columns, Value, split_pick

_POLL_S = 0.01
_CHUNK_BYTES = 64 * 1024


class CsvFile:
    """The value in the newest line of a growing file."""

    def __init__(
        self,
        path: Path,
        pick: str = "",
        *,
        now: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Waits for a few lines, to learn how often they come.

        Raises:
            MeterError: the file cannot be read, has no such column, or does not grow.
        """
        self._path, self._pick = path, pick
        self._now, self._sleep = now, sleep
        self._header = ""
        self._columns: Columns | None = None
        self._rest = b""
        self._value: Value | None = None
        self._arrivals = Arrivals()
        self._file = self._open()
        try:
            self._skip_what_is_there()
            self._wait()
        except BaseException:
            self.close()
            raise
        assert self._columns is not None
        self.info = MeterInfo(
            kind="csv",
            source=f"{self._columns.name} of {path}",
            scope="board",
            period_s=self._arrivals.period_s,
        )

    def read(self) -> Reading:
        """The newest value.

        Raises:
            MeterError: a line cannot be read, or none has come for long.
        """
        begin_s = self._now()
        self._follow()
        end_s = self._now()
        self._arrivals.check(end_s)
        assert self._value is not None
        return self._value.reading(begin_s, end_s)

    def close(self) -> None:
        """Close the file; safe to call twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> int:
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise MeterError(f"{self._path}: {error.strerror}") from error
        if stat.S_ISDIR(os.fstat(file).st_mode):
            os.close(file)
            raise MeterError(f"{self._path} is a directory")
        return file

    def _skip_what_is_there(self) -> None:
        """Read the header of a file, and go to the start of its last line that is not complete; a pipe has neither."""
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            return
        head = os.pread(self._file, MOST_CHARS, 0)
        line, newline, _ = head.partition(b"\n")
        if not newline:
            return
        self._take_first(_text(line))
        size = os.fstat(self._file).st_size
        start = max(0, size - MOST_CHARS)
        end = os.pread(self._file, size - start, start).rfind(b"\n")
        os.lseek(self._file, start + end + 1, os.SEEK_SET)

    def _wait(self) -> None:
        until_s = self._now() + PATIENCE_S
        while not self._arrivals.are_enough:
            self._follow()
            if self._now() > until_s:
                raise MeterError(f"{self._path} does not grow: fewer than 3 lines in {PATIENCE_S:g} s")
            self._sleep(_POLL_S)

    def _follow(self) -> None:
        """Take all lines that were written meanwhile."""
        lines = self._lines()
        if not lines:
            self._follow_anew()
            return
        taken = sum(self._take(text) for line in lines if (text := _text(line)) and not text.startswith("#"))
        if taken:
            self._arrivals.note(self._now(), taken)

    def _take(self, text: str) -> bool:
        """Take a line; whether it has a value."""
        if self._columns is None:
            self._take_first(text)
        assert self._columns is not None
        if self._columns.has_header and text == self._header:
            return False
        self._value = self._columns.value(text)
        return True

    def _take_first(self, text: str) -> None:
        self._columns = Columns(text, self._pick)
        self._header = text

    def _lines(self) -> list[bytes]:
        """The lines that are complete; what follows the last of them is kept."""
        parts = [self._rest]
        while chunk := self._chunk():
            parts.append(chunk)
        *lines, self._rest = b"".join(parts).split(b"\n")
        if len(self._rest) > MOST_CHARS:
            raise MeterError(f"{self._path} has a line of more than {MOST_CHARS} characters")
        return lines

    def _chunk(self) -> bytes:
        try:
            return os.read(self._file, _CHUNK_BYTES)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise MeterError(f"{self._path}: {error.strerror}") from error

    def _follow_anew(self) -> None:
        """Start over where the file was cut short, or another one took its place."""
        there = os.fstat(self._file)
        if not stat.S_ISREG(there.st_mode):
            return
        try:
            named = os.stat(self._path)
        except OSError:
            return
        if (named.st_dev, named.st_ino) != (there.st_dev, there.st_ino):
            self.close()
            self._file = self._open()
        elif there.st_size >= os.lseek(self._file, 0, os.SEEK_CUR):
            return
        else:
            os.lseek(self._file, 0, os.SEEK_SET)
        self._columns, self._rest = None, b""


def open_csv(argument: str) -> CsvFile:
    """The meter ``csv:FILE`` or ``csv:FILE#COLUMN``.

    Raises:
        MeterError: as ``CsvFile``.
    """
    path, pick = (argument, "") if Path(argument).expanduser().exists() else split_pick(argument)
    if not path:
        raise MeterError(f"{argument!r} names no file")
    return CsvFile(Path(path).expanduser(), pick)


def _text(line: bytes) -> str:
    return line.decode(errors="replace").strip("\ufeff \t\r\0")
