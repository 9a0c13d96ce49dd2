"""Whose frame is next, and who is told no at once: a bounded queue that is fair between clients by compute time.

Start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996): every client has a virtual time, which advances by what its
frames cost; the client that is furthest behind goes next, and one that was idle starts at the time of whoever is being
served. Within a client the earliest deadline goes first. A full queue drops from the client whose frames wait for the
most work (longest queue drop; Suter et al., INFOCOM 1998), so a greedy client pushes nobody out but itself.

A frame whose deadline would pass before its end, by what is measured of the work before it, is refused when it comes
and not when it is late. So is one that would go first and make another late that was taken already, unless that one's
client has had clearly more: then it is the other that goes, at once. No clock: times are arguments. An admission looks
at every waiting frame, tens of microseconds for hundreds of them.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, TypeVar

from protos.errors import Overloaded

MIN_RETRY_S = 0.01
_CAUTION = 1.1
_CLEARLY = 2.0

_T = TypeVar("_T")


@dataclass(slots=True, kw_only=True, eq=False)
class Entry(Generic[_T]):
    """Something that waits: whose it is, what it will cost, and when it is due.

    ``is_bound`` marks what must not be refused or dropped. Entries of one ``key`` may be taken together.
    """

    item: _T
    client: Hashable
    cost_s: float
    deadline_s: float | None = None
    key: Hashable = None
    is_bound: bool = False


_Order = tuple[bool, float, int]


@dataclass(slots=True, kw_only=True)
class _Line(Generic[_T]):
    """What waits of one client, in its order; ``start_s`` is its virtual time."""

    client: Hashable
    start_s: float
    entries: list[tuple[_Order, Entry[_T]]] = field(default_factory=list)
    cost_s: float = 0.0
    running: int = 0


class FairQueue(Generic[_T]):
    """The queue. Not thread-safe."""

    def __init__(self, *, max_entries: int, max_per_client: int) -> None:
        self._max_entries = max_entries
        self._max_per_client = max_per_client
        self._lines: dict[Hashable, _Line[_T]] = {}
        self._now_s = 0.0
        self._entries = 0
        self._running = 0
        self._ids = count()

    def __len__(self) -> int:
        return self._entries

    def __iter__(self) -> Iterator[Entry[_T]]:
        return (entry for line in self._lines.values() for _, entry in line.entries)

    @property
    def clients(self) -> int:
        """How many clients are remembered; those that wait for nothing and are owed nothing are not."""
        return len(self._lines)

    def waiting(self, client: Hashable) -> int:
        """How many entries of a client wait."""
        line = self._lines.get(client)
        return len(line.entries) if line is not None else 0

    def check(self, entry: Entry[_T], *, now_s: float, busy_s: float) -> None:
        """Refuse what ``push`` would refuse; nothing changes.

        Args:
            busy_s: how long what runs now still takes; 0 where nothing runs.

        Raises:
            Overloaded: there is no room for this client, or the deadline would pass before the end.
        """
        if entry.is_bound:
            return
        line = self._lines.get(entry.client)
        if line is not None and len(line.entries) >= self._max_per_client:
            retry_s = busy_s + self._wait_s(line.entries[0][1])
            raise Overloaded(f"{len(line.entries)} frames of this client wait already", retry_after_s=_retry(retry_s))
        if self._entries >= self._max_entries and self._victim(entry) is None:
            retry_s = busy_s + (self._wait_s(line.entries[0][1]) if line and line.entries else entry.cost_s)
            raise Overloaded(f"{self._entries} frames wait already", retry_after_s=_retry(retry_s))
        if entry.deadline_s is not None and (self._entries or busy_s > 0.0):
            wait_s = busy_s + self._wait_s(entry)
            late_s = now_s + _CAUTION * (wait_s + entry.cost_s) - entry.deadline_s
            if late_s > 0:
                why = f"about {wait_s:.3f} s of work waits before it, more than the frame has"
                raise Overloaded(why, retry_after_s=_retry(late_s))

    def push(self, entry: Entry[_T], *, now_s: float, busy_s: float) -> list[Entry[_T]]:
        """Take an entry; returns those that had to go for it.

        Raises:
            Overloaded: as ``check``.
        """
        self.check(entry, now_s=now_s, busy_s=busy_s)
        victims: list[Entry[_T]] = []
        if not entry.is_bound:
            victims = self._made_late(entry, now_s=now_s, busy_s=busy_s)
            if self._entries - len(victims) >= self._max_entries and (greedy := self._victim(entry)) is not None:
                victims.append(greedy)
        for victim in victims:
            self.remove(victim)
        line = self._lines.get(entry.client)
        if line is None:
            line = self._lines[entry.client] = _Line(client=entry.client, start_s=self._now_s)
        if not line.entries:
            line.start_s = max(line.start_s, self._now_s)
        insort(line.entries, (self._order(entry), entry), key=lambda each: each[0])
        line.cost_s += entry.cost_s
        self._entries += 1
        return victims

    def pop(self) -> Entry[_T]:
        """Take the next entry. It counts as running until ``settle``.

        Raises:
            IndexError: nothing waits.
        """
        line = min((each for each in self._lines.values() if each.entries), key=_start, default=None)
        if line is None:
            raise IndexError("nothing waits")
        return self._take(line, 0)

    def pop_like(self, key: Hashable, most: int) -> list[Entry[_T]]:
        """Take up to ``most`` entries of a key more, in turns between their clients."""
        taken: list[Entry[_T]] = []
        while len(taken) < most:
            found = [
                (line.start_s, number, line, index)
                for number, line in enumerate(self._lines.values())
                if (index := next((i for i, (_, each) in enumerate(line.entries) if each.key == key), None)) is not None
            ]
            if not found:
                break
            _, _, line, index = min(found, key=lambda each: each[:2])
            taken.append(self._take(line, index))
        return taken

    def alike(self, key: Hashable) -> int:
        """How many entries of a key wait."""
        return sum(entry.key == key for entry in self)

    def settle(self, entry: Entry[_T], *, cost_s: float) -> None:
        """A popped entry is over and has cost this much."""
        self._running -= 1
        line = self._lines[entry.client]
        line.running -= 1
        line.start_s += cost_s - entry.cost_s
        if not self._entries and not self._running:
            self._now_s = max(self._now_s, *(each.start_s for each in self._lines.values()))
        self._forget()

    def remove(self, entry: Entry[_T]) -> bool:
        """Take out an entry that waits; whether it did."""
        line = self._lines.get(entry.client)
        for index, (_, each) in enumerate(line.entries if line is not None else ()):
            if line is not None and each is entry:
                del line.entries[index]
                line.cost_s = line.cost_s - entry.cost_s if line.entries else 0.0
                self._entries -= 1
                self._forget()
                return True
        return False

    def hopeless(self, now_s: float) -> list[Entry[_T]]:
        """Take out everything that would be late although it ran at once, if only something else waits."""
        late = [
            entry
            for entry in self
            if entry.deadline_s is not None and now_s + entry.cost_s > entry.deadline_s and not entry.is_bound
        ]
        if len(late) == self._entries:  # what was measured may be wrong, and the machine has nothing better to do
            late = [entry for entry in late if entry.deadline_s is not None and now_s > entry.deadline_s]
        for entry in late:
            self.remove(entry)
        return late

    def clear(self) -> list[Entry[_T]]:
        """Take out everything that waits."""
        found = list(self)
        for entry in found:
            self.remove(entry)
        return found

    def _wait_s(self, entry: Entry[_T]) -> float:
        """Cost of all that would run before this entry."""
        own = self._lines.get(entry.client)
        start_s = self._start_s(entry)
        wait_s = start_s - max(self._now_s, own.start_s) if own is not None else 0.0
        for line in self._lines.values():
            if line is own or not line.entries:
                continue
            if line.start_s + line.cost_s <= start_s:
                wait_s += line.cost_s
                continue
            at_s = line.start_s
            for _, each in line.entries:
                if at_s > start_s:
                    break
                wait_s += each.cost_s
                at_s += each.cost_s
        return wait_s

    def _made_late(self, entry: Entry[_T], *, now_s: float, busy_s: float) -> list[Entry[_T]]:
        """Entries that would be late because of this one, and whose clients have had clearly more.

        Raises:
            Overloaded: one would be late whose client has not.
        """
        if all(each.deadline_s is None for each in self):
            return []
        own_s = self._start_s(entry)
        behind = sorted(each for each in self._starts() if each[0] > own_s)
        end_s = _CAUTION * (busy_s + self._wait_s(entry) + entry.cost_s) + now_s
        own_cost_s = _CAUTION * entry.cost_s
        may_go: list[tuple[int, Entry[_T]]] = []
        for at_s, number, each in behind:
            if at_s - own_s >= _CLEARLY * entry.cost_s and not each.is_bound:
                may_go.append((number, each))
            end_s += _CAUTION * each.cost_s
            if each.deadline_s is None or not end_s - own_cost_s <= each.deadline_s < end_s:
                continue
            if not may_go:
                raise Overloaded("frames that were taken before would be late", retry_after_s=_retry(entry.cost_s))
            return [max(may_go)[1]]  # has waited least, and leaves room enough for those behind it
        return []

    def _starts(self) -> Iterator[tuple[float, int, Entry[_T]]]:
        """Every entry with its virtual time and its number in order of coming."""
        for line in self._lines.values():
            at_s = line.start_s
            for (_, _, number), entry in line.entries:
                yield at_s, number, entry
                at_s += entry.cost_s

    def _start_s(self, entry: Entry[_T]) -> float:
        """The virtual time that an entry would have."""
        own = self._lines.get(entry.client)
        if own is None:
            return self._now_s
        order = self._order(entry)
        return max(self._now_s, own.start_s) + sum(each.cost_s for at, each in own.entries if at < order)

    def _victim(self, entry: Entry[_T]) -> Entry[_T] | None:
        """What goes for an entry where there is no room: the last of whoever waits for the most; None: the entry."""
        own = self._lines.get(entry.client)
        most_s = entry.cost_s + (own.cost_s if own is not None else 0.0)
        greedy = max((each for each in self._lines.values() if each.entries), key=lambda each: each.cost_s)
        if greedy is own or greedy.cost_s <= most_s:
            return None
        return next((each for _, each in reversed(greedy.entries) if not each.is_bound), None)

    def _take(self, line: _Line[_T], index: int) -> Entry[_T]:
        _, entry = line.entries.pop(index)
        self._now_s = max(self._now_s, line.start_s)
        line.start_s += entry.cost_s
        line.cost_s = line.cost_s - entry.cost_s if line.entries else 0.0
        line.running += 1
        self._entries -= 1
        self._running += 1
        return entry

    def _order(self, entry: Entry[_T]) -> _Order:
        due_s = math.inf if entry.deadline_s is None else entry.deadline_s
        return (not entry.is_bound, due_s, next(self._ids))

    def _forget(self) -> None:
        """Let go of clients that wait for nothing and are not ahead of their time."""
        for line in [
            each
            for each in self._lines.values()
            if not each.entries and not each.running and each.start_s <= self._now_s
        ]:
            del self._lines[line.client]


def _start(line: _Line[_T]) -> float:
    return line.start_s


def _retry(wait_s: float) -> float:
    return max(MIN_RETRY_S, wait_s)
