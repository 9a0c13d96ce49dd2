"""A worker process as it is deployed: settings from a file, TLS, tokens, a log for machines; and the commands that ask
it, with and without what it takes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import cloud.cli
import edge.cli
from partitioner.zoo import resolve
from tests.certificates import Authority, put

SECRET = "s3cret-of-ours"
LIMIT_S = 90.0

Command = Callable[..., tuple[int, str, str]]


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """A worker that runs, and the flags of who may use it."""

    target: str
    flags: tuple[str, ...]
    process: subprocess.Popen[str]

    def log(self) -> list[dict[str, object]]:
        """Ends the worker; everything that it logged."""
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=LIMIT_S)
        assert self.process.returncode == 0
        assert SECRET not in errors
        return [json.loads(line) for line in errors.splitlines()]


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[Deployed]:
    authority = Authority(tmp_path)
    pair, tokens = authority.issue("worker"), put(tmp_path / "tokens", f"# devices\n{SECRET}\n")
    config = put(
        tmp_path / "cloud.toml",
        f"""
        model = ["{resolve("digits").path}"]
        port = 1
        json = true
        log-format = "text"
        log-level = "info"
        [cloud]
        tls-cert = "{pair.cert}"
        tls-key = "{pair.key}"
        token-file = "{tokens}"
        """,
    )
    environ = {**os.environ, "CLEFT_CONFIG": str(config), "CLEFT_PORT": "0", "CLEFT_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "cloud", "serve", "--log-format", "json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
    )
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        yield Deployed(
            target=f"127.0.0.1:{ready['port']}",
            flags=("--tls-ca", str(authority.file), "--token-file", str(put(tmp_path / "token", SECRET))),
            process=process,
        )
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """One of our commands: its exit code, and what it said on either stream; it never says the secret."""
    monkeypatch.setenv("GRPC_VERBOSITY", "NONE")

    def run(*words: str) -> tuple[int, str, str]:
        program, *argv = words
        code = {"cleft-cloud": cloud.cli.main, "cleft-edge": edge.cli.main}[program](argv)
        out, errors = capsys.readouterr()
        assert SECRET not in out + errors
        return code, out, errors

    return run


def test_commands_are_served_or_told_what_they_lack(deployed, command):
    target, flags = deployed.target, deployed.flags
    tls, token = flags[:2], flags[2:]
    assert "serving" in command("cleft-cloud", "status", target, *flags)[1]
    assert command("cleft-cloud", "status", target, *tls, "--health") == (0, "serving\n", "")
    assert command("cleft-cloud", "status", target, *tls, "--health", "f" * 64) == (1, "not serving\n", "")
    _, link, _ = command("cleft-edge", "link", target, *flags, "--budget", "100ms", "--json")
    assert json.loads(link)["up_mbit"] > 0
    asked = ("--model", "digits", "--random", "1", "--cut", "cloud", "--json")
    code, answer, errors = command("cleft-edge", "run", *asked, "--cloud", target, *flags)
    assert (code, errors) == (0, "")
    assert json.loads(answer)["where"] == "cloud"
    for words, says in [
        (("cleft-cloud", "status", target), "it speaks TLS: --tls"),
        (("cleft-edge", "link", target), "it speaks TLS: --tls"),
        (("cleft-edge", "link", target, *tls), "(UNAUTHENTICATED): a token is needed, and none was sent"),
        (("cleft-cloud", "status", target, *tls), "a token is needed, and none was sent"),
        (("cleft-edge", "link", target, "--tls", *token), "does not come from a public authority; --tls-ca FILE"),
        (("cleft-edge", "link", target, *flags, "--tls-name", "a.example"), "its certificate is not for a.example"),
        (("cleft-edge", "link", "10.1.2.3:50051"), "in plain text: --tls encrypts it, --insecure allows it"),
        (("cleft-cloud", "status", "10.1.2.3:50051"), "in plain text: --tls encrypts it, --insecure allows it"),
        (("cleft-edge", "link", target, *flags, "--insecure"), "exclude each other"),
    ]:
        code, _, errors = command(*words)
        assert code in (1, 2)
        assert says in errors
        assert errors.count("\n") == 1
    log = deployed.log()
    warned = [each["message"] for each in log if each["level"] == "warning"]
    assert any("refused a call of ipv4:127.0.0.1" in str(each) for each in warned)
    assert any("a TLS handshake failed: the client speaks plain text" in str(each) for each in warned)
    assert {"time", "level", "logger", "message"} <= set(log[0])
    assert any(each["message"] == "SIGTERM: draining" for each in log)
