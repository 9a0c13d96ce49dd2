"""Rows 15 and 17: more asked than can be done, and peers that take or give slowly."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
from history import History, Oracle, Owed, judge
from rig import IS_FULL, Pool, WorkerProcess, inputs_of, meanwhile, until

import edge
from edge.client import Client
from edge.config import Limits
from edge.errors import EdgeError, WorkerRefused
from partitioner.bundle import Bundle
from partitioner.plan import Plan
from partitioner.relay import Faults, Relay
from partitioner.runtimes import Array
from partitioner.segments import Cuts

Bundles = dict[str, Bundle]
Figure = Callable[[str], None]
DEADLINE_S = 0.5


class Tally:
    """What a crowd of clients got. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.answered = self.late = 0
        self.refused_s: list[float] = []
        self.answered_s: list[float] = []

    def note(self, began_s: float, error: EdgeError | None) -> None:
        took_s = time.monotonic() - began_s
        with self._lock:
            if error is None and took_s <= DEADLINE_S:
                self.answered += 1
                self.answered_s.append(took_s)
            elif isinstance(error, WorkerRefused) and error.code == "OVERLOADED":
                self.refused_s.append(took_s)
            else:
                self.late += 1


def plan_of(bundle: Bundle) -> Plan:
    cuts = Cuts(bundle.graph, bundle.digest)
    return cuts.plan(cuts.find("cloud"))


def ask_open_loop(
    client: Client, plan: Plan, given: dict[str, Array], tally: Tally, *, every_s: float, run_s: float
) -> None:
    """Ask at a steady rate, whatever becomes of what was asked before."""
    takers: list[threading.Thread] = []
    start_s = time.monotonic()
    pause = threading.Event()
    for number in range(int(run_s / every_s)):
        pause.wait(max(0.0, start_s + number * every_s - time.monotonic()))
        began_s = time.monotonic()
        try:
            frame = client.submit(plan.plan_id, 1, given, {}, deadline_s=DEADLINE_S)
        except EdgeError as error:
            tally.note(began_s, error)
            continue

        def take(frame: object = frame, began_s: float = began_s) -> None:
            try:
                frame.result()  # type: ignore[attr-defined]
            except EdgeError as error:
                tally.note(began_s, error)
            else:
                tally.note(began_s, None)

        takers.append(threading.Thread(target=take))
        takers[-1].start()
    for each in takers:
        each.join()


def offer(
    worker: WorkerProcess, plan: Plan, given: dict[str, Array], *, clients: int, per_s: float, run_s: float
) -> Tally:
    """So many requests a second from so many clients."""
    tally = Tally()
    with ExitStack() as stack:
        open_clients = []
        for _ in range(clients):
            client = stack.enter_context(Client.dial(worker.target, limits=Limits(frames_in_flight=64)))
            client.propose(plan)
            open_clients.append(client)
        every_s = clients / per_s
        with meanwhile(
            *(
                lambda client=client: ask_open_loop(client, plan, given, tally, every_s=every_s, run_s=run_s)
                for client in open_clients
            )
        ):
            pass
    return tally


@pytest.mark.row(15)
def test_five_times_what_can_be_done_is_refused_quickly_and_the_rest_is_done(
    pool: Pool, bundles: Bundles, figure: Figure
) -> None:
    bundle, run_s = bundles["grind"], 10.0 if IS_FULL else 2.0
    (worker,) = pool.lease(1)
    plan, given = plan_of(bundle), inputs_of(bundle, 1)[0]
    with Client.dial(worker.target) as client:
        client.propose(plan)
        took_s = []
        for _ in range(12):
            began_s = time.monotonic()
            client.run(plan.plan_id, 1, given, {}, deadline_s=20.0)
            took_s.append(time.monotonic() - began_s)
    capacity_per_s = 1.0 / float(np.median(took_s))
    peak = offer(worker, plan, given, clients=4, per_s=0.9 * capacity_per_s, run_s=run_s)
    flood = offer(worker, plan, given, clients=10, per_s=5 * capacity_per_s, run_s=run_s)
    with Client.dial(worker.target) as client:
        until(lambda: client.status().queued_frames == 0, "an empty queue")
    ratio = flood.answered / max(1, peak.answered)
    refused_ms = 1e3 * float(np.median(flood.refused_s))
    worst_ms = 1e3 * float(np.quantile(flood.refused_s, 0.99))
    figure(
        f"capacity {capacity_per_s:.0f}/s; goodput at 5x is {ratio:.0%} of the peak; {len(flood.refused_s)} refused "
        f"in {refused_ms:.1f} ms (p99 {worst_ms:.0f} ms), {flood.late} late"
    )
    assert ratio >= (0.9 if IS_FULL else 0.4)
    assert refused_ms < 50
    assert worst_ms < (50 if IS_FULL else 500)
    assert flood.late <= (0.02 if IS_FULL else 0.2) * (flood.answered + len(flood.refused_s))


