"""What dialling a worker meets: nobody, something else, silence, a slow link, nonsense."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from edge.client import Client
from edge.config import Timeouts
from edge.errors import (
    EdgeError,
    NotAWorker,
    NotTrusted,
    WorkerRefused,
    WorkerUnreachable,
)
from partitioner.errors import UsageError
from partitioner.relay import Relay, Shape
from protos.errors import InternalFailure, Unreachable, WireError
from protos.security import ClientSecurity

Start = Callable[..., "FakeWorker"]  # noqa: F821 - the class of conftest.py


def test_a_closed_port_is_reported_at_once(quick: Timeouts) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        start = time.monotonic()
        with pytest.raises(WorkerUnreachable, match="port is closed"):
            Client.dial(f"127.0.0.1:{held.getsockname()[1]}", timeouts=quick)
    assert time.monotonic() - start < 2


@contextmanager
def listener(answer: bytes | None) -> Iterator[str]:
    """Something that is no worker: silent, or answering every connection with the same bytes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                held.append(connection)
                if answer is not None:
                    with suppress(OSError):
                        connection.sendall(answer)
                        connection.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in held:
                connection.close()


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.6\r\n", b"\x00" * 4096, b"HTTP/1.1 400 Bad\r\n\r\n"])
def test_something_that_is_no_worker_is_told_from_a_closed_port(answer: bytes, quick: Timeouts) -> None:
    with listener(answer) as target:
        start = time.monotonic()
        with pytest.raises(NotAWorker) as caught:
            Client.dial(target, timeouts=quick)
    assert time.monotonic() - start < 4
    assert "\n" not in str(caught.value)


def test_a_proxy_that_hangs_up_on_tls_may_have_lost_its_worker_and_is_not_distrusted(quick: Timeouts) -> None:
    with listener(b"") as target, pytest.raises(WorkerUnreachable) as caught:
        Client.dial(target, timeouts=quick, security=ClientSecurity(is_tls=True))
    assert not isinstance(caught.value, NotTrusted)


def test_a_web_server_is_no_worker(quick: Timeouts) -> None:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            with pytest.raises(NotAWorker):
                Client.dial(f"127.0.0.1:{server.server_address[1]}", timeouts=quick)
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (Unreachable("the worker is loading its models: come back"), WorkerUnreachable),
        (InternalFailure("the worker failed (KeyError); its log says more"), WorkerRefused),
    ],
)
def test_a_worker_that_says_why_it_takes_no_session_is_told_of_in_its_own_words(
    refusal: WireError, kind: type[EdgeError], fake_worker: Start
) -> None:
    with pytest.raises(kind) as caught:
        Client.dial(fake_worker(refusal=refusal).target)
    assert type(caught.value) is kind
    assert refusal.detail in str(caught.value)


def test_a_worker_that_never_welcomes_is_silent(fake_worker: Start, quick: Timeouts) -> None:
    with pytest.raises(WorkerUnreachable, match="says nothing within 1 s") as caught:
        Client.dial(fake_worker(welcome=False).target, timeouts=quick)
    assert not isinstance(caught.value, NotAWorker)


def test_a_silent_listener_is_waited_for_and_not_taken_for_another_protocol() -> None:
    patient = Timeouts(dial_s=1.5)
    with listener(None) as target, pytest.raises(WorkerUnreachable, match=r"says nothing within 1\.5 s") as caught:
        Client.dial(target, timeouts=patient)
    assert not isinstance(caught.value, NotAWorker)


def test_a_link_that_takes_seconds_to_set_up_a_session_is_no_fault(fake_worker: Start) -> None:
    host, _, port = fake_worker().target.rpartition(":")
    shape = Shape(up_bytes_per_s=1e6, down_bytes_per_s=1e6, delay_s=1.1)
    with Relay((host, int(port)), shape) as relay, Client.dial(relay.address) as client:
        assert client.info is not None


def test_heartbeats_do_not_wait_for_the_welcome(fake_worker: Start, quick: Timeouts) -> None:
    worker = fake_worker(welcome=False)
    with pytest.raises(WorkerUnreachable):
        Client.dial(worker.target, timeouts=quick)
    assert worker.seen.count("heartbeat") >= 2


@pytest.mark.parametrize(
    "target", ["", "host", "host:", ":80", "host:0", "host:99999", "ho st:80", "http://h:80", "::1:80"]
)
def test_an_address_that_makes_no_sense_is_refused_before_anything_is_dialled(target: str) -> None:
    with pytest.raises(UsageError, match="HOST:PORT"):
        Client.dial(target)
