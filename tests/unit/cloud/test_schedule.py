from __future__ import annotations

import random
from collections import Counter

import pytest

from cloud.schedule import Entry, FairQueue
from protos.errors import Overloaded


def entry(client: str, cost_s: float = 1.0, **options: object) -> Entry[str]:
    return Entry(item=f"of {client}", client=client, cost_s=cost_s, **options)  # type: ignore[arg-type]


def queue_of(**options: int) -> FairQueue[str]:
    return FairQueue(**{"max_entries": 64, "max_per_client": 32, **options})


def put(queue: FairQueue[str], each: Entry[str], *, now_s: float = 0.0, busy_s: float = 0.0) -> list[Entry[str]]:
    return queue.push(each, now_s=now_s, busy_s=busy_s)


def serve(queue: FairQueue[str], cost_s: float | None = None) -> Entry[str]:
    taken = queue.pop()
    queue.settle(taken, cost_s=taken.cost_s if cost_s is None else cost_s)
    return taken


def test_clients_that_always_have_work_get_equal_time_whatever_their_frames_cost():
    queue, spent_s = queue_of(max_entries=10_000), Counter[str]()
    costs_s = {"small": 1.0, "middle": 3.0, "large": 10.0}
    for client, cost_s in costs_s.items():
        for _ in range(4):
            put(queue, entry(client, cost_s))
    while sum(spent_s.values()) < 3000:
        client = serve(queue).client
        spent_s[client] += costs_s[client]
        put(queue, entry(client, costs_s[client]))
    assert max(spent_s.values()) / min(spent_s.values()) < 1.02


def test_time_is_shared_by_what_was_measured_not_by_what_was_expected():
    queue, spent_s = queue_of(), Counter[str]()
    actual_s = {"honest": 1.0, "dear": 4.0}
    for client in actual_s:
        put(queue, entry(client))
        put(queue, entry(client))
    while sum(spent_s.values()) < 1000:
        taken = queue.pop()
        queue.settle(taken, cost_s=actual_s[taken.client])
        spent_s[taken.client] += actual_s[taken.client]
        put(queue, entry(taken.client))
    assert max(spent_s.values()) / min(spent_s.values()) < 1.05


def test_a_client_that_was_away_has_saved_nothing_up():
    queue = queue_of()
    for _ in range(20):
        put(queue, entry("busy"))
        serve(queue)
    put(queue, entry("busy"))
    put(queue, entry("back"))
    put(queue, entry("back"))
    put(queue, entry("busy"))
    order = [serve(queue).client for _ in range(4)]
    assert Counter(order[:2]) == {"busy": 1, "back": 1}


def test_the_earliest_deadline_of_a_client_goes_first():
    queue = queue_of()
    for deadline_s in (None, 90.0, 30.0, 60.0):
        put(queue, entry("one", deadline_s=deadline_s))
    assert [serve(queue).deadline_s for _ in range(4)] == [30.0, 60.0, 90.0, None]


def test_a_greedy_client_pushes_nobody_out_but_itself():
    queue = queue_of(max_entries=10, max_per_client=10)
    for _ in range(10):
        put(queue, entry("greedy"))
    with pytest.raises(Overloaded) as refusal:
        put(queue, entry("greedy"))
    assert refusal.value.retry_after_s > 0
    gone = [each for number in range(4) for each in put(queue, entry(f"modest {number}"))]
    assert [each.client for each in gone] == ["greedy"] * 4
    assert len(queue) == 10
    assert [serve(queue).client for _ in range(10)].count("greedy") == 6


def test_one_client_has_a_bound_of_its_own():
    queue = queue_of(max_per_client=2)
    put(queue, entry("one"))
    put(queue, entry("one"))
    with pytest.raises(Overloaded, match="of this client"):
        put(queue, entry("one"))
    put(queue, entry("other"))


