"""A link in its own time: events in order, and two directions that carry bytes as a trace says.

A direction is a queue without loss, as the relay is (``partitioner.relay``): bytes leave in order as fast as the rate
allows, and arrive one delay later, never before what was sent before them. How much may stand in the queue is up to
the sender, whose real ``protos.chunks.Pacer`` bounds it by its window. There is no clock and no thread: a second of
traffic takes as long as its events, some ten microseconds each.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from itertools import count

from edge.simulate.steps import Steps
from edge.simulate.trace import Trace


class Events:
    """What happens when; ``now_s`` moves only here."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    @property
    def next_s(self) -> float:
        """When the next event is due; infinite where none is."""
        return self._queue[0][0] if self._queue else math.inf

    def at(self, when_s: float, action: Callable[[], None]) -> None:
        """Have something happen at a time; what is due at the same time happens in the order given."""
        if when_s < math.inf:
            heapq.heappush(self._queue, (max(when_s, self.now_s), next(self._order), action))

    def step(self, until_s: float) -> None:
        """Let the next event happen, or reach ``until_s`` where none is due before."""
        if self.next_s <= until_s:
            when_s, _, action = heapq.heappop(self._queue)
            self.now_s = max(self.now_s, when_s)
            action()
        else:
            self.now_s = max(self.now_s, until_s)

    def pass_to(self, until_s: float) -> None:
        """Let everything happen that is due up to a time, and reach it."""
        while self.next_s <= until_s:
            self.step(until_s)
        self.now_s = max(self.now_s, until_s)


class Direction:
    """One way of a link."""

    def __init__(self, rate_bytes_per_s: Steps, delay_s: Steps) -> None:
        self._rate = rate_bytes_per_s
        self._delay = delay_s
        self._free_s = 0.0
        self._last_s = 0.0

    def send(self, size_bytes: float, now_s: float) -> float:
        """When bytes sent now will have arrived; infinite where they never do."""
        self._free_s = self._rate.when_s(max(now_s, self._free_s), size_bytes)
        self._last_s = max(self._last_s, self.arrival_s(self._free_s))
        return self._last_s

    def arrival_s(self, left_s: float) -> float:
        """When what has left at a time arrives, with nothing before it."""
        return math.inf if left_s == math.inf else left_s + self._delay.at(left_s)

    def is_open(self, now_s: float) -> bool:
        """Whether anything moves at a time."""
        return self._rate.at(now_s) > 0

    def clear(self) -> None:
        """Forget what is under way: its connection is gone."""
        self._free_s = self._last_s = 0.0


class Air:
    """Both directions of a link."""

    def __init__(self, trace: Trace) -> None:
        self.up = Direction(trace.up, trace.delay_s)
        self.down = Direction(trace.down, trace.delay_s)

    def clear(self) -> None:
        """Forget what is under way both ways."""
        self.up.clear()
        self.down.clear()
