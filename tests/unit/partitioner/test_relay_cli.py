"""``cleft-plan relay`` says where it listens, relays, and ends when told to."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from partitioner.cli import main

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-c", "import sys; from partitioner.cli import main; sys.exit(main())", "relay"]


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_it_relays_until_a_signal(stop: signal.Signals) -> None:
    def serve() -> None:
        with listener.accept()[0] as connection:
            connection.sendall(connection.recv(5)[::-1])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = f"127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=serve)
        thread.start()
        command = [*COMMAND, "--to", target, "--link", "wifi", "--rtt-ms", "10", "--json"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            assert ready["schema"] == "cleft.relay/1"
            assert ready["to"] == target
            assert ready["link"]["rtt_s"] == 0.01
            with socket.create_connection((ready["host"], ready["port"]), timeout=10) as client:
                client.sendall(b"hello")
                assert client.recv(5) == b"olleh"
            process.send_signal(stop)
            _, errors = process.communicate(timeout=10)
            assert (process.returncode, errors) == (0, "")
        thread.join()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--to", "127.0.0.1:9"], "the link is not known"),
        (["--to", "127.0.0.1:0", "--link", "4g"], "port 0"),
        (["--link", "4g"], "--to"),
        (["--to", "127.0.0.1:9", "--link", "5g"], "invalid choice"),
        (["--to", "127.0.0.1:9", "--link", "4g", "--listen", "203.0.113.1:1"], "cannot listen on"),
    ],
)
def test_what_it_cannot_do_is_one_clear_error(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["relay", *arguments]) != 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert complaint in printed.err
    assert "Traceback" not in printed.err


def test_it_resets_connections_and_goes_away_for_a_while_when_asked() -> None:
    def serve() -> None:
        for _ in range(2):
            with listener.accept()[0] as connection, suppress(OSError):
                while data := connection.recv(100):
                    connection.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = f"127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=serve)
        thread.start()
        flags = ["--link", "wifi", "--jitter-ms", "1", "--slice", "--reset-every", "1s", "--outage", "60s:1s", "--json"]
        with subprocess.Popen(
            [*COMMAND, "--to", target, *flags], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            for _ in range(2):
                with socket.create_connection((ready["host"], ready["port"]), timeout=10) as client:
                    client.sendall(b"hello")
                    with pytest.raises(ConnectionResetError):
                        deque(iter(partial(client.recv, 100), b""), maxlen=0)
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        thread.join()


@pytest.mark.parametrize("text", ["30s", "30s:", ":2s", "0s:1s"])
def test_an_outage_that_says_too_little_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["relay", "--to", "127.0.0.1:9", "--link", "4g", "--outage", text]) == 2
    assert "--outage" in capsys.readouterr().err
