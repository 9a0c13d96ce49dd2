"""A job of the compute thread: what to do, for whom it matters, and what becomes of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, cast

from protos.errors import Cancelled, DeadlineExceeded

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """What a running job knows of whoever waits for it."""

    queue_s: float
    should_stop: Callable[[], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLoad:
    """How busy the compute thread is; ``others_`` is what the client that is told did not cause."""

    queued_jobs: int
    busy_ratio: float
    job_s: float
    others_busy_ratio: float = 0.0
    others_queued_jobs: int = 0


class Group(Protocol):
    """How jobs of one key run together. Used on the compute thread alone, but for ``key``."""

    @property
    def key(self) -> Hashable:
        """What they have in common."""

    @property
    def preferred(self) -> int:
        """How many together pay most, as far as is known."""

    def most(self, waiting: int) -> int:
        """How many of so many that wait should run together now."""

    def run(self, works: Sequence[Callable[[Ticket], object]], tickets: Sequence[Ticket]) -> Sequence[object]:
        """Run several; for each its result, or the exception that is its own."""

    def note(self, size: int, took_s: float) -> None:
        """So many together have taken so long."""

    def take_chore(self) -> Callable[[], None] | None:
        """The next of what is to be done before any can run together."""


class Job(Generic[_T]):
    """One job. ``future`` is what its client waits for."""

    def __init__(
        self,
        work: Callable[[Ticket], _T],
        deadline_s: float | None,
        *,
        kind: Hashable = None,
        group: Group | None = None,
        is_chore: bool = False,
    ) -> None:
        self.work = work
        self.deadline_s = deadline_s
        self.kind = kind
        self.group = group
        self.is_chore = is_chore
        self.queued_s = time.monotonic()
        self.future: Future[_T] = Future()
        self.is_unwanted = self.has_run = self.is_done_well = False
        self._queue_s = 0.0
        self._outcome: object = None

    @property
    def ticket(self) -> Ticket:
        """What the work is told."""
        return Ticket(queue_s=self._queue_s, should_stop=self.should_stop)

    def begin(self) -> bool:
        """Whether it should run: somebody waits for it, and it is not too late."""
        self._queue_s = time.monotonic() - self.queued_s
        if not self.future.set_running_or_notify_cancel():
            return False
        if self._is_late():
            self.future.set_exception(DeadlineExceeded("its time was over before its turn came"))
            return False
        return True

    def run(self) -> None:
        """Do the work, alone."""
        try:
            outcome: object = self.work(self.ticket)
        except BaseException as error:
            outcome = error
        self.finish(outcome)

    def finish(self, outcome: object) -> None:
        """Keep a result, or an exception, until it is handed over."""
        self.has_run = True
        self.is_done_well = not isinstance(outcome, BaseException)
        self._outcome = self._why(outcome) if isinstance(outcome, BaseException) else outcome

    def deliver(self) -> None:
        """Hand over what came of it; nothing where it did not run."""
        if isinstance(self._outcome, BaseException):
            self.future.set_exception(self._outcome)
        elif self.has_run:
            self.future.set_result(cast(_T, self._outcome))
        self._outcome = None

    def fail(self, error: Exception) -> None:
        """End a job that has not begun; nothing where its client has left."""
        with suppress(InvalidStateError):
            if self.future.set_running_or_notify_cancel():
                self.future.set_exception(error)

    def should_stop(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.is_unwanted or self._is_late()

    def _is_late(self) -> bool:
        return self.deadline_s is not None and time.monotonic() > self.deadline_s

    def _why(self, error: BaseException) -> BaseException:
        if self.is_unwanted:
            return Cancelled("the client no longer wants it")
        if self._is_late():
            return DeadlineExceeded("its time was over while it ran")
        return error
