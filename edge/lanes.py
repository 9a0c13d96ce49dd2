"""Several requests under way at once: bounded waiting, a few lanes, results in the order of the requests.

A lane is a thread that walks one request from input to answer; while one lane's frame is on the link, another's head
computes, so that computing, sending and receiving overlap without any thread handing work to another. Requests wait in
one bounded queue. When it is full, ``block`` makes whoever submits wait, for sources that keep (files), and
``drop-oldest`` ends the oldest waiting request with ``Dropped``, for live ones: there a single request waits, the
newest. What a lane has begun is never dropped, and every future ends exactly once.

Times are limits from when a request was submitted: what it waited is taken off its deadline.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal, Protocol

from edge.answer import Answer
from edge.errors import Dropped, FrameCancelled
from edge.telemetry import Counters
from edge.turnstile import Until
from partitioner.errors import CleftError, UsageError

Live = Literal["block", "drop-oldest"]
LIVE: tuple[Live, ...] = ("block", "drop-oldest")
MAX_DEPTH = 64
_UNCLAIMED_PER_LANE = 2
_UNCLAIMED_LIVE = 64
_STOP_S = 1.0


class AnswerOne(Protocol):
    """Answers one input on the calling thread; ``order`` is its place among the session's requests."""

    def __call__(self, given: object, *, deadline_s: float | None, order: int, until: Until | None) -> Answer:
        """Raises what the session itself raises; ``until`` comes when nobody wants the answer any more."""


