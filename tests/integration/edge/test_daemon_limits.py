"""What a daemon refuses, and how it starts and ends, over sessions that the test bends."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from daemon_rig import IMAGE, WAIT_S, Session, Site, opening, refusal, served, tensor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.utils import InferenceServerException

from edge.cli import main
from edge.daemon import Daemon, DaemonConfig, Entry, ListenError, NothingToServe
from partitioner.bundle import Bundle
from partitioner.errors import UsageError
from protos.security import ServerSecurity
from tests.certificates import Authority, put


def test_what_is_over_the_limit_is_refused_at_once_while_probes_answer(digits: Bundle) -> None:
    with served({"digits": digits}, max_requests=2) as site, ThreadPoolExecutor(2) as pool:
        session = site.sessions["digits"]
        session.is_holding = True
        held = [pool.submit(site.client.infer, "digits", [tensor("image", IMAGE)]) for _ in range(2)]
        session.wait_for(2)
        times_s = []
        for _ in range(20):
            begin_s = time.perf_counter()
            status, line = refusal(site, "digits", tensor("image", IMAGE))
            times_s.append(time.perf_counter() - begin_s)
            assert status == "RESOURCE_EXHAUSTED"
            assert "2 requests" in line
        assert sorted(times_s)[len(times_s) // 2] < 0.05
        assert site.client.is_server_ready()
        for future, sample in zip(session.futures, session.samples, strict=True):
            session.let_go(future, sample)
        assert all(each.result(WAIT_S).as_numpy("output").shape == (1, 10) for each in held)
        assert site.daemon.traffic()["refused_busy"] == 20
        assert site.daemon.traffic()["answered"] == 2


def test_messages_over_the_limit_are_refused_and_large_ones_pass(digits: Bundle, averaging: Bundle) -> None:
    with served({"averages": averaging}, max_message_bytes=1 << 20) as site:
        rows = np.ones((100, 1024), np.float32)
        assert site.client.infer("averages", [tensor("x", rows)]).as_numpy("output").shape == (100,)
        assert refusal(site, "averages", tensor("x", np.ones((400, 1024), np.float32)))[0] == "RESOURCE_EXHAUSTED"


def test_draining_answers_what_is_under_way_and_takes_nothing_new(digits: Bundle) -> None:
    with served({"digits": digits}) as site, ThreadPoolExecutor(2) as pool:
        session = site.sessions["digits"]
        session.is_holding = True
        held = pool.submit(site.client.infer, "digits", [tensor("image", IMAGE)])
        session.wait_for(1)
        stopping = pool.submit(site.daemon.stop, grace_s=WAIT_S)
        while site_is_ready(site):
            pass
        session.let_go(session.futures[0], session.samples[0])
        assert held.result(WAIT_S).as_numpy("output").shape == (1, 10)
        assert stopping.result(WAIT_S)
        assert session.is_closed


def site_is_ready(site: Site) -> bool:
    try:
        return bool(site.client.is_server_ready(client_timeout=1.0))
    except InferenceServerException:
        return False


def test_what_is_not_answered_within_the_grace_is_ended(digits: Bundle) -> None:
    with served({"digits": digits}) as site, ThreadPoolExecutor(1) as pool:
        session = site.sessions["digits"]
        session.is_holding = True
        held = pool.submit(refusal, site, "digits", tensor("image", IMAGE))
        session.wait_for(1)
        begin_s = time.monotonic()
        site.daemon.stop(grace_s=0.2)
        assert time.monotonic() - begin_s < 5.0
        assert held.result(WAIT_S)[0] in ("UNAVAILABLE", "CANCELLED")


def test_a_model_that_cannot_be_opened_is_not_ready_and_the_others_serve(
    digits: Bundle, wording: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> Session:
        raise UsageError("its weights are damaged")

    session = Session(digits)
    entries = [
        Entry(name="digits", bundle=digits, open_session=opening(session)),
        Entry(name="words", bundle=wording, open_session=fail),
    ]
    daemon = Daemon(DaemonConfig(port=0))
    site = Site(daemon, daemon.start(entries), {"digits": session})
    try:
        assert daemon.reasons == {"words": "its weights are damaged"}
        assert not site.client.is_server_ready()
        assert not site.client.is_model_ready("words")
        models = site.client.get_model_repository_index(as_json=True)["models"]
        assert models == [
            {"name": "digits", "version": "1", "state": "READY"},
            {"name": "words", "version": "1", "state": "UNAVAILABLE", "reason": "its weights are damaged"},
        ]
        assert main(["status", f"127.0.0.1:{site.port}"]) == 0
        out = capsys.readouterr().out
        assert re.search(r"digits +1 +ready", out)
        assert re.search(r"words +1 +not ready: its weights are damaged", out)
        assert refusal(site, "words") == ("UNAVAILABLE", "words is not ready: its weights are damaged")
        assert site.client.infer("digits", [tensor("image", IMAGE)]).as_numpy("output").shape == (1, 10)
    finally:
        site.client.close()
        daemon.stop(grace_s=1.0)


def test_nothing_to_serve_two_of_a_name_and_a_port_in_use_are_told_apart(digits: Bundle) -> None:
    def fail() -> Session:
        raise UsageError("damaged")

    entry = Entry(name="digits", bundle=digits, open_session=opening(Session(digits)))
    with pytest.raises(NothingToServe, match="digits: damaged"):
        Daemon(DaemonConfig(port=0)).start([Entry(name="digits", bundle=digits, open_session=fail)])
    with pytest.raises(UsageError, match="two models are called 'digits'"):
        Daemon(DaemonConfig(port=0)).start([entry, entry])
    with served({"digits": digits}) as site, pytest.raises(ListenError, match="cannot listen"):
        Daemon(DaemonConfig(port=site.port)).start([entry])


def test_what_was_counted_is_logged_once_at_the_end_and_not_twice(
    digits: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="edge.daemon"), served({"digits": digits}) as site:
        site.client.infer("digits", [tensor("image", IMAGE)])
        site.daemon.report()
        site.daemon.report()
    lines = [record for record in caplog.records if record.getMessage().startswith("so far")]
    assert [record.getMessage() for record in lines] == ["so far: requests 1, answered 1, session_answered 1"]
    assert lines[0].cleft["requests"] == 1  # type: ignore[attr-defined]


def test_health_is_told_per_model_while_it_serves(digits: Bundle, wording: Bundle) -> None:
    with served({"digits": digits}) as site, grpc.insecure_channel(f"127.0.0.1:{site.port}") as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        serving = health_pb2.HealthCheckResponse.SERVING
        for name in ("", "digits"):
            assert check(health_pb2.HealthCheckRequest(service=name), timeout=WAIT_S).status == serving
        with pytest.raises(grpc.RpcError):
            check(health_pb2.HealthCheckRequest(service="nobody"), timeout=WAIT_S)


def test_with_tls_and_a_token_only_those_who_show_both_are_answered(
    digits: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("daemon")
    token = put(tmp_path / "tokens", "an-open-secret-of-the-test\n")
    security = ServerSecurity(cert_file=pair.cert, key_file=pair.key, token_file=token)
    with served({"digits": digits}, security=security) as site:
        url, roots, image = f"localhost:{site.port}", str(authority.file), tensor("image", IMAGE)
        with triton.InferenceServerClient(url, ssl=True, root_certificates=roots) as client:
            right = {"authorization": "Bearer an-open-secret-of-the-test"}
            assert client.infer("digits", [image], headers=right).as_numpy("output").shape == (1, 10)
            for headers in (None, {"authorization": "Bearer wrong"}):
                with pytest.raises(InferenceServerException, match="UNAUTHENTICATED"):
                    client.infer("digits", [image], headers=headers)
        with pytest.raises(InferenceServerException, match="UNAVAILABLE"):
            site.client.infer("digits", [image], client_timeout=WAIT_S)
        assert main(["status", f"127.0.0.1:{site.port}"]) == 1
        assert "it speaks TLS: --tls" in capsys.readouterr().err
        assert site.daemon.traffic()["requests"] == 1


def test_status_tells_what_is_at_an_address_without_a_daemon(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "127.0.0.1:1", "--timeout", "2s"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "no daemon answers at 127.0.0.1:1" in err
