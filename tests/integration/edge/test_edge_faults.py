from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

import pytest
from edge_support import inputs_of, meanwhile

import edge
from edge.answer import max_rel_diff
from edge.client import Client
from edge.config import Timeouts
from edge.embedded import EmbeddedWorker
from edge.errors import EmbeddedWorkerError
from partitioner.bundle import Bundle
from partitioner.link import PRESETS
from partitioner.relay import Relay, Shape
from partitioner.zoo import resolve

Start = Callable[..., EmbeddedWorker]
MBIT = 1e6 / 8


def port_of(worker: EmbeddedWorker) -> tuple[str, int]:
    host, _, port = worker.target.rpartition(":")
    return host, int(port)


def kill(worker: EmbeddedWorker, number: signal.Signals) -> None:
    assert worker.pid is not None
    os.kill(worker.pid, number)


def test_a_worker_killed_between_inputs_loses_none_of_them(start_worker: Start, digits: Bundle) -> None:
    worker = start_worker(digits)
    said: list[str] = []
    with edge.Session(digits, cloud=worker.target, cut="after:stage1", notify=said.append) as session:
        assert session(inputs_of(digits)).where == "split"
        kill(worker, signal.SIGKILL)
        for seed in range(5):
            given = inputs_of(digits, seed=seed)
            answer = session(given)
            assert (answer.where, answer.is_fallback) == ("edge", True)
            assert max_rel_diff(answer.outputs, session.whole(given)) <= 1e-5
    assert len(said) == 1
    assert "\n" not in said[0]


def test_a_worker_killed_with_a_frame_half_sent_loses_it_not(start_worker: Start, averaging: Bundle) -> None:
    worker = start_worker(averaging)
    given = inputs_of(averaging)
    with edge.Session(averaging, cloud=worker.target, cut="cloud") as session:
        session.select(given)
        client = session.client
        kill(worker, signal.SIGSTOP)

        def kill_mid_frame() -> None:
            deadline_s, moment = time.monotonic() + 10, threading.Event()
            while not client.unacked_bytes and time.monotonic() < deadline_s:
                moment.wait(0.001)
            kill(worker, signal.SIGKILL)

        with meanwhile(kill_mid_frame):
            answer = session(given)
        assert answer.is_fallback
        assert max_rel_diff(answer.outputs, session.whole(given)) <= 1e-5


def test_a_frozen_worker_is_noticed_within_its_liveness_and_answered_for(
    start_worker: Start,
    digits: Bundle,
) -> None:
    worker = start_worker(digits)
    quick = Timeouts(dial_s=0.5, redial_s=30.0)
    with edge.Session(digits, cloud=worker.target, cut="cloud", timeouts=quick) as session:
        session(inputs_of(digits))
        kill(worker, signal.SIGSTOP)
        start_s = time.monotonic()
        assert session(inputs_of(digits)).is_fallback
        assert time.monotonic() - start_s < 3.0 + 0.5 + 0.5


def test_a_late_worker_is_not_waited_for_past_the_deadline(start_worker: Start, digits: Bundle) -> None:
    worker = start_worker(digits)
    with edge.Session(digits, cloud=worker.target, cut="after:stage1", deadline_s=0.3) as session:
        session(inputs_of(digits))
        kill(worker, signal.SIGSTOP)
        answer = session(inputs_of(digits))
        assert answer.is_fallback
        assert answer.times.total_s < 1.0
        kill(worker, signal.SIGCONT)
        assert not session(inputs_of(digits), deadline_s=10).is_fallback


@pytest.mark.parametrize("cut", ["cloud", "auto"])
def test_without_fallback_the_loss_is_an_error_of_one_line(cut: str, start_worker: Start, digits: Bundle) -> None:
    worker = start_worker(digits)
    options = {"fallback": False, "profile_budget_s": 0.1, "slowdown": 300.0}
    with edge.Session(digits, cloud=worker.target, cut=cut, **options) as session:
        assert session(inputs_of(digits)).where != "edge"
        kill(worker, signal.SIGKILL)
        for _ in range(2):
            with pytest.raises(edge.EdgeError) as caught:
                session(inputs_of(digits))
            assert "\n" not in str(caught.value)


