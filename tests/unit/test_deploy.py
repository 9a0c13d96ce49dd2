"""The sample configurations in ``deploy/`` are accepted by the programs that they are for."""

import json
import shlex
from pathlib import Path

import pytest
import yaml

from cloud.cli import PROGRAM
from partitioner import preprocess
from partitioner.cli.shell import Parser

DEPLOY = Path(__file__).parents[2] / "deploy"


def parse_serve(words: list[str]) -> dict[str, object]:
    assert words[0] == "serve"
    command = PROGRAM.load("serve")
    parser = Parser("cleft-cloud serve", description="")
    command.add_arguments(parser)
    return vars(parser.parse_args(words[1:]))


@pytest.mark.parametrize("path", sorted((DEPLOY / "preprocess").glob("*.json")), ids=lambda path: path.name)
def test_sample_preprocess_records_are_valid(path: Path) -> None:
    preprocess.check(json.loads(path.read_text()))


def test_the_container_starts_a_worker_with_flags_that_exist() -> None:
    lines = (DEPLOY / "cloud.Dockerfile").read_text().splitlines()
    command = json.loads(next(line for line in lines if line.startswith("CMD ")).removeprefix("CMD "))
    assert parse_serve(command)["insecure_bind"] is True


def test_the_container_copies_every_package() -> None:
    text = (DEPLOY / "cloud.Dockerfile").read_text()
    for package in ("protos", "partitioner", "cloud", "edge"):
        assert f"COPY {package} {package}" in text


def test_compose_starts_a_worker_that_only_this_machine_reaches() -> None:
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["worker"]
    assert parse_serve(shlex.split(service["command"]))["port"] == 50051
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_the_systemd_unit_starts_a_worker_and_outwaits_its_grace() -> None:
    settings = [line.partition("=") for line in (DEPLOY / "cleft-cloud.service").read_text().splitlines()]
    values = {key: value for key, _, value in settings}
    program, *words = shlex.split(values["ExecStart"])
    assert Path(program).name == "cleft-cloud"
    assert float(values["TimeoutStopSec"]) > float(parse_serve(words)["grace"])  # type: ignore[arg-type]
