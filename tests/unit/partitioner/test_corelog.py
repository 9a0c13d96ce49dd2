"""Lines of gRPC's core about TLS, as they were seen, and what is passed through."""

from __future__ import annotations

import subprocess
import sys

import pytest

from partitioner.cli.corelog import Handshakes

CORE = "I1120 16:16:57.041177   17233 ssl_transport_security.cc:2563] "
FAILED = "Handshake failed with error SSL_ERROR_SSL: error:100000f7:SSL routines:OPENSSL_internal:"


@pytest.mark.parametrize(
    ("why", "told"),
    [
        ("WRONG_VERSION_NUMBER: Invalid certificate verification context", "the client speaks plain text"),
        ("HTTP_REQUEST", "the client speaks plain text"),
        ("PEER_DID_NOT_RETURN_A_CERTIFICATE: Invalid", "the client showed no certificate"),
        ("CERTIFICATE_VERIFY_FAILED: certificate has expired", "the peer's certificate is not trusted"),
        ("TLSV1_ALERT_UNKNOWN_CA", "the client does not trust our certificate"),
        ("BAD_PACKET_LENGTH", "it broke off"),
    ],
)
def test_a_failed_handshake_is_logged_with_its_reason(why, told, caplog):
    assert Handshakes().take(f"{CORE}{FAILED}{why}\n")
    assert caplog.messages == [f"a TLS handshake failed: {told} ({why})"]


def test_many_failed_handshakes_are_one_line_a_second(caplog):
    now_s = [0.0]
    handshakes = Handshakes(now=lambda: now_s[0])
    for _ in range(50):
        assert handshakes.take(f"{CORE}{FAILED}HTTP_REQUEST")
    now_s[0] = 1.0
    handshakes.take(f"{CORE}{FAILED}HTTP_REQUEST")
    assert len(caplog.messages) == 2
    assert caplog.messages[1].endswith("49 more since the last line)")


def test_other_lines_of_the_core_are_dropped_and_those_of_others_are_not(caplog):
    handshakes = Handshakes()
    assert handshakes.take("E1120 16:16:57.041177   17233 chttp2_transport.cc:1] too many pings")
    assert not handshakes.take("Traceback (most recent call last):")
    assert not handshakes.take(f"note: {FAILED}")
    assert not caplog.messages


def test_stderr_is_as_it_was_afterwards_and_nothing_is_lost():
    script = f"""
import logging, os, sys
from partitioner.cli.corelog import handshakes_logged
from partitioner.cli.logs import configure_logs
configure_logs(log_format="text", level="info")
with handshakes_logged():
    os.write(2, b"from C\\n{CORE}{FAILED}HTTP_REQUEST\\n{CORE}noise\\n")
    logging.getLogger("x").info("logged")
    print("printed", file=sys.stderr)
print("after", file=sys.stderr)
logging.getLogger("x").info("logged after")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    lines = done.stderr.splitlines()
    assert len(lines) == 6
    for part in ("from C", "the client speaks plain text", ": logged", "printed", "after", "logged after"):
        assert any(line.endswith(part) or part in line for line in lines), done.stderr
    assert lines[-1].endswith("logged after")
    assert "noise" not in done.stderr
