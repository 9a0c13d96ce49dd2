"""Who is let in by a server of threads and by one of an event loop, and what a client may send where."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from protos.channel import WorkerStub, dial
from protos.errors import Unauthenticated, WireError
from protos.gate import Refusals
from protos.security import OPEN, PLAINTEXT, ClientSecurity, SecurityError, ServerSecurity, is_loopback
from tests.certificates import Authority, put

SECRET = "s3cret-of-ours"
WAIT_S = 20.0
HEALTH = "/grpc.health.v1.Health/Check"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def handlers(echo: Callable[..., object]) -> list[grpc.GenericRpcHandler]:
    method = grpc.unary_unary_rpc_method_handler(echo)
    return [
        grpc.method_handlers_generic_handler("cleft.v1.Worker", {"Status": method}),
        grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method}),
    ]


@contextmanager
def of_threads(security: ServerSecurity, on_refused: Callable[[], None]) -> Iterator[int]:
    pool = ThreadPoolExecutor(2)
    server = grpc.server(pool, interceptors=(security.interceptor(on_refused=on_refused),))
    server.add_generic_rpc_handlers(handlers(lambda request, context: request))
    port = security.listen(server, "127.0.0.1:0")
    server.start()
    yield port
    server.stop(0).wait(WAIT_S)
    pool.shutdown()


@contextmanager
def of_an_event_loop(security: ServerSecurity, on_refused: Callable[[], None]) -> Iterator[int]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def echo(request: bytes, context: object) -> bytes:
        return request

    async def start() -> tuple[grpc.aio.Server, int]:
        server = grpc.aio.server(interceptors=(security.aio_interceptor(on_refused=on_refused),))
        server.add_generic_rpc_handlers(handlers(echo))
        port = security.listen(server, "127.0.0.1:0")
        await server.start()
        return server, port

    server, port = asyncio.run_coroutine_threadsafe(start(), loop).result(WAIT_S)
    yield port
    asyncio.run_coroutine_threadsafe(server.stop(0), loop).result(WAIT_S)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(WAIT_S)
    loop.close()


SERVERS = pytest.mark.parametrize("serve", [of_threads, of_an_event_loop])


def ask(port: int, security: ClientSecurity = PLAINTEXT) -> None:
    with dial(f"127.0.0.1:{port}", security=security) as channel:
        WorkerStub(channel, security=security).status(timeout_s=WAIT_S)


def raw(port: int, method: str, metadata: tuple[tuple[str, str], ...] = ()) -> bytes:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        return call(b"x", timeout=WAIT_S, metadata=metadata)


@SERVERS
def test_a_call_needs_one_of_the_tokens(serve, tmp_path, caplog):
    taken = put(tmp_path / "tokens", f"old\n{SECRET}\n")
    refused: list[None] = []
    with serve(ServerSecurity(token_file=taken), lambda: refused.append(None)) as port:
        for token in ("old", SECRET):
            ask(port, ClientSecurity(token_file=put(tmp_path / "token", token)))
        raw(port, "/cleft.v1.Worker/Status", (("authorization", f"bearer {SECRET}"),))
        assert not refused
        with caplog.at_level(logging.INFO), pytest.raises(Unauthenticated, match="the token is not one that is taken"):
            ask(port, ClientSecurity(token_file=put(tmp_path / "token", "unheard-of-token")))
        with pytest.raises(Unauthenticated, match="none was sent"):
            ask(port)
        for header in (SECRET, f"Basic {SECRET}", f"Bearer  {SECRET}", "Bearer ", "Bearer", f"Bearer {SECRET} "):
            with pytest.raises(grpc.RpcError) as caught:
                raw(port, "/cleft.v1.Worker/Status", (("authorization", header),))
            if header != f"Bearer {SECRET} ":  # gRPC itself strips it
                assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert len(refused) >= 7
    assert "refused a call of ipv4:127.0.0.1" in caplog.text
    assert "unheard-of-token" not in caplog.text
    assert SECRET not in caplog.text


@SERVERS
def test_probes_of_health_need_no_token_and_unknown_methods_do(serve, tmp_path):
    security = ServerSecurity(token_file=put(tmp_path / "tokens", SECRET))
    with serve(security, lambda: None) as port:
        assert raw(port, HEALTH) == b"x"
        for method in ("/grpc.health.v1.Health/Other", "/no.such/Method", HEALTH + "/"):
            with pytest.raises(grpc.RpcError) as caught:
                raw(port, method)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(grpc.RpcError) as caught:
            raw(port, "/no.such/Method", (("authorization", f"Bearer {SECRET}"),))
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@SERVERS
def test_a_server_without_tokens_asks_for_none(serve, tmp_path):
    with serve(OPEN, lambda: None) as port:
        ask(port)
        ask(port, ClientSecurity(token_file=put(tmp_path / "token", SECRET)))


@SERVERS
def test_tls_encrypts_and_mutual_tls_wants_a_certificate(serve, authority, tmp_path):
    worker, device, stranger = authority.issue("worker"), authority.issue("device"), Authority(tmp_path, "stranger")
    expired, foreign = authority.issue("expired", is_expired=True), stranger.issue("foreign")
    security = ServerSecurity(cert_file=worker.cert, key_file=worker.key, client_ca_file=authority.file)
    trusting = ClientSecurity(is_tls=True, ca_file=authority.file)

    def showing(pair):
        return ClientSecurity(is_tls=True, ca_file=authority.file, cert_file=pair.cert, key_file=pair.key)

    with serve(security, lambda: None) as port:
        ask(port, showing(device))
        for refused in (PLAINTEXT, trusting, showing(expired), showing(foreign)):
            with pytest.raises(WireError):
                ask(port, refused)
        ask(port, showing(device))
    with serve(ServerSecurity(cert_file=worker.cert, key_file=worker.key), lambda: None) as port:
        ask(port, trusting)
        for ca_file in (stranger.file, None):
            with pytest.raises(WireError):
                ask(port, ClientSecurity(is_tls=True, ca_file=ca_file))


@SERVERS
def test_tls_names_must_fit(serve, authority):
    pair = authority.issue("elsewhere", "worker.example")
    with serve(ServerSecurity(cert_file=pair.cert, key_file=pair.key), lambda: None) as port:
        with pytest.raises(WireError):
            ask(port, ClientSecurity(is_tls=True, ca_file=authority.file))
        ask(port, ClientSecurity(is_tls=True, ca_file=authority.file, server_name="worker.example"))


@SERVERS
def test_a_renewed_certificate_and_token_hold_for_new_connections(serve, authority, tmp_path):
    pair = authority.issue("worker", is_expired=True)
    tokens, token = put(tmp_path / "tokens", "old"), put(tmp_path / "token", "new")
    security = ServerSecurity(cert_file=pair.cert, key_file=pair.key, token_file=tokens)
    client = ClientSecurity(is_tls=True, ca_file=authority.file, token_file=token)
    with serve(security, lambda: None) as port:
        with pytest.raises(WireError):
            ask(port, client)
        pair.replace_with(authority.issue("fresh"))
        with pytest.raises(Unauthenticated), dial(f"127.0.0.1:{port}", security=client) as channel:
            WorkerStub(channel, security=client).status(timeout_s=WAIT_S)
        put(tokens, "old\nnew")
        ask(port, client)


def test_files_may_be_named_by_text(tmp_path):
    path = put(tmp_path / "token", SECRET)
    assert ClientSecurity(token_file=str(path)) == ClientSecurity(token_file=path)
    assert ServerSecurity(token_file=str(path)) == ServerSecurity(token_file=path)


def test_a_token_is_read_for_each_call(tmp_path):
    token = put(tmp_path / "token", "# mine\none\n")
    security = ClientSecurity(token_file=token)
    assert security.metadata() == (("authorization", "Bearer one"),)
    put(token, "two\nthree")
    assert security.metadata() == (("authorization", "Bearer two"),)
    token.unlink()
    with pytest.raises(SecurityError, match="No such file"):
        security.metadata()
    assert PLAINTEXT.metadata() == ()


@pytest.mark.parametrize(
    "host", ["10.0.0.5", "worker.example", "0.0.0.0", "[::]", "localhost.example", "127.0.0.1.nip.io"]
)
def test_plain_text_leaves_this_machine_only_when_told(host, tmp_path):
    token = put(tmp_path / "token", SECRET)
    for security in (PLAINTEXT, ClientSecurity(token_file=token)):
        with pytest.raises(SecurityError, match="in plain text: --tls encrypts it, --insecure allows it") as caught:
            security.check(host)
        assert ("token" in str(caught.value)) == (security is not PLAINTEXT)
        with pytest.raises(SecurityError):
            dial(f"{host}:1", security=security)
    ClientSecurity(is_plaintext_allowed=True, token_file=token).check(host)
    ClientSecurity(is_tls=True).check(host)
    assert not is_loopback(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_plain_text_on_this_machine_is_fine(host):
    PLAINTEXT.check(host)
    assert OPEN.check(host, is_plaintext_allowed=False) is None


def test_a_listener_says_what_it_risks(authority, tmp_path):
    pair, tokens = authority.issue("worker"), put(tmp_path / "tokens", SECRET)
    with pytest.raises(SecurityError, match="--insecure-bind allows plain text"):
        OPEN.check("0.0.0.0", is_plaintext_allowed=False)
    with pytest.raises(SecurityError, match="nothing is encrypted"):
        ServerSecurity(token_file=tokens).check("0.0.0.0", is_plaintext_allowed=False)
    tls = {"cert_file": pair.cert, "key_file": pair.key}
    for security, warning in [
        (OPEN, "can use it and read what passes"),
        (ServerSecurity(token_file=tokens), "tokens included"),
        (ServerSecurity(**tls), "for anyone who reaches it"),
        (ServerSecurity(**tls, token_file=tokens), None),
        (ServerSecurity(**tls, client_ca_file=authority.file), None),
    ]:
        found = security.check("0.0.0.0", is_plaintext_allowed=True)
        assert found is None if warning is None else warning in str(found)


def test_options_that_contradict_each_other_are_refused_together(authority, tmp_path):
    with pytest.raises(SecurityError, match=r"a key without its certificate.*; certificates and names are for TLS"):
        ClientSecurity(key_file=tmp_path / "key")
    with pytest.raises(SecurityError, match="exclude each other"):
        ClientSecurity(is_tls=True, is_plaintext_allowed=True)
    with pytest.raises(SecurityError, match=r"a certificate without its key"):
        ServerSecurity(cert_file=tmp_path / "cert")
    with pytest.raises(SecurityError, match="give its certificate and key too"):
        ServerSecurity(client_ca_file=authority.file)


def test_refusals_fill_no_log(caplog):
    now_s = [0.0]
    counted: list[None] = []
    refusals = Refusals(lambda: counted.append(None), now=lambda: now_s[0])
    for _ in range(100):
        refusals.note("ipv4:10.0.0.9:5", "none was sent")
    now_s[0] = 1.5
    refusals.note("ipv4:10.0.0.9:5", "none was sent")
    assert len(counted) == 101
    assert [each.message for each in caplog.records] == [
        "refused a call of ipv4:10.0.0.9:5: none was sent",
        "refused a call of ipv4:10.0.0.9:5: none was sent (99 more since the last line)",
    ]
