from __future__ import annotations

import json
import pathlib
from itertools import pairwise

import pytest

from partitioner.cli import main

GOLDEN = pathlib.Path(__file__).parents[2] / "golden"
PROFILES = ["--edge", str(GOLDEN / "edge.json"), "--cloud", str(GOLDEN / "cloud.json")]


@pytest.fixture
def run(capsys):
    """Run a command with ``--json`` and read what it printed."""

    def show(command: str, *flags: str) -> dict:
        assert main([command, *PROFILES, *flags, "--json"]) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        return json.loads(captured.out)

    return show


def test_the_table_covers_every_rate_without_a_gap(run):
    found = run("table", "--rtt-ms", "40")
    assert found["schema"] == "cleft.table/1"
    points = found["breakpoints"]
    assert points[0]["from_up_bytes_per_s"] == 0
    assert points[-1]["to_up_bytes_per_s"] is None
    for before, after in pairwise(points):
        assert before["to_up_bytes_per_s"] == after["from_up_bytes_per_s"]
        assert before["to_s"] == pytest.approx(after["from_s"])
    assert [point["cut"] for point in points] == ["local", "after:block2", "cloud"]


@pytest.mark.parametrize("mbit", [0.3, 1.0, 5.0, 12.0, 40.0, 400.0])
def test_the_table_says_what_cut_says_for_one_link(run, mbit):
    flags = ("--rtt-ms", "40", "--max-deviation", "0.1", "--queue-ms", "3", "--busy", "0.5", "--edge-slowdown", "2")
    rates = ("--uplink-mbit", str(mbit), "--downlink-mbit", str(3 * mbit))
    chosen = run("cut", *flags, *rates)["chosen"]
    points = run("table", *flags, "--down-per-up", "3")["breakpoints"]
    rate = mbit * 125_000
    [point] = [each for each in points if each["from_up_bytes_per_s"] <= rate < (each["to_up_bytes_per_s"] or 1e99)]
    assert (point["cut"], point["codec"]) == (chosen["cut"], chosen["codec"])
    assert point["to_s"] <= chosen["predicted_s"] <= (point["from_s"] or 1e99)


def test_rates_at_which_no_plan_is_in_time_are_shown(run, capsys):
    points = run("table", "--deadline", "100ms")["breakpoints"]
    assert [point["cut"] for point in points] == [None, "after:block2", "cloud"]
    assert points[1]["from_s"] == pytest.approx(0.1)
    assert main(["table", *PROFILES, "--deadline", "100ms"]) == 0
    assert "none is in time" in capsys.readouterr().out


