"""The compute thread: one owner of a device and its engines, fed from a bounded queue that is fair between clients.

The event loop awaits ``run``; the work itself happens here, one job at a time, so engines need no locks and the machine
is never oversubscribed. Who is next, and who is refused, is decided by ``schedule``; what a job of each kind takes is
measured (``costs``). A job that nobody waits for any more leaves the queue at once, and is told to stop
(``should_stop``, asked between layers) once it runs. Jobs that say they may run together (``Group``) do so where that
pays; each has its own outcome.

Load is the share of recent time the thread was busy: an exponential average with a time constant of five seconds, and
the same for each client. The worker's own chores, such as measuring itself, are no load and teach nothing about frames.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from typing import TypeVar, cast

from cloud.costs import Costs
from cloud.jobs import Group, Job, Ticket, WorkerLoad
from cloud.schedule import MIN_RETRY_S, Entry, FairQueue
from cloud.shares import Shares
from protos.errors import Cancelled, DeadlineExceeded, Overloaded, WireError

_SWEEP_S = 0.01
_OVERDUE = 0.1

_T = TypeVar("_T")


class Worker:
    """A compute thread and its queue. Start it, and close it: it is then joined."""

    def __init__(
        self, *, max_queued: int, max_per_client: int = 32, batch_wait_s: float = 0.0, name: str = "cleft-compute"
    ) -> None:
        self._queue: FairQueue[Job[object]] = FairQueue(max_entries=max_queued, max_per_client=max_per_client)
        self._batch_wait_s = batch_wait_s
        self._changed = threading.Condition()
        self._is_closed = False
        self._costs = Costs()
        self._shares = Shares(time.monotonic())
        self._running: tuple[Entry[Job[object]], ...] = ()
        self._started_s = self._swept_s = 0.0
        self._batches = self._batched_frames = self._displaced = self._expired = 0
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
        return self.load_for(None)

    @property
    def counts(self) -> dict[str, int]:
        """Since the start: runs of several frames, frames in them, frames that went for others, frames too late."""
        return {
            "batches": self._batches,
            "batched_frames": self._batched_frames,
            "displaced": self._displaced,
            "expired": self._expired,
        }

    def load_for(self, client: Hashable) -> WorkerLoad:
        """How busy the thread is now, with what others than this client cause apart."""
        with self._changed:
            now_s = time.monotonic()
            busy_ratio = self._shares.busy_ratio(now_s)
            own_ratio = self._shares.busy_ratio_of(client, now_s) if client is not None else 0.0
            queued = len(self._queue)
            return WorkerLoad(
                queued_jobs=queued,
                busy_ratio=busy_ratio,
                job_s=self._costs.mean_s,
                others_busy_ratio=min(busy_ratio, max(0.0, busy_ratio - own_ratio)),
                others_queued_jobs=queued - (self._queue.waiting(client) if client is not None else 0),
            )

    def check(self, *, client: Hashable, kind: Hashable, deadline_s: float | None) -> None:
        """Refuse a job that would be refused if it came now.

        Raises:
            Overloaded: the queue has no room for it, or the deadline would pass before its end.
        """
        with self._changed:
            cost_s = self._costs.of(kind)
            entry: Entry[Job[object]] = Entry(
                item=_NOTHING, client=client, cost_s=cost_s, deadline_s=deadline_s, key=None
            )
            now_s = time.monotonic()
            self._queue.check(entry, now_s=now_s, busy_s=self._busy_s(now_s))

    async def run(
        self,
        work: Callable[[Ticket], _T],
        *,
        client: Hashable = None,
        kind: Hashable = None,
        group: Group | None = None,
        deadline_s: float | None = None,
        is_urgent: bool = False,
        is_chore: bool = False,
    ) -> _T:
        """Run ``work`` on the compute thread.

        Args:
            work: what to do; it should give up where its ticket says so.
            client: whose it is; clients get equal shares of the thread.
            kind: what jobs of about the same cost have in common.
            group: how it may run together with others of the same ``group.key``.
            deadline_s: monotonic time after which nobody wants the result.
            is_urgent: take it although the queue is full; it waits its turn like any other.
            is_chore: the worker's own: it counts neither as load nor as what a job takes.

        Raises:
            Overloaded: the queue is full, or the deadline would pass before its end.
            DeadlineExceeded: the deadline passed.
            Cancelled: the worker is closed.
        """
        job = Job(work, deadline_s, kind=kind, group=group, is_chore=is_chore)
        entry = self._push(cast("Job[object]", job), client, is_bound=is_urgent or is_chore)
        try:
            return await asyncio.wrap_future(job.future)
        except asyncio.CancelledError:
            job.is_unwanted = True
            with self._changed:
                self._queue.remove(entry)
            raise

    def _push(self, job: Job[object], client: Hashable, *, is_bound: bool) -> Entry[Job[object]]:
        with self._changed:
            if self._is_closed:
                raise Cancelled("the worker has stopped")
            entry = Entry(
                item=job,
                client=client if not job.is_chore else ("chores", client),
                cost_s=0.0 if job.is_chore else self._costs.of(job.kind),
                deadline_s=job.deadline_s,
                key=job.group.key if job.group is not None else None,
                is_bound=is_bound,
            )
            now_s = time.monotonic()
            victims = self._queue.push(entry, now_s=now_s, busy_s=self._busy_s(now_s))
            self._changed.notify()
            self._displaced += len(victims)
        for victim in victims:
            why = "there is no room, and this client has had more than others"
            victim.item.fail(Overloaded(why, retry_after_s=max(MIN_RETRY_S, victim.cost_s)))
        return entry

    def _busy_s(self, now_s: float) -> float:
        """How long what runs now is expected to take yet."""
        if not self._running:
            return 0.0
        return max(
            _OVERDUE * (spent_s := now_s - self._started_s), sum(entry.cost_s for entry in self._running) - spent_s
        )

    def _loop(self) -> None:
        while True:
            with self._changed:
                while not len(self._queue) and not self._is_closed:
                    self._changed.wait()
                if self._is_closed:
                    abandoned = self._queue.clear()
                    break
                late = self._sweep()
                entries = self._next() if len(self._queue) else []
            _fail(late, DeadlineExceeded("its time would be over before its end"))
            if entries:
                self._run([entry.item for entry in entries])
                self._settle(entries)
            del entries, late  # the segments of what is over must not wait for the next job
        _fail(abandoned, Cancelled("the worker has stopped"))

    def _sweep(self) -> list[Entry[Job[object]]]:
        """Take out, now and then, what cannot be in time any more."""
        now_s = time.monotonic()
        if now_s - self._swept_s < _SWEEP_S:
            return []
        self._swept_s = now_s
        late = self._queue.hopeless(now_s)
        self._expired += len(late)
        return late

    def _next(self) -> list[Entry[Job[object]]]:
        """Take the next job and those that run with it."""
        entries = [self._queue.pop()]
        group = entries[0].item.group
        if group is not None and (alike := self._queue.alike(group.key)):
            most = group.most(alike + 1)
            entries += self._queue.pop_like(group.key, most - 1)
            until_s = min(self._wait_until_s(entry, group.preferred) for entry in entries)
            while len(entries) < group.preferred > 1 and (left_s := until_s - time.monotonic()) > 0:
                if self._is_closed:
                    break
                self._changed.wait(left_s)
                entries += self._queue.pop_like(group.key, group.preferred - len(entries))
        now_s = time.monotonic()
        self._running, self._started_s = tuple(entries), now_s
        clients = [] if entries[0].item.is_chore else [entry.client for entry in entries]
        self._shares.begin(clients, now_s)
        return entries

    def _wait_until_s(self, entry: Entry[Job[object]], size: int) -> float:
        """How long it may wait for others: as long as all of a batch can still be in time for it."""
        until_s = entry.item.queued_s + self._batch_wait_s
        return until_s if entry.deadline_s is None else min(until_s, entry.deadline_s - 2 * size * entry.cost_s)

    def _run(self, jobs: Sequence[Job[object]]) -> None:
        wanted = [job for job in jobs if job.begin()]
        group = wanted[0].group if wanted else None
        if len(wanted) == 1:
            wanted[0].run()
        elif wanted and group is not None:
            self._batches += 1
            self._batched_frames += len(wanted)
            tickets = [job.ticket for job in wanted]
            try:
                outcomes = group.run([job.work for job in wanted], tickets)
            except BaseException as error:
                outcomes = [error] * len(wanted)
            for job, outcome in zip(wanted, outcomes, strict=True):
                job.finish(outcome)

    def _settle(self, entries: Sequence[Entry[Job[object]]]) -> None:
        jobs = [entry.item for entry in entries]
        ran = [job for job in jobs if job.has_run]
        with self._changed:
            now_s = time.monotonic()
            took_s = now_s - self._started_s
            self._shares.end(now_s)
            self._running = ()
            for entry in entries:
                self._queue.settle(entry, cost_s=took_s / len(entries))
                is_telling = entry.item.is_done_well or took_s > entry.cost_s * len(entries)
                if is_telling and entry.item.has_run and not entry.item.is_chore:
                    self._costs.note(entry.item.kind, took_s / len(entries))
        group = jobs[0].group
        if group is not None and ran and all(job.is_done_well for job in jobs):
            group.note(len(ran), took_s)
        for job in jobs:  # whoever is told what came of it is told of a load that this is part of
            job.deliver()
        if group is not None and (chore := group.take_chore()) is not None:
            with suppress(Cancelled):
                self._push(Job(lambda ticket: chore(), None, is_chore=True), None, is_bound=True)


def _fail(entries: Sequence[Entry[Job[object]]], error: WireError) -> None:
    for entry in entries:
        entry.item.fail(error)


_NOTHING: Job[object] = Job(lambda ticket: None, None)
