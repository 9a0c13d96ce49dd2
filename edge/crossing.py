"""One stage in the cloud, with everything that may happen to it on the way.

A frame goes to the best worker there is. A session that breaks sends it again, to another worker or after the first was
dialled anew; bytes that arrived corrupt, or a plan that the worker forgot, send it again there; a worker that is
overloaded or goes away is not asked again for this frame. Inference is stateless, so whatever became of the first try,
answering the second is right.

Meanwhile the device can finish from the cut, and begins to at the latest when its own time to the end, the wait for its
engine and a margin are what is left of the deadline; sooner where the rest of the frame's way is predicted to take
longer than going home. The frame then stays in flight, the first answer wins and the other is stopped; only a frame
that is predicted to miss its deadline is withdrawn half-sent, to free the link. Where going home could never have met
the deadline, the device does not run against the worker: it would slow down every other request for nothing.

Nothing here writes to what is sent, and every crossing ends: in an answer, or in the one error that is raised.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Generic

from edge.cargo import Cargo, Check, Crossed, Finish, Flight, R, Workers
from edge.config import TIMEOUTS, Timeouts
from edge.errors import BadReply, DeadlineExceeded, EdgeError, FrameCancelled, NoWorker, WorkerLost, WorkerRefused
from edge.homing import LOOK_S, home_at_s, is_home_sooner, is_hopeless
from edge.telemetry import Counters
from edge.turnstile import NotWanted
from partitioner.cost import Load
from partitioner.errors import CleftError, InputError, SegmentError
from partitioner.runtimes import Array

_LOG = logging.getLogger(__name__)
_TRIES = 3
_AGAIN = frozenset({"CORRUPT", "UNKNOWN_PLAN"})
_EVERY_FRAME = frozenset({"UNKNOWN_MODEL", "UNSUPPORTED", "TOO_LARGE", "UNAUTHENTICATED"})
"""Refusals that every frame would meet: reported, not papered over."""


class Crossing(Generic[R]):
    """Sends stages to workers. Thread-safe: each call runs on its caller's thread."""

    def __init__(
        self,
        workers: Workers[R],
        *,
        counters: Counters,
        timeouts: Timeouts = TIMEOUTS,
        on_load: Callable[[str, Load], None] = lambda target, load: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """``on_load`` is told of the load that a worker names where it refuses."""
        self._workers = workers
        self._on_load = on_load
        self._counters = counters
        self._timeouts = timeouts
        self._now = now
        self._is_closed = False
        self._has_been_served = False

    def close(self) -> None:
        """Send nothing again: what is under way ends with ``FrameCancelled`` once its frame does."""
        self._is_closed = True

    def may_finish(self, error: EdgeError) -> bool:
        """Whether the device should answer what ended in this error.

        Not where a worker that never served this session refuses every frame: one that did may have come back as
        another.
        """
        is_for_good = isinstance(error, WorkerRefused) and error.code in _EVERY_FRAME
        return not (is_for_good and not self._has_been_served)

    def cross(self, cargo: Cargo, *, check: Check, finish: Finish | None) -> Crossed:
        """Have a stage run by a worker, or by ``finish`` where that is what remains or what is sooner.

        Raises:
            EdgeError: no worker ran it, and there is no ``finish``, or it is not to be used (``may_finish``).
            NotWanted: the cargo's ``until`` came first; nothing is in flight then.
        """
        clock = _Limits(cargo, can_finish=finish is not None, frame_s=self._timeouts.frame_s, now=self._now)
        client = self._workers.current()
        error: EdgeError = NoWorker()
        sent_to = ""
        failed_at: list[R] = []
        is_over = finish is not None and clock.is_over
        if is_over:
            error = DeadlineExceeded(clock.whole_s)
        for _ in range(0 if is_over else _TRIES):
            if client is None:
                client = self._workers.wait(max(0.0, min(self._workers.patience_s, clock.left_s)))
            if client is None or (sent_to and not clock.left_s):
                break
            if sent_to:
                _LOG.info("sending the frame again, to %s: %s", client.target, error)
                self._counters.add(resent=1, failed_over=int(client.target != sent_to))
            sent_to = client.target
            try:
                return self._try(client, cargo, clock, check, finish)
            except EdgeError as failed:
                if self._is_closed:
                    raise FrameCancelled("the session was closed") from failed
                error = failed
            if isinstance(error, WorkerRefused) and error.code == "INTERNAL":
                failed_at.append(client)
            again = self._after(error, client, cargo)
            if again is None and not isinstance(error, WorkerLost | FrameCancelled):
                break
            client = again
        if finish is None or not self.may_finish(error):
            raise error
        try:
            made = finish(_NEVER)
        except (InputError, SegmentError):  # it is the input, then, that the model fails on, and not the workers
            for each in failed_at:
                self._workers.note_success(each)
            raise
        assert made is not None, "nothing can have come first"
        return Crossed(made=made, why=error)

    def _try(self, client: R, cargo: Cargo, clock: _Limits, check: Check, finish: Finish | None) -> Crossed:
        """One frame to one worker."""
        self._workers.ready(client, cargo.plan, clock.left_s)
        begun_s = self._now()
        flight = client.submit(
            cargo.plan.plan_id,
            cargo.stage,
            cargo.tensors,
            cargo.codecs,
            deadline_s=max(0.0, clock.expires_s - self._now()),
            slot_s=clock.left_s,
        )
        try:
            made = self._finished(flight, client.target, cargo, clock, finish)
        except NotWanted:
            self._withdraw(flight)
            raise
        if made is not None:
            late = DeadlineExceeded(clock.whole_s)
            if not clock.left_s:
                self._note_late(client, flight, late, self._now() - begun_s)
            return Crossed(made=made, why=late)
        try:
            reply = flight.result()
        except DeadlineExceeded as late:
            self._note_late(client, flight, late, self._now() - begun_s)
            raise
        check(reply)
        self._has_been_served = True
        self._workers.note_success(client)
        return Crossed(target=client.target, reply=reply)

    def _note_late(self, client: R, flight: Flight, late: DeadlineExceeded, took_s: float) -> None:
        """A frame was late: the worker's fault where it had all of it for longer than the link took to carry it."""
        progress = flight.progress
        if progress.is_held and progress.waited_s > took_s / 2:
            self._workers.note_failure(client, late)

    def _finished(
        self, flight: Flight, target: str, cargo: Cargo, clock: _Limits, finish: Finish | None
    ) -> dict[str, Array] | None:
        """What this device made before the frame was over, if anything."""
        if finish is None and cargo.until is None:
            return None
        is_over = self._watch(flight, target, cargo, clock, can_finish=finish is not None)
        return None if is_over or finish is None else self._race(flight, finish)

    def _watch(self, flight: Flight, target: str, cargo: Cargo, clock: _Limits, *, can_finish: bool) -> bool:
        """Wait for a frame for as long as nothing is better; whether it is over.

        Raises:
            DeadlineExceeded: it is predicted to miss its deadline, and was withdrawn.
            NotWanted: nobody wants the answer any more.
        """
        while (left_s := clock.left_s) > 0.0:
            if flight.wait(min(left_s, LOOK_S)):
                return True
            if cargo.until is not None and cargo.until.is_answered:
                raise NotWanted
            if not can_finish:
                continue
            remaining_s = cargo.forecast.remaining_s(target, flight.progress)
            home_s = cargo.forecast.home_s
            if remaining_s is None or home_s is None or not is_home_sooner(remaining_s, home_s):
                continue
            if cargo.expires_s is not None and is_hopeless(remaining_s, cargo.expires_s - self._now()):
                self._withdraw(flight)
                raise DeadlineExceeded(clock.whole_s)
            break
        return flight.is_done

    def _race(self, flight: Flight, finish: Finish) -> dict[str, Array] | None:
        """Finish here while the frame is in flight; None where that was answered first."""
        self._counters.add(hedged=1)
        try:
            made = finish(flight)
        except CleftError as error:
            _LOG.warning("finishing here failed, the worker may still answer: %s", error)
            return None
        if made is not None:
            self._withdraw(flight)
        return made

    def _withdraw(self, flight: Flight) -> None:
        if not flight.is_done:
            flight.cancel()
            self._counters.add(cancelled=1)

    def _after(self, error: EdgeError, client: R, cargo: Cargo) -> R | None:
        """Where to send a frame again at once, if anywhere."""
        if isinstance(error, DeadlineExceeded):
            return None
        self._workers.note_failure(client, error)
        if isinstance(error, WorkerRefused):
            self._counters.add(refused=1)
            if error.load is not None:
                self._on_load(client.target, error.load)
            if error.code == "UNKNOWN_PLAN":
                client.forget(cargo.plan)
            if error.code in _AGAIN:
                return client
        return client if isinstance(error, BadReply) else self._workers.other(client)


class _Limits:
    """The times of one crossing: when it expires, and when this device begins to finish it come what may."""

    def __init__(self, cargo: Cargo, *, can_finish: bool, frame_s: float, now: Callable[[], float]) -> None:
        self._now = now
        self._begun_s = now()
        self._forecast = cargo.forecast
        self.expires_s = self._begun_s + frame_s if cargo.expires_s is None else cargo.expires_s
        self._goes_home = can_finish and cargo.expires_s is not None
        self._goes_home = self._goes_home and self._home_at_s >= self._begun_s

    @property
    def whole_s(self) -> float:
        """From the beginning to the end."""
        return max(0.0, self.expires_s - self._begun_s)

    @property
    def is_over(self) -> bool:
        """Whether nothing that begins now can be in time: a frame would take the link from those that can."""
        return self._now() >= self.expires_s

    @property
    def left_s(self) -> float:
        """Time that a worker still has; 0 where it has none."""
        until_s = self._home_at_s if self._goes_home else self.expires_s
        return max(0.0, until_s - self._now())

    @property
    def _home_at_s(self) -> float:
        home_s = self._forecast.home_s
        if home_s is None:
            return (self._begun_s + self.expires_s) / 2
        return home_at_s(self.expires_s, home_s)


class _Never:
    """What never comes."""

    is_answered = False

    def wait(self, timeout_s: float) -> bool:
        time.sleep(timeout_s)
        return False


_NEVER = _Never()
