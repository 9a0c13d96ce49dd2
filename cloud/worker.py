"""The compute thread: one owner of a device and its engines, fed from a bounded queue.

The event loop awaits ``run``; the work itself happens here, one job at a time, so engines need no locks and the machine
is never oversubscribed. A queue that is full, or whose expected wait is longer than the caller's deadline, refuses at
once and says when to come back. A job that nobody waits for any more is dropped before it starts, and told to stop
(``should_stop``, asked between layers) once it runs.

Load is the share of recent time the thread was busy: an exponential average with a time constant of five seconds. The
worker's own chores, such as measuring itself, are no load: they are over when it is asked for.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from protos.errors import Cancelled, DeadlineExceeded, Overloaded

_TIME_CONSTANT_S = 5.0
_JOB_WEIGHT = 0.2
_MIN_RETRY_S = 0.01

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """What a running job knows of whoever waits for it."""

    queue_s: float
    should_stop: Callable[[], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLoad:
    """How busy the compute thread is."""

    queued_jobs: int
    busy_ratio: float
    job_s: float


class _Runnable(Protocol):
    @property
    def is_chore(self) -> bool: ...

    def start(self) -> None: ...

    def abandon(self) -> None: ...


class _Job(Generic[_T]):
    def __init__(self, work: Callable[[Ticket], _T], deadline_s: float | None, *, is_chore: bool) -> None:
        self._work = work
        self.is_chore = is_chore
        self._deadline_s = deadline_s
        self._queued_s = time.monotonic()
        self.future: Future[_T] = Future()
        self.is_unwanted = False

    def start(self) -> None:
        now_s = time.monotonic()
        if not self.future.set_running_or_notify_cancel():
            return
        if self._is_late():
            self.future.set_exception(DeadlineExceeded("its time was over before its turn came"))
        else:
            try:
                result = self._work(Ticket(queue_s=now_s - self._queued_s, should_stop=self._should_stop))
            except BaseException as error:
                self.future.set_exception(self._why(error))
            else:
                self.future.set_result(result)

    def abandon(self) -> None:
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(Cancelled("the worker has stopped"))

    def _should_stop(self) -> bool:
        return self.is_unwanted or self._is_late()

    def _is_late(self) -> bool:
        return self._deadline_s is not None and time.monotonic() > self._deadline_s

    def _why(self, error: BaseException) -> BaseException:
        if self.is_unwanted:
            return Cancelled("the client no longer wants it")
        if self._is_late():
            return DeadlineExceeded("its time was over while it ran")
        return error


class Worker:
    """A compute thread and its queue. Start it, and close it: it is then joined."""

    def __init__(self, *, max_queued: int, name: str = "cleft-compute") -> None:
        self._max_queued = max_queued
        self._jobs: deque[_Runnable] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._is_busy = self._is_loaded = False
        self._busy_ratio = 0.0
        self._noted_s = time.monotonic()
        self._job_s = 0.0
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self, *, timeout_s: float | None = None) -> bool:
        """Abandon what is queued and wait for the job that runs; whether the thread has ended."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def load(self) -> WorkerLoad:
        """How busy the thread is now."""
        with self._changed:
            self._note()
            return WorkerLoad(
                queued_jobs=len(self._jobs), busy_ratio=min(1.0, max(0.0, self._busy_ratio)), job_s=self._job_s
            )

    async def run(
        self,
        work: Callable[[Ticket], _T],
        *,
        deadline_s: float | None = None,
        is_urgent: bool = False,
        is_chore: bool = False,
    ) -> _T:
        """Run ``work`` on the compute thread.

        Args:
            work: what to do; it should give up where its ticket says so.
            deadline_s: monotonic time after which nobody wants the result.
            is_urgent: take it although the queue is full; it waits its turn like any other.
            is_chore: the worker's own: it counts neither as load nor as what a job takes.

        Raises:
            Overloaded: the queue is full, or the deadline would pass before its turn comes.
            DeadlineExceeded: the deadline passed.
            Cancelled: the worker is closed.
        """
        job = _Job(work, deadline_s, is_chore=is_chore)
        self._admit(job, deadline_s, is_urgent=is_urgent)
        try:
            return await asyncio.wrap_future(job.future)
        except asyncio.CancelledError:
            job.is_unwanted = True
            raise

    def _admit(self, job: _Runnable, deadline_s: float | None, *, is_urgent: bool) -> None:
        with self._changed:
            if self._is_closed:
                raise Cancelled("the worker has stopped")
            wait_s = self._expected_wait_s()
            retry_s = max(_MIN_RETRY_S, wait_s)
            if not is_urgent and len(self._jobs) >= self._max_queued:
                raise Overloaded(f"{len(self._jobs)} jobs wait already", retry_after_s=retry_s)
            if deadline_s is not None and self._jobs and time.monotonic() + wait_s > deadline_s:
                raise Overloaded(f"about {wait_s:.3f} s of work waits, more than the frame has", retry_after_s=retry_s)
            self._jobs.append(job)
            self._changed.notify()

    def _expected_wait_s(self) -> float:
        return self._job_s * (len(self._jobs) + self._is_busy)

    def _loop(self) -> None:
        while True:
            with self._changed:
                while not self._jobs and not self._is_closed:
                    self._changed.wait()
                if self._is_closed:
                    abandoned, self._jobs = self._jobs, deque()
                    break
                job = self._jobs.popleft()
                self._note()
                self._is_busy, is_chore = True, job.is_chore
                self._is_loaded = not is_chore
            start_s = time.monotonic()
            job.start()
            del job
            with self._changed:
                self._note()
                self._is_busy = self._is_loaded = False
                if not is_chore:
                    took_s = time.monotonic() - start_s
                    self._job_s += (_JOB_WEIGHT if self._job_s else 1.0) * (took_s - self._job_s)
        for waiting in abandoned:
            waiting.abandon()

    def _note(self) -> None:
        """Fold the time since the last change into the busy share."""
        now_s = time.monotonic()
        kept = math.exp(-(now_s - self._noted_s) / _TIME_CONSTANT_S)
        self._busy_ratio = self._busy_ratio * kept + float(self._is_loaded) * (1.0 - kept)
        self._noted_s = now_s
