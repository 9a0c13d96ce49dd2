"""The samples in ``deploy/`` are accepted by the programs that they are for, and say what those programs do."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml

import cloud.cli
import edge.cli
from partitioner import preprocess
from partitioner.cli.shell import Program, run_program
from protos.certificates import check_pair, check_roots
from protos.secrets import Tokens, read_tokens
from protos.security import ClientSecurity, ServerSecurity

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEPLOY = Path(__file__).parents[2] / "deploy"
PROGRAMS = {"cleft-cloud": cloud.cli.PROGRAM, "cleft-edge": edge.cli.PROGRAM}
SAMPLES = pytest.mark.parametrize(("program", "sample"), [("cleft-cloud", "cloud"), ("cleft-edge", "edge")])

Effective = Callable[..., Mapping[str, object]]


@pytest.fixture
def effective(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Effective:
    """The settings of a program that these words and variables start, as it prints them itself."""
    for name in [each for each in os.environ if each.startswith("CLEFT_")]:
        monkeypatch.delenv(name)

    def settings(program: Program, words: list[str], environ: Mapping[str, str] | None = None) -> Mapping[str, object]:
        for name, value in (environ or {}).items():
            monkeypatch.setenv(name, value)
        assert run_program(program, [*words, "--print-config"]) == 0, capsys.readouterr().err
        out, errors = capsys.readouterr()
        assert errors == ""
        return tomllib.loads(out)

    return settings


def unit(name: str) -> dict[str, list[str]]:
    """The settings of a systemd unit, each with all its values."""
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / name).read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def variables(lines: list[str]) -> dict[str, str]:
    return dict(tuple(line.split("=", 1)) for line in lines)  # type: ignore[misc]


def duration_s(text: object) -> float:
    return float(str(text).removesuffix("s"))


@pytest.mark.parametrize("path", sorted((DEPLOY / "preprocess").glob("*.json")), ids=lambda path: path.name)
def test_sample_preprocess_records_are_valid(path: Path) -> None:
    preprocess.check(json.loads(path.read_text()))


@SAMPLES
def test_the_sample_settings_are_those_of_the_program(effective: Effective, program: str, sample: str) -> None:
    path = DEPLOY / f"{sample}.toml"
    written = {key.replace("_", "-"): value for key, value in tomllib.loads(path.read_text()).items()}
    assert effective(PROGRAMS[program], ["serve", "--config", str(path)]) == written


@SAMPLES
def test_what_the_samples_leave_out_is_a_setting_too(effective: Effective, tmp_path: Path, program: str, sample: str):
    lines = (DEPLOY / f"{sample}.toml").read_text().splitlines()
    left_out = [line.removeprefix("# ") for line in lines if re.match(r"# [a-z-]+ = ", line)]
    assert left_out
    path = tmp_path / "whole.toml"
    path.write_text(
        "\n".join(line.removeprefix("# ") if line.removeprefix("# ") in left_out else line for line in lines)
    )
    found = effective(PROGRAMS[program], ["serve", "--config", str(path)])
    assert {line.split(" = ")[0] for line in left_out} <= set(found)


def test_a_worker_that_others_reach_is_encrypted_and_wants_a_token(effective: Effective) -> None:
    found = effective(PROGRAMS["cleft-cloud"], ["serve", "--config", str(DEPLOY / "cloud.toml")])
    assert found["host"] == "0.0.0.0"
    assert {"tls-cert", "tls-key", "token-file"} <= set(found)
    assert "insecure-bind" not in found


@SAMPLES
def test_the_unit_hands_over_secrets_and_outwaits_the_grace(effective: Effective, program: str, sample: str) -> None:
    found = unit(f"{program}.service")
    path, *words = shlex.split(found["ExecStart"][0])
    assert Path(path).name == program
    words = [word.replace(f"/etc/cleft/{sample}.toml", str(DEPLOY / f"{sample}.toml")) for word in words]
    settings = effective(PROGRAMS[program], words, variables(found["Environment"]))
    assert float(found["TimeoutStopSec"][0]) > duration_s(settings["grace"])
    handed = {each.partition(":")[0] for each in found["LoadCredential"]}
    taken = {str(value) for value in settings.values() if str(value).startswith("%d/")}
    assert taken == {f"%d/{name}" for name in handed}
    assert found["DynamicUser"] == ["yes"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this machine has no systemd-analyze")
@pytest.mark.parametrize("name", ["cleft-cloud.service", "cleft-edge.service"])
def test_systemd_understands_the_units(name: str, tmp_path: Path) -> None:
    text = re.sub(r"/opt/cleft/bin/cleft-\w+", "/bin/true", (DEPLOY / name).read_text())
    path = tmp_path / name
    path.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False)
    assert name not in done.stderr, done.stderr


def dockerfile(word: str) -> str:
    lines = (DEPLOY / "cloud.Dockerfile").read_text().splitlines()
    return next(line for line in lines if line.startswith(f"{word} ")).removeprefix(f"{word} ")


def local(words: list[str]) -> list[str]:
    return [word.replace("/etc/cleft", str(DEPLOY)) for word in words]


def test_the_container_copies_every_package_and_starts_a_worker(effective: Effective) -> None:
    text = (DEPLOY / "cloud.Dockerfile").read_text()
    for package in ("protos", "partitioner", "cloud", "edge"):
        assert f"COPY {package} {package}" in text
    command = local(json.loads(dockerfile("CMD")))
    assert effective(PROGRAMS["cleft-cloud"], command)["port"] == int(dockerfile("EXPOSE"))


def compose() -> tuple[dict[str, object], dict[str, object]]:
    whole = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return whole["services"]["worker"], whole["secrets"]


def test_compose_starts_a_worker_with_files_that_it_mounts(effective: Effective) -> None:
    service, secrets = compose()
    words = local(shlex.split(str(service["command"])))
    found = effective(PROGRAMS["cleft-cloud"], words, service["environment"])
    mounted = {f"/run/secrets/{name}" for name in service["secrets"]}
    assert {found["tls-cert"], found["tls-key"], found["token-file"]} <= mounted
    assert set(service["secrets"]) == set(secrets)
    assert service["ports"] == [f"{found['port']}:{found['port']}"]
    assert duration_s(service["stop_grace_period"]) > duration_s(found["grace"])
    model, target, *_ = service["volumes"][0].split(":")
    assert found["model"] == [f"{target}/model.bundle"]
    assert model == "./models"


def test_the_probe_of_the_container_is_a_command_that_exists(capsys: pytest.CaptureFixture[str]) -> None:
    service, _ = compose()
    _, _, probe = dockerfile("HEALTHCHECK").partition(" CMD ")
    for flags in ("", service["environment"]["PROBE"]):
        program, *words = shlex.split(probe.replace("$PROBE", str(flags)))
        assert program == "cleft-cloud"
        assert run_program(PROGRAMS[program], [word.replace("50051", "1") for word in words]) == 1
        assert re.search(r"no worker at|/run/secrets/authority: No such file", capsys.readouterr().err)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="this machine has no openssl")
def test_the_test_certificates_are_good_and_can_be_renewed(tmp_path: Path) -> None:
    script, folder = str(DEPLOY / "make-test-certificates.sh"), tmp_path / "secrets"
    subprocess.run([script, str(folder), "worker", "10.0.0.5"], check=True, capture_output=True)
    worker = ServerSecurity(
        cert_file=folder / "worker.cert.pem",
        key_file=folder / "worker.key.pem",
        client_ca_file=folder / "ca.pem",
        token_file=folder / "tokens",
    )
    ClientSecurity(
        is_tls=True,
        ca_file=folder / "ca.pem",
        cert_file=folder / "device.cert.pem",
        key_file=folder / "device.key.pem",
        token_file=folder / "token",
    ).credentials()
    assert worker.is_tls
    (token,) = read_tokens(folder / "token")
    assert token in Tokens(folder / "tokens")
    for name, host in [("worker", "10.0.0.5"), ("worker", "127.0.0.1"), ("worker", "worker")]:
        handshake(folder, name, host)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(folder, "worker", "10.0.0.6")
    old, authority = check_pair(folder / "worker.cert.pem", folder / "worker.key.pem"), check_roots(folder / "ca.pem")
    subprocess.run([script, str(folder)], check=True, capture_output=True)
    assert check_pair(folder / "worker.cert.pem", folder / "worker.key.pem") != old
    assert check_roots(folder / "ca.pem") == authority
    assert not [path.name for path in folder.iterdir() if path.stat().st_mode & 0o077]
    assert subprocess.run([script], check=False, capture_output=True).returncode == 2


def handshake(folder: Path, name: str, host: str) -> None:
    """A handshake in memory between that certificate and somebody who knows the authority and the host."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(folder / f"{name}.cert.pem", folder / f"{name}.key.pem")
    client = ssl.create_default_context(cafile=folder / "ca.pem")
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(down, up, server_hostname=host),
        server.wrap_bio(up, down, server_side=True),
    ]
    for end in (*ends, *ends):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
