"""Watches the device's power while bytes move at steady rates over the real link, and while none do.

    rest, with no session -> rates up and down in shuffled order, several passes -> rest, with no session

There is no session in the rests because its heartbeats would wake the radio again and again; before the first, one is
opened and closed to see that the worker takes us. A lone dial of TCP after each rest, and a few while the radio is
awake, tell how long it takes to wake up. A step is not read before the meter
has had time to follow. Everything that the device does while it moves bytes is in these figures: its processor's share
too, as it is when frames are sent.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from edge.client import Client
from edge.errors import NotCalibrated, WorkerLost, WorkerUnreachable
from edge.linkmeter import LinkSilent
from edge.paced import Paced
from edge.radiofit import Answer, Observed, Step, Trace
from edge.reach import split_target
from partitioner.energy import Scope
from partitioner.link import BYTES_PER_MBIT, Link
from partitioner.meters import Meter
from partitioner.meters.sampling import Sampler, check_alive, power_between

STEP_PERIODS = 20
WARM_SHARE = 0.25
"""Of a step, before it is read: at least two periods of the meter."""
SHARES = (0.15, 0.4, 0.65, 0.9)
"""Of what the link carries: the rates where none are given."""
BLIND: tuple[Scope, ...] = ("package", "accelerator")
"""What meters cover that do not see a radio."""
WARM_DIALS = 5
DIAL_S = 10.0
LINK_S = 2.0
_LOOK_S = 0.2

Progress = Callable[[float, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What is to be watched: how long, and at which rates; without any, those are shares of what the link carries."""

    idle_s: float = 15.0
    step_s: float = 4.0
    passes: int = 2
    up_mbit: tuple[float, ...] = ()
    down_mbit: tuple[float, ...] = ()
    most_mbit: float = 100.0

    @property
    def rates(self) -> int:
        """How many rates there are, both ways."""
        return sum(len(each) or len(SHARES) for each in (self.up_mbit, self.down_mbit))

    def seconds(self, period_s: float) -> float:
        """About how long it takes with a meter of this period."""
        return 2 * self.idle_s + LINK_S + self.passes * self.rates * self._whole_step_s(period_s)

    def read_s(self, period_s: float) -> float:
        """How long a step is read."""
        return max(self.step_s, STEP_PERIODS * period_s)

    def warm_s(self, period_s: float) -> float:
        """How long it goes on before."""
        return max(WARM_SHARE * self.step_s, 2 * period_s)

    def _whole_step_s(self, period_s: float) -> float:
        return self.warm_s(period_s) + self.read_s(period_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What was seen, what moved in all, and the link where it was measured."""

    observed: Observed
    moved_bytes: int
    link: Link | None


def watch(
    target: str,
    meter: Meter,
    course: Course,
    *,
    dial: Callable[[], Client],
    on_progress: Progress = lambda seconds, what_now: None,
) -> Watched:
    """Go through the whole course; takes ``course.seconds``.

    Args:
        target: ``host:port`` of the worker.
        meter: stays the caller's, to be closed by him.
        course: what is to be watched.
        dial: opens a session with the worker.
        on_progress: is told how many more seconds have gone, and what is being watched.

    Raises:
        MeterError: the meter cannot be read, is stuck, or tells what cannot be.
        EdgeError: the worker cannot be reached, or was lost.
    """
    dial().close()
    with Sampler(meter) as sampler:
        return _Watch(target, meter, sampler, course, dial, on_progress).run()


class _Watch:
    def __init__(
        self,
        target: str,
        meter: Meter,
        sampler: Sampler,
        course: Course,
        dial: Callable[[], Client],
        on_progress: Progress,
    ) -> None:
        self._target = target
        self._meter = meter
        self._sampler = sampler
        self._course = course
        self._dial = dial
        self._on_progress = on_progress
        self._moved_bytes = 0

    def run(self) -> Watched:
        begun_s, rested_s = self._rest("at rest")
        dials = [self._dialled()]
        with self._dial() as client:
            link = self._measured(client)
            steps = self._steps(client, link)
            warm = [self._dialled() for _ in range(WARM_DIALS)]
        left_s, ended_s = self._rest("after the last byte")
        dials.append(self._dialled())
        readings = self._sampler.readings()
        check_alive(readings, self._meter.info)
        idle_w = power_between(readings, begun_s, rested_s)
        observed = Observed(
            meter=self._meter.info,
            before=Trace.of(readings, begun_s, rested_s),
            steps=tuple(
                Step(up_mbit=up, down_mbit=down, power_w=power_between(readings, begin_s, end_s))
                for up, down, begin_s, end_s in steps
            ),
            after=Trace.of(readings, left_s, ended_s),
            cold=tuple(self._answer(begin_s, end_s, idle_w) for begin_s, end_s in dials),
            warm=tuple(Answer(took_s=end_s - begin_s) for begin_s, end_s in warm),
        )
        return Watched(observed=observed, moved_bytes=self._moved_bytes, link=link)

    def _rest(self, what_now: str) -> tuple[float, float]:
        """Let the radio fall asleep; the times at which that began and ended."""
        begin_s = self._sampler.mark()
        left_s = self._course.idle_s
        while left_s > 0:
            part_s = min(_LOOK_S, left_s)
            time.sleep(part_s)
            self._sampler.readings()
            self._on_progress(part_s, what_now)
            left_s -= part_s
        return begin_s, self._sampler.mark()

    def _measured(self, client: Client) -> Link | None:
        if self._course.up_mbit and self._course.down_mbit:
            return None
        link = client.measure_link(budget_s=LINK_S)
        self._on_progress(LINK_S, "the link")
        return link

    def _steps(self, client: Client, link: Link | None) -> list[tuple[float, float, float, float]]:
        """Megabits per second up and down, and when each step began and ended."""
        steps = []
        for number in range(self._course.passes):
            rates = [(rate, is_up) for is_up in (True, False) for rate in self._rates(link, is_up=is_up)]
            random.Random(number).shuffle(rates)
            for rate, is_up in rates:
                steps.append(self._step(client, rate, is_up=is_up))
        return steps

    def _rates(self, link: Link | None, *, is_up: bool) -> tuple[float, ...]:
        given = self._course.up_mbit if is_up else self._course.down_mbit
        if given:
            return given
        assert link is not None
        carried = link.up_mbit if is_up else link.down_mbit
        return tuple(share * min(carried, self._course.most_mbit) for share in SHARES)

    def _step(self, client: Client, mbit: float, *, is_up: bool) -> tuple[float, float, float, float]:
        period_s = self._meter.info.period_s
        paced = Paced(client, mbit * BYTES_PER_MBIT, is_up=is_up, now=time.monotonic, sleep=time.sleep)
        try:
            warmed = paced.run(self._course.warm_s(period_s))
            begin_s = self._sampler.mark()
            moved = paced.run(self._course.read_s(period_s))
            end_s = self._sampler.mark()
            paced.drain()
        except LinkSilent as error:
            raise WorkerLost(self._target, reason=str(error)) from error
        up, down = paced.rates(moved)
        self._moved_bytes += sum(each.up_bytes + each.down_bytes for each in (warmed, moved))
        self._on_progress(warmed.took_s + moved.took_s, f"{mbit:.3g} Mbit/s {'up' if is_up else 'down'}")
        return up / BYTES_PER_MBIT, down / BYTES_PER_MBIT, begin_s, end_s

    def _dialled(self) -> tuple[float, float]:
        """Open a connection and close it; the times at which that began and was answered."""
        host, port = split_target(self._target)
        begin_s = time.perf_counter()
        try:
            with socket.create_connection((host, port), timeout=DIAL_S):
                end_s = time.perf_counter()
        except OSError as error:
            raise WorkerUnreachable(self._target, reason=error.strerror or str(error)) from error
        return begin_s, end_s

    def _answer(self, begin_s: float, end_s: float, idle_w: float) -> Answer:
        """How long a dial took, and the power over idle where the meter tells it several times meanwhile."""
        readings = [each for each in self._sampler.readings() if begin_s <= each.at_s <= end_s]
        if end_s - begin_s < 3 * self._meter.info.period_s or len(readings) < 3:
            return Answer(took_s=end_s - begin_s)
        power_w = power_between(readings, readings[0].at_s, readings[-1].at_s)
        return Answer(took_s=end_s - begin_s, power_w=power_w - idle_w)


def check_scope(meter: Meter) -> None:
    """Refuse a meter that cannot see a radio.

    Raises:
        NotCalibrated: it covers a processor or a card alone.
    """
    if meter.info.scope in BLIND:
        raise NotCalibrated(
            f"{meter.info.kind} covers the {meter.info.scope} alone ({meter.info.source}) and does not see the radio: "
            "name a meter of the whole board, such as csv:FILE (--meter)"
        )
