"""A worker and a device that need to trust each other: every way in which they do not, in one clear line, and renewal
of certificates and tokens while frames stream."""

from __future__ import annotations

import logging
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "unit" / "cloud"))

from loopback import WAIT_S, FakeEngine, LiveWorker, live_worker, plan_for

from edge.client import Client
from edge.config import Timeouts
from edge.errors import EdgeError, NotSecured, NotTrusted, WorkerRefused
from protos.channel import WorkerStub, dial
from protos.errors import Unauthenticated
from protos.messages import ProfileRequest
from protos.reach import silence_of
from protos.security import PLAINTEXT, ClientSecurity, ServerSecurity
from tests.certificates import Authority, Pair, put

SECRET = "s3cret-of-ours"
QUICK = Timeouts(dial_s=5.0, close_s=1.0)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def pair(authority: Authority) -> Pair:
    return authority.issue("worker")


@pytest.fixture
def trusting(authority: Authority, tmp_path: Path) -> ClientSecurity:
    return ClientSecurity(is_tls=True, ca_file=authority.file, token_file=put(tmp_path / "token", SECRET))


def secured(pair: Pair, **options: Path) -> ServerSecurity:
    return ServerSecurity(cert_file=pair.cert, key_file=pair.key, **options)


def answer(client: Client, number: float) -> None:
    """One frame, and the answer is right."""
    x = np.full((4, 8), number, dtype=np.float32)
    reply = client.run(plan_for().plan_id, 1, {"x": x}, {"x": "none"}, deadline_s=WAIT_S)
    np.testing.assert_array_equal(reply.tensors["y"], x * 2)


def why_not(worker: LiveWorker, security: ClientSecurity) -> EdgeError:
    """What a device is told."""
    with pytest.raises(EdgeError) as caught:
        Client.dial(worker.target, timeouts=QUICK, security=security).close()
    return caught.value


def test_frames_are_answered_over_mutual_tls_with_a_token(authority, pair, tmp_path):
    device = authority.issue("device")
    security = ClientSecurity(
        is_tls=True,
        ca_file=authority.file,
        cert_file=device.cert,
        key_file=device.key,
        token_file=put(tmp_path / "token", SECRET),
    )
    tokens = put(tmp_path / "tokens", SECRET)
    with (
        live_worker(security=secured(pair, client_ca_file=authority.file, token_file=tokens)) as worker,
        Client.dial(worker.target, security=security) as client,
    ):
        client.propose(plan_for())
        answer(client, 1.0)
        assert client.status().models


def test_every_disagreement_about_certificates_is_told_apart(authority, pair, tmp_path):
    stranger = Authority(tmp_path, "stranger")
    device = stranger.issue("device")
    trusting = ClientSecurity(is_tls=True, ca_file=authority.file)
    showing = ClientSecurity(is_tls=True, ca_file=authority.file, cert_file=device.cert, key_file=device.key)
    cases: list[tuple[ServerSecurity, ClientSecurity, str]] = [
        (secured(pair), PLAINTEXT, "it speaks TLS: --tls"),
        (ServerSecurity(), trusting, "it does not speak TLS"),
        (secured(authority.issue("expired", is_expired=True)), trusting, "its certificate has expired"),
        (secured(authority.issue("elsewhere", "worker.example")), trusting, "its certificate is not for 127.0.0.1"),
        (secured(pair), ClientSecurity(is_tls=True, ca_file=stranger.file), "does not come from the authorities in"),
        (secured(pair), ClientSecurity(is_tls=True), "does not come from a public authority; --tls-ca FILE"),
        (secured(pair, client_ca_file=authority.file), trusting, "it wants a client's certificate: --tls-cert"),
        (secured(pair, client_ca_file=authority.file), showing, "it hung up on the certificate in .*device.cert.pem"),
        (secured(pair, client_ca_file=authority.file), PLAINTEXT, "it speaks TLS: --tls"),
    ]
    for server, client, says in cases:
        with live_worker(security=server) as worker:
            error = why_not(worker, client)
            assert type(error) is NotTrusted, error
            assert error.target == worker.target
            with pytest.raises(EdgeError, match=says):
                raise error
            assert "\n" not in str(error)


def test_a_token_that_is_not_taken_is_refused_and_shown_nowhere(pair, trusting, tmp_path, caplog):
    tokens = put(tmp_path / "tokens", "another-token")
    with caplog.at_level(logging.DEBUG), live_worker(security=secured(pair, token_file=tokens)) as worker:
        for security, says in [
            (trusting, "the token is not one that is taken"),
            (ClientSecurity(is_tls=True, ca_file=trusting.ca_file), "a token is needed, and none was sent"),
        ]:
            error = why_not(worker, security)
            assert isinstance(error, WorkerRefused)
            assert error.code == "UNAUTHENTICATED"
            assert says in str(error)
            assert "--token-file" in str(error)
        with dial(worker.target, security=trusting) as channel:
            stub = WorkerStub(channel, security=trusting)
            with pytest.raises(Unauthenticated, match="the token is not one that is taken"):
                stub.status(timeout_s=WAIT_S)
            with pytest.raises(Unauthenticated, match="the token is not one that is taken"):
                list(stub.profile(ProfileRequest(), timeout_s=WAIT_S))
    assert "refused a call of ipv4:127.0.0.1" in caplog.text
    assert SECRET not in caplog.text
    assert "another-token" not in caplog.text


