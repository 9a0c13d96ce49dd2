"""A worker that may come and go: one session at a time, dialled again when it was lost.

A frame whose session broke, whose payload arrived corrupt, or whose plan the worker forgot is sent once more, on a
new session where the old one is gone: inference is stateless, so whatever became of the first try, answering the
second is right. After a failed dial the next one waits; the pause doubles up to a limit, with jitter, so that devices
do not come back in step.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from edge.client import Client
from edge.clock import DeviceClock
from edge.config import TIMEOUTS, Timeouts
from edge.errors import BadReply, EdgeError, FrameCancelled, WorkerLost, WorkerRefused
from edge.frames import Reply
from partitioner.plan import Plan
from partitioner.runtimes import Array

_LOG = logging.getLogger(__name__)
_RETRIED = frozenset({"UNKNOWN_PLAN", "CORRUPT"})


class Connection:
    """Frames to one worker, across its sessions. One thread owns it."""

    def __init__(
        self,
        target: str,
        *,
        clock: DeviceClock,
        timeouts: Timeouts = TIMEOUTS,
        now: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.target = target
        self._clock = clock
        self._timeouts = timeouts
        self._now = now
        self._jitter = jitter
        self._client: Client | None = None
        self._pause_s = timeouts.redial_s
        self._retry_at_s = 0.0
        self._last: EdgeError | None = None
        self._was_reached = False

    @property
    def client(self) -> Client:
        """The session, dialled when there is none.

        Raises:
            EdgeError: nobody answers, or the pause after a failed dial is not over.
        """
        if self._client is not None and (self._client.failure is not None or self._client.drain_reason is not None):
            self._drop()
        if self._client is None:
            if self._last is not None and self._now() < self._retry_at_s:
                raise WorkerLost(self.target, reason=f"not dialled again yet ({self._last})")
            timeouts = self._timeouts
            if self._was_reached:
                timeouts = replace(timeouts, dial_s=min(timeouts.again_s, timeouts.dial_s))
            try:
                self._client = Client.dial(self.target, timeouts=timeouts, clock=self._clock)
            except EdgeError as error:
                self._last = error
                self._retry_at_s = self._now() + self._pause_s * (0.5 + self._jitter())
                self._pause_s = min(2 * self._pause_s, self._timeouts.redial_max_s)
                raise
            self._last, self._pause_s, self._was_reached = None, self._timeouts.redial_s, True
        return self._client

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
        try:
            return self._try(plan, stage, tensors, chosen, expires_s=expires_s)
        except (WorkerLost, BadReply, FrameCancelled) as error:
            _LOG.info("sending the frame again: %s", error)
        except WorkerRefused as error:
            if error.code not in _RETRIED:
                raise
            if self._client is not None:
                self._client.forget(plan)
        return self._try(plan, stage, tensors, chosen, expires_s=expires_s)

    def _try(
        self,
        plan: Plan,
        stage: int,
        tensors: Mapping[str, Array],
        chosen: Mapping[str, str],
        *,
        expires_s: float,
    ) -> Reply:
        client = self.client
        client.propose(plan, timeout_s=max(0.0, expires_s - self._now()))
        left_s = max(0.0, expires_s - self._now())
        return client.run(plan.plan_id, stage, tensors, chosen, deadline_s=left_s)

    def close(self) -> None:
        """End the session, if there is one."""
        self._drop()

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()
