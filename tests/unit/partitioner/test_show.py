from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_profiles import SOURCE_BYTES, cloud_profile, edge_profile

from partitioner.assumed import assumed_energy
from partitioner.cli import main
from partitioner.leakage import CutLeakage, LeakageProfile
from partitioner.profile import Profile
from partitioner.profiles import dump_profile, load_profile
from partitioner.units import ms

POWER = ("--edge-power", "idle=2W,active=5W")


@pytest.fixture
def edge(tmp_path: Path) -> str:
    return written(edge_profile(), tmp_path / "edge.json")


@pytest.fixture
def both(edge: str, tmp_path: Path) -> list[str]:
    return [edge, "--cloud", written(cloud_profile(), tmp_path / "cloud.json")]


def written(profile: Profile, path: Path) -> str:
    dump_profile(profile, path)
    return str(path)


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert main(["show", *words, "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    assert found["schema"] == "cleft.show/1"
    return found


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int) -> str:
    assert main(["show", *words]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_a_profile_alone_shows_its_layers(edge: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", edge]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "toy on Cortex-A76 (eager, 1 thread): 160 ms for the whole"
    row = next(line for line in lines if line.startswith("l0"))
    assert row.split() == ["l0", "conv", "4.00", "ms", "0.040", "ms", "-", "803", "kB", "4.00", "kB", "1.00"]
    assert any("no energy" in line for line in lines)


def test_a_noisy_profile_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noisy = replace(edge_profile(), noisy=True, noise_ratio=0.5)
    assert main(["show", written(noisy, tmp_path / "edge.json")]) == 0
    assert "whole runs varied much when the device's (50.0 %) profile was made" in capsys.readouterr().out


def test_machines_get_every_layer_and_no_plans_without_a_worker(edge: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = shown(capsys, edge)
    layer = json.loads(edge_profile().dumps())["layers"][0]
    assert found["layers"] == [{**layer, "energy": None}]
    assert found["energy"] is None
    assert found["plans"] is None


def test_energy_carries_where_it_comes_from(edge: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = shown(capsys, edge, *POWER)
    wanted = assumed_energy(edge_profile(), idle_w=2.0, active_w=5.0, source="")
    assert found["layers"][0]["energy"] == {  # type: ignore[index]
        "value": pytest.approx(wanted.layers[0].value),
        "interval": 0.0,
        "origin": "assumed",
    }
    assert found["energy"]["whole_j"]["value"] == pytest.approx(5.0 * 0.16)  # type: ignore[index,call-overload]
    assert main(["show", edge, *POWER]) == 0
    out = capsys.readouterr().out
    assert "800 mJ?" in out
    assert "note: ? assumed" in out


def test_plans_are_those_of_cut_and_table(both: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    plans = shown(capsys, *both, "--link", "4g", *POWER)["plans"]
    sides = ["--edge", *both]
    assert main(["cut", *sides, "--link", "4g", *POWER, "--pareto", "latency,energy,upload", "--json"]) == 0
    cut = json.loads(capsys.readouterr().out)
    assert plans["chosen"] == cut["chosen"]  # type: ignore[index,call-overload]
    best = {}
    for each in cut["candidates"]:
        best.setdefault(each["cut_id"], each)
    assert {each["cut_id"]: each for each in plans["cuts"]} == best  # type: ignore[index,call-overload]
    kept = [each for each in plans["pareto"]["plans"] if each["unbeaten"]]  # type: ignore[index,call-overload]
    keys = ("cut", "cut_id", "codec", "scores", "energy_origin")
    assert sorted([{key: each[key] for key in keys} for each in kept], key=str) == sorted(cut["front"], key=str)
    assert main(["table", *sides, "--down-per-up", str(13.76 / 5.85), "--rtt-ms", "40", *POWER, "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    found = plans["rates"]["breakpoints"]  # type: ignore[index,call-overload]
    assert [each["cut"] for each in found] == [each["cut"] for each in table["breakpoints"]]
    rates = [each["from_up_bytes_per_s"] for each in table["breakpoints"]]
    assert [each["from_up_bytes_per_s"] for each in found] == pytest.approx(rates)


def test_the_tables_for_people_have_the_same_plans(both: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    plans = shown(capsys, *both, "--link", "4g")["plans"]
    assert main(["show", *both, "--link", "4g"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for each in plans["cuts"]:  # type: ignore[index,call-overload]
        row = next(line for line in lines if line.startswith(f"{each['cut']} "))
        assert ms(each["predicted_s"]) in row
    chosen = plans["chosen"]["cut"]  # type: ignore[index,call-overload]
    assert [line.split()[0] for line in lines if line.endswith(" best")] == [chosen]


def test_several_runtimes_are_named(both: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The other runtime is faster: it runs every cut's front, and its layers are shown."""
    other = edge_profile().slowed(0.5)
    other = replace(other, slowdown=1.0, runtime=replace(other.runtime, name="ort"))
    assert main(["show", *both, "--edge", written(other, tmp_path / "ort.json"), "--figure", "cuts"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "ort, 1 thread" in lines[0]
    assert next(line for line in lines if line.startswith("local ")).split()[-1] == "ort"


def test_every_profile_is_read_once(
    both: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read: list[str] = []

    def load(path: str) -> Profile:
        read.append(path)
        return load_profile(path)

    monkeypatch.setattr("partitioner.cli.planning.load_profile", load)
    assert main(["show", *both]) == 0
    assert read == [both[0], both[2]]


def test_what_cuts_give_away_is_told_from_what_is_taken_from_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cut between two that were tried has the larger correlation, and at least the earlier one's error."""
    figures = (("id1", 0.9, 0.1), ("id3", 0.6, 0.7))
    cuts = tuple(CutLeakage(cut_id=name, distance_correlation=d, inversion_error=e) for name, d, e in figures)
    told = replace(edge_profile(), leakage=LeakageProfile(samples=100, inverter="ridge", cuts=cuts))
    both = [written(told, tmp_path / "edge.json"), "--cloud", written(cloud_profile(), tmp_path / "cloud.json")]
    assert main(["show", *both, "--figure", "cuts"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    leaks = {row[0]: row[-2:] for row in rows if row and row[0] in ("after:stem", "after:block1")}
    assert leaks == {"after:stem": ["0.900", "0.100"], "after:block1": ["~0.900", ">=0.100"]}


def test_a_bounded_upload_leaves_cuts_out(both: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    found = shown(capsys, *both, "--max-upload", "20kB")
    plans = found["plans"]
    assert [each["cut"] for each in plans["cuts"]] == ["after:block2", "local"]  # type: ignore[index,call-overload]
    assert plans["cuts_refused"] == 3  # type: ignore[index,call-overload]
    assert any("3 cuts do not keep" in note for note in found["notes"])  # type: ignore[attr-defined]


def test_one_figure_can_be_asked_for(both: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    found = shown(capsys, *both, "--figure", "rates")
    assert found["layers"] is None
    assert [name for name in ("cuts", "rates", "pareto") if found["plans"][name]] == ["rates"]  # type: ignore[index,call-overload]


def test_a_slower_device_is_shown_slower(edge: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = shown(capsys, edge, "--edge-slowdown", "4")
    assert found["slowdown"] == 4
    assert found["layers"][0]["forward"]["median_s"] == pytest.approx(0.016)  # type: ignore[index]


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf", "SVG"])
def test_it_draws(both: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"plans.{suffix}"
    assert main(["show", *both, "--figure", "cuts", "-o", str(path)]) == 0
    assert capsys.readouterr().out == f"wrote {path}: cuts of toy\n"
    begins = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    assert path.read_bytes().startswith(begins[suffix.lower()])
    assert list(tmp_path.glob(".*")) == []


def test_it_writes_a_page(both: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plans.html"
    assert main(["show", *both, "-o", str(path)]) == 0
    assert capsys.readouterr().out == f"wrote {path}: a page of toy\n"
    text = path.read_text()
    assert text.startswith("<!")
    assert "after:block2" in text


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["-o", "x.jpg"], 2, "ends in .png, .svg, .pdf or .html"),
        (["-o", "x"], 2, "ends in .png"),
        (["-o", "/nowhere/x.png"], 2, "no directory /nowhere"),
        (["-o", "{folder}/x.html"], 2, "give the worker's profile with --cloud"),
        (["--bundle", "{folder}", "--predict", "{folder}/none.json"], 1, "is no bundle"),
        (["--figure", "cuts"], 2, "--figure cuts is of plans: give the worker's profile with --cloud"),
        (["--link", "3g"], 2, "give the worker's profile with --cloud"),
        (["--cloud", "{other}"], 1, "do not belong together"),
        (["--cloud", "{broken}"], 1, "this profile cannot be used"),
        (["--cloud", "{folder}/none.json"], 1, "No such file"),
        (["--cloud", "{same}", "--objective", "beauty"], 2, "no objective 'beauty'"),
        (["--cloud", "{same}", "--objective", "energy"], 2, "--edge-power"),
        (["--cloud", "{same}", "--objective", "upload", "--figure", "rates"], 2, "not of upload"),
        (["--cloud", "{same}", "--deadline", "0.01ms"], 1, "--deadline"),
        (["--cloud", "{same}", "--figure", "cuts", "-o", "{folder}/x.html"], 2, "a page has all"),
    ],
)
def test_it_says_in_one_line_what_is_wrong(
    edge: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, message: str
) -> None:
    (tmp_path / "broken.json").write_text('{"schema": "cleft.profile/2"}')
    names = {
        "folder": str(tmp_path),
        "same": edge,
        "broken": str(tmp_path / "broken.json"),
        "other": written(replace(edge_profile(), model_digest="00" * 32), tmp_path / "other.json"),
    }
    assert message in said(capsys, edge, *(word.format(**names) for word in words), code=code)
    assert list(tmp_path.glob("x*")) == []


def test_without_a_profile_it_says_what_to_give(both: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "or predict it with --predict" in said(capsys, *both[1:], code=2)


def test_without_matplotlib_it_says_what_to_install(
    edge: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    error = said(capsys, edge, "-o", str(tmp_path / "x.png"), code=1)
    assert "pip install 'cleft[plot]'" in error
    assert list(tmp_path.glob("*.png")) == []


def test_tables_and_pages_take_neither_matplotlib_nor_torch(both: list[str], tmp_path: Path) -> None:
    code = """
import sys
from partitioner.cli import main
main(["show", *sys.argv[1:3], sys.argv[3], "--json"])
main(["show", *sys.argv[1:4], "-o", sys.argv[4]])
print(*{"matplotlib", "torch", "grpc", "scipy", "psutil", "protos"} & set(sys.modules), file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, *both, str(tmp_path / "x.html")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr.split() == []


def test_the_size_of_the_input_can_be_given(both: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    sizes = []
    for words in ([], ["--input-bytes", str(2 * SOURCE_BYTES)]):
        plans = shown(capsys, *both, *words)["plans"]
        sizes.append(next(each["up_bytes"] for each in plans["cuts"] if each["cut"] == "cloud"))  # type: ignore[index,call-overload]
    assert sizes == [SOURCE_BYTES, 2 * SOURCE_BYTES]
