"""Rows 1, 2, 3 and 16: workers that are killed, frozen, cut off or asked to go, while answers are owed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

import pytest
from history import Given, History, Oracle, Owed, Verdict, judge
from rig import IS_FULL, Pool, inputs_of, meanwhile, until

import edge
from partitioner.bundle import Bundle
from partitioner.relay import Faults, Relay, Shape

Bundles = dict[str, Bundle]
Figure = Callable[[str], None]
HOLE = Faults(is_black_hole=True)
SLACK_S = 0.0 if IS_FULL else 0.5
"""What a machine busy with other things may add to a deadline in the short form."""


def ask_all(session: edge.Session, history: History, inputs: Iterable[Given], *, deadline_s: float) -> None:
    """Ask one after the other, and write down what comes."""
    for given in inputs:
        frame_id = history.ask(given, deadline_s=deadline_s)
        try:
            history.answer(frame_id, session(given, deadline_s=deadline_s))
        except edge.EdgeError as error:
            history.fail(frame_id, error)


def judged(history: History, oracle: Oracle) -> Verdict:
    verdict = judge(history, oracle, Owed(slack_s=SLACK_S))
    assert verdict.is_clean, str(verdict)
    return verdict


def since(history: History, at_s: float, *, by: str) -> float:
    """How long after ``at_s`` the first answer by one came."""
    return min(
        (each.answered_s - at_s for each in history.answered if each.by == by and each.answered_s > at_s), default=999
    )


@pytest.mark.row(1)
@pytest.mark.timeout(600)
@pytest.mark.parametrize("times", [10 if IS_FULL else 1])
def test_a_worker_killed_mid_frame_costs_no_answer(
    times: int, pool: Pool, bundles: Bundles, oracle: Callable[[Bundle], Oracle], figure: Figure
) -> None:
    bundle = bundles["bulk"]
    moved_s = []
    for _ in range(times):
        history = History(digest=bundle.digest)
        moved_s.append(until_another(pool, bundle, history))
        judged(history, oracle(bundle))
    assert max(moved_s) < (1.0 if IS_FULL else 2.0)
    figure(f"another worker answered {max(moved_s) * 1e3:.0f} ms after the kill, at most, of {times} kills")


def until_another(pool: Pool, bundle: Bundle, history: History) -> float:
    """Kill a worker that is in the middle of a frame; how long until another answers."""
    inputs, killed_s = inputs_of(bundle, 6), 0.0
    first, second = pool.lease(2)

    def kill_mid_frame() -> None:
        nonlocal killed_s
        before = relay.carried_bytes[0]
        until(lambda: relay.carried_bytes[0] > before + 100_000, "a frame half sent")
        killed_s = time.monotonic()
        first.kill()

    with (
        Relay(first.address, Shape(up_bytes_per_s=2e6)) as relay,
        edge.Session(bundle, cloud=[relay.address, second.target], cut="cloud") as session,
    ):
        until(lambda: all(each.state == "up" for each in session.workers()), "both workers")
        ask_all(session, history, inputs[:2], deadline_s=5.0)
        with meanwhile(kill_mid_frame):
            ask_all(session, history, inputs[2:], deadline_s=2.0)
        ask_all(session, history, inputs, deadline_s=2.0)
    return since(history, killed_s, by="cloud")


def endure(
    session: edge.Session,
    history: History,
    given: Given,
    *,
    hurt: Callable[[], object],
    mend: Callable[[], object],
    deadline_s: float,
    hurt_s: float,
) -> tuple[float, float]:
    """Ask while something is hurt and mended: how long until that was noticed, and until frames were split again."""
    noticed_s = again_s = 0.0
    pause, losses = threading.Event(), session.counters()["losses"]

    def notice() -> None:
        nonlocal noticed_s
        noticed_s = until(lambda: session.counters()["losses"] > losses, "notice of the fault")

    ask_all(session, history, [given] * 3, deadline_s=5.0)
    hurt()
    hurt_at_s = time.monotonic()
    with meanwhile(notice):
        while time.monotonic() - hurt_at_s < hurt_s:
            ask_all(session, history, [given], deadline_s=deadline_s)
            pause.wait(0.05)
    mend()
    mended_at_s = time.monotonic()
    while not again_s and time.monotonic() - mended_at_s < 15:
        ask_all(session, history, [given], deadline_s=deadline_s)
        if history.answered[-1].by != "fallback":
            again_s = time.monotonic() - mended_at_s
        pause.wait(0.05)
    return noticed_s, again_s or 999.0


@pytest.mark.row(2)
def test_a_silent_worker_is_noticed_and_used_again_when_it_is_back(
    pool: Pool, bundles: Bundles, oracle: Callable[[Bundle], Oracle], figure: Figure
) -> None:
    """A frozen process, and links that carry nothing up, down or either way, all at once."""
    bundle = bundles["ladder"]
    given = inputs_of(bundle, 1)[0]
    frozen, behind = pool.lease(2)
    ways = {"up": {"up": HOLE}, "down": {"down": HOLE}, "both": {"up": HOLE, "down": HOLE}}
    found: dict[str, tuple[float, float]] = {}
    histories: dict[str, History] = {}

    def freeze() -> None:
        with edge.Session(bundle, cloud=frozen.target, cut="after:first") as session:
            histories["frozen"] = history = History(digest=bundle.digest)
            found["frozen"] = endure(
                session, history, given, hurt=frozen.freeze, mend=frozen.thaw, deadline_s=0.5, hurt_s=4.5
            )

    def swallow(name: str) -> None:
        with (
            Relay(behind.address) as relay,
            edge.Session(bundle, cloud=relay.address, cut="after:first") as session,
        ):
            histories[name] = history = History(digest=bundle.digest)

            def hurt() -> None:
                relay.spoil(**ways[name])

            found[name] = endure(session, history, given, hurt=hurt, mend=relay.spoil, deadline_s=0.5, hurt_s=4.5)

    with meanwhile(freeze, *(lambda name=name: swallow(name) for name in ways)):
        pass
    for history in histories.values():
        judged(history, oracle(bundle))
    noticed_s, again_s = (max(each[place] for each in found.values()) for place in (0, 1))
    figure(f"noticed after {noticed_s:.2f} s at most, split again {again_s:.2f} s after the return at most")
    assert noticed_s < (3.1 if IS_FULL else 6.0), found
    assert again_s < (5.0 if IS_FULL else 7.0), found


@pytest.mark.row(3)
@pytest.mark.timeout(300)
def test_a_reset_every_second_delays_no_answer(
    pool: Pool, bundles: Bundles, oracle: Callable[[Bundle], Oracle], figure: Figure
) -> None:
    bundle, run_s = bundles["ladder"], 100.0 if IS_FULL else 4.0
    (worker,) = pool.lease(1)
    history, pause = History(digest=bundle.digest), threading.Event()
    inputs = inputs_of(bundle, 8)
    with Relay(worker.address) as relay, edge.Session(bundle, cloud=relay.address, cut="after:first") as session:
        ask_all(session, history, inputs[:1], deadline_s=5.0)
        relay.reset_every(1.0)
        end_s = time.monotonic() + run_s
        while time.monotonic() < end_s:
            ask_all(session, history, inputs[:1], deadline_s=0.5)
            pause.wait(0.02)
        resets = session.counters()["losses"]
    verdict = judged(history, oracle(bundle))
    figure(f"{verdict}, {verdict.in_time_ratio:.2%} in time, {resets} sessions lost")
    assert verdict.in_time_ratio >= 0.999
    assert resets >= run_s / 2
