"""A worker that may come and go: one session at a time, dialled again when it was lost.

A frame whose session broke, whose payload arrived corrupt, or whose plan the worker forgot is sent once more, on a
new session where the old one is gone: inference is stateless, so whatever became of the first try, answering the
second is right.

A lost worker is dialled on a thread of its own: a request waits for that as long as the link was seen to need, then is
refused while dialling goes on, for a frozen worker takes the full limit and is dialled again and again. The pause
between dials counts from the beginning of the last, doubles up to a limit, and has jitter, so that devices do not come
back in step. Trying a closed port is cheap; the limit is what a worker that is back is kept waiting.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from edge.client import Client
from edge.clock import DeviceClock
from edge.config import TIMEOUTS, Timeouts
from edge.errors import BadReply, EdgeError, FrameCancelled, WorkerLost, WorkerRefused, WorkerUnreachable
from edge.frames import Reply
from partitioner.plan import Plan
from partitioner.runtimes import Array
from protos.security import PLAINTEXT, ClientSecurity

_LOG = logging.getLogger(__name__)
_RETRIED = frozenset({"UNKNOWN_PLAN", "CORRUPT"})
_SLACK = 3.0
"""A link may take this many times as long as it took at best."""
_FULL_EVERY = 4


class _Dialling:
    """A session being dialled on a thread of its own."""

    def __init__(self, client: Client, *, now: Callable[[], float]) -> None:
        self.client = client
        self.error: EdgeError | None = None
        self.begun_s = self.ended_s = now()
        self._now = now
        self._thread = threading.Thread(target=self._run, name="cleft-dialler", daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Whether it ended in time; ``error`` is why there is no session, then."""
        self._thread.join(min(timeout_s, threading.TIMEOUT_MAX))
        return not self._thread.is_alive()

    def cancel(self, *, wait_s: float) -> None:
        """Give it up."""
        self.client.close(is_abrupt=True)
        self._thread.join(wait_s)

    def _run(self) -> None:
        try:
            self.client.greet()
        except EdgeError as error:
            self.error = error
        except Exception as error:
            _LOG.exception("dialling failed")
            self.error = WorkerUnreachable(self.client.target, reason=f"internal error: {error}")
        self.ended_s = self._now()


class Connection:
    """Frames to one worker, across its sessions. One thread owns it."""

    def __init__(
        self,
        target: str,
        *,
        clock: DeviceClock,
        timeouts: Timeouts = TIMEOUTS,
        security: ClientSecurity = PLAINTEXT,
        now: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.target = target
        self._clock = clock
        self._timeouts = timeouts
        self._security = security
        self._now = now
        self._jitter = jitter
        self._client: Client | None = None
        self._dialling: _Dialling | None = None
        self._pause_s = timeouts.redial_s
        self._retry_at_s = 0.0
        self._last: EdgeError | None = None
        self._took_s: float | None = None
        self._misses = 0

    @property
    def client(self) -> Client:
        """The session, dialled when there is none.

        Raises:
            EdgeError: nobody answers, or not yet, or the pause after a failed dial is not over.
        """
        return self._reach(math.inf)

    def ask(
        self,
        plan: Plan,
        stage: int,
        tensors: Mapping[str, Array],
        chosen: Mapping[str, str],
        *,
        deadline_s: float | None = None,
    ) -> Reply:
        """Have the worker run a stage of a plan; tries a second time where that can help.

        Raises:
            EdgeError: it cannot be had in time.
        """
        expires_s = self._now() + (self._timeouts.frame_s if deadline_s is None else deadline_s)
        client = self._reach(expires_s)
        try:
            return self._try(client, plan, stage, tensors, chosen, expires_s=expires_s)
        except (WorkerLost, BadReply, FrameCancelled) as error:
            _LOG.info("sending the frame again: %s", error)
        except WorkerRefused as error:
            if error.code not in _RETRIED:
                raise
            client.forget(plan)
        return self._try(self._reach(expires_s), plan, stage, tensors, chosen, expires_s=expires_s)

    def _try(
        self,
        client: Client,
        plan: Plan,
        stage: int,
        tensors: Mapping[str, Array],
        chosen: Mapping[str, str],
        *,
        expires_s: float,
    ) -> Reply:
        client.propose(plan, timeout_s=max(0.0, expires_s - self._now()))
        left_s = max(0.0, expires_s - self._now())
        return client.run(plan.plan_id, stage, tensors, chosen, deadline_s=left_s)

    def close(self) -> None:
        """End the session, if there is one."""
        dialling, self._dialling = self._dialling, None
        if dialling is not None:
            dialling.cancel(wait_s=self._timeouts.close_s)
        self._drop()

    def _reach(self, expires_s: float) -> Client:
        """The session; waits for it until ``expires_s`` at most."""
        if self._client is not None and (self._client.failure is not None or self._client.drain_reason is not None):
            self._drop()
        if self._client is not None:
            return self._client
        wait_s = self._patience_s
        if self._dialling is None:
            if self._last is not None and self._now() < self._retry_at_s:
                raise WorkerLost(self.target, reason=f"not dialled again yet ({self._last})")
            client = Client(
                self.target,
                timeouts=replace(self._timeouts, dial_s=self._dial_s),
                clock=self._clock,
                security=self._security,
            )
            self._dialling = _Dialling(client, now=self._now)
        elif self._took_s is not None:
            wait_s = self._timeouts.glance_s
        if not self._dialling.wait(max(0.0, min(wait_s, expires_s - self._now()))):
            raise WorkerLost(self.target, reason="it is being dialled again")
        dialling, self._dialling = self._dialling, None
        if dialling.error is not None:
            self._note_failure(dialling, dialling.error)
            raise dialling.error
        self._last, self._pause_s = None, self._timeouts.redial_s
        took_s = dialling.ended_s - dialling.begun_s
        self._took_s = took_s if self._took_s is None else min(self._took_s, took_s)
        self._misses = 0
        self._client = dialling.client
        return self._client

    @property
    def _patience_s(self) -> float:
        """How long a request waits for a new dial."""
        if self._took_s is None:
            return math.inf
        if self._last is not None:
            return self._timeouts.glance_s
        return min(self._timeouts.dial_s, max(self._timeouts.again_s, _SLACK * self._took_s))

    @property
    def _dial_s(self) -> float:
        """Limit of a dial. For a worker that was lost it is half as long, unless its link needs more.

        A packet sent into an outage is repeated after pauses that double; a new one comes through sooner. One dial in
        four has the full time, for a link that has become slower.
        """
        if self._took_s is None or self._misses % _FULL_EVERY == _FULL_EVERY - 1:
            return self._timeouts.dial_s
        return min(self._timeouts.dial_s, max(self._timeouts.dial_s / 2, _SLACK * self._took_s))

    def _note_failure(self, dialling: _Dialling, error: EdgeError) -> None:
        self._last = error
        self._misses += 1
        share = 0.5 + self._jitter()
        least_s = self._timeouts.redial_s / 2
        self._retry_at_s = max(dialling.begun_s + share * self._pause_s, dialling.ended_s + share * least_s)
        self._pause_s = min(2 * self._pause_s, self._timeouts.redial_max_s)

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()
