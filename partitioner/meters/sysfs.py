"""Numbers from the small files that drivers write: opened anew each time, since only that makes a driver measure.

A file may hold half a number while somebody writes it, or be gone for a moment: it is tried again a few times. What
still is no whole number of the wanted unit is an error that names the file, never a guess.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from partitioner.meters import MeterError, MeterForbidden

_NUMBER = re.compile(r"([+-]?[0-9]{1,20})(?:\s*([A-Za-z]+))?")
_TRIES = 5
_PAUSE_S = 1e-3
_SHOWN = 40


def read_whole(path: Path, *, unit: str = "") -> int:
    """The whole number in a file; a unit that stands behind it must be this one.

    Raises:
        MeterForbidden: it is not for this user to read.
        MeterError: it cannot be read, or holds something else.
    """
    for tries_left in reversed(range(_TRIES)):
        try:
            return _whole(path, unit)
        except PermissionError as error:
            raise MeterForbidden(
                f"{path} may not be read: run as root, or give your group the right to (chgrp, chmod g+r)"
            ) from error
        except (OSError, ValueError) as error:
            if not tries_left:
                reason = error.strerror if isinstance(error, OSError) else str(error)
                raise MeterError(f"{path}: {reason}") from error
            time.sleep(_PAUSE_S)
    raise AssertionError("unreachable")


def read_text(path: Path) -> str | None:
    """The text in a file without white space around it, or None where it cannot be read."""
    try:
        return path.read_text("utf-8", errors="replace").strip("\0 \t\r\n")
    except OSError:
        return None


def read_optional(path: Path, *, unit: str = "") -> int | None:
    """The whole number in a file, or None where there is none."""
    try:
        return _whole(path, unit)
    except (OSError, ValueError):
        return None


def _whole(path: Path, unit: str) -> int:
    with path.open("rb", buffering=0) as file:
        text = file.read(64).decode("ascii", errors="replace").strip()
    found = _NUMBER.fullmatch(text)
    if found is None or (found[2] or unit).lower() != unit.lower():
        wanted = f"a whole number of {unit}" if unit else "a whole number"
        raise ValueError(f"holds {text[:_SHOWN]!r}, not {wanted}")
    return int(found[1])
