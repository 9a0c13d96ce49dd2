"""Several requests at once, over real workers: order, overlap, deadlines, other workers, plans that change."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pytest
from edge_support import inputs_of

import edge
from edge.answer import Answer, max_rel_diff
from edge.client import Client
from edge.embedded import EmbeddedWorker
from edge.errors import Dropped
from edge.frames import Frame
from edge.policy import Choice
from edge.steering import Steering
from partitioner.bundle import Bundle
from partitioner.planner import Planner
from partitioner.relay import Relay, Shape
from partitioner.runtimes import Array

Start = Callable[..., EmbeddedWorker]
CUT = "after:stage1"
WAIT_S = 30.0
DELAY_S = 0.05


@pytest.fixture(scope="module")
def worker(digits: Bundle) -> Iterator[EmbeddedWorker]:
    with EmbeddedWorker(digits.path, arguments=("--threads", "1")) as running:
        yield running


@pytest.fixture
def distant(worker: EmbeddedWorker) -> Iterator[str]:
    """The worker behind a link with a round trip of 100 ms."""
    host, _, port = worker.target.rpartition(":")
    with Relay((host, int(port)), shape=Shape(delay_s=DELAY_S)) as relay:
        yield relay.address


def check(session: edge.Session, answer: Answer, given: Mapping[str, Array]) -> None:
    assert max_rel_diff(answer.outputs, session.whole(given)) <= 1e-5


def test_a_stream_answers_every_input_with_its_own_answer_in_order(worker: EmbeddedWorker, digits: Bundle) -> None:
    given = [inputs_of(digits, seed=seed) for seed in range(24)]
    with edge.Session(digits, cloud=worker.target, cut=CUT) as session:
        found = list(session.stream(given))
        assert [each.id for each in found] == list(range(24))
        for each, one in zip(found, given, strict=True):
            assert each.answer is not None
            assert each.answer.where == "split"
            check(session, each.answer, one)
        counted = session.counters()
    assert (counted["offered"], counted["answered"], counted["failed"]) == (24, 24, 0)


def test_any_thread_may_ask(worker: EmbeddedWorker, digits: Bundle) -> None:
    wrong: list[int] = []
    with edge.Session(digits, cloud=worker.target, cut=CUT) as session:

        def ask(thread: int) -> None:
            for turn in range(5):
                given = inputs_of(digits, seed=10 * thread + turn)
                if max_rel_diff(session(given).outputs, session.whole(given)) > 1e-5:
                    wrong.append(thread)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
        assert session.counters()["answered"] == 30
    assert not wrong


def test_requests_overlap_while_they_are_on_their_way(distant: str, digits: Bundle) -> None:
    given = [inputs_of(digits, seed=seed) for seed in range(12)]
    with edge.Session(digits, cloud=distant, cut=CUT, depth=4) as session:
        session(given[0])
        begun_s = time.monotonic()
        assert all(each.answer is not None for each in session.stream(given))
        took_s = time.monotonic() - begun_s
    assert took_s < 0.75 * len(given) * 2 * DELAY_S


def test_of_a_live_source_what_waits_too_long_is_dropped_and_all_else_answered(distant: str, digits: Bundle) -> None:
    given = [inputs_of(digits, seed=seed) for seed in range(12)]
    with edge.Session(digits, cloud=distant, cut=CUT, depth=2, live="drop-oldest") as session:
        session(given[0])
        futures = [session.submit(each) for each in given]
        dropped = [isinstance(future.exception(WAIT_S), Dropped) for future in futures]
        assert sum(dropped) > 0
        assert not dropped[-1]
        for future, one, is_dropped in zip(futures, given, dropped, strict=True):
            if not is_dropped:
                check(session, future.result(), one)
        counted = session.counters()
    assert counted["dropped"] == sum(dropped)
    assert counted["offered"] == counted["answered"] + counted["dropped"]


def test_the_device_finishes_from_the_cut_by_the_deadline_over_what_was_sent_and_leaves_it_unchanged(
    start_worker: Start, digits: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[Array, Array]] = []
    submit = Client.submit

    def recorded(
        client: Client, plan_id: str, stage: int, tensors: Mapping[str, Array], *rest: object, **more: object
    ) -> Frame:
        sent.extend((array, array.copy()) for array in tensors.values())
        return submit(client, plan_id, stage, tensors, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Client, "submit", recorded)
    worker = start_worker(digits)
    times_s = []
    with edge.Session(digits, cloud=worker.target, cut=CUT, deadline_s=0.5) as session:
        session(inputs_of(digits))
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGSTOP)
        for seed in range(4):
            given = inputs_of(digits, seed=seed)
            answer = session(given)
            assert answer.is_fallback
            times_s.append(answer.times.total_s)
            check(session, answer, given)
        counted = session.counters()
        os.kill(worker.pid, signal.SIGCONT)
    assert sorted(times_s)[1] < 0.5
    assert max(times_s) < 1.0
    assert counted["hedged"] >= 1
    assert len(sent) >= 4
    for array, copy in sent:
        np.testing.assert_array_equal(array, copy)


def test_another_worker_goes_on_where_one_is_killed(start_worker: Start, digits: Bundle) -> None:
    first, second = start_worker(digits), start_worker(digits)
    with edge.Session(digits, cloud=[first.target, second.target], cut=CUT) as session:
        session.select(inputs_of(digits))
        wheres = []
        for number, each in enumerate(session.stream(inputs_of(digits, seed=seed) for seed in range(30))):
            if number == 5:
                assert first.pid is not None
                os.kill(first.pid, signal.SIGKILL)
            assert each.answer is not None
            assert isinstance(each.given, dict)
            check(session, each.answer, each.given)
            wheres.append(each.answer.where)
        health = {each.target: each.state for each in session.workers()}
        assert session.counters()["failed"] == 0
    assert wheres[-1] == "split"
    assert wheres.count("split") >= 20
    assert health[second.target] == "up"
    assert health[first.target] != "up"


def test_a_plan_that_is_new_to_the_worker_is_made_ready_while_the_old_one_goes_on(
    worker: EmbeddedWorker, digits: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = ["after:stage1"]

    def choose(steering: Steering, kind: object, planner: Planner, *, target: str | None) -> Choice:
        candidate = next(each for each in planner.everything.candidates if each.cut == wanted[0])
        return Choice(candidate=candidate, predicted_s=0.1, is_switch=False, reason="as the test wants it")

    monkeypatch.setattr(Steering, "choose", choose)
    given = inputs_of(digits)
    with edge.Session(digits, cloud=worker.target, profile_budget_s=0.5) as session:
        assert session(given).cut == "after:stage1"
        for cut in ("after:stage2", "after:stage1"):
            wanted[0] = cut
            ends_s = time.monotonic() + WAIT_S
            answer = session(given)
            while answer.cut != cut:
                assert time.monotonic() < ends_s
                assert not answer.is_fallback
                check(session, answer, given)
                answer = session(given)
            check(session, answer, given)
        assert session.counters()["failed"] == 0


def test_a_session_that_is_closed_loses_no_future(distant: str, digits: Bundle) -> None:
    with edge.Session(digits, cloud=distant, cut=CUT, depth=2) as session:
        futures = [session.submit(inputs_of(digits, seed=seed)) for seed in range(4)]
    assert all(future.result(0).where == "split" for future in futures)
    session = edge.Session(digits, cloud=distant, cut=CUT, depth=1).open()
    futures = [session.submit(inputs_of(digits, seed=seed)) for seed in range(2)]
    session.close(is_abrupt=True)
    assert all(future.done() for future in futures)
