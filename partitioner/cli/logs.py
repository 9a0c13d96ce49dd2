"""The log of a long-running program: text for people, or JSON Lines for collectors; one line a record, on stderr.

A JSON line has ``time`` (UTC, ISO 8601), ``level``, ``logger`` and ``message``, for an exception ``error`` and
``trace``, and whatever fields the caller gave as ``extra={"cleft": {...}}``. Secrets are not logged anywhere in this
code; what looks like a bearer token is blotted out all the same, for messages also quote what peers and libraries say.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import re
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from datetime import datetime, timezone
from typing import TextIO

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")
_BEARER = re.compile(r"(bearer\s+)[A-Za-z0-9._~+/=-]+", re.IGNORECASE)
_OWN = frozenset({"time", "level", "logger", "message", "error", "trace"})


def add_log_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``--log-format`` and ``--log-level``."""
    group = parser.add_argument_group("log")
    group.add_argument("--log-format", choices=FORMATS, default="text", help="lines for people or JSON (default: text)")
    group.add_argument(
        "--log-level", choices=LEVELS, default="warning", help="least level that is logged (default: warning)"
    )


def configure_logs(*, log_format: str, level: str, verbosity: int = 0, stream: TextIO | None = None) -> None:
    """Send the log of this process to stderr in one of the formats; each ``-v`` lowers the level further."""
    least = getattr(logging, level.upper())
    if verbosity:
        least = min(least, logging.INFO if verbosity == 1 else logging.DEBUG)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    for old in [each for each in root.handlers if getattr(each, _MARK, False)]:
        root.removeHandler(old)
    setattr(handler, _MARK, True)
    root.addHandler(handler)
    root.setLevel(least)


@contextmanager
def all_in_the_log() -> Iterator[None]:
    """While this lasts, whatever is printed to stderr, and a thread's end by an error, are records like all others."""
    kept, threading.excepthook = threading.excepthook, _log_thread
    try:
        with redirect_stderr(_Records()):
            yield
    finally:
        threading.excepthook = kept


class _Records(io.TextIOBase):
    """A stream whose lines become records; ``warning:`` and ``error:`` in front of one are its level."""

    def __init__(self) -> None:
        self._begun = ""
        self._is_writing = threading.local()

    def write(self, text: str) -> int:
        """Log every line that is whole by now. What logging itself has to say is let go: it would come round again."""
        if getattr(self._is_writing, "now", False):
            return len(text)
        *lines, self._begun = (self._begun + text).split("\n")
        self._is_writing.now = True
        try:
            for line in filter(str.strip, lines):
                level, _, rest = line.partition(": ")
                known = logging.getLevelName(level.upper()) if level in LEVELS else None
                logging.getLogger("stderr").log(known or logging.INFO, "%s", rest if known else line)
        finally:
            self._is_writing.now = False
        return len(text)


def _log_thread(failed: threading.ExceptHookArgs) -> None:
    name = failed.thread.name if failed.thread is not None else "a thread"
    error = failed.exc_value or failed.exc_type()
    logging.getLogger("thread").error("%s ended by an error", name, exc_info=error)


class TextFormatter(logging.Formatter):
    """``TIME LEVEL LOGGER: MESSAGE``; an exception is what it says and every place it passed, the innermost first."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line = f"{_time(record)} {record.levelname} {record.name}: {_message(record)}"
        if record.exc_info and (error := record.exc_info[1]) is not None:
            frames = traceback.extract_tb(error.__traceback__)
            places = " < ".join(f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in reversed(frames))
            line += f" [{blot(_error(error))}; {places}]"
        return " ".join(line.split())


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        found: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        if record.exc_info and (error := record.exc_info[1]) is not None:
            found["error"] = blot(_error(error))
            found["trace"] = blot("".join(traceback.format_exception(error)))
        fields = getattr(record, "cleft", None)
        if isinstance(fields, dict):
            found.update({str(key): value for key, value in fields.items() if str(key) not in _OWN})
        return blot(_dumps(found))


def blot(text: str) -> str:
    """The text without what looks like a bearer token."""
    return _BEARER.sub(r"\1***", text)


_MARK = "is_of_cleft"


def _dumps(found: dict[str, object]) -> str:
    """JSON of anything; what JSON has no number for becomes its name."""
    try:
        return json.dumps(found, ensure_ascii=False, default=str, allow_nan=False)
    except ValueError:
        return json.dumps(json.loads(json.dumps(found, default=str), parse_constant=str), ensure_ascii=False)


def _message(record: logging.LogRecord) -> str:
    return blot(record.getMessage())


def _error(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, tz=timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
