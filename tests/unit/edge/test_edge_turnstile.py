from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from edge.errors import DeviceBusy
from edge.turnstile import LAST, NotWanted, Turnstile

WAIT_S = 10.0


class Queue:
    """Threads in line at a turnstile that is held until ``let`` is called; ``served`` is the order they got through."""

    def __init__(self, turnstile: Turnstile) -> None:
        self.turnstile = turnstile
        self.served: list[str] = []
        self._held = ExitStack()
        self._held.enter_context(turnstile.turn(-1))
        self._threads: list[threading.Thread] = []

    def join(self, name: str, order: int, *, is_finish: bool = False) -> None:
        def wait() -> None:
            with self.turnstile.turn(order, is_finish=is_finish):
                self.served.append(name)

        thread = threading.Thread(target=wait)
        self._threads.append(thread)
        thread.start()
        until(lambda: self.turnstile.waiting == len(self._threads))

    def let(self) -> list[str]:
        self._held.close()
        for thread in self._threads:
            thread.join(WAIT_S)
        return self.served


def until(holds: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(int(WAIT_S / 0.002)):
        if holds():
            return
        pause.wait(0.002)
    raise AssertionError("it never came true")


class Signal:
    def __init__(self) -> None:
        self._event = threading.Event()

    @property
    def is_answered(self) -> bool:
        return self._event.is_set()

    def wait(self, timeout_s: float) -> bool:
        return self._event.wait(timeout_s)

    def give(self) -> None:
        self._event.set()


def test_finishing_goes_before_beginning_and_the_older_request_first() -> None:
    line = Queue(Turnstile())
    line.join("head of 7", 7)
    line.join("warm-up", LAST)
    line.join("head of 5", 5)
    line.join("finish of 6", 6, is_finish=True)
    line.join("finish of 4", 4, is_finish=True)
    assert line.let() == ["finish of 4", "finish of 6", "head of 5", "head of 7", "warm-up"]


def test_two_never_hold_it_at_once() -> None:
    turnstile, inside, most = Turnstile(), [0], [0]

    def work(order: int) -> None:
        for _ in range(200):
            with turnstile.turn(order, is_finish=order % 2 == 0):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1

    threads = [threading.Thread(target=work, args=(order,)) for order in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert most == [1]
    assert turnstile.waiting == 0


def test_it_is_free_again_after_an_error_in_the_body() -> None:
    turnstile = Turnstile()
    with pytest.raises(RuntimeError), turnstile.turn(0):
        raise RuntimeError
    with turnstile.turn(1):
        assert turnstile.waiting == 0


def test_a_turn_that_is_no_longer_wanted_is_given_up_while_another_holds_the_engine() -> None:
    turnstile, signal, given_up = Turnstile(), Signal(), threading.Event()

    def wait() -> None:
        with pytest.raises(NotWanted), turnstile.turn(1, is_finish=True, until=signal):
            raise AssertionError("it held the engine")
        given_up.set()

    with turnstile.turn(0):
        thread = threading.Thread(target=wait)
        thread.start()
        until(lambda: turnstile.waiting == 1)
        signal.give()
        assert given_up.wait(WAIT_S)
        assert turnstile.waiting == 0
    thread.join(WAIT_S)
    with turnstile.turn(2):
        pass


def test_an_interrupt_while_waiting_leaves_the_engine_to_the_others() -> None:
    class Interrupted(Signal):
        @property
        def is_answered(self) -> bool:
            raise KeyboardInterrupt

    turnstile = Turnstile()
    with turnstile.turn(0), pytest.raises(KeyboardInterrupt), turnstile.turn(1, until=Interrupted()):
        raise AssertionError("it held the engine")
    with turnstile.turn(2):
        assert turnstile.waiting == 0


def test_the_line_is_bounded_but_never_closed_to_a_finish() -> None:
    line = Queue(Turnstile(most_waiting=1))
    line.join("first", 1)
    with pytest.raises(DeviceBusy, match="1 requests wait"), line.turnstile.turn(2):
        pass
    line.join("finish", 3, is_finish=True)
    assert line.let() == ["finish", "first"]


def test_a_wait_is_expected_only_where_there_was_a_queue_lately() -> None:
    now_s = [0.0]
    turnstile = Turnstile(now=lambda: now_s[0])
    with turnstile.turn(0):
        now_s[0] += 0.5
    assert turnstile.likely_wait_s == 0.0
    with turnstile.turn(LAST):  # measuring, which does not come again
        now_s[0] += 20.0
    line = Queue(turnstile)
    line.join("one", 1)
    assert turnstile.likely_wait_s == pytest.approx(0.5)
    line.join("finish", 2, is_finish=True)
    assert turnstile.likely_wait_s == pytest.approx(1.0)
    line.let()
    now_s[0] += 60.0
    assert turnstile.likely_wait_s == 0.0
