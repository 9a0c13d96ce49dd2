"""What a session counts: everything that is answered, dropped, retried, refused or finished on the device.

Every counter is declared here and only ever grows, so that a rate is the difference of two snapshots and a name that is
mistyped fails where it is written. Adding takes a lock for about half a microsecond.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import MappingProxyType

COUNTERS: Mapping[str, str] = MappingProxyType(
    {
        "offered": "requests given to the session",
        "answered": "requests answered, wherever they were computed",
        "failed": "requests that ended in an error",
        "dropped": "requests dropped from a full queue for newer ones",
        "withdrawn": "requests taken back by whoever gave them",
        "finished_here": "requests that the worker was to finish and this device did",
        "late": "requests answered after their deadline",
        "resent": "frames sent again: to another worker, on a new session, or after bytes arrived corrupt",
        "failed_over": "frames sent again to another worker than the first",
        "refused": "frames that a worker refused",
        "hedged": "frames whose finish was begun here while they were still in flight",
        "cancelled": "frames withdrawn in flight",
        "switches": "changes of the plan",
        "probes": "probes sent while the link was too slow to be used",
        "dials": "attempts to open a session with a worker",
        "losses": "sessions with a worker that broke",
        "breakers_opened": "times that a worker was left alone for its failures",
        "proposals": "plans that a worker was asked to make ready",
    }
)
"""Name of every counter, and what it counts."""


class Counters:
    """The counters of one session. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(COUNTERS, 0)

    def add(self, **more: int) -> None:
        """Count so many more of each.

        Raises:
            KeyError: no such counter is declared.
        """
        with self._lock:
            for name, count in more.items():
                self._counts[name] += count

    def snapshot(self) -> dict[str, int]:
        """Every counter at one moment, in the order in which they are declared."""
        with self._lock:
            return dict(self._counts)
