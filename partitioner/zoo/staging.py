"""Directories in which bundles are made before they take their place in the cache; none is left behind.

One that a killed process left is swept away a day later, by whoever packs next: the cache may be shared by machines, so
nobody can tell sooner that it is nobody's. Ages are told by the file system, which dates them all.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = ".packing-"
_STALE_S = 24 * 3600.0
_open: set[Path] = set()


@contextmanager
def staging(directory: Path) -> Iterator[Path]:
    """An empty directory inside of this one, for as long as the body lasts."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=directory) as name:
        path = Path(name)
        _open.add(path)
        try:
            _sweep(directory, now_s=path.stat().st_mtime)
            yield path
        finally:
            _open.discard(path)


def abandon() -> None:
    """Remove what this process is making: it is about to end without coming back to it."""
    for path in [*_open]:
        shutil.rmtree(path, ignore_errors=True)


def _sweep(directory: Path, *, now_s: float) -> None:
    for path in directory.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if now_s - path.stat().st_mtime > _STALE_S:
                shutil.rmtree(path, ignore_errors=True)
