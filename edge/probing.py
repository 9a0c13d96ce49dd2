"""Small probes of a link while little is sent over it because it was slow, so that its return is noticed.

Once a second, where ``Steering`` asks for it, a tiny probe and then a train of a few larger ones go to the worker, and
a second train where the first one tells of another link than was thought: at most 16 KiB together, and less on a slow
link. The echoes' spacing says what the link carries, as acknowledged chunks do; one train may be a stumble, two that
agree are believed. A budget bounds what that may cost in a day: it begins full, and refills slowly.

Where the worker's load is why nothing is sent, it is asked how busy it is. While there are requests, a message without
payload goes once a second in any case: frames of one size tell how long they take, and not what of it is round trip.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from edge.bandwidth import Delivery
from edge.errors import EdgeError
from edge.linkmeter import Echo
from edge.steering import Steering
from edge.telemetry import Counters
from partitioner.cost import Load

_LOG = logging.getLogger(__name__)
MOST_BYTES = 16 * 1024
LEAST_BYTES = 2 * 1024
SHARE_S = 0.1
"""A train is what the link is thought to carry in so long."""
TRAIN = 4
FIRST_SHARE = 0.75
"""Of what a second may cost: its first train. The rest is left for a second one."""
TELLS_OF_ANOTHER = 1.5
"""A train that makes the rate so many times what it was is followed by one more."""
BUDGET_BYTES = 4 * 1024 * 1024
REFILL_BYTES_PER_S = 2 * 1024
EVERY_S = 1.0
_ECHO_S = 2.5


def trains(rate_bytes_per_s: float) -> tuple[int, int]:
    """Bytes of the first train, and of the second, over a link that is thought to carry so much."""
    first = int(min(max(SHARE_S * rate_bytes_per_s, LEAST_BYTES), FIRST_SHARE * MOST_BYTES))
    return first, min(first, MOST_BYTES - first)


def is_another(rate: float, before: float) -> bool:
    """Whether a train told of another link than was thought."""
    return not 1 / TELLS_OF_ANOTHER < rate / before < TELLS_OF_ANOTHER


class Worker(Protocol):
    """A session with a worker, as far as probing needs it."""

    @property
    def target(self) -> str:
        """Its address."""

    @property
    def unacked_bytes(self) -> int:
        """Payload under way to it."""

    def probe(self, *, up_bytes: int, reply_bytes: int) -> Callable[[float], Echo | None]:
        """Send one probe; the result waits for its echo."""


class Budget:
    """Bytes that may be spent on probes; refills with time. Not thread-safe."""

    def __init__(self, *, now_s: float) -> None:
        self._left_bytes = float(BUDGET_BYTES)
        self._at_s = now_s

    def take(self, wanted_bytes: int, now_s: float) -> bool:
        """Spend so much, where so much is left."""
        refilled = self._left_bytes + max(0.0, now_s - self._at_s) * REFILL_BYTES_PER_S
        self._left_bytes, self._at_s = min(refilled, float(BUDGET_BYTES)), now_s
        if wanted_bytes > self._left_bytes:
            return False
        self._left_bytes -= wanted_bytes
        return True


class Prober:
    """The thread that probes; ``start`` it, and ``close`` it in the end."""

    def __init__(
        self,
        steering: Steering,
        current: Callable[[], Worker | None],
        *,
        counters: Counters,
        load_of: Callable[[Worker], Load] | None = None,
        now: Callable[[], float] = time.monotonic,
        every_s: float = EVERY_S,
    ) -> None:
        """``current``: the session in use, if any; ``load_of`` asks a worker how busy it is."""
        self._steering = steering
        self._current = current
        self._counters = counters
        self._load_of = load_of
        self._now = now
        self._every_s = every_s
        self._budget = Budget(now_s=now())
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cleft-prober", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End, and wait for the thread; safe to call twice."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join(_ECHO_S + 1.0)

    def look(self) -> None:
        """Ask once what is to be known now; the thread does this every second."""
        worker = self._current()
        if worker is None:
            return
        try:
            if self._steering.wants_load(worker.target) and self._load_of is not None:
                self._steering.note_load(worker.target, self._load_of(worker))
            if self._steering.wants_probe(worker.target):
                self._probe(worker)
            elif self._steering.wants_echo(worker.target) and not worker.unacked_bytes:
                self._echo(worker)
        except EdgeError as error:
            _LOG.debug("a probe failed: %s", error)

    def _probe(self, worker: Worker) -> None:
        rate = self._rate(worker)
        first, second = trains(rate)
        if not self._budget.take(first, self._now()):
            return
        self._counters.add(probes=1)
        if not (self._echo(worker) and self._train(worker, first)):
            return
        if is_another(self._rate(worker), rate) and self._budget.take(second, self._now()):
            self._train(worker, second)

    def _rate(self, worker: Worker) -> float:
        return self._steering.estimate(worker.target).link.up_bytes_per_s

    def _echo(self, worker: Worker) -> bool:
        """A message without payload; whether it was answered. One that payload went with, or before, says nothing."""
        is_alone = not worker.unacked_bytes
        echo = worker.probe(up_bytes=0, reply_bytes=0)(_ECHO_S)
        if echo is not None and is_alone and not worker.unacked_bytes:
            self._steering.observer(worker.target).echoed(echo.arrived_s - echo.sent_s, echo.arrived_s)
        return echo is not None

    def _train(self, worker: Worker, train_bytes: int) -> bool:
        """A few larger messages, one behind the other; whether all were answered."""
        observer = self._steering.observer(worker.target)
        size = train_bytes // TRAIN
        waits = [worker.probe(up_bytes=size, reply_bytes=0) for _ in range(TRAIN)]
        left_bytes = train_bytes
        for place, wait in enumerate(waits):
            begun_s = self._now()
            echo = wait(_ECHO_S)
            if echo is None:
                observer.waiting(left_bytes, self._now() - begun_s, self._now())
                return False
            left_bytes -= size
            took_s = max(echo.arrived_s - echo.sent_s, 1e-6)
            observer.delivered(
                Delivery(
                    size_bytes=size,
                    rate_bytes_per_s=size / took_s,
                    rtt_s=took_s,
                    is_alone=place == 0,
                    begun_s=echo.sent_s,
                    at_s=echo.arrived_s,
                )
            )
        return True

    def _run(self) -> None:
        while not self._closing.wait(self._every_s):
            self.look()
