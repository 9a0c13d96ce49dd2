"""Machine output is stable: within a schema version a field may be added, and none may go or change its type.

``tests/golden/json_fields.json`` holds every field of every schema with its type. A field that is new is written there
by running this file with ``CLEFT_UPDATE_GOLDEN=1``; one that is gone needs a new version of its schema.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cloud.cli import main as cloud
from edge.cli import main as edge
from edge.embedded import EmbeddedWorker
from partitioner import zoo
from partitioner.assumed import assumed_energy
from partitioner.cli import main as plan
from partitioner.profiles import dump_profile, load_profile
from partitioner.radio import RADIOS
from tests.recorded_boards import board

sys.path.append(str(Path(__file__).parents[1] / "unit" / "partitioner"))
from lawful_device import profiles

GOLDEN = Path(__file__).parents[1] / "golden" / "json_fields.json"
README = Path(__file__).parents[2] / "README.md"
FREE = ("binding", "versions", "outputs", "codecs", "scores", "without", "counters", "parameters", "ranges")
"""Objects whose keys are names of the model's or the machine's own."""


def fields(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, type) of every leaf; list items count once, numbers are all ``number``."""
    if isinstance(value, dict) and value and path.rpartition(".")[2] not in FREE:
        for key, item in value.items():
            yield from fields(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value:
        for item in value:
            yield from fields(item, f"{path}[]")
    else:
        names = {dict: "object", list: "list", str: "text", bool: "flag", int: "number", float: "number"}
        yield path, names.get(type(value), "null")


Show = Callable[..., list[dict[str, object]]]


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Show:
    """Run a command and read what it printed: one JSON document, or one object a line."""

    def run(main: Callable[[list[str]], int], *words: str, code: int = 0) -> list[dict[str, object]]:
        assert main(list(words)) == code
        out = capsys.readouterr().out
        try:
            return [json.loads(out)]
        except json.JSONDecodeError:
            return [json.loads(line) for line in out.splitlines()]

    return run


@contextmanager
def a_worker(bundle: Path) -> Iterator[str]:
    worker = EmbeddedWorker(bundle, arguments=["--threads", "1"])
    worker.launch()
    try:
        yield worker.wait_ready()
    finally:
        worker.stop()


def a_change(path: Path) -> tuple[str, str]:
    """Two files of a profile, with energy: as it is, and of a slower device."""
    profile = load_profile(path)
    energy = assumed_energy(profile, idle_w=2.0, active_w=5.0, source="a sheet")
    files = path.with_name("before.json"), path.with_name("after.json")
    dump_profile(replace(profile, energy=energy), files[0])
    dump_profile(replace(profile, energy=energy).slowed(2), files[1])
    return str(files[0]), str(files[1])


def some_profiles(folder: Path) -> list[str]:
    """Files of profiles of different models on one device."""
    files = [folder / f"net{seed}.json" for seed in range(3)]
    for profile, file in zip(profiles(len(files)), files, strict=True):
        dump_profile(profile, file)
    return [str(file) for file in files]


def everything(show: Show, tmp_path: Path) -> Iterator[dict[str, object]]:
    """Every machine output there is, but the demonstration's and the relay's, which have tests of their own."""
    bundle = str(zoo.resolve("digits").path)
    yield from show(plan, "pack", "digits", "-o", str(tmp_path / "digits"), "--json")
    yield from show(plan, "cuts", bundle, "--json")
    root = board("orin-nano", board("x86-server", tmp_path / "board"))
    yield from show(plan, "meters", "--root", str(root), "--json")
    yield RADIOS["4g"].to_json()
    profile = str(tmp_path / "profile.json")
    yield from show(plan, "profile", bundle, "--budget", "3s", "-o", profile, "--json")  # all cuts are reached
    written = ("--profile", profile, "-o", profile)
    yield from show(plan, "leakage", bundle, "--budget", "1ms", "--cut", "after:mean", *written, "--json")
    both = ("--edge", profile, "--cloud", profile)
    power = ("--edge-power", "idle=2W,active=5W")
    every_second = ("--frame-interval", "1s")
    yield from show(plan, "cut", *both, *power, *every_second, "--link", "4g", "--max-deviation", "0.1", "--json")
    by = ("--objective", "energy", "--pareto", "latency,energy,upload", "--top", "1")
    yield from show(plan, "cut", *both, *power, *by, "--link", "wifi", "--json")
    yield from show(plan, "table", *both, *power, *every_second, "--json")
    yield from show(plan, "show", profile, "--cloud", profile, *power, "--edge-slowdown", "2000", "--json")
    before, after = a_change(Path(profile))
    yield from show(plan, "compare", before, after, "--json")
    yield from show(plan, "fit", *some_profiles(tmp_path), "--json")
    slow = ("--edge-slowdown", "50", "--deadline", "1s", "--frames", "60")
    yield from show(edge, "simulate", "--trace", "steps", *both, *slow, "--json")
    with a_worker(Path(bundle)) as address:
        yield from show(cloud, "status", address, "--json")
        yield from show(edge, "link", address, "--json")
        common = ("--cloud", address, "--budget", "300ms", "--json")
        yield from show(edge, "advise", bundle, *power, *common)
        yield from show(edge, "run", "--model", bundle, "--random", "2", "--check", *common)
        missing = str(tmp_path / "missing.png")
        yield from show(edge, "run", "--model", bundle, "--input", missing, "--cut", "local", "--json", code=1)


def test_every_field_is_still_there_and_of_its_type(show: Show, tmp_path: Path) -> None:
    found: dict[str, dict[str, str]] = {}
    for document in everything(show, tmp_path):
        known = found.setdefault(str(document["schema"]), {})
        for path, kind in fields(document):
            if known.get(path, "null") in ("null", "list"):
                known[path] = kind
    if os.environ.get("CLEFT_UPDATE_GOLDEN"):
        GOLDEN.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    golden = json.loads(GOLDEN.read_text())
    assert sorted(found) == sorted(golden)
    for schema, wanted in golden.items():
        gone = {path: kind for path, kind in wanted.items() if found[schema].get(path) != kind}
        new = sorted(set(found[schema]) - set(wanted))
        assert not gone, f"{schema} lost or changed {gone}: that needs a new version"
        assert not new, f"{schema} gained {new}: run this file with CLEFT_UPDATE_GOLDEN=1"


def test_the_readme_names_every_schema() -> None:
    text = README.read_text()
    for schema in (*json.loads(GOLDEN.read_text()), "cleft.demo/1", "cleft.relay/1", "cleft.serve/1"):
        assert f"`{schema}`" in text
