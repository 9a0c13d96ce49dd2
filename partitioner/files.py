"""Files that commands write: what cannot be written is found before anything is measured, and names what was asked.

A regular file is replaced in one step: the text goes to a file beside it, which is then renamed (POSIX ``rename`` is
atomic). A link stays one, and the file that it names is replaced. A pipe, a terminal or a device is no place to rename
to: it is written straight into.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from partitioner.errors import UsageError


def check_writable(path: Path, *, flag: str, in_place: bool = False) -> None:
    """Check that a file can be written; ``in_place`` writes into one that is there, instead of replacing it.

    Raises:
        UsageError: it cannot; ``flag`` and the path as given say which.
    """
    if why := _refusal(path, in_place=in_place):
        raise UsageError(f"{flag} {path}: {why}")


def replace_text(target: Path, text: str) -> None:
    """Put a file's new text, as UTF-8, in its place in one step; safe beside others that do the same.

    Raises:
        OSError: it cannot be written; ``filename`` is the target.
    """
    replace_bytes(target, text.encode())


def replace_bytes(target: Path, content: bytes) -> None:
    """Put a file's new content in its place in one step; safe beside others that do the same.

    Raises:
        OSError: it cannot be written; ``filename`` is the target.
    """
    try:
        if _is_replaceable(target):
            _replace(Path(os.path.realpath(target)), content)
        else:
            target.write_bytes(content)
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(target)) from error


def _is_replaceable(target: Path) -> bool:
    try:
        return stat.S_ISREG(target.stat().st_mode)
    except FileNotFoundError:
        return True


def _replace(target: Path, content: bytes) -> None:
    descriptor, part = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.chmod(part, 0o644)
        os.replace(part, target)
    finally:
        Path(part).unlink(missing_ok=True)


def _refusal(path: Path, *, in_place: bool) -> str:
    """Why the file cannot be written; empty where it can."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = None
    except OSError as error:
        return error.strerror or str(error)
    if mode is not None and stat.S_ISDIR(mode):
        return "is a directory, and a file is to be written"
    if mode is not None and (in_place or not stat.S_ISREG(mode)):
        return "" if os.access(path, os.W_OK) else "it may not be written"
    folder = Path(os.path.realpath(path)).parent if path.is_symlink() else path.parent
    if not folder.is_dir():
        return f"there is no directory {folder}"
    try:
        descriptor, probe = tempfile.mkstemp(prefix=".cleft-", dir=folder)
    except OSError as error:
        return f"no file can be made in {folder}: {error.strerror}"
    os.close(descriptor)
    os.unlink(probe)
    return ""
