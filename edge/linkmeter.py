"""Measures a link in a bounded time: round trip from tiny probes, goodput each way from trains of growing probes.

A train is several probes sent without waiting. Its echoes arrive spread out by the slowest hop, so the bytes after
the first echo, divided by the time between the first echo and the last, is the goodput with the round trip already
taken out (packet dispersion; Dovrolis et al., "What do packet dispersion techniques measure?", INFOCOM 2001). Trains
grow fourfold until one fills what is left of the time or of the bytes, so 0.13 Mbit/s and loopback are measured by
the same few lines: the last train weighs most because bursts and slow start spoil the first. Payload bytes are
counted, so framing is part of what the link costs.

The round trip is that of a lone message after a pause, as a frame is one: threads that have long been waiting wake
later and run colder than those that served the last probe a moment ago (on two cores 0.8 ms against 0.3 ms, which is
also what a frame pays).

No clock and no socket here: a ``Prober`` sends and stamps.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from partitioner.link import Link

RTT_PROBES = 9
RTT_SHARE = 0.15
RTT_PAUSE_S = 0.025
FIRST_TRAIN_BYTES = 4 * 1024
TRAIN_PROBES = 16
GROWTH = 4
FILL = 0.8
"""Share of the time left that the next train is sized for."""
GRACE_S = 3.0
"""How long an echo may be overdue before the train is taken as it is."""
FIRST_S = 8.0
"""How long the echo of a tiny probe may take: longer than any round trip worth splitting over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Echo:
    """The answer to one probe: when it came, and the payload bytes that went up and came down."""

    sent_s: float
    arrived_s: float
    up_bytes: int
    down_bytes: int


class Prober(Protocol):
    """Sends probes over the link to be measured."""

    def probe(self, *, up_bytes: int, reply_bytes: int) -> Callable[[float], Echo | None]:
        """Send one probe; the result waits for its echo, at most as many seconds as it is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goodput:
    """Payload bytes per second one way; ``spread`` is the interquartile range over the median within the last train."""

    bytes_per_s: float
    spread: float


class LinkSilent(Exception):
    """No echo came back in time."""


def measure(
    prober: Prober,
    *,
    now: Callable[[], float],
    sleep: Callable[[float], None],
    budget_s: float,
    max_bytes: int,
    max_probe_bytes: int,
) -> Link:
    """Measure round trip, then up, then down, in about ``budget_s`` seconds and at most ``max_bytes`` each way.

    Raises:
        LinkSilent: echoes stayed away.
    """
    start_s = now()
    rtts = _round_trips(prober, now=now, sleep=sleep, until_s=start_s + RTT_SHARE * budget_s)
    rtt_s = statistics.median(rtts)
    half_s = max(rtt_s, (start_s + budget_s - now()) / 2)
    both = [
        _goodput(
            prober,
            now=now,
            until_s=now() + half_s,
            is_up=is_up,
            rtt_s=rtt_s,
            max_bytes=max_bytes,
            max_probe_bytes=max_probe_bytes,
        )
        for is_up in (True, False)
    ]
    return Link(
        name="measured",
        up_bytes_per_s=both[0].bytes_per_s,
        down_bytes_per_s=both[1].bytes_per_s,
        rtt_s=rtt_s,
        up_spread=both[0].spread,
        down_spread=both[1].spread,
        rtt_spread=_spread(rtts),
    )


def _round_trips(
    prober: Prober, *, now: Callable[[], float], sleep: Callable[[float], None], until_s: float
) -> list[float]:
    rtts: list[float] = []
    while len(rtts) <= RTT_PROBES and (len(rtts) <= 2 or now() < until_s):
        sleep(RTT_PAUSE_S)
        echo = prober.probe(up_bytes=0, reply_bytes=0)(FIRST_S)
        if echo is None:
            raise LinkSilent("no answer to a probe")
        rtts.append(echo.arrived_s - echo.sent_s)
    return rtts[1:]


def _goodput(
    prober: Prober,
    *,
    now: Callable[[], float],
    until_s: float,
    is_up: bool,
    rtt_s: float,
    max_bytes: int,
    max_probe_bytes: int,
) -> Goodput:
    train_bytes, sent_bytes = FIRST_TRAIN_BYTES, 0
    while True:
        echoes = _train(prober, train_bytes, now=now, until_s=until_s, is_up=is_up)
        sent_bytes += train_bytes
        rate = _rate(echoes, is_up=is_up)
        left_s = until_s - now() - rtt_s
        fits_bytes = min(int(left_s * FILL * rate), max_bytes - sent_bytes, TRAIN_PROBES * max_probe_bytes)
        next_bytes = min(GROWTH * train_bytes, fits_bytes)
        if next_bytes < 2 * train_bytes:
            return Goodput(bytes_per_s=rate, spread=_train_spread(echoes, is_up=is_up))
        train_bytes = next_bytes


def _train(prober: Prober, train_bytes: int, *, now: Callable[[], float], until_s: float, is_up: bool) -> list[Echo]:
    size = max(1, train_bytes // TRAIN_PROBES)
    waiting = [
        prober.probe(up_bytes=size if is_up else 0, reply_bytes=0 if is_up else size) for _ in range(TRAIN_PROBES)
    ]
    echoes = []
    for wait in waiting:
        echo = wait(max(0.0, until_s - now()) + GRACE_S)
        if echo is None:
            break
        echoes.append(echo)
    if len(echoes) < 2:
        raise LinkSilent("no answer to a train of probes")
    return echoes


def _rate(echoes: Sequence[Echo], *, is_up: bool) -> float:
    moved_bytes = sum(echo.up_bytes if is_up else echo.down_bytes for echo in echoes[1:])
    took_s = echoes[-1].arrived_s - echoes[0].arrived_s
    return moved_bytes / max(took_s, 1e-6)


def _train_spread(echoes: Sequence[Echo], *, is_up: bool) -> float:
    quarter = max(1, (len(echoes) - 1) // 4)
    parts = [echoes[i : i + quarter + 1] for i in range(0, len(echoes) - 1, quarter)]
    return _spread([_rate(part, is_up=is_up) for part in parts if len(part) > 1])


def _spread(samples: Sequence[float]) -> float:
    """Interquartile range over the median."""
    if len(samples) < 2:
        return 0.0
    low, middle, high = statistics.quantiles(samples, n=4, method="inclusive")
    return (high - low) / middle if middle > 0 else 0.0
