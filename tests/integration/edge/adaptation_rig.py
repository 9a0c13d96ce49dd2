"""A session over a relay that is shaped as a trace says, on a slow device whose slowness is steady.

An emulated device stretches what its steps take, and so would stretch what else this machine does at the moment: here
a step takes so many times the processor time of its thread, however long that had to wait for a core.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edge.answer import Answer
from edge.clock import DeviceClock, Step
from edge.session import Session
from edge.simulate.trace import Trace
from edge.turnstile import NotWanted, Until
from partitioner.link import BYTES_PER_MBIT, Link
from partitioner.planner import Planner
from partitioner.relay import NO_FAULTS, Faults, Relay, Shape
from partitioner.runtimes import Array
from partitioner.segments import LOCAL

DELAY_S = 0.005
RIGHT = 1.3
"""A plan is right where the profiles say that it takes at most so many times as long as the best one."""
_HOLE = Faults(is_black_hole=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class SteadyClock(DeviceClock):
    """Stretches processor time."""

    @contextmanager
    def step(self, until: Until | None = None) -> Iterator[Step]:
        """As ``DeviceClock``."""
        step = Step()
        begun_s, worked_s = time.perf_counter(), time.thread_time()
        yield step
        ends_s = begun_s + self.slowdown * (time.thread_time() - worked_s)
        if until is not None and until.wait(max(0.0, ends_s - time.perf_counter())) and until.is_answered:
            raise NotWanted
        time.sleep(max(0.0, ends_s - time.perf_counter()))
        step.seconds = time.perf_counter() - begun_s


def shape(mbit: float, *, delay_s: float = DELAY_S, jitter_s: float = 0.0) -> Shape:
    rate = mbit * BYTES_PER_MBIT
    return Shape(up_bytes_per_s=rate, down_bytes_per_s=2 * rate, delay_s=delay_s, jitter_s=jitter_s)


def link(mbit: float, *, delay_s: float = DELAY_S) -> Link:
    """What that shape is."""
    return Link.from_mbit(mbit, 2 * mbit, 2e3 * delay_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """A session over a relay, and what its profiles say."""

    session: Session
    relay: Relay
    planner: Planner
    given: dict[str, Array]

    def ask(self, *, deadline_s: float | None = None) -> Answer:
        return self.session(self.given, deadline_s=deadline_s)

    def ask_for(self, seconds: float, *, deadline_s: float | None = None) -> list[Answer]:
        until_s = time.monotonic() + seconds
        found = []
        while time.monotonic() < until_s:
            found.append(self.ask(deadline_s=deadline_s))
        return found

    def ask_until(self, cuts: set[str], *, most_s: float, deadline_s: float) -> list[Answer]:
        """Ask until one of these cuts was used for three answers in a row, but not for ever."""
        until_s = time.monotonic() + most_s
        found: list[Answer] = []
        while time.monotonic() < until_s and not (len(found) > 2 and all(each.cut in cuts for each in found[-3:])):
            found.append(self.ask(deadline_s=deadline_s))
        return found

    def right_cuts(self, mbit: float) -> set[str]:
        """The cuts that are as good as any at a rate."""
        prices_s = self.planner.frozen.price(link(mbit))
        best_s = prices_s.min()
        candidates = self.planner.frozen.candidates
        return {each.cut for each, price_s in zip(candidates, prices_s, strict=True) if price_s <= RIGHT * best_s}

    def alone_s(self) -> float:
        """What the device takes for all of it, tried now: a profile may have been measured while others computed."""
        local = self.session.ready(self.given, cut=LOCAL)
        return min(self.session.answer(self.given, local).times.total_s for _ in range(2))


class Clock:
    """The time since a trace began."""

    def __init__(self) -> None:
        self._begun_s = time.monotonic()
        self._never = threading.Event()

    @property
    def now_s(self) -> float:
        return time.monotonic() - self._begun_s

    def wait_until(self, when_s: float) -> None:
        self._never.wait(max(0.0, when_s - self.now_s))


@contextmanager
def driven(relay: Relay, trace: Trace) -> Iterator[Clock]:
    """Shape the relay as a trace says, from now on and as long as the body runs; without a rate nothing passes."""
    over = threading.Event()
    clock = Clock()

    def be(at_s: float) -> None:
        mbit = trace.up.at(at_s) / BYTES_PER_MBIT
        hole = NO_FAULTS if mbit else _HOLE
        relay.spoil(up=hole, down=hole)
        if mbit:
            relay.reshape(shape(mbit, delay_s=trace.delay_s.at(at_s)))

    def drive() -> None:
        bounds_s = sorted({*trace.up.starts_s, *trace.delay_s.starts_s})
        rounds = 0
        while True:
            for start_s in bounds_s:
                at_s = rounds * trace.length_s + start_s
                if over.wait(max(0.0, at_s - clock.now_s)):
                    return
                be(at_s + 1e-6)
            rounds += 1
            if over.wait(max(0.0, rounds * trace.length_s - clock.now_s)):
                return

    be(0.0)
    thread = threading.Thread(target=drive)
    thread.start()
    try:
        yield clock
    finally:
        over.set()
        thread.join()
        relay.spoil()
