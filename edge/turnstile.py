"""The device's engine is one resource: who may use it next.

Finishing a request from its cut goes before beginning another, for somebody has waited for it longest and its deadline
is nearest; among equals the older request goes first. So nobody starves: a request is only ever passed by older ones
and by finishes, each of which ends one request. Whoever holds the engine hands it to the next in line, so a turn that
nobody else wants costs two uncontended lock operations (about a microsecond).

How long a turn may have to be waited for is learned from the longest of the last turns, where there was a queue
lately; a request that must be home by its deadline sets off that much earlier. Measuring and first runs do not count.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from edge.errors import DeviceBusy

LAST = 2**62
"""Order of work that may wait for every request."""

_MOST_WAITING = 256
_REMEMBERED = 16
_LATELY_S = 2.0
_LOOK_S = 0.05
_GLANCES_S = (0.005, 0.05)
"""How soon a waiter looks whether its turn is still wanted; twice as long every time, up to the second."""


class Until(Protocol):
    """Something that ends the need for a turn."""

    @property
    def is_answered(self) -> bool:
        """Whether it has come."""

    def wait(self, timeout_s: float) -> bool:
        """Wait for it so long; whether it is over."""


class Either:
    """What comes when the first of two does."""

    def __init__(self, first: Until, second: Until) -> None:
        self._both = (first, second)

    @property
    def is_answered(self) -> bool:
        """Whether one has come."""
        return any(each.is_answered for each in self._both)

    def wait(self, timeout_s: float) -> bool:
        """Wait for the first so long, looking at the second now and then; whether one has come."""
        first, second = self._both
        ends_s = time.monotonic() + timeout_s
        while (left_s := ends_s - time.monotonic()) > 0.0 and not second.is_answered:
            if first.wait(min(left_s, _LOOK_S)):
                return True
        return self.is_answered


class NotWanted(Exception):
    """What the turn was for came from elsewhere."""


class Turnstile:
    """A lock whose next holder is chosen by what it wants it for. Thread-safe; not re-entrant."""

    def __init__(self, *, most_waiting: int = _MOST_WAITING, now: Callable[[], float] = time.monotonic) -> None:
        self._most_waiting = most_waiting
        self._now = now
        self._lock = threading.Lock()
        self._is_taken = False
        self._line: list[_Waiter] = []
        self._held_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._queued_s = float("-inf")

    @contextmanager
    def turn(self, order: int, *, is_finish: bool = False, until: Until | None = None) -> Iterator[None]:
        """Hold the engine in the body.

        Args:
            order: the request's place among all; the lowest goes first.
            is_finish: it finishes a request from its cut, and goes before whatever begins one.
            until: what would make the turn needless.

        Raises:
            DeviceBusy: too many wait already.
            NotWanted: ``until`` came first.
        """
        self._enter(order, is_finish=is_finish, until=until)
        begun_s = self._now()
        try:
            yield
        finally:
            self._leave(self._now() - begun_s if order < LAST else None)

    @property
    def likely_wait_s(self) -> float:
        """How long a finish may have to wait for its turn."""
        with self._lock:
            if not self._held_s or self._now() - self._queued_s > _LATELY_S:
                return 0.0
            return max(self._held_s) * (1 + sum(waiter.is_finish for waiter in self._line))

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        with self._lock:
            return len(self._line)

    def _enter(self, order: int, *, is_finish: bool, until: Until | None) -> None:
        with self._lock:
            if not self._is_taken:
                self._is_taken = True
                return
            if len(self._line) >= self._most_waiting and not is_finish:
                raise DeviceBusy(self._most_waiting)
            self._queued_s = self._now()
            waiter = _Waiter(order, is_finish=is_finish)
            heapq.heappush(self._line, waiter)
        try:
            is_through = waiter.wait(until)
        except BaseException:  # such as an interrupt from the keyboard: whoever leaves must not be handed the turn
            if not self._withdraw(waiter):
                self._leave()
            raise
        if not is_through and self._withdraw(waiter):
            raise NotWanted

    def _withdraw(self, waiter: _Waiter) -> bool:
        """Leave the line; false where the turn has just come."""
        with self._lock:
            if waiter not in self._line:
                return False
            self._line.remove(waiter)
            heapq.heapify(self._line)
            return True

    def _leave(self, held_s: float | None = None) -> None:
        """Hand the engine on; ``held_s`` is how long the turn took, where such a turn may come again."""
        with self._lock:
            if held_s is not None:
                self._held_s.append(held_s)
            if self._line:
                heapq.heappop(self._line).gate.release()
            else:
                self._is_taken = False


class _Waiter:
    """One in line; its gate opens when its turn has come."""

    __slots__ = ("gate", "is_finish", "place")

    def __init__(self, order: int, *, is_finish: bool) -> None:
        self.is_finish = is_finish
        self.place = (not is_finish, order)
        self.gate = threading.Lock()
        self.gate.acquire()

    def wait(self, until: Until | None) -> bool:
        """Wait for the turn; false where ``until`` has come meanwhile."""
        if until is None:
            return self.gate.acquire()
        glance_s, most_s = _GLANCES_S
        while not self.gate.acquire(timeout=glance_s):
            if until.is_answered:
                return False
            glance_s = min(2 * glance_s, most_s)
        return True

    def __lt__(self, other: _Waiter) -> bool:
        return self.place < other.place