def test_a_worker_that_comes_back_is_used_again(start_worker: Start, digits: Bundle) -> None:
    worker = start_worker(digits)
    quick = Timeouts(redial_s=0.05, redial_max_s=0.1)
    with edge.Session(digits, cloud=worker.target, cut="after:stage1", timeouts=quick) as session:
        kill(worker, signal.SIGKILL)
        assert session(inputs_of(digits)).is_fallback
        again = start_worker(digits, "--port", str(port_of(worker)[1]))
        assert again.target == worker.target
        deadline_s = time.monotonic() + 5
        while session(inputs_of(digits)).is_fallback:
            assert time.monotonic() < deadline_s


def test_a_worker_asked_to_stop_answers_what_it_has_and_sends_us_elsewhere(start_worker: Start, digits: Bundle) -> None:
    worker = start_worker(digits)
    with edge.Session(digits, cloud=worker.target, cut="cloud") as session:
        session(inputs_of(digits))
        kill(worker, signal.SIGTERM)
        for seed in range(20):
            given = inputs_of(digits, seed=seed)
            assert max_rel_diff(session(given).outputs, session.whole(given)) <= 1e-5


def test_a_frame_slower_than_the_liveness_completes_on_a_healthy_slow_link(
    start_worker: Start,
    averaging: Bundle,
) -> None:
    worker = start_worker(averaging)
    shape = Shape(up_bytes_per_s=0.85 * MBIT, down_bytes_per_s=2 * MBIT, delay_s=0.05)
    given = inputs_of(averaging)
    with (
        Relay(port_of(worker), shape) as relay,
        edge.Session(averaging, cloud=relay.address, cut="cloud", fallback=False) as session,
    ):
        answer = session(given)
    assert answer.times.wire_s > 3.0
    assert answer.where == "cloud"


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("CLEFT_BENCH") != "full", reason="23 seconds: CLEFT_BENCH=full runs it")
def test_three_mebibytes_cross_a_healthy_link_of_1_1_mbit(start_worker: Start) -> None:
    bundle = resolve("edge_support:bulky")
    worker = start_worker(bundle)
    shape = Shape(up_bytes_per_s=1.1 * MBIT, down_bytes_per_s=2.03 * MBIT, delay_s=0.05)
    given = inputs_of(bundle)
    with (
        Relay(port_of(worker), shape) as relay,
        edge.Session(bundle, cloud=relay.address, cut="cloud", fallback=False) as session,
    ):
        answer = session(given)
        assert max_rel_diff(answer.outputs, session.whole(given)) <= 1e-5
    assert answer.up_bytes > 3_000_000
    assert 20 < answer.times.wire_s < 40


@pytest.mark.parametrize("name", ["3g", "wifi"])
def test_a_shaped_link_is_measured_within_a_sixth(name: str, start_worker: Start, digits: Bundle) -> None:
    link = PRESETS[name]
    shape = Shape(up_bytes_per_s=link.up_bytes_per_s, down_bytes_per_s=link.down_bytes_per_s, delay_s=link.rtt_s / 2)
    with Relay(port_of(start_worker(digits)), shape) as relay, Client.dial(relay.address) as client:
        start_s = time.monotonic()
        found = client.measure_link(budget_s=1.5)
        assert time.monotonic() - start_s < 3
    assert found.up_bytes_per_s == pytest.approx(link.up_bytes_per_s, rel=0.17)
    assert found.down_bytes_per_s == pytest.approx(link.down_bytes_per_s, rel=0.17)
    assert link.rtt_s <= found.rtt_s < 1.5 * link.rtt_s + 0.01


def test_an_embedded_worker_that_cannot_start_says_why_in_one_line(tmp_path: object, digits: Bundle) -> None:
    worker = EmbeddedWorker(digits.path, arguments=("--device", "cuda:99"))
    with pytest.raises(EmbeddedWorkerError) as caught:
        worker.start()
    assert "\n" not in str(caught.value)
    assert worker.pid is None


def test_an_embedded_worker_that_says_nothing_is_stopped(digits: Bundle) -> None:
    import sys

    command = (sys.executable, "-c", "import time; time.sleep(60)")
    worker = EmbeddedWorker(digits.path, command=command, start_s=0.3)
    with pytest.raises(EmbeddedWorkerError, match="not ready within"):
        worker.start()
    assert not worker.is_alive


@pytest.mark.parametrize("line", ["", "hello", "[1]", '{"schema": "cleft.serve/1"}'])
def test_an_embedded_worker_that_says_something_else_is_refused(line: str, digits: Bundle) -> None:
    import sys

    command = (sys.executable, "-c", f"print({line!r})")
    with pytest.raises(EmbeddedWorkerError):
        EmbeddedWorker(digits.path, command=command).start()