class Pending(Future[Answer]):
    """An answer to come. ``withdraw`` takes the request back, begun or not; for a lane it is what ends the need."""

    def __init__(self) -> None:
        super().__init__()
        self._withdrawn = threading.Event()

    def withdraw(self) -> None:
        """Nobody wants the answer: what waits is cancelled, what runs ends soon with ``FrameCancelled``."""
        self._withdrawn.set()
        self.cancel()

    @property
    def is_answered(self) -> bool:
        """Whether it was withdrawn, in the words of ``turnstile.Until``."""
        return self._withdrawn.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Wait for that so long."""
        return self._withdrawn.wait(timeout_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed:
    """What became of one input of a stream: ``answer``, or why there is none. ``id`` counts inputs from 0."""

    id: int
    given: object
    answer: Answer | None
    error: CleftError | None = None


@dataclass(slots=True, kw_only=True)
class _Request:
    given: object
    deadline_s: float | None
    order: int
    submitted_s: float
    future: Pending


class Lanes:
    """``depth`` threads that answer requests. Thread-safe; the threads start with the first request.

    Args:
        answer: answers one.
        depth: how many are under way at once.
        live: what happens where no more can wait.
        counters: are told.
        next_order: the next place among the session's requests.
        most_waiting: how many wait in their order before whoever submits has to (default: ``depth``).
        now: the time.
    """

    def __init__(
        self,
        answer: AnswerOne,
        *,
        depth: int,
        live: Live,
        counters: Counters,
        next_order: Callable[[], int],
        most_waiting: int | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 1 <= depth <= MAX_DEPTH:
            raise UsageError(f"depth must lie between 1 and {MAX_DEPTH}, not {depth}")
        if most_waiting is not None and most_waiting < 1:
            raise UsageError(f"at least one request must be able to wait, not {most_waiting}")
        if live not in LIVE:
            raise UsageError(f"live is {' or '.join(LIVE)}, not {live!r}")
        self._answer = answer
        self._depth = depth
        self._live = live
        self._most_waiting = (most_waiting or depth) if live == "block" else 1
        self._counters = counters
        self._next_order = next_order
        self._now = now
        self._changed = threading.Condition()
        self._waiting: deque[_Request] = deque()
        self._threads: list[threading.Thread] = []
        self._busy = 0
        self._is_closed = False

    def submit(self, given: object, *, deadline_s: float | None = None) -> Pending:
        """Queue one input; its future gets the answer, or the error that the session itself would raise.

        Raises:
            FrameCancelled: the session was closed.
        """
        submitted_s = self._now()
        request = _Request(
            given=given, deadline_s=deadline_s, order=self._next_order(), submitted_s=submitted_s, future=Pending()
        )
        oldest = None
        with self._changed:
            while self._live == "block" and self._is_full() and not self._is_closed:
                self._changed.wait()
            if self._is_closed:
                raise FrameCancelled("the session was closed")
            if self._is_full():
                oldest = self._waiting.popleft()
            self._waiting.append(request)
            self._changed.notify_all()
            if len(self._threads) < min(self._depth, self._busy + len(self._waiting)):
                thread = threading.Thread(target=self._run, name=f"cleft-lane-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()
        self._counters.add(offered=1)
        if oldest is not None and self._begins(oldest):
            self._counters.add(dropped=1)
            oldest.future.set_exception(Dropped("a newer input took its place in the queue"))
        return request.future

    def stream(self, inputs: Iterable[object], *, deadline_s: float | None = None) -> Iterator[Streamed]:
        """Answers in the order of the inputs, which are drawn on a thread of their own as room allows.

        Whoever stops iterating ends the drawing after the input that is being drawn. What ``inputs`` raises is raised
        here once everything before it was answered.
        """
        most = self._depth * _UNCLAIMED_PER_LANE if self._live == "block" else _UNCLAIMED_LIVE
        feeder = _Feeder(inputs, lambda given: self.submit(given, deadline_s=deadline_s), most_unclaimed=most)
        try:
            for number, (given, future) in enumerate(feeder):
                try:
                    answer = future.result()
                except CleftError as error:
                    yield Streamed(id=number, given=given, answer=None, error=error)
                else:
                    yield Streamed(id=number, given=given, answer=answer)
        finally:
            feeder.stop()

    def close(self, *, is_abrupt: bool = False, is_waiting: bool = True) -> None:
        """Take nothing more, and end the threads: once all is answered, or without what no lane has begun.

        With ``is_waiting`` unset the threads may still be ending; call it again.
        """
        with self._changed:
            self._is_closed = True
            dropped: list[_Request] = []
            if is_abrupt:
                dropped, self._waiting = list(self._waiting), deque()
            self._changed.notify_all()
        for request in dropped:
            if self._begins(request):
                self._counters.add(failed=1)
                request.future.set_exception(FrameCancelled("the session was closed"))
        for thread in self._threads if is_waiting else ():
            if thread is not threading.current_thread():
                thread.join()

    def _is_full(self) -> bool:
        free = self._depth - self._busy
        return len(self._waiting) >= self._most_waiting + free

    def _run(self) -> None:
        while (request := self._next()) is not None:
            if self._begins(request):
                self._serve(request)
            del request  # its input must not live until the next one comes
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    def _begins(self, request: _Request) -> bool:
        """Whether anybody still wants a request that waited; nobody can withdraw it unseen from now on."""
        is_wanted = request.future.set_running_or_notify_cancel()
        if not is_wanted:
            self._counters.add(withdrawn=1)
        return is_wanted

    def _next(self) -> _Request | None:
        with self._changed:
            while not self._waiting and not self._is_closed:
                self._changed.wait()
            if not self._waiting:
                return None
            self._busy += 1
            self._changed.notify_all()
            return self._waiting.popleft()

    def _serve(self, request: _Request) -> None:
        try:
            left_s = request.deadline_s
            if left_s is not None:
                left_s = max(0.0, left_s - (self._now() - request.submitted_s))
            answer = self._answer(request.given, deadline_s=left_s, order=request.order, until=request.future)
        except BaseException as error:
            request.future.set_exception(error)
        else:
            request.future.set_result(answer)


class _Feeder:
    """Draws inputs and submits them on a thread of its own; iterating gives each with its future, in order."""

    def __init__(self, inputs: Iterable[object], submit: Callable[[object], Pending], *, most_unclaimed: int) -> None:
        self._inputs = inputs
        self._submit = submit
        self._drawn: queue.SimpleQueue[tuple[object, Pending] | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(most_unclaimed)
        self._is_stopped = self._is_exhausted = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="cleft-feeder", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[tuple[object, Pending]]:
        while (drawn := self._drawn.get()) is not None:
            yield drawn
            self._room.release()
        self._is_exhausted = True
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Draw no more; what nobody will claim is cancelled where it has not begun."""
        self._is_stopped = True
        self._room.release()
        while not self._is_exhausted:
            try:
                drawn = self._drawn.get(timeout=_STOP_S)
            except queue.Empty:
                return  # it waits for its source, and ends with the next input
            if drawn is None:
                break
            drawn[1].cancel()
        self._thread.join()

    def _run(self) -> None:
        try:
            for given in self._inputs:
                self._room.acquire()
                if self._is_stopped:
                    break
                self._drawn.put((given, self._submit(given)))
        except BaseException as error:
            self._error = error
        self._drawn.put(None)
