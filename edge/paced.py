"""Probes at a steady rate one way, so that a radio may be watched at that rate; no clock and no socket here.

A probe carries what the rate sends in a few hundredths of a second, up to what the worker takes at once. Where the link
does not carry the rate, probes wait for their echoes: no more than a second's worth is ever under way, and what really
moved is counted. What an echo acknowledges moved evenly since the echo before, so that the rate of a run is that of
just the time over which power is read, whenever its first and last echo came.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from edge.linkmeter import FIRST_S, Echo, LinkSilent, Prober

TICK_S = 0.02
LEAST_BYTES = 256
MOST_BYTES = 256 * 1024
UNDER_WAY_S = 1.0
MOST_UNDER_WAY = 128
"""Fewer than a session remembers."""
_LONGEST_SLEEP_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Payload that arrived within a time."""

    up_bytes: int
    down_bytes: int
    begin_s: float
    end_s: float

    @property
    def took_s(self) -> float:
        """How long that was."""
        return self.end_s - self.begin_s


class Paced:
    """One rate, one way."""

    def __init__(
        self,
        prober: Prober,
        bytes_per_s: float,
        *,
        is_up: bool,
        now: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._prober = prober
        self._rate = bytes_per_s
        self._is_up = is_up
        self._now, self._sleep = now, sleep
        self._size = int(min(max(bytes_per_s * TICK_S, LEAST_BYTES), MOST_BYTES))
        self._most = int(min(max(2, UNDER_WAY_S * bytes_per_s / self._size), MOST_UNDER_WAY))
        self._under_way: deque[tuple[float, Callable[[float], Echo | None]]] = deque()
        self._echoes: list[Echo] = []
        self._due_s = now()

    def run(self, seconds: float) -> Moved:
        """Go on for so long; echoes count in the run in which they arrive.

        Raises:
            LinkSilent: echoes stay away.
        """
        begin_s = self._now()
        while (now_s := self._now()) < begin_s + seconds:
            self._take_arrived(now_s)
            if now_s >= self._due_s and len(self._under_way) < self._most:
                self._send(now_s)
            until_s = min(begin_s + seconds, max(self._due_s, now_s + TICK_S / 4))
            self._sleep(min(max(0.0, until_s - self._now()), _LONGEST_SLEEP_S))
        end_s = self._now()
        self._take_arrived(end_s)
        arrived = [echo for echo in self._echoes if begin_s <= echo.arrived_s]
        return Moved(
            up_bytes=sum(echo.up_bytes for echo in arrived),
            down_bytes=sum(echo.down_bytes for echo in arrived),
            begin_s=begin_s,
            end_s=end_s,
        )

    def drain(self) -> None:
        """Send one more, in its turn, and wait until nothing is under way.

        Raises:
            LinkSilent: an echo stays away.
        """
        self._sleep(max(0.0, self._due_s - self._now()))
        self._send(self._now())
        while self._under_way:
            _, wait = self._under_way.popleft()
            if (echo := wait(FIRST_S)) is None:
                raise LinkSilent("no answer to a probe")
            self._echoes.append(echo)

    def rates(self, moved: Moved) -> tuple[float, float]:
        """Bytes per second up and down from the begin to the end of a run; to be asked when all is drained."""
        up_bytes = down_bytes = 0.0
        before_s = self._echoes[0].sent_s
        for echo in self._echoes:
            within_s = min(moved.end_s, echo.arrived_s) - max(moved.begin_s, before_s)
            share = max(0.0, within_s) / max(echo.arrived_s - before_s, 1e-6)
            up_bytes, down_bytes = up_bytes + share * echo.up_bytes, down_bytes + share * echo.down_bytes
            before_s = max(before_s, echo.arrived_s)
        return up_bytes / moved.took_s, down_bytes / moved.took_s

    def _send(self, now_s: float) -> None:
        up_bytes, reply_bytes = (self._size, 0) if self._is_up else (0, self._size)
        self._under_way.append((now_s, self._prober.probe(up_bytes=up_bytes, reply_bytes=reply_bytes)))
        self._due_s = max(self._due_s, now_s - UNDER_WAY_S) + self._size / self._rate

    def _take_arrived(self, now_s: float) -> None:
        while self._under_way:
            sent_s, wait = self._under_way[0]
            if (echo := wait(0.0)) is None:
                if now_s - sent_s > FIRST_S:
                    raise LinkSilent("no answer to a probe")
                return
            self._under_way.popleft()
            self._echoes.append(echo)