def test_people_read_rates_in_order(capsys):
    assert main(["table", *PROFILES, "--busy", "0.5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "toy: best plan by uplink rate; down 2 times as fast, round trip 20.0 ms"
    assert "worker under load" in lines[1]
    assert lines[4].split()[:2] == ["0", "-"]
    assert "any faster" in lines[-1]


def test_load_moves_work_to_the_device(run):
    def depth(*flags: str) -> int:
        names = ["cloud", "after:stem", "after:block1", "after:block2", "local"]
        return names.index(run("cut", "--link", "wifi", "--input-bytes", "20000", *flags)["chosen"]["cut"])

    depths = [depth("--edge-slowdown", "4", "--queue-ms", str(wait)) for wait in (0, 20, 200, 2000)]
    assert depths == sorted(depths)
    assert depths[0] < depths[-1]
    shares = [depth("--busy", share) for share in ("0", "0.5", "0.9", "0.95")]
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]


def test_a_worker_that_is_always_busy_is_taken_as_nearly_so_and_people_are_told(capsys):
    said = []
    for share in ("0.95", "1"):
        assert main(["cut", *PROFILES, "--link", "wifi", "--busy", share]) == 0
        said.append(capsys.readouterr())
    assert said[0].out == said[1].out
    assert said[0].err == ""
    assert said[1].err.startswith("warning: --busy 1 is taken as 0.95: ")


def test_objectives_and_constraints_bind_the_choice(run):
    flags = ("--link", "4g", "--max-deviation", "1")
    assert run("cut", *flags)["chosen"]["codec"] == "int8"
    by_stage = run("cut", *flags, "--objective", "throughput")
    assert by_stage["chosen"]["codec"] == "none"
    assert by_stage["chosen"]["stage_s"] == min(entry["stage_s"] for entry in by_stage["candidates"])
    kept = run("cut", *flags, "--max-upload", "5000")["candidates"]
    assert {entry["cut"] for entry in kept} == {"after:block2", "local"}
    deep = run("cut", *flags, "--min-depth", "after:block1")["candidates"]
    assert {entry["cut"] for entry in deep} == {"after:block1", "after:block2", "local"}
    small = run("cut", *flags, "--max-edge-memory", "1004000")["candidates"]
    assert {entry["cut"] for entry in small} == {"cloud", "after:stem"}
    least = run("cut", *flags, "--objective", "lexicographic:upload,latency,tolerance=0")
    assert least["chosen"]["cut"] == "local"
    mixed = run("cut", *flags, "--objective", "weighted:latency=1,throughput=3")
    scores = [entry["predicted_s"] + 3 * entry["stage_s"] for entry in mixed["candidates"]]
    assert scores[0] == pytest.approx(min(scores))


def test_the_front_holds_the_best_of_each_objective(run):
    found = run("cut", "--link", "4g", "--max-deviation", "1", "--pareto", "latency,throughput,upload")
    front = [entry["scores"] for entry in found["front"]]
    assert front[0]["latency"] == found["chosen"]["predicted_s"]
    assert min(scores["upload"] for scores in front) == 0
    assert min(scores["throughput"] for scores in front) == min(entry["stage_s"] for entry in found["candidates"])


def test_each_side_brings_its_fastest_runtime(run, tmp_path):
    faster = tmp_path / "ort.json"
    profile = json.loads((GOLDEN / "edge.json").read_text())
    profile["runtime"]["name"] = "ort"
    for cut in profile["cuts"]:
        cut["prefix"]["median_s"] *= 0.9 if cut["name"] == "local" else 2
    faster.write_text(json.dumps(profile))
    alone = {entry["cut"]: entry for entry in run("cut", "--link", "4g", "--all")["candidates"]}
    both = run("cut", "--link", "4g", "--all", "--edge", str(faster))
    chosen = both["chosen"]
    assert (chosen["cut"], chosen["edge_runtime"]) == ("after:block2", "eager")
    local = next(entry for entry in both["candidates"] if entry["cut"] == "local")
    assert local["edge_runtime"] == "ort"
    assert local["predicted_s"] < alone["local"]["predicted_s"]
    assert len(both["candidates"]) == len(run("cut", "--link", "4g", "--all")["candidates"])
    table = run("table", "--edge", str(faster))["breakpoints"]
    assert {(point["cut"], point["edge_runtime"]) for point in table} >= {("local", "ort"), ("after:block2", "eager")}


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (["cut", *PROFILES, "--link", "4g", "--deadline", "5ms"], 1, "no plan keeps --deadline 5ms; the nearest"),
        (["table", *PROFILES, "--max-edge-memory", "1004000", "--max-upload", "1kB"], 1, "with --max-upload 1kB"),
        (["cut", *PROFILES, "--link", "4g", "--pin", "nothing"], 2, "no layer 'nothing'"),
        (["cut", *PROFILES, "--link", "4g", "--min-depth", "after:blok2"], 2, "did you mean after:block2"),
        (["cut", *PROFILES, "--link", "4g", "--objective", "speed"], 2, "no objective 'speed'"),
        (["cut", *PROFILES, "--link", "4g", "--objective", "weighted:latency=x"], 2, "no weight"),
        (["cut", *PROFILES, "--link", "4g", "--pareto", "latency,beauty"], 2, "no objective 'beauty'"),
        (["table", *PROFILES, "--down-per-up", "0"], 2, "--down-per-up"),
        (["table", *PROFILES, "--busy", "2"], 2, "--busy"),
        (["table", *PROFILES, "--edge", str(GOLDEN / "edge.json")], 1, "two profiles of one runtime (eager on cpu"),
        (["table", *PROFILES, "--edge-slowdown", "1e308"], 2, "no more than 1e15"),
        (["cut", *PROFILES, "--link", "4g", "--deadline", "33.3ms"], 1, "no plan keeps --deadline 33.3ms; the nearest"),
    ],
)
def test_what_cannot_be_planned_is_one_line(capsys, argv, code, says):
    assert main(argv) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert says in captured.err
    assert captured.err.count("\n") == 1


def spoiled(change) -> str:
    profile = json.loads((GOLDEN / "cloud.json").read_text())
    change(profile)
    return json.dumps(profile)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda p: p.update(model_digest="6a" * 32), "do not belong together: the edge's is of toy"),
        (lambda p: p.update(binding={"b": 2}), "their sizes differ: b=1 and b=2"),
        (lambda p: p["cuts"].pop(2), "they list different cuts"),
        (lambda p: p["cuts"][1]["suffix"].update(median_s=-1), "cuts[1].suffix.median_s"),
        (lambda p: p["cuts"][1]["suffix"].update(median_s=float("nan")), "NaN"),
        (lambda p: p.update(schema="cleft.profile/1"), "cleft.profile/1 is older than"),
    ],
)
@pytest.mark.parametrize("command", [["table"], ["cut", "--link", "4g"]])
def test_mixed_up_or_broken_profiles_are_one_line(capsys, tmp_path, command, change, says):
    other = tmp_path / "other.json"
    other.write_text(spoiled(change))
    assert main([*command, *PROFILES[:3], str(other)]) == 1
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model_digest": "6a" * 32}, "the cloud's profiles are of different models: toy (5f"),
        ({"slowdown": 2.0}, "different slow-downs"),
        ({"device": {"name": "other", "machine": "x86_64", "cpu": "Xeon", "cores": 2, "accelerator": ""}}, "and Xeon"),
    ],
)
def test_a_second_runtime_must_be_of_the_same_model_and_machine(capsys, tmp_path, change, says):
    other = tmp_path / "other.json"
    other.write_text(spoiled(lambda p: p.update(runtime={**p["runtime"], "name": "ort"}, **change)))
    assert main(["table", *PROFILES, "--cloud", str(other)]) == 1
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.err.count("\n") == 1
