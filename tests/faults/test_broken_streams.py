"""Rows 6, 7, 26 and 27: streams that are sliced, cut, flipped and slow, and the bytes that were sent over them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import pytest
from history import History, Oracle, Owed, hash_of, judge
from rig import IS_FULL, Pool, WorkerProcess, ended, inputs_of, until

import edge
from edge.config import Timeouts
from partitioner.bundle import Bundle
from partitioner.relay import Faults, Relay, Shape
from partitioner.runtimes import Array
from partitioner.zoo import resolve
from protos import tensors as packing

Bundles = dict[str, Bundle]
Figure = Callable[[str], None]
MBIT = 1e6 / 8
QUICK = Timeouts(redial_s=0.05, redial_max_s=0.1)
"""What is shown is that nothing is lost, not how soon a worker is back."""
FRAME_BYTES = 100 * 1024 * 4


def answer_each(session: edge.Session, history: History, inputs: list[dict[str, Array]]) -> None:
    for given in inputs:
        frame_id = history.ask(given, deadline_s=20.0)
        history.answer(frame_id, session(given, deadline_s=20.0))


@pytest.mark.row(6)
def test_slices_of_a_few_bytes_change_no_bit(
    pool: Pool, bundles: Bundles, oracle: Callable[[Bundle], Oracle], figure: Figure
) -> None:
    bundle, count = bundles["bulk"], 60 if IS_FULL else 3
    (worker,) = pool.lease(1)
    history, thin = History(digest=bundle.digest), Faults(slice_bytes=(1, 64))
    with Relay(worker.address, seed=1) as relay, edge.Session(bundle, cloud=relay.address, cut="cloud") as session:
        relay.spoil(up=thin, down=thin)
        answer_each(session, history, inputs_of(bundle, count))
    verdict = judge(history, oracle(bundle), Owed(bound=0.0))
    assert verdict.is_clean, str(verdict)
    assert verdict.by == {"cloud": count}
    figure(f"slices: {verdict}, bit-equal")


@pytest.mark.row(6)
@pytest.mark.timeout(1200)
def test_a_stream_cut_or_ended_anywhere_is_answered_all_the_same(
    pool: Pool, bundles: Bundles, oracle: Callable[[Bundle], Oracle], figure: Figure
) -> None:
    bundle, count = bundles["spread"], 300 if IS_FULL else 6
    (worker,) = pool.lease(1)
    history, rng = History(digest=bundle.digest), random.Random(6)
    with (
        Relay(worker.address) as relay,
        edge.Session(bundle, cloud=relay.address, cut="cloud", timeouts=QUICK) as session,
    ):
        for number, given in enumerate(inputs_of(bundle, count)):
            place = rng.randrange(400) if number % 4 < 2 else rng.randrange(2_000_000)
            way = "up" if number % 4 < 2 else "down"
            kind = "cut_after_bytes" if number % 2 else "end_after_bytes"
            relay.spoil(**{way: Faults(**{kind: place})})
            answer_each(session, history, [given])
            relay.spoil()
            until(lambda: session.workers()[0].state == "up", "the session", timeout_s=30.0)
            answer_each(session, history, [given])  # one that is answered, so that the worker is not given up
        lost = session.counters()["losses"]
    verdict = judge(history, oracle(bundle), Owed(bound=0.0))
    assert verdict.is_clean, str(verdict)
    assert lost >= 0.7 * count
    figure(f"cuts: {verdict}, bit-equal, {lost} sessions lost")


@pytest.mark.row(7)
@pytest.mark.timeout(900)
def test_one_flipped_bit_spoils_no_answer(
    pool: Pool, bundles: Bundles, oracle: Callable[[Bundle], Oracle], figure: Figure
) -> None:
    """Nearly all of what goes up is payload: there the frame alone is refused and sent again on the same stream."""
    bundle, count = bundles["bulk"], 100 if IS_FULL else 6
    (worker,) = pool.lease(1)
    history, rng = History(digest=bundle.digest), random.Random(7)
    with (
        Relay(worker.address) as relay,
        edge.Session(bundle, cloud=relay.address, cut="cloud", timeouts=QUICK) as session,
    ):
        answer_each(session, history, inputs_of(bundle, 1))
        for given in inputs_of(bundle, count):
            relay.spoil(up=Faults(flip_bit=rng.randrange(8 * 20_000, 8 * FRAME_BYTES)))
            answer_each(session, history, [given])
        in_payload = session.counters()
        for given in inputs_of(bundle, count // 2):
            until(lambda: session.workers()[0].state == "up", "the session")
            relay.spoil(up=Faults(flip_bit=rng.randrange(8 * 100)))
            answer_each(session, history, [given])
            until(lambda: session.workers()[0].state == "up", "the session")
            relay.spoil(down=Faults(flip_bit=rng.randrange(8 * 100)))
            answer_each(session, history, [given])
        everywhere = session.counters()
    verdict = judge(history, oracle(bundle))
    assert verdict.is_clean, str(verdict)
    figure(
        f"{count} bits in payload: {in_payload['resent']} frames sent again, {in_payload['losses']} sessions lost; "
        f"{count // 2 * 2} elsewhere: {everywhere['losses'] - in_payload['losses']} lost; {verdict}"
    )
    assert in_payload["resent"] >= 0.8 * count
    assert in_payload["losses"] <= 0.2 * count
    assert verdict.by["cloud"] >= count


@pytest.mark.row(26)
def test_a_frame_too_slow_for_its_deadline_is_withdrawn_and_the_session_lives(
    pool: Pool, bundles: Bundles, oracle: Callable[[Bundle], Oracle], figure: Figure
) -> None:
    bundle = bundles["bulk"]
    (worker,) = pool.lease(1)
    history = History(digest=bundle.digest)
    given, run_s = inputs_of(bundle, 1)[0], 10.0 if IS_FULL else 4.0
    shape = Shape(up_bytes_per_s=0.13 * MBIT, down_bytes_per_s=0.13 * MBIT, delay_s=0.1)
    with (
        Relay(worker.address, shape) as relay,
        edge.Session(bundle, cloud=relay.address, cut="cloud") as session,
    ):
        frame_id = history.ask(given, deadline_s=run_s)
        history.answer(frame_id, session(given, deadline_s=run_s))
        assert session.counters()["losses"] == 0
        relay.reshape(Shape())
        frame_id = history.ask(given, deadline_s=20.0)
        history.answer(frame_id, session(given, deadline_s=20.0))
        assert session.counters()["losses"] == 0
    verdict = judge(history, oracle(bundle), Owed(slack_s=0.0 if IS_FULL else 1.0))
    assert verdict.is_clean, str(verdict)
    assert [each.by for each in history.answered] == ["fallback", "cloud"]
    took_s = history.answered[0].answered_s - history.asked[0].asked_s
    figure(f"0.4 MB over 0.13 Mbit/s within {run_s:g} s: finished here after {took_s:.2f} s, no session lost")


@pytest.mark.row(26)
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(not IS_FULL, reason="four minutes: CLEFT_CHAOS=full runs it")
@pytest.mark.parametrize("mbit", [1.1, 0.13])
def test_three_mebibytes_cross_a_healthy_slow_link(mbit: float, figure: Figure, tmp_path_factory) -> None:
    bundle = resolve("fault_models:three_mebibytes")
    given = inputs_of(bundle, 1)[0]
    shape = Shape(up_bytes_per_s=mbit * MBIT, down_bytes_per_s=2 * mbit * MBIT, delay_s=0.05)
    with (
        ended(WorkerProcess([bundle.path]).start()) as worker,
        Relay(worker.address, shape) as relay,
        edge.Session(bundle, cloud=relay.address, cut="cloud", fallback=False) as session,
    ):
        began_s = time.monotonic()
        answer = session(given, deadline_s=390.0)
        took_s = time.monotonic() - began_s
        np.testing.assert_allclose(next(iter(answer.outputs.values())), next(iter(session.whole(given).values())), 1e-5)
        assert session.counters()["losses"] == 0
    figure(f"3 MiB over {mbit:g} Mbit/s: {took_s:.1f} s, {3 * 2**20 / (mbit * MBIT) / took_s:.0%} of the link")


@contextmanager
def watched_buffers(patch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, Mapping[str, Array]]]]:
    """Every set of tensors that is packed for sending, with its hash at that time."""
    seen: list[tuple[str, Mapping[str, Array]]] = []
    pack = packing.pack

    def watching(tensors: Mapping[str, Array], *arguments: object, **named: object) -> object:
        seen.append((hash_of(tensors), dict(tensors)))
        return pack(tensors, *arguments, **named)  # type: ignore[arg-type]

    with patch.context() as within:
        within.setattr(packing, "pack", watching)
        yield seen


@pytest.mark.row(27)
@pytest.mark.timeout(300)
def test_what_was_sent_is_what_it_was_after_a_resend_a_fallback_and_a_tail(
    pool: Pool,
    bundles: Bundles,
    oracle: Callable[[Bundle], Oracle],
    figure: Figure,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A model that works in place: its tail runs here over the very tensors that went up, amid resends."""
    bundle, count = bundles["overwriting"], 40 if IS_FULL else 6
    (worker,) = pool.lease(1)
    history = History(digest=bundle.digest)
    with (
        watched_buffers(monkeypatch) as sent,
        Relay(worker.address) as relay,
        edge.Session(bundle, cloud=relay.address, cut="after:first", deadline_s=5.0) as session,
    ):
        for number, given in enumerate(inputs_of(bundle, count)):
            if number % 3 == 1:  # a resend
                relay.spoil(up=Faults(flip_bit=8 * 60_000))
            if number % 3 == 2:  # a tail here, with the frame half sent
                relay.reshape(Shape(up_bytes_per_s=100_000))
            hash_before, frame_id = hash_of(given), history.ask(given)
            history.answer(frame_id, session(given, deadline_s=1.0 if number % 3 == 2 else 10.0))
            relay.spoil()
            relay.reshape(Shape())
            assert hash_of(given) == hash_before
        counted = session.counters()
    verdict = judge(history, oracle(bundle))
    assert verdict.is_clean, str(verdict)
    assert len(sent) >= count
    assert all(hash_of(tensors) == before for before, tensors in sent)
    assert verdict.by["fallback"] >= count // 3
    assert counted["resent"] >= 1
    figure(f"{len(sent)} sets of tensors sent, {counted['resent']} again, {verdict}: every checksum as it was")