def test_what_cannot_be_in_time_is_refused_when_it_comes_and_told_how_late_it_would_be():
    queue = queue_of()
    for _ in range(5):
        put(queue, entry("one", 0.1))
    with pytest.raises(Overloaded) as refusal:
        put(queue, entry("one", 0.1, deadline_s=0.3, is_bound=False), busy_s=0.25)
    assert 0.05 <= refusal.value.retry_after_s <= 0.4
    assert put(queue, entry("other", 0.1, deadline_s=0.6), busy_s=0.25) == []  # its turn comes after one frame of one


def test_an_idle_machine_tries_everything():
    queue = queue_of()
    assert put(queue, entry("one", 100.0, deadline_s=0.001)) == []


def test_a_frame_that_was_taken_is_not_made_late_by_one_that_comes_later():
    queue = queue_of()
    put(queue, entry("served", 0.5))
    serve(queue, cost_s=0.5)
    put(queue, entry("first"))
    put(queue, entry("second", 1.5, deadline_s=3.0))
    put(queue, entry("second", deadline_s=4.0))
    with pytest.raises(Overloaded, match="would be late"):
        put(queue, entry("third", 0.9))


def test_of_a_client_that_had_clearly_more_the_last_goes_for_one_that_had_less():
    queue = queue_of()
    for _ in range(8):
        put(queue, entry("greedy", deadline_s=9.0))
    gone = put(queue, entry("modest", deadline_s=3.0))
    assert [each.client for each in gone] == ["greedy"]
    assert len(queue) == 8


def test_what_is_hopeless_is_taken_out_unless_nothing_else_waits():
    queue = queue_of()
    put(queue, entry("one", 1.0, deadline_s=5.0))
    put(queue, entry("one", 1.0, deadline_s=3.0))
    assert queue.hopeless(1.5) == []
    assert [each.deadline_s for each in queue.hopeless(2.5)] == [3.0]
    assert queue.hopeless(4.5) == []
    assert [each.deadline_s for each in queue.hopeless(5.5)] == [5.0]
    assert len(queue) == 0


def test_entries_of_one_key_are_taken_together_in_turns():
    queue = queue_of()
    for client in ("a", "a", "a", "b"):
        put(queue, entry(client, key="same"))
    put(queue, entry("c", key="other"))
    first = queue.pop()
    more = queue.pop_like(first.key, 2)
    assert sorted(each.client for each in (first, *more)) == ["a", "a", "b"]
    assert queue.alike("same") == 1


def test_nothing_is_remembered_of_clients_once_all_is_done():
    queue, random_ = queue_of(max_entries=1000), random.Random(3)
    for number in range(500):
        put(queue, entry(f"client {number}", random_.random()))
    waiting = list(queue)
    for each in waiting[::3]:
        assert queue.remove(each)
        assert not queue.remove(each)
    while len(queue):
        serve(queue, cost_s=random_.random())
    assert queue.clients == 0
    with pytest.raises(IndexError):
        queue.pop()


def test_any_order_of_events_keeps_the_books():
    random_ = random.Random(11)
    queue, waiting, running = queue_of(max_entries=12, max_per_client=5), [], []
    for step in range(3000):
        choice = random_.random()
        if choice < 0.5:
            deadline_s = step + 30 * random_.random() if random_.random() < 0.5 else None
            each = entry(f"c{random_.randrange(5)}", random_.random() * 3, deadline_s=deadline_s)
            try:
                gone = put(queue, each, now_s=step, busy_s=sum(one.cost_s for one in running))
            except Overloaded:
                continue
            waiting.append(each)
            waiting = [one for one in waiting if one not in gone]
        elif choice < 0.75 and waiting:
            taken = queue.pop()
            waiting.remove(taken)
            running.append(taken)
        elif running:
            queue.settle(running.pop(), cost_s=random_.random() * 3)
        assert sorted(map(id, queue)) == sorted(map(id, waiting))
        assert len(queue) == len(waiting) <= 12
