"""``cleft-plan verify`` runs end to end on the shipped model at toy size, goes on where it stopped, and leaves nothing.

``tests/golden/verify_fields.json`` holds every field that it and ``cleft-edge trial`` print, with its type.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from edge.cli import main as edge
from partitioner import zoo
from partitioner.children import Device, worker
from partitioner.cli import main as plan
from partitioner.errors import CleftError
from partitioner.link import PRESETS

GOLDEN = Path(__file__).parents[1] / "golden" / "verify_fields.json"
ROOT = Path(__file__).parents[2]
TOY = ("--links", "wifi", "--budget", "300ms", "--time-per-config", "1s")


def fields(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, type) of every leaf; list items count once, numbers are all ``number``."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from fields(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value:
        for item in value:
            yield from fields(item, f"{path}[]")
    else:
        names = {dict: "object", list: "list", str: "text", bool: "flag", int: "number", float: "number"}
        yield path, names.get(type(value), "null")


def check_fields(*documents: dict[str, Any]) -> None:
    """Compare with the golden file; ``CLEFT_UPDATE_GOLDEN=1`` writes what is new there."""
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    for document in documents:
        found: dict[str, str] = {}
        for path, kind in fields(document):
            if found.get(path, "null") in ("null", "list"):
                found[path] = kind
        if os.environ.get("CLEFT_UPDATE_GOLDEN"):
            golden[document["schema"]] = found
            GOLDEN.write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n")
        assert found == golden[document["schema"]]


@pytest.mark.slow
def test_the_shipped_model_is_verified_and_the_run_is_resumed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    saved = tmp_path / "found.jsonl"
    assert plan(["verify", "digits", *TOY, "--edge-slowdown", "2", "--resume", str(saved), "--json"]) == 0
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    first = json.loads(printed.out)
    check_fields(first, first["configurations"][0])
    finding = first["configurations"][0]
    plans = finding["plans"]
    assert [each["rank"] for each in plans] == sorted({each["rank"] for each in plans})
    assert [each["predicted_s"] for each in plans] == sorted(each["predicted_s"] for each in plans)
    assert {"local", "cloud"} <= {each["cut"] for each in plans}
    assert finding["regret"] >= 0
    assert finding["left_out"] > 0
    for each in plans:
        least_s = 0.0 if each["cut"] == "local" else PRESETS["wifi"].rtt_s
        assert min(each["first_s"]) > least_s + each["up_bytes"] / PRESETS["wifi"].up_bytes_per_s

    assert plan(["verify", "digits", *TOY, "--edge-slowdown", "2,3", "--resume", str(saved), "--json"]) == 0
    printed = capsys.readouterr()
    assert "2x slower" not in printed.err
    both = json.loads(printed.out)
    assert [each["slowdown"] for each in both["configurations"]] == [2.0, 3.0]
    assert both["configurations"][0] == finding
    assert both["summary"]["configurations"] == len(saved.read_text().splitlines()) == 2

    assert plan(["verify", "digits", *TOY, "--edge-slowdown", "2,3", "--resume", str(saved)]) == 0
    shown = capsys.readouterr()
    assert "verify:" not in shown.err
    assert "of 2 configurations" in shown.out
    assert "waits (factor - 1) times" in shown.out


def test_a_trial_prints_every_answer_and_an_end(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    asked = tmp_path / "plans.jsonl"
    asked.write_text('{"plans": [{"cut": "local"}, {"cut": "cloud", "codec": "none", "rounds": 1}]}\n\n')
    with worker(("digits",)) as (host, port):
        words = ["trial", "--model", "digits", "--cloud", f"{host}:{port}", "--plans", str(asked), "--repeat", "3"]
        assert edge([*words, "--json"]) == 0
        records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert edge(words) == 0
        table = capsys.readouterr().out.splitlines()
    *answers, end = records
    check_fields(answers[0], end)
    assert [(each["round"], each["cut"]) for each in answers[:2]] == [(0, "local"), (0, "cloud")]
    assert sorted(each["plan"] for each in answers) == [0] * 4 + [1] * 2
    assert all(each["up_bytes"] == 0 for each in answers if each["cut"] == "local")
    assert end["left_out"] == []
    assert [line.split()[:3] for line in table[1:]] == [["local", "none", "3"], ["cloud", "none", "1"]]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--links", "5g"], "no link 5g"),
        (["--edge-slowdown", "0.5"], "1 or more"),
        (["--codecs", "int8"], "--max-deviation"),
        (["--resume", "README.md"], "no finding"),
        (["--save", "/nowhere/found"], "No such file"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_measured(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert plan(["verify", "digits", *words]) == 2 or "finding" in says
    assert says in capsys.readouterr().err


def test_a_file_of_trials_that_is_no_text_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "plans").write_bytes(b"\xff\xfe{")
    assert edge(["trial", "--model", "digits", "--cloud", "127.0.0.1:1", "--plans", str(tmp_path / "plans")]) == 2
    assert capsys.readouterr().err == "cleft-edge: error: this is no trial: it is not UTF-8 text (invalid start byte)\n"


@pytest.mark.slow
def test_a_relative_path_is_the_caller_s_and_half_a_finding_is_found_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(zoo.resolve("digits").path, "mine")
    np.save("input.npy", np.zeros((8, 8, 1), np.uint8))
    words = ["verify", "mine", "--input", "input.npy", "--links", "wifi", "--edge-slowdown", "2", "--budget", "300ms"]
    words += ["--time-per-config", "10ms", "--resume", "found"]
    assert plan(words) == 0, capsys.readouterr().err
    (line,) = Path("found").read_text().splitlines()
    assert {"local", "cloud"} <= {each["cut"] for each in json.loads(line)["plans"]}
    Path("found").write_text(f"{line}\n{line}\n{line[:100]}")
    assert plan(words) == 0
    told = capsys.readouterr()
    assert "found: its last line has no end" in told.err
    assert "of 1 configurations" in told.out
    assert Path("found").read_text() == f"{line}\n{line}\n"


def test_a_file_that_is_no_finding_stays_as_it_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine\nand mine")
    assert plan(["verify", "digits", "--resume", str(tmp_path / "notes")]) == 2
    assert "no finding" in capsys.readouterr().err
    assert (tmp_path / "notes").read_text() == "mine\nand mine"


def test_a_device_that_dies_while_it_writes_has_said_why() -> None:
    with Device("digits", None) as device:
        device._process.kill()
        device._process.wait()
        real = device._process.stdout
        device._process.stdout = io.StringIO('{"plan": 0, "tot')
        with pytest.raises(CleftError, match="the device was ended by signal 9"):
            device.trial([{"cut": "local"}], address="127.0.0.1:1", slowdown=1.0, seed=0, time_limit_s=60.0)
        device._process.stdout = real


def test_a_worker_that_dies_ends_the_trial_with_one_line() -> None:
    plans = [{"cut": "cloud", "codec": "none", "rounds": 2}]
    with worker(("digits",)) as (host, port), Device("digits", None) as device:
        address = f"{host}:{port}"
        assert len(device.trial(plans, address=address, slowdown=1.0, seed=0, time_limit_s=60.0)) == 4
        for child in psutil.Process().children(recursive=True):
            if "serve" in child.cmdline():
                child.kill()
        with pytest.raises(CleftError, match="the device failed: cleft-edge: error: ") as lost:
            device.trial(plans, address=address, slowdown=1.0, seed=0, time_limit_s=60.0)
    assert "\n" not in str(lost.value)


def test_a_device_that_is_killed_is_told_from_one_that_fails() -> None:
    with Device("digits", None) as device:
        for child in psutil.Process().children():
            with suppress(psutil.ZombieProcess):  # of an earlier test, not yet reaped
                if "trial" in child.cmdline():
                    child.kill()
        with pytest.raises(CleftError, match="the device was ended by signal 9"):
            device.trial([{"cut": "local"}], address="127.0.0.1:1", slowdown=1.0, seed=0, time_limit_s=60.0)


def test_an_interrupt_leaves_no_process_behind() -> None:
    program = "import sys; from partitioner.cli import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "verify", "digits", "--links", "3g", "--budget", "60s"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        assert process.stderr is not None
        said = [process.stderr.readline(), process.stderr.readline()]
        assert "profiling the device" in said[1]
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130
    assert "Traceback" not in rest
    gone, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    assert gone
