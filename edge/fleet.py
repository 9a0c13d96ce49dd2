"""The workers of a session: which of them takes the next frame, and what becomes of one that fails.

The order in which workers are given is the order in which they are preferred. Each is kept by a thread of its own
(``edge.keeper``), all are connected at once, and all are asked to make the plans in use ready, so that where one is
lost the next frame goes to another without a round trip. Asking which worker is there never waits, and costs
microseconds.
"""

from __future__ import annotations

import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace

from edge.bandwidth import IGNORED, LinkObserver
from edge.client import Client
from edge.clock import DeviceClock
from edge.config import LIMITS, TIMEOUTS, Limits, Timeouts
from edge.errors import EdgeError, NotSecured, WorkerLost, WorkerRefused
from edge.keeper import Keeper, Make, WorkerHealth
from edge.reach import split_target
from edge.telemetry import Counters
from partitioner.errors import CleftError, UsageError
from partitioner.plan import Plan
from protos.secrets import SecurityError
from protos.security import PLAINTEXT, ClientSecurity

_PLANS_IN_USE = 16
"""As many plans as were asked for last are proposed to a worker that comes back."""


class Fleet:
    """Sessions with one or several workers. Thread-safe; ``open`` it, and close it."""

    def __init__(
        self,
        targets: Sequence[str],
        *,
        clock: DeviceClock,
        timeouts: Timeouts = TIMEOUTS,
        limits: Limits = LIMITS,
        security: ClientSecurity = PLAINTEXT,
        counters: Counters | None = None,
        observer: Callable[[str], LinkObserver] = lambda target: IGNORED,
        now: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """``observer`` gives who is told of the link to a target; ``jitter`` gives numbers from 0 to 1.

        Raises:
            UsageError: an address makes no sense, or stands there twice.
            SecurityError: plain text would leave this machine.
        """
        _check_targets(targets, security)
        self._clock = clock
        self._timeouts = timeouts
        self._limits = limits
        self._security = security
        self._counters = counters or Counters()
        self._observer = observer
        self._now = now
        self._model = ("", "")
        self._plans: OrderedDict[str, Plan] = OrderedDict()
        self._plans_lock = threading.Lock()
        self._changed = threading.Condition()
        self._is_open = False
        self._keepers = tuple(
            Keeper(
                target,
                make=self._maker(target),
                prepare=self._prepare,
                offer=self._offer,
                timeouts=timeouts,
                counters=self._counters,
                on_change=self._note_change,
                now=now,
                jitter=jitter,
            )
            for target in targets
        )
        self._by_target = {keeper.target: keeper for keeper in self._keepers}

    def open(self, digest: str, name: str, *, is_patient: bool = False) -> CleftError | None:
        """Wait until a worker that serves the model is reached; the others are dialled on.

        Where there is none, who is patient gets the reason, and all are dialled on.

        Raises:
            CleftError: no worker can be reached or serves it; why the first cannot.
        """
        self._model = (digest, name)
        for keeper in self._keepers:
            keeper.start()
        with self._changed:
            self._changed.wait_for(lambda: self.current() or all(each.first_error for each in self._keepers))
        if self.current() is not None:
            return None
        error = self._keepers[0].first_error or WorkerLost(self._keepers[0].target, reason="it broke off at once")
        if is_patient:
            return error
        self.close()
        raise error

    def close(self) -> None:
        """End all sessions and threads; frames in flight are withdrawn."""
        for keeper in self._keepers:
            keeper.close()
        self._note_change()

    def current(self) -> Client | None:
        """The session to send the next frame to, or None; never waits."""
        return self._best(None)

    def other(self, than: Client) -> Client | None:
        """A session that is not this one, or None; where this one was lost, maybe a new one with the same worker."""
        return self._best(than)

    def wait(self, timeout_s: float) -> Client | None:
        """``current``, once there is one or the time is over."""
        ends_s = self._now() + timeout_s
        with self._changed:
            while True:
                client = self._best(None)
                now_s = self._now()
                if client is not None or now_s >= ends_s:
                    return client
                opens_s = min(keeper.opens_in_s(now_s) for keeper in self._keepers)
                self._changed.wait(min(ends_s - now_s, max(opens_s, 1e-3), threading.TIMEOUT_MAX))

    @property
    def patience_s(self) -> float:
        """How long a request should wait for a worker that was lost, before the device does it; 0: not at all."""
        now_s = self._now()
        return max(keeper.patience_s(now_s) for keeper in self._keepers)

    def note_success(self, client: Client) -> None:
        """A frame was answered there."""
        self._by_target[client.target].succeeded()

    def note_failure(self, client: Client, error: CleftError) -> None:
        """A frame was not answered there. The loss of a session need not be noted: its keeper sees it."""
        self._by_target[client.target].failed(client, error)

    def is_ready(self, client: Client, plan: Plan) -> bool:
        """Whether a plan can be run there now; where it cannot it is proposed, and nobody waits."""
        self._use(plan)
        if client.is_ready(plan.plan_id):
            return True
        try:
            client.offer(plan)
        except EdgeError:
            return False
        return client.is_ready(plan.plan_id)

    def ready(self, client: Client, plan: Plan, timeout_s: float | None = None) -> None:
        """Have a worker make a plan ready, and wait; free where it is.

        Raises:
            WorkerRefused: the worker cannot serve the plan.
            WorkerLost: the session ended first.
            DeadlineExceeded: it took too long.
        """
        self._use(plan)
        if not client.is_ready(plan.plan_id):
            client.propose(plan, timeout_s=timeout_s)

    def health(self) -> tuple[WorkerHealth, ...]:
        """How each worker is kept, in the order of preference."""
        now_s = self._now()
        return tuple(keeper.health(now_s) for keeper in self._keepers)

    def _best(self, than: Client | None) -> Client | None:
        now_s = self._now()
        for keeper in self._keepers:
            client = keeper.offered(now_s, than=than)
            if client is not None:
                return client
        return None

    def _use(self, plan: Plan) -> None:
        """Remember a plan as one in use; a new one is proposed to every worker."""
        with self._plans_lock:
            is_new = plan.plan_id not in self._plans
            self._plans[plan.plan_id] = plan
            self._plans.move_to_end(plan.plan_id)
            if len(self._plans) > _PLANS_IN_USE:
                self._plans.popitem(last=False)
        if is_new:
            for keeper in self._keepers:
                keeper.wake()

    def _in_use(self) -> list[Plan]:
        with self._plans_lock:
            return list(reversed(self._plans.values()))

    def _maker(self, target: str) -> Make:
        def make(on_change: Callable[[], None], dial_s: float, rate_bytes_per_s: float | None) -> Client:
            return Client(
                target,
                clock=self._clock,
                timeouts=replace(self._timeouts, dial_s=dial_s),
                limits=self._limits,
                security=self._security,
                observer=self._observer(target),
                counters=self._counters,
                on_change=on_change,
                rate_bytes_per_s=rate_bytes_per_s,
            )

        return make

    def _prepare(self, client: Client) -> None:
        """Check that a new session's worker serves the model, and have it make the plans in use ready.

        Raises:
            WorkerRefused: it does not.
            WorkerLost: the session ended meanwhile.
        """
        assert client.info is not None
        client.info.require(*self._model)
        ends_s = time.monotonic() + self._timeouts.settle_s
        for waiting in [client.offer(plan) for plan in self._in_use()]:
            try:
                waiting.wait(max(0.0, ends_s - time.monotonic()))
            except WorkerRefused:
                continue

    def _offer(self, client: Client) -> None:
        """Propose what a session has not been asked for yet, and do not wait."""
        try:
            for plan in self._in_use():
                client.offer(plan)
        except EdgeError:
            return

    def _note_change(self) -> None:
        with self._changed:
            self._changed.notify_all()


def _check_targets(targets: Sequence[str], security: ClientSecurity) -> None:
    if not targets:
        raise UsageError("name at least one worker: HOST:PORT")
    for target in targets:
        host, _ = split_target(target)
        try:
            security.check(host)
        except SecurityError as error:
            raise NotSecured(error.detail) from error
    twice = sorted({target for target in targets if targets.count(target) > 1})
    if twice:
        raise UsageError(f"a worker is named twice: {', '.join(twice)}")
