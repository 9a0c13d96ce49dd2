"""Who kept the compute thread busy: exponential averages of its recent time, in total and by client.

A run of d seconds that ends now has a weight of 1 - exp(-d / T) in an average with the time constant T, and fades with
exp(-t / T). A run of several clients' frames counts to each in equal parts. A client whose share has faded is
forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

_TIME_CONSTANT_S = 5.0
_FADED = 1e-4
_MOST_CLIENTS = 1024


class Shares:
    """Busy shares of one thread. Not thread-safe; ``now_s`` never goes back."""

    def __init__(self, now_s: float) -> None:
        self._noted_s = self._begun_s = now_s
        self._total = 0.0
        self._by_client: dict[Hashable, tuple[float, float]] = {}
        self._running: tuple[Hashable, ...] = ()
        self._forget_at = _MOST_CLIENTS

    def begin(self, clients: Sequence[Hashable], now_s: float) -> None:
        """A run for these clients begins; none: it is no load."""
        self._total = self._faded(self._total, self._noted_s, now_s)
        self._noted_s = self._begun_s = now_s
        self._running = tuple(clients)

    def end(self, now_s: float) -> None:
        """The run is over."""
        self._total = self.busy_ratio(now_s)
        self._noted_s = now_s
        gain = self._gain(now_s)
        for client in self._running:
            share, at_s = self._by_client.get(client, (0.0, now_s))
            self._by_client[client] = (self._faded(share, at_s, now_s) + gain / len(self._running), now_s)
        self._running = ()
        if len(self._by_client) > self._forget_at:
            self._forget(now_s)

    def busy_ratio(self, now_s: float) -> float:
        """Share of recent time that the thread was busy, 0 to 1."""
        return min(1.0, self._faded(self._total, self._noted_s, now_s) + self._gain(now_s))

    def busy_ratio_of(self, client: Hashable, now_s: float) -> float:
        """Share of recent time that it was busy for a client, 0 to 1."""
        share, at_s = self._by_client.get(client, (0.0, now_s))
        own = self._running.count(client) / len(self._running) if self._running else 0.0
        return min(1.0, self._faded(share, at_s, now_s) + own * self._gain(now_s))

    def _gain(self, now_s: float) -> float:
        return 1.0 - math.exp((self._begun_s - now_s) / _TIME_CONSTANT_S) if self._running else 0.0

    def _faded(self, share: float, at_s: float, now_s: float) -> float:
        return share * math.exp((at_s - now_s) / _TIME_CONSTANT_S)

    def _forget(self, now_s: float) -> None:
        self._by_client = {
            client: (share, at_s)
            for client, (share, at_s) in self._by_client.items()
            if self._faded(share, at_s, now_s) > _FADED
        }
        self._forget_at = max(_MOST_CLIENTS, 2 * len(self._by_client))
