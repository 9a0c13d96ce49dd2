"""Inputs in files: one file, the files in a folder, those that a pattern finds, or one file's content on a pipe."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from edge.sources.kinds import Drawn, Reading, drawn, unreadable
from partitioner.errors import InputError
from partitioner.inputs import MAX_BYTES, read, read_data
from partitioner.preprocess import SUFFIXES

_SUFFIXES = SUFFIXES | {".npy", ".npz"}
_WILD = "*?["


class Files:
    """The files that a word names, in order of their names, each read when it is its turn.

    Raises:
        InputError: a folder or a pattern holds no input.
    """

    is_live = False

    def __init__(self, word: str, reading: Reading) -> None:
        self._reading = reading
        self._paths = _paths(word)

    @property
    def count(self) -> int:
        """How many files there are."""
        return len(self._paths)

    def __iter__(self) -> Iterator[Drawn]:
        for path in self._paths:
            try:
                found = read(path, bundle_inputs=self._reading.values, preprocess=self._reading.preprocess)
            except InputError as error:
                yield unreadable(str(path), error)
            else:
                yield from drawn(found)


class StandardInput:
    """What one file would hold, on standard input: a picture, ``.npy`` or ``.npz``, told apart by the first bytes."""

    is_live = False
    count = 1

    def __init__(self, stdin: Callable[[], BinaryIO], reading: Reading) -> None:
        self._stdin = stdin
        self._reading = reading

    def __iter__(self) -> Iterator[Drawn]:
        name = "stdin"
        try:
            data = self._stdin().read(MAX_BYTES + 1)
            found = read_data(data, name=name, bundle_inputs=self._reading.values, preprocess=self._reading.preprocess)
        except InputError as error:
            yield unreadable(name, error)
        else:
            yield from drawn(found)


def _paths(word: str) -> tuple[Path, ...]:
    path = Path(word)
    if path.is_dir():
        try:
            found = sorted(each for each in path.iterdir() if each.suffix.lower() in _SUFFIXES and each.is_file())
        except OSError as error:
            raise InputError(f"{word}: {error.strerror or error}") from error
        if not found:
            raise InputError(f"{word} holds no inputs: {', '.join(sorted(_SUFFIXES))} are known")
        return tuple(found)
    if any(char in word for char in _WILD) and not path.exists():
        matched = sorted(Path(each) for each in glob.glob(word, recursive=True))
        if not matched:
            raise InputError(f"no file matches {word}")
        return tuple(each for each in matched if not each.is_dir())
    return (path,)