@pytest.mark.row(15)
def test_a_device_whose_worker_is_flooded_works_at_home(
    pool: Pool, bundles: Bundles, oracle: Callable[[Bundle], Oracle], figure: Figure
) -> None:
    bundle = bundles["grind"]
    (worker,) = pool.lease(1)
    plan, given = plan_of(bundle), inputs_of(bundle, 1)[0]
    history = History(digest=bundle.digest)
    is_over = threading.Event()

    def flood() -> None:
        with Client.dial(worker.target) as client:
            client.propose(plan)
            while not is_over.is_set():
                frames = [client.submit(plan.plan_id, 1, given, {}, deadline_s=5.0) for _ in range(4)]
                for frame in frames:
                    try:
                        frame.result()
                    except EdgeError:
                        continue

    options = {"cut": "auto", "slowdown": 1.6, "profile_budget_s": 1.0}
    with edge.Session(bundle, cloud=worker.target, **options) as session:
        quiet = [session(given) for _ in range(8)]
        with meanwhile(*[flood] * 4):
            end_s = time.monotonic() + (15.0 if IS_FULL else 3.0)
            try:
                while time.monotonic() < end_s:
                    frame_id = history.ask(given)
                    history.answer(frame_id, session(given))
            finally:
                is_over.set()
    verdict = judge(history, oracle(bundle), Owed())
    assert verdict.is_clean, str(verdict)
    before, home = (
        sum(each.where == "edge" for each in quiet),
        sum(each.by in ("edge", "fallback") for each in history.answered[len(history.answered) // 2 :]),
    )
    share = home / max(1, len(history.answered) - len(history.answered) // 2)
    figure(f"with a flooded worker {share:.0%} at home after a while, {before} of {len(quiet)} before")
    assert share > 0.5


@contextmanager
def slow_peers(worker: WorkerProcess, bundles: Bundles) -> Iterator[Callable[[], int]]:
    """A client that takes its answers slowly and one that gives its inputs slowly; how many answers they got."""
    is_over, answered = threading.Event(), [0]

    def ask(relay: Relay, bundle: Bundle) -> None:
        plan, given = plan_of(bundle), inputs_of(bundle, 1)[0]
        with Client.dial(relay.address) as client:
            client.propose(plan)
            relay.spoil(up=Faults(read_bytes_per_s=60_000), down=Faults(read_bytes_per_s=60_000))
            while not is_over.is_set():
                frames = [client.submit(plan.plan_id, 1, given, {}, deadline_s=60.0) for _ in range(4)]
                is_over.wait(600.0)
                for frame in frames:
                    answered[0] += frame.is_answered
                    frame.cancel()

    with (
        Relay(worker.address) as first,
        Relay(worker.address) as second,
        meanwhile(lambda: ask(first, bundles["spread"]), lambda: ask(second, bundles["bulk"])),
    ):
        try:
            yield lambda: answered[0]
        finally:
            is_over.set()


@pytest.mark.row(17)
def test_slow_peers_hold_little_and_slow_no_other(pool: Pool, bundles: Bundles, figure: Figure) -> None:
    """Periods with and without slow peers in turn, so that the machine's own noise meets both."""
    (worker,) = pool.lease(1)
    bundle = bundles["ladder"]
    plan, given = plan_of(bundle), inputs_of(bundle, 1)[0]
    alone_s: list[float] = []
    beside_s: list[float] = []
    memory_bytes: list[int] = []
    periods, count = (12, 150) if IS_FULL else (2, 60)
    with Client.dial(worker.target) as client:
        client.propose(plan)

        def ask(into: list[float]) -> None:
            for _ in range(count):
                began_s = time.monotonic()
                client.run(plan.plan_id, 1, given, {}, deadline_s=20.0)
                into.append(time.monotonic() - began_s)

        ask([])
        before_bytes = worker.memory_bytes()
        for _ in range(periods):
            ask(alone_s)
            with slow_peers(worker, bundles):
                until(lambda: client.status().sessions == 3, "the slow peers")
                ask(beside_s)
                memory_bytes.append(worker.memory_bytes())
            until(lambda: client.status().sessions == 1, "the end of the slow peers")
    share = 0.99 if IS_FULL else 0.75
    ratio = float(np.quantile(beside_s, share) / np.quantile(alone_s, share))
    grown_mib = (max(memory_bytes) - before_bytes) / 2**20
    figure(
        f"others' p{share * 100:g} {ratio:.2f}x ({np.quantile(alone_s, share) * 1e3:.1f} ms alone), "
        f"{grown_mib:.1f} MiB held for a slow reader of 2 MB answers and a slow writer"
    )
    assert ratio < (1.2 if IS_FULL else 3.0)
    assert grown_mib < 64
