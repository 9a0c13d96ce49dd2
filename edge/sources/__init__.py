"""Where a run's inputs come from: files, folders, patterns, standard input, videos and cameras, one after the other.

Everything is drawn lazily, one input at a time, by whoever iterates: a folder of a million pictures or a camera takes
no more memory than one frame. An input that cannot be read comes as its error in its place, and the others go on.

What a word after ``--input`` means, first match wins: ``-`` is one file's content on standard input; ``camera:N`` and
``/dev/videoN`` are cameras; a file with a video's suffix is its frames; a folder is the inputs directly in it, by name;
a word with ``*``, ``?`` or ``[`` that names no file is a pattern; any other is a file of inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import BinaryIO

from edge.sources.files import Files, StandardInput
from edge.sources.kinds import Drawn, Reading, Source, unreadable
from edge.sources.video import Camera, Video, camera_device, is_video
from partitioner.errors import InputError

__all__ = ["Drawn", "Inputs", "Reading", "Source", "open_sources"]


class Inputs:
    """Several sources, one after the other."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = tuple(sources)

    @property
    def count(self) -> int | None:
        """How many items there are; None where that shows only at the end. A file of several inputs is one item."""
        counts = [source.count for source in self._sources]
        return None if None in counts else sum(count for count in counts if count is not None)

    @property
    def is_live(self) -> bool:
        """Whether what is not taken in time is gone."""
        return any(source.is_live for source in self._sources)

    def __iter__(self) -> Iterator[Drawn]:
        return chain.from_iterable(self._sources)


def open_sources(words: Sequence[str], reading: Reading, *, stdin: Callable[[], BinaryIO]) -> Inputs:
    """The sources that words name; nothing is read yet but the names in folders."""
    return Inputs([_source(word, reading, stdin) for word in words])


class _Nothing:
    """A word that names no inputs: its error in its place."""

    is_live = False
    count = 1

    def __init__(self, word: str, error: InputError) -> None:
        self._word = word
        self._error = error

    def __iter__(self) -> Iterator[Drawn]:
        yield unreadable(self._word, self._error)


def _source(word: str, reading: Reading, stdin: Callable[[], BinaryIO]) -> Source:
    if word == "-":
        return StandardInput(stdin, reading)
    if (device := camera_device(word)) is not None:
        return Camera(word, device, reading)
    if is_video(word):
        return Video(word, reading)
    try:
        return Files(word, reading)
    except InputError as error:
        return _Nothing(word, error)
