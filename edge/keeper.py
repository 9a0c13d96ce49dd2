"""One worker, kept by a thread of its own: dialled, watched, left, dialled again. No request's thread ever dials.

A session that broke is dialled again at once, unless it had hardly lived; then the pauses of ``edge.backoff`` count. A
dial that lasts is not waited for: another begins beside it, because a packet sent into an outage is repeated after
pauses that double, while a new one comes through at once; the first that is welcomed ends the others. A new session is
offered to requests only when the plans in use were proposed on it again. A worker that drains is left at once, but what
is in flight there is still answered.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edge.backoff import Backoff, is_lasting
from edge.breaker import Breaker
from edge.client import Client
from edge.config import Timeouts
from edge.dialling import Dial
from edge.errors import BadReply, DeadlineExceeded, WorkerLost, WorkerRefused
from edge.telemetry import Counters
from partitioner.errors import CleftError

_LOG = logging.getLogger(__name__)
_DIALS_AT_ONCE = 6
_FULL_EVERY = 4
_SLACK = 3.0
"""A link may take this many times as long as it took at best."""
_CAUTION = 0.5
"""Share of what the link carried that the next session with the same worker begins with."""
_LEAVING_TICK_S = 0.1
_FAULTS = frozenset({"OVERLOADED", "INTERNAL", "CORRUPT", "UNKNOWN_MODEL", "UNSUPPORTED", "UNAUTHENTICATED"})
"""Refusals of a frame that speak against the worker, not against the frame."""

Make = Callable[[Callable[[], None], float, "float | None"], Client]
State = Literal["up", "on trial", "left alone", "draining", "dialling", "waiting", "refused", "closed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerHealth:
    """How one worker is kept. ``reason`` says why it is not up, and ``for_s`` how long it has been so."""

    target: str
    name: str
    state: State
    reason: str
    for_s: float


class Keeper:
    """Keeps one worker. Any thread may ask; ``on_change`` is called, by any thread, when the answer may be another."""

    def __init__(
        self,
        target: str,
        *,
        make: Make,
        prepare: Callable[[Client], None],
        offer: Callable[[Client], None],
        timeouts: Timeouts,
        counters: Counters,
        on_change: Callable[[], None],
        now: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        """``make`` takes what to call on news of the session, how long dialling may take, and the rate to begin with.

        ``prepare`` may refuse a new session; ``offer`` proposes to one in use what is new, without waiting.
        """
        self.target = target
        self._make, self._prepare, self._offer = make, prepare, offer
        self._timeouts = timeouts
        self._counters = counters
        self._on_change = on_change
        self._now = now
        self._backoff = Backoff(timeouts, jitter=jitter)
        self._breaker = Breaker()
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._leaving: list[Client] = []
        self._dials: list[Dial] = []
        self._spent: list[Dial] = []
        self._error: CleftError | None = None
        self._has_tried = False
        self._misses = 0
        self._has_gone_silent = False
        self._took_s: float | None = None
        self._rate_bytes_per_s: float | None = None
        self._next_s = self._since_s = self._lost_s = now()
        self._fault = ""
        self._closing = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="cleft-worker-keeper", daemon=True)

    @property
    def first_error(self) -> CleftError | None:
        """Why the worker could not be reached, once it was tried and while it is not."""
        with self._lock:
            return self._error if self._client is None and self._has_tried else None

    def start(self) -> None:
        """Begin to keep the worker."""
        self._thread.start()

    def wake(self) -> None:
        """Something changed that the keeper should look at."""
        self._wake.set()

    def close(self, *, is_abrupt: bool = False) -> None:
        """End the sessions and the thread."""
        self._closing.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(2 * self._timeouts.close_s)
        with self._lock:
            client, self._client = self._client, None
            dials, self._dials = [*self._dials, *self._spent], []
        for dial in dials:
            dial.cancel()
        for each in (*self._leaving, *([client] if client is not None else ())):
            each.close(is_abrupt=is_abrupt or each.failure is not None)
        for dial in dials:
            dial.join(self._timeouts.close_s)

    def offered(self, now_s: float, *, than: Client | None = None) -> Client | None:
        """The session to send a frame to now, if there is one that is not ``than``."""
        with self._lock:
            client = self._client
            if client is None or client is than or not _is_sound(client):
                return None
            return client if self._breaker.admits(now_s, in_flight=client.frames_in_flight) else None

    def opens_in_s(self, now_s: float) -> float:
        """When ``offered`` may give what it does not now, for all that can be foretold."""
        with self._lock:
            is_held = self._client is not None and _is_sound(self._client)
            return self._breaker.opens_in_s(now_s) if is_held else math.inf

    def patience_s(self, now_s: float) -> float:
        """How long a request should wait for this worker to be dialled again; 0 where that is in vain."""
        with self._lock:
            if self._client is not None and _is_sound(self._client):
                return min(self._timeouts.glance_s, self._breaker.opens_in_s(now_s))
            if self._client is None and not self._dials and now_s < self._next_s:
                return 0.0
            if self._error is not None or self._took_s is None or self._has_gone_silent:
                return self._timeouts.glance_s
            limit_s = min(self._timeouts.dial_s, max(self._timeouts.again_s, _SLACK * self._took_s))
            return max(self._timeouts.glance_s, limit_s - max(0.0, now_s - self._lost_s))

    def succeeded(self) -> None:
        """A frame was answered."""
        with self._lock:
            self._breaker.succeeded()

    def failed(self, client: Client, error: CleftError) -> None:
        """A frame was not answered, for this reason."""
        if isinstance(error, WorkerRefused) and error.code == "DRAINING":
            client.note_drain(error.detail)
            return
        if isinstance(error, WorkerRefused) and error.code in _FAULTS:
            self._count_failure(str(error), retry_after_s=error.retry_after_s)
        elif isinstance(error, BadReply | DeadlineExceeded):
            self._count_failure(str(error))

    def health(self, now_s: float) -> WorkerHealth:
        """How the worker is kept at this moment."""
        with self._lock:
            state, reason = self._state(now_s)
            client = self._client or next(iter(self._leaving), None)
            return WorkerHealth(
                target=self.target,
                name=client.info.name if client is not None and client.info is not None else "",
                state=state,
                reason=reason,
                for_s=max(0.0, now_s - self._since_s),
            )

    def _state(self, now_s: float) -> tuple[State, str]:
        if self._closing.is_set():
            return "closed", ""
        if self._client is not None and _is_sound(self._client):
            match self._breaker.state(now_s):
                case "open":
                    return "left alone", self._fault
                case "half-open":
                    return "on trial", self._fault
                case "closed":
                    return "up", ""
        draining = next(
            (each.drain_reason for each in (self._client, *self._leaving) if each and each.drain_reason), ""
        )
        if draining:
            return "draining", draining
        if is_lasting(self._error):
            return "refused", str(self._error)
        return ("dialling" if self._dials else "waiting"), str(self._error or "")

    def _count_failure(self, reason: str, *, retry_after_s: float = 0.0) -> None:
        now_s = self._now()
        with self._lock:
            has_opened = self._breaker.failed(now_s, retry_after_s=retry_after_s)
            self._fault = reason
            if has_opened:
                self._since_s = now_s
        if has_opened:
            self._counters.add(breakers_opened=1)
            _LOG.warning("leaving the worker at %s alone for a while: %s", self.target, reason)
            self._on_change()

    def _keep(self) -> None:
        while not self._closing.is_set():
            self._wake.clear()
            try:
                wait_s = self._tend()
            except Exception:
                _LOG.exception("keeping the worker at %s failed", self.target)
                wait_s = self._timeouts.redial_max_s
            if not self._closing.is_set():
                self._wake.wait(wait_s)

    def _tend(self) -> float | None:
        """Do what is due; how long nothing will be, unless something happens."""
        now_s = self._now()
        client = self._client
        if client is not None and not _is_sound(client):
            self._part(client, now_s)
        if self._client is None:
            self._collect(now_s)
        wait_s: float | None = None
        if self._client is not None:
            self._offer(self._client)
        else:
            due_s = self._due_s()
            if now_s >= due_s and len(self._dials) < _DIALS_AT_ONCE:
                self._dial(now_s)
                due_s = self._due_s()
            wait_s = max(0.0, due_s - now_s) if len(self._dials) < _DIALS_AT_ONCE else None
        if self._see_off():
            wait_s = _LEAVING_TICK_S if wait_s is None else min(wait_s, _LEAVING_TICK_S)
        return wait_s

    def _due_s(self) -> float:
        """When the next dial may begin."""
        if not self._dials:
            return self._next_s
        beside_s = self._timeouts.dial_s / 2 if self._took_s is None else _SLACK / 2 * self._took_s
        return max(self._next_s, self._dials[-1].begun_s + beside_s)

    def _dial_s(self) -> float:
        """How long the next dial may take: for a worker that was lost half the time, unless its link needs more.

        Others begin beside it, and one dial in four has the full time, for a link that has become slower.
        """
        if self._took_s is None or self._misses % _FULL_EVERY == _FULL_EVERY - 1:
            return self._timeouts.dial_s
        return min(self._timeouts.dial_s, max(self._timeouts.dial_s / 2, _SLACK * self._took_s))

    def _dial(self, now_s: float) -> None:
        dial_s, rate_bytes_per_s = self._dial_s(), self._rate_bytes_per_s
        self._misses += 1
        dial = Dial(
            lambda: self._make(self._note_news, dial_s, rate_bytes_per_s),
            self._prepare,
            target=self.target,
            now=self._now,
        )
        with self._lock:
            self._dials.append(dial)
            self._next_s = now_s + self._backoff.pause_s()
        self._counters.add(dials=1)
        dial.start(self._wake.set)

    def _collect(self, now_s: float) -> None:
        """Take what the dials have come to: the first session, or the errors."""
        for dial in [each for each in self._dials if each.is_done]:
            with self._lock:
                self._dials.remove(dial)
                self._has_tried = True
                if dial.error is not None:
                    self._error = dial.error
                    self._next_s = max(self._next_s, dial.ended_s + self._backoff.more_s(dial.error))
                    _LOG.info("dialling failed: %s", dial.error)
            if dial.error is None:
                self._take(dial, now_s)
                break
        else:
            if self._error is not None:
                self._on_change()

    def _take(self, dial: Dial, now_s: float) -> None:
        """A session is there: offer it, and give the other dials up."""
        assert dial.client is not None
        took_s = dial.welcomed_s - dial.begun_s
        self._misses = 0
        with self._lock:
            self._client = dial.client
            self._error = None
            self._since_s = now_s
            self._took_s = took_s if self._took_s is None else min(self._took_s, took_s)
            others, self._dials = self._dials, []
            self._spent = [each for each in (*self._spent, *others) if not each.is_done]
        self._on_change()
        for each in others:
            each.cancel()

    def _part(self, client: Client, now_s: float) -> None:
        """A session broke, or its worker drains: no more frames for it; dial another."""
        failure = client.failure
        has_lived = now_s - self._since_s >= self._timeouts.redial_s / 2
        is_silent = isinstance(failure, WorkerLost) and failure.is_silent
        with self._lock:
            self._client = None
            self._leaving.append(client)
            self._since_s = self._lost_s = now_s
            self._error = None
            self._has_gone_silent = is_silent
            rate_bytes_per_s = client.rate_bytes_per_s
            self._rate_bytes_per_s = None if is_silent or rate_bytes_per_s is None else rate_bytes_per_s * _CAUTION
            if has_lived:
                self._backoff.reset()
                self._next_s = now_s
        if failure is not None and client.drain_reason is None:
            self._counters.add(losses=1)
            self._count_failure(str(failure))
        self._on_change()

    def _see_off(self) -> bool:
        """Close the sessions that are over; whether there are some that are not."""
        for client in list(self._leaving):
            if client.failure is not None or not client.frames_in_flight:
                with self._lock:
                    self._leaving.remove(client)
                client.close(is_abrupt=client.failure is not None)
        return bool(self._leaving)

    def _note_news(self) -> None:
        """A session of ours ended, or its worker drains; called on the session's own thread."""
        self._wake.set()
        self._on_change()


def _is_sound(client: Client) -> bool:
    return client.failure is None and client.drain_reason is None
