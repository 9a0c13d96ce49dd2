"""Probes at a steady rate one way, so that a radio may be watched at that rate; no clock and no socket here.

A probe carries what the rate sends in a few hundredths of a second, up to what the worker takes at once. Where the link
does not carry the rate, probes wait for their echoes: no more than a second's worth is ever under way, and what really
moved is counted. Its rate is that of the bytes after the first echo, up to the last: counted over the whole time, one
echo more or less at either end would be a twentieth of a short run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
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
    """Payload that arrived within a time, and how fast it arrived."""

    up_bytes: int
    down_bytes: int
    up_bytes_per_s: float
    down_bytes_per_s: float
    took_s: float

    @staticmethod
    def by(echoes: Sequence[Echo], took_s: float) -> Moved:
        """What these echoes say."""
        up_bytes, down_bytes = (sum(each) for each in _sizes(echoes))
        counted, span_s = (
            (echoes[1:], echoes[-1].arrived_s - echoes[0].arrived_s) if len(echoes) > 2 else (echoes, took_s)
        )
        up, down = (sum(each) / max(span_s, 1e-6) for each in _sizes(counted))
        return Moved(up_bytes=up_bytes, down_bytes=down_bytes, up_bytes_per_s=up, down_bytes_per_s=down, took_s=took_s)


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
        self._due_s = now()

    def run(self, seconds: float) -> Moved:
        """Go on for so long; echoes count in the run in which they arrive.

        Raises:
            LinkSilent: echoes stay away.
        """
        begin_s = self._now()
        echoes: list[Echo] = []
        while (now_s := self._now()) < begin_s + seconds:
            echoes += self._arrived(now_s)
            if now_s >= self._due_s and len(self._under_way) < self._most:
                self._send(now_s)
            until_s = min(begin_s + seconds, max(self._due_s, now_s + TICK_S / 4))
            self._sleep(min(max(0.0, until_s - self._now()), _LONGEST_SLEEP_S))
        end_s = self._now()
        echoes += self._arrived(end_s)
        return Moved.by([echo for echo in echoes if echo.arrived_s >= begin_s], end_s - begin_s)

    def drain(self) -> None:
        """Wait until nothing is under way.

        Raises:
            LinkSilent: an echo stays away.
        """
        while self._under_way:
            _, wait = self._under_way.popleft()
            if wait(FIRST_S) is None:
                raise LinkSilent("no answer to a probe")

    def _send(self, now_s: float) -> None:
        up_bytes, reply_bytes = (self._size, 0) if self._is_up else (0, self._size)
        self._under_way.append((now_s, self._prober.probe(up_bytes=up_bytes, reply_bytes=reply_bytes)))
        self._due_s = max(self._due_s, now_s - UNDER_WAY_S) + self._size / self._rate

    def _arrived(self, now_s: float) -> list[Echo]:
        echoes = []
        while self._under_way:
            sent_s, wait = self._under_way[0]
            if (echo := wait(0.0)) is None:
                if now_s - sent_s > FIRST_S:
                    raise LinkSilent("no answer to a probe")
                break
            self._under_way.popleft()
            echoes.append(echo)
        return echoes


def _sizes(echoes: Sequence[Echo]) -> Iterator[list[int]]:
    """Bytes up and bytes down."""
    yield [echo.up_bytes for echo in echoes]
    yield [echo.down_bytes for echo in echoes]