def test_files_and_hosts_are_checked_before_anything_is_sent(tmp_path):
    for security, says in [
        (ClientSecurity(is_tls=True, ca_file=tmp_path / "none.pem"), "none.pem: No such file"),
        (ClientSecurity(token_file=put(tmp_path / "empty", "")), "empty is empty"),
    ]:
        with pytest.raises(NotSecured, match=says):
            Client.dial("127.0.0.1:9", security=security)
    with pytest.raises(NotSecured, match="--tls encrypts it, --insecure allows it"):
        Client.dial("192.0.2.7:50051")


def test_a_silent_or_other_peer_is_not_taken_for_a_quarrel_over_tls():
    def web(listener: socket.socket) -> None:
        for _ in range(2):
            peer, _ = listener.accept()
            with peer:
                peer.settimeout(WAIT_S)
                peer.recv(100)
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(target=web, args=(listener,))
        thread.start()
        plain = silence_of("127.0.0.1", port)
        encrypted = silence_of("127.0.0.1", port, security=ClientSecurity(is_tls=True))
        thread.join(WAIT_S)
    assert (plain.is_other, plain.is_untrusted) == (True, False)
    assert (encrypted.is_other, encrypted.is_untrusted) == (False, True)
    assert "does not speak TLS" in encrypted.reason


class Streaming:
    """Frames one after the other on a thread until told to stop; what goes wrong is raised by the end."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._answered = threading.Condition()
        self.answered = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def some_more(self, frames: int = 10) -> None:
        """Wait until that many more are answered."""
        with self._answered:
            goal = self.answered + frames
            assert self._answered.wait_for(lambda: self.answered >= goal or self._failure is not None, WAIT_S)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(WAIT_S)
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            for number in count(100):
                if self._stop.is_set():
                    return
                answer(self._client, float(number))
                with self._answered:
                    self.answered += 1
                    self._answered.notify_all()
        except BaseException as error:
            with self._answered:
                self._failure = error
                self._answered.notify_all()


@pytest.fixture
def shown(authority: Authority) -> Callable[[LiveWorker], bytes | None]:
    """The certificate that a worker shows now, when it comes from the authority."""

    def show(worker: LiveWorker) -> bytes | None:
        context = ssl.create_default_context(cafile=authority.file)
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection(("127.0.0.1", worker.port), timeout=WAIT_S) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
        ):
            return wrapped.getpeercert(binary_form=True)

    return show


@pytest.fixture
def stream(pair: Pair, trusting: ClientSecurity, tmp_path: Path) -> Iterator[tuple[LiveWorker, Client, Streaming]]:
    """A worker with the tokens file ``tokens``, a client of it, and frames under way."""
    tokens = put(tmp_path / "tokens", SECRET)
    with (
        live_worker(engine=FakeEngine(), security=secured(pair, token_file=tokens)) as worker,
        Client.dial(worker.target, security=trusting) as client,
    ):
        client.propose(plan_for())
        with closing(Streaming(client)) as streaming:
            yield worker, client, streaming


def test_a_certificate_is_renewed_without_a_dropped_frame(stream, authority, pair, trusting, shown):
    worker, client, streaming = stream
    streaming.some_more()
    old = shown(worker)
    fresh = authority.issue("fresh")
    put(pair.key, fresh.key.read_text())  # for a moment the files do not belong together
    assert shown(worker) == old
    put(pair.cert, fresh.cert.read_text())
    assert shown(worker) not in (old, None)
    streaming.some_more()
    with Client.dial(worker.target, security=trusting) as another:
        another.propose(plan_for())
        answer(another, 3.0)
    streaming.some_more()
    assert client.failure is None
    put(pair.cert, "-----BEGIN CERTIFICATE-----\nhalf writ")
    assert shown(worker) not in (old, None)
    streaming.some_more()


def test_a_token_is_rotated_without_a_dropped_frame(stream, trusting, tmp_path):
    worker, client, streaming = stream
    streaming.some_more()
    put(tmp_path / "tokens", f"{SECRET}\nnext\n")
    assert client.status().models
    put(trusting.token_file, "next\n")
    assert client.status().models
    put(tmp_path / "tokens", "next\n")
    assert client.status().models
    with Client.dial(worker.target, security=trusting) as another:
        another.propose(plan_for())
        answer(another, 3.0)
    streaming.some_more()
    assert client.failure is None
    put(trusting.token_file, SECRET)
    with pytest.raises(WorkerRefused, match="UNAUTHENTICATED"):
        client.status()
    streaming.some_more()
