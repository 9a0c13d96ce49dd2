from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from typing import cast

import pytest

from edge.answer import Answer
from edge.errors import Dropped, FrameCancelled
from edge.lanes import Lanes, Live
from edge.telemetry import Counters
from edge.turnstile import Until
from partitioner.errors import InputError, UsageError

WAIT_S = 10.0


class Work:
    """What the lanes do: every input answers itself once its gate is open."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.counters = Counters()
        self.begun: list[object] = []
        self.left_s: list[float | None] = []
        self.most = self._inside = 0
        self._changed = threading.Condition()
        self._is_open = is_open
        self._opened: set[object] = set()

    def __call__(self, given: object, *, deadline_s: float | None, order: int, until: Until | None) -> Answer:
        if given == "until withdrawn":
            with self._changed:
                self.begun.append(given)
                self._changed.notify_all()
            assert until is not None
            assert until.wait(WAIT_S)
            raise FrameCancelled("nobody waits")
        with self._changed:
            self.begun.append(given)
            self.left_s.append(deadline_s)
            self._inside += 1
            self.most = max(self.most, self._inside)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._is_open or given in self._opened, WAIT_S)
            self._inside -= 1
        if given == "bad":
            raise InputError("this one does not fit")
        return cast(Answer, given)

    def open(self, *which: object) -> None:
        with self._changed:
            self._opened.update(which)
            self._is_open = not which
            self._changed.notify_all()

    def wait_begun(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.begun) >= count, WAIT_S)


Make = Callable[..., Lanes]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[tuple[Lanes, Work]] = []

    def lanes(
        work: Work,
        *,
        depth: int = 2,
        live: Live = "block",
        most_waiting: int | None = None,
        now: Callable[[], float] = lambda: 0.0,
    ) -> Lanes:
        found = Lanes(
            work,
            depth=depth,
            live=live,
            counters=work.counters,
            next_order=itertools.count().__next__,
            most_waiting=most_waiting,
            now=now,
        )
        made.append((found, work))
        return found

    yield lanes
    for found, work in made:
        work.open()
        found.close()


def in_background(call: Callable[[], object]) -> Future[object]:
    future: Future[object] = Future()
    threading.Thread(target=lambda: future.set_result(call())).start()
    return future


def test_as_many_requests_are_under_way_at_once_as_there_are_lanes(make: Make) -> None:
    work = Work(is_open=False)
    lanes = make(work, depth=3)
    futures = [lanes.submit(number) for number in range(6)]
    work.wait_begun(3)
    work.open()
    assert [future.result(WAIT_S) for future in futures] == list(range(6))
    assert work.most == 3


def test_whoever_submits_waits_where_no_more_can(make: Make) -> None:
    work = Work(is_open=False)
    lanes = make(work, depth=1)
    lanes.submit("under way")
    lanes.submit("waiting")
    blocked = in_background(lambda: lanes.submit("blocked"))
    work.wait_begun(1)
    assert not blocked.done()
    work.open()
    assert cast("Future[Answer]", blocked.result(WAIT_S)).result(WAIT_S) == "blocked"


def test_a_live_source_keeps_the_newest_and_never_loses_what_was_begun(make: Make) -> None:
    work = Work(is_open=False)
    lanes = make(work, depth=1, live="drop-oldest")
    futures = [lanes.submit(0)]
    work.wait_begun(1)
    futures += [lanes.submit(number) for number in range(1, 5)]
    for dropped in futures[1:4]:
        with pytest.raises(Dropped):
            dropped.result(WAIT_S)
    work.open()
    assert [futures[0].result(WAIT_S), futures[4].result(WAIT_S)] == [0, 4]
    assert work.counters.snapshot()["dropped"] == 3
    assert work.counters.snapshot()["offered"] == 5


def test_what_was_withdrawn_or_left_before_it_began_is_counted_too(make: Make) -> None:
    work = Work(is_open=False)
    lanes = make(work, depth=1, most_waiting=3)
    lanes.submit("under way")
    work.wait_begun(1)
    lanes.submit("withdrawn").withdraw()
    left = lanes.submit("left")
    lanes.close(is_abrupt=True, is_waiting=False)
    with pytest.raises(FrameCancelled):
        left.result(WAIT_S)
    counted = work.counters.snapshot()
    assert (counted["offered"], counted["withdrawn"], counted["failed"]) == (3, 1, 1)


def test_nothing_is_dropped_while_a_lane_is_free(make: Make) -> None:
    work = Work(is_open=False)
    lanes = make(work, depth=4, live="drop-oldest")
    futures = [lanes.submit(number) for number in range(4)]
    work.open()
    assert [future.result(WAIT_S) for future in futures] == [0, 1, 2, 3]


def test_a_stream_keeps_the_order_of_its_inputs_whatever_is_ready_first(make: Make) -> None:
    work = Work(is_open=False)
    found = make(work, depth=2).stream(["slow", "fast"])
    ready = in_background(lambda: [each.answer for each in found])
    work.wait_begun(2)
    work.open("fast")
    work.open()
    assert ready.result(WAIT_S) == ["slow", "fast"]


def test_a_stream_says_of_each_input_what_became_of_it(make: Make) -> None:
    found = list(make(Work()).stream(["a", "bad", "c"]))
    assert [each.id for each in found] == [0, 1, 2]
    assert [each.answer for each in found] == ["a", None, "c"]
    assert isinstance(found[1].error, InputError)
    assert found[1].given == "bad"


def test_a_stream_draws_no_further_than_can_wait(make: Make) -> None:
    drawn: list[int] = []

    def source() -> Iterator[int]:
        for number in range(1_000):
            drawn.append(number)
            yield number

    found = make(Work(), depth=2).stream(source())
    assert next(found).answer == 0
    found.close()  # type: ignore[attr-defined]
    assert len(drawn) < 12


def test_what_the_source_raises_comes_after_the_answers_before_it(make: Make) -> None:
    def source() -> Iterator[str]:
        yield "a"
        raise InputError("the camera is gone")

    found = make(Work()).stream(source())
    assert next(found).answer == "a"
    with pytest.raises(InputError, match="camera"):
        next(found)


def test_what_a_request_waited_is_taken_off_its_deadline(make: Make) -> None:
    now_s = [0.0]
    work = Work(is_open=False)
    lanes = make(work, depth=1, now=lambda: now_s[0])
    lanes.submit("first", deadline_s=1.0)
    work.wait_begun(1)
    second = lanes.submit("second", deadline_s=1.0)
    now_s[0] = 0.75
    work.open()
    second.result(WAIT_S)
    assert work.left_s == [1.0, 0.25]


def test_closing_answers_what_was_submitted(make: Make) -> None:
    lanes = make(Work())
    futures = [lanes.submit(number) for number in range(4)]
    lanes.close()
    assert [future.result(0) for future in futures] == [0, 1, 2, 3]
    with pytest.raises(FrameCancelled):
        lanes.submit("late")


def test_an_abrupt_end_loses_no_future(make: Make) -> None:
    work = Work(is_open=False)
    lanes = make(work, depth=1)
    first, second = lanes.submit("under way"), lanes.submit("waiting")
    work.wait_begun(1)
    closing = in_background(lambda: lanes.close(is_abrupt=True))
    with pytest.raises(FrameCancelled):
        second.result(WAIT_S)
    work.open()
    assert first.result(WAIT_S) == "under way"
    closing.result(WAIT_S)


def test_a_future_cancelled_by_its_owner_is_never_begun(make: Make) -> None:
    work = Work(is_open=False)
    lanes = make(work, depth=1)
    first, second = lanes.submit("first"), lanes.submit("second")
    work.wait_begun(1)
    assert second.cancel()
    work.open()
    first.result(WAIT_S)
    lanes.close()
    assert work.begun == ["first"]


def test_depth_and_what_to_do_when_full_are_checked() -> None:
    with pytest.raises(UsageError, match="depth"):
        Lanes(Work(), depth=0, live="block", counters=Counters(), next_order=lambda: 0)
    with pytest.raises(UsageError, match="drop-oldest"):
        Lanes(Work(), depth=1, live=cast(Live, "newest"), counters=Counters(), next_order=lambda: 0)


def test_a_request_can_be_taken_back_before_and_after_it_has_begun(make: Make) -> None:
    work = Work()
    lanes = make(work, depth=1)
    begun, waiting = lanes.submit("until withdrawn"), lanes.submit("second")
    work.wait_begun(1)
    waiting.withdraw()
    begun.withdraw()
    with pytest.raises(FrameCancelled, match="nobody waits"):
        begun.result(WAIT_S)
    with pytest.raises(CancelledError):
        waiting.result(WAIT_S)
    assert lanes.submit("third").result(WAIT_S) == cast(Answer, "third")
    assert work.begun == ["until withdrawn", "third"]


def test_more_may_wait_where_that_was_asked_for_and_go_in_their_order(make: Make) -> None:
    work = Work(is_open=False)
    lanes = make(work, depth=1, most_waiting=10)
    futures = [lanes.submit(number) for number in range(11)]  # none of these has to wait to be taken
    work.wait_begun(1)
    work.open()
    assert [future.result(WAIT_S) for future in futures] == work.begun == list(range(11))
