"""One direction of a link, as arithmetic: when bytes leave, when they arrive, and what becomes of them on the way.

All connections share a lane, as they share a radio. It keeps one number, the time at which it will have sent all it
accepted: bytes read at ``t`` leave at ``max(t, free_at) + n / rate`` and arrive one delay later. Lateness of a timer
therefore never adds up, and pacing is exact on average however small the pieces.

Backlog is bounded like a real modem's: a lane accepts no more than ``QUEUE_S`` of sending time ahead, then stops
reading, and small receive buffers carry that back to the sender. Jitter keeps the order, as TCP does: a piece that was
held up holds up those behind it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from partitioner.errors import UsageError

QUEUE_S = 0.04
_QUANTUM_S = 0.004
_QUANTUM_BYTES = (512, 256 << 10)
_WINDOW_BYTES = (16 << 10, 1 << 20)
_UNSHAPED_BYTES_PER_S = 1e12

Ending = Literal["", "reset", "end"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a link does to traffic; ``up`` is from the relay's clients to its target. The round trip is two delays.

    Each piece is delayed by ``delay_s`` and evenly up to ``jitter_s`` more or less.
    """

    up_bytes_per_s: float = _UNSHAPED_BYTES_PER_S
    down_bytes_per_s: float = _UNSHAPED_BYTES_PER_S
    delay_s: float = 0.0
    jitter_s: float = 0.0

    def __post_init__(self) -> None:
        if not (self.up_bytes_per_s > 0 and self.down_bytes_per_s > 0 and 0 <= self.delay_s < 60):
            raise UsageError("a link needs rates above 0 and a delay of 0 to 60 s")
        if not 0 <= self.jitter_s <= self.delay_s:
            raise UsageError("a link's jitter is from 0 to its delay")


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What a link does wrong in one direction. Bytes are counted over all connections, from when the faults are set.

    ``is_black_hole``: nothing arrives, nothing is said, and what was under way arrives once the hole is gone.
    ``slice_bytes``: every delivery is of so many bytes, from least to most. ``cut_after_bytes`` resets the connection
    that carries that byte, once; ``end_after_bytes`` ends it as if it had said all. ``flip_bit`` turns bit ``n % 8`` of
    byte ``n // 8``, once. ``read_bytes_per_s`` is how fast the link takes bytes from each connection.
    """

    is_black_hole: bool = False
    slice_bytes: tuple[int, int] | None = None
    cut_after_bytes: int | None = None
    end_after_bytes: int | None = None
    flip_bit: int | None = None
    read_bytes_per_s: float = math.inf

    def __post_init__(self) -> None:
        counts = (self.cut_after_bytes, self.end_after_bytes, self.flip_bit)
        if any(count is not None and count < 0 for count in counts):
            raise UsageError("a fault's place is a count from 0")
        if self.slice_bytes is not None and not 1 <= self.slice_bytes[0] <= self.slice_bytes[1]:
            raise UsageError("slices are of at least 1 byte, from least to most")
        if not self.read_bytes_per_s > 0:
            raise UsageError("a slow reader reads faster than 0; a black hole reads nothing")


NO_FAULTS = Faults()


class Lane:
    """One direction: hands out times, and spoils what passes."""

    def __init__(self, rate_bytes_per_s: float, *, delay_s: float, jitter_s: float, random: random.Random) -> None:
        self.rate_bytes_per_s = rate_bytes_per_s
        self.free_at = 0.0
        self.faults = NO_FAULTS
        self.carried_bytes = 0
        self._delay_s, self._jitter_s = delay_s, jitter_s
        self._random = random
        self._since_bytes = 0
        self._is_flipped = self._is_cut = False

    @property
    def quantum_bytes(self) -> int:
        """How much to read at once: a few milliseconds of sending time."""
        return _clamp(min(self.rate_bytes_per_s, self.faults.read_bytes_per_s) * _QUANTUM_S, _QUANTUM_BYTES)

    @property
    def window_bytes(self) -> int:
        """Size of a receive buffer that holds a queue's worth, so that the kernel hides little backlog."""
        return _clamp(min(self.rate_bytes_per_s, self.faults.read_bytes_per_s) * QUEUE_S / 2, _WINDOW_BYTES)

    def send(self, size_bytes: int, now: float) -> float:
        """Accept bytes at ``now``; the time at which the last of them has arrived, were nothing ahead of them late."""
        self.free_at = max(now, self.free_at) + size_bytes / self.rate_bytes_per_s
        return self.free_at + self._delay_s + self._random.uniform(-self._jitter_s, self._jitter_s)

    def reshape(self, rate_bytes_per_s: float, *, delay_s: float, jitter_s: float, now: float) -> None:
        """Change the lane; what is accepted but not yet sent takes its time at the new rate."""
        backlog_bytes = max(0.0, self.free_at - now) * self.rate_bytes_per_s
        self.rate_bytes_per_s = rate_bytes_per_s
        self.free_at = now + backlog_bytes / rate_bytes_per_s
        self._delay_s, self._jitter_s = delay_s, jitter_s

    def spoil(self, faults: Faults) -> None:
        """Do these things wrong from now on, and no others."""
        self.faults = faults
        self._since_bytes = 0
        self._is_flipped, self._is_cut = faults.flip_bit is None, False

    def deliver(self, data: bytes) -> tuple[bytes, Ending]:
        """What arrives of a piece, and how its connection ends with it, if it does."""
        start, self._since_bytes = self._since_bytes, self._since_bytes + len(data)
        flip_bit = self.faults.flip_bit
        if not self._is_flipped and flip_bit is not None and flip_bit // 8 < self._since_bytes:
            spoilt = bytearray(data)
            spoilt[flip_bit // 8 - start] ^= 1 << flip_bit % 8
            self._is_flipped, data = True, bytes(spoilt)
        ending: Ending = ""
        for kind, after in (("reset", self.faults.cut_after_bytes), ("end", self.faults.end_after_bytes)):
            if not self._is_cut and after is not None and after < self._since_bytes:
                self._is_cut, data = True, data[: after - start]
                ending = "reset" if kind == "reset" else "end"
        self.carried_bytes += len(data)
        return data, ending

    def slices(self, data: bytes) -> Iterator[bytes]:
        """A piece as it is handed over: whole, or in slices."""
        if self.faults.slice_bytes is None:
            yield data
            return
        at = 0
        while at < len(data):
            size = self._random.randint(*self.faults.slice_bytes)
            yield data[at : at + size]
            at += size


def _clamp(value: float, bounds: tuple[int, int]) -> int:
    return int(min(max(value, bounds[0]), bounds[1]))
