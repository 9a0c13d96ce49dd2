"""A wire in simulated time: a queue of given rates and delays that drives the real pacer and whatever observes it."""

from __future__ import annotations

import math
import random
from bisect import bisect_right

from edge.bandwidth import LinkObserver
from protos.chunks import Pacer

MBIT = 125_000.0
TICK_S = 0.05


class Wire:
    """Chunks go up one after the other at ``steps`` of (from second, Mbit/s), acknowledgements take the delay back."""

    def __init__(
        self,
        steps: list[tuple[float, float]],
        observer: LinkObserver,
        *,
        rtt_s: float = 0.02,
        jitter_s: float = 0.0,
        noise: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.steps = steps
        self.observer = observer
        self.rtt_s, self.jitter_s, self.noise = rtt_s, jitter_s, noise
        self.random = random.Random(seed)
        self.pacer = Pacer()
        self.now_s = 0.0
        self.free_s = 0.0
        self.acked_s = 0.0
        self.frames = 0

    def mbit(self, at_s: float) -> float:
        return self.steps[max(0, bisect_right([start_s for start_s, _ in self.steps], at_s) - 1)][1]

    def _leaves_s(self, size_bytes: int) -> float:
        at_s, left = max(self.free_s, self.now_s), size_bytes * self.random.uniform(1 - self.noise, 1 + self.noise)
        ends = [*(start_s for start_s, _ in self.steps[1:]), math.inf]
        while True:
            rate = self.mbit(at_s) * MBIT
            end_s = next(each for each in ends if each > at_s)
            if rate > 0 and at_s + left / rate <= end_s:
                return at_s + left / rate
            left -= rate * (end_s - at_s)
            at_s = end_s

    def _acked_s(self, size_bytes: int) -> float:
        self.free_s = self._leaves_s(size_bytes)
        delay_s = max(0.0, self.rtt_s + self.random.uniform(-self.jitter_s, self.jitter_s))
        self.acked_s = max(self.acked_s, self.free_s + delay_s)
        return self.acked_s

    def frame(self, size_bytes: int, *, patience_s: float = math.inf) -> float:
        """Send a frame; returns how long it took until all was acknowledged, or was given up."""
        begun_s = moved_s = self.now_s
        self.frames += 1
        sent, acks = 0, []
        while sent < size_bytes or acks:
            while sent < size_bytes and (room := self.pacer.room_bytes()):
                size = min(room, size_bytes - sent)
                sent += size
                self.pacer.sent(self.frames, sent, size, self.now_s)
                acks.append((self._acked_s(size), sent))
            due_s, end = acks[0]
            if min(due_s, self.now_s + TICK_S) > begun_s + patience_s:
                self.pacer.forget(self.frames)
                break
            if due_s > self.now_s + TICK_S:
                self.now_s += TICK_S
                self.observer.waiting(self.pacer.unacked_bytes, self.now_s - moved_s, self.now_s)
                continue
            self.now_s = moved_s = due_s
            acks.pop(0)
            delivery = self.pacer.acked(self.frames, end, self.now_s)
            if delivery is not None:
                self.observer.delivered(delivery)
        return self.now_s - begun_s

    def frames_until(self, until_s: float, size_bytes: int, *, every_s: float = 0.1) -> None:
        """Send frames of one size, one every so often."""
        while self.now_s < until_s:
            begun_s = self.now_s
            self.frame(size_bytes)
            self.now_s = max(self.now_s, begun_s + every_s)

    def echo(self) -> None:
        """A tiny message that is answered at once."""
        begun_s = self.now_s
        self.now_s = self._acked_s(0)
        self.observer.echoed(self.now_s - begun_s, self.now_s)

    def probe(self, size_bytes: int = 16 * 1024, pieces: int = 4) -> None:
        """A tiny message and a train of larger ones, as ``edge.probing`` sends them."""
        self.echo()
        prober = Pacer()
        sent_s, acks = self.now_s, []
        for piece in range(1, pieces + 1):
            prober.sent(0, piece * size_bytes // pieces, size_bytes // pieces, sent_s)
            acks.append((self._acked_s(size_bytes // pieces), piece * size_bytes // pieces))
        for self.now_s, end in acks:
            delivery = prober.acked(0, end, self.now_s)
            if delivery is not None:
                self.observer.delivered(delivery)
