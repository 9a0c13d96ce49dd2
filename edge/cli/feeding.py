"""Inputs on their way into a stream and out of it: what is drawn goes in, and what comes out is told in its place.

A stream answers in the order of its inputs, but inputs that cannot be read never enter it. They are kept in a line with
those that do, and come out where they stood.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from edge.sources import Drawn

if TYPE_CHECKING:
    from edge.lanes import Streamed
    from partitioner.errors import CleftError
    from partitioner.inputs import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What became of one input: ``streamed``, or ``drawn.error``. ``number`` counts inputs from 1, repeats apart."""

    number: int
    drawn: Drawn
    streamed: Streamed | None = None

    @property
    def error(self) -> CleftError | None:
        """Why there is no answer."""
        return self.drawn.error if self.streamed is None else self.streamed.error


class Feed:
    """Inputs, each offered ``repeat`` times. Drawn on one thread, told on another.

    Args:
        most: how many inputs are taken at most; None: all there are.
    """

    def __init__(self, inputs: Iterable[Drawn], *, repeat: int = 1, most: int | None = None) -> None:
        self._inputs = islice(inputs, most)
        self._repeat = repeat
        self._lock = threading.Lock()
        self._line: deque[Told] = deque()
        self._number = 0
        self._ahead: Drawn | None = None

    def peek(self) -> Drawn | None:
        """The first input that can be read, without taking it; None where there is none. Before anything is drawn."""
        for drawn in self._inputs:
            self._number += 1
            if drawn.sample is not None:
                self._ahead = drawn
                return drawn
            self._line.append(Told(number=self._number, drawn=drawn))
        return None

    def samples(self) -> Iterator[Sample]:
        """What can be read, for the stream."""
        if self._ahead is not None:
            yield from self._offered(self._ahead)
        for drawn in self._inputs:
            self._number += 1
            if drawn.sample is None:
                with self._lock:
                    self._line.append(Told(number=self._number, drawn=drawn))
            else:
                yield from self._offered(drawn)

    def told(self, streamed: Iterable[Streamed]) -> Iterator[Told]:
        """Everything in order: what the stream made of the inputs, and those that never entered it."""
        for each in streamed:
            while (head := self._next()) is not None and head.drawn.sample is None:
                yield head
            assert head is not None
            yield Told(number=head.number, drawn=head.drawn, streamed=each)
        yield from self.unread()

    def unread(self) -> Iterator[Told]:
        """What is left in the line, once nothing more is drawn."""
        while (head := self._next()) is not None:
            yield head

    def _offered(self, drawn: Drawn) -> Iterator[Sample]:
        assert drawn.sample is not None
        number = self._number
        for _ in range(self._repeat):
            with self._lock:
                self._line.append(Told(number=number, drawn=drawn))
            yield drawn.sample

    def _next(self) -> Told | None:
        with self._lock:
            return self._line.popleft() if self._line else None
