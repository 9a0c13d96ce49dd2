from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from edge_support import inputs_of, records

from edge.embedded import EmbeddedWorker
from partitioner.bundle import Bundle
from partitioner.leakage import LeakageProfile
from partitioner.profile import Profile

RUN_FIELDS = {
    "schema",
    "input",
    "cut",
    "cut_id",
    "codec",
    "where",
    "fallback",
    "total_s",
    "preprocess_s",
    "head_s",
    "encode_s",
    "wire_s",
    "queue_s",
    "decode_s",
    "tail_s",
    "up_bytes",
    "down_bytes",
    "slowdown",
    "weight_bytes_held",
    "outputs",
}


@pytest.fixture(scope="module")
def worker(digits: Bundle, averaging: Bundle, wording: Bundle) -> Iterator[EmbeddedWorker]:
    models = ("--model", str(averaging.path), "--model", str(wording.path))
    with EmbeddedWorker(digits.path, arguments=(*models, "--threads", "1")) as running:
        yield running


def test_json_has_one_object_per_input_with_stable_fields(cleft_edge: Callable, worker: EmbeddedWorker) -> None:
    code, out, err = cleft_edge(
        "run",
        "--model",
        "digits",
        "--cloud",
        worker.target,
        "--random",
        2,
        "--cut",
        "after:stage2",
        "--check",
        "--json",
    )
    assert (code, err) == (0, "")
    found = records(out)
    assert len(found) == 2
    for record in found:
        assert record.keys() == RUN_FIELDS | {"top5", "max_rel_diff"}
        assert record["schema"] == "cleft.run/1"
        assert (record["cut"], record["codec"], record["where"]) == ("after:stage2", "none", "split")
        assert record["max_rel_diff"] <= 1e-5  # type: ignore[operator]
        assert 0 < record["up_bytes"] - 48 * 4 * 4 * 4 < 100  # type: ignore[operator]
        parts = ("preprocess_s", "head_s", "encode_s", "wire_s", "queue_s", "decode_s", "tail_s")
        assert 0 < sum(record[part] for part in parts) <= record["total_s"]  # type: ignore[misc, operator]


def test_the_weights_held_are_those_of_the_layers_that_run_here(
    cleft_edge: Callable, worker: EmbeddedWorker, digits: Bundle
) -> None:
    common = ["run", "--model", digits.path, "--cloud", worker.target, "--random", 1, "--json"]
    held = []
    for flags in (("--cut", "cloud", "--check"), ("--cut", "after:stem", "--pin-plan"), ("--cut", "local")):
        code, out, _ = cleft_edge(*common, *flags)
        assert code == 0
        held.append(records(out)[0]["weight_bytes_held"])
    assert held[0] == 0
    assert 0 < held[1] < 2000 < held[2]  # type: ignore[operator]


def test_people_read_the_answer_the_times_and_the_bytes(cleft_edge: Callable, worker: EmbeddedWorker) -> None:
    code, out, _ = cleft_edge(
        "run", "--model", "digits", "--cloud", worker.target, "--random", 1, "--cut", "after:stage2", "--slowdown", 3
    )
    assert code == 0
    assert "emulated device: 3x slower" in out
    assert "split at after:stage2, codec none" in out
    assert "%" in out
    assert "3.10 kB up" in out


def test_few_values_are_shown_and_scores_ranked_where_there_are_no_labels(
    cleft_edge: Callable, worker: EmbeddedWorker, wording: Bundle, averaging: Bundle
) -> None:
    common = ("run", "--random", 1, "--cut", "local", "--model")
    code, out, _ = cleft_edge(*common, wording.path, "--json")
    assert code == 0
    outputs = list(records(out)[0]["outputs"].values())  # type: ignore[attr-defined]
    assert [np.shape(output["values"]) for output in outputs] == [(1, 4), (1, 16)]
    code, out, _ = cleft_edge(*common, wording.path)
    four, sixteen = out.splitlines()[1:3]
    assert len(four.partition(": ")[2].split(", ")) == 4
    assert sixteen.count("[") == 5
    code, out, _ = cleft_edge(*common, averaging.path, "--json")
    assert "values" not in next(iter(records(out)[0]["outputs"].values()))  # type: ignore[attr-defined]


def test_outputs_are_saved_by_name(cleft_edge: Callable, digits: Bundle, tmp_path: Path) -> None:
    common = ("run", "--model", digits.path, "--cut", "local", "--json", "--save", tmp_path / "y.npz")
    code, out, _ = cleft_edge(*common, "--random", 1)
    assert code == 0
    (name, described), *_ = records(out)[0]["outputs"].items()  # type: ignore[attr-defined]
    with np.load(tmp_path / "y.npz") as saved:
        assert list(saved) == [name]
        assert saved[name].tolist() == described["values"]
    code, _, _ = cleft_edge(*common, "--random", 2, "--input", tmp_path / "absent.npy", "--repeat", 2)
    assert code == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["y-2.npz", "y-3.npz", "y.npz"]


def test_a_codec_without_anything_that_crosses_is_told(cleft_edge: Callable, digits: Bundle) -> None:
    common = ("run", "--model", digits.path, "--cut", "local", "--random", 1)
    code, _, err = cleft_edge(*common, "--codec", "int8")
    assert (code, err.count("--codec int8 changes nothing")) == (0, 1)
    assert "changes nothing" not in cleft_edge(*common)[2]


def test_a_plan_is_chosen_and_its_prediction_told(cleft_edge: Callable, worker: EmbeddedWorker) -> None:
    code, out, _ = cleft_edge(
        "run", "--model", "digits", "--cloud", worker.target, "--random", 1, "--budget", "1s", "--json"
    )
    assert code == 0
    assert records(out)[0]["predicted_s"] > 0  # type: ignore[operator]


def test_a_limit_on_leakage_holds_where_the_worker_would_be_faster(
    cleft_edge: Callable, worker: EmbeddedWorker, tmp_path: Path
) -> None:
    path = tmp_path / "profile.json"
    assert cleft_edge("fetch-profile", worker.target, "--model", "digits", "-o", path, "--budget", "1s")[0] == 0
    nothing_measured = LeakageProfile(samples=20, inverter="none", cuts=())
    path.write_text(replace(Profile.loads(path.read_text()), leakage=nothing_measured).dumps())
    asked = ("run", "--model", "digits", "--cloud", worker.target, "--random", 1, "--budget", "1s", "--slowdown", 100)
    for limit, is_local in (((), False), (("--max-leakage", "0.5"), True)):
        code, out, err = cleft_edge(*asked, "--leakage", path, *limit, "--json")
        assert code == 0, err
        [answer] = records(out)
        assert (answer["cut"] == "local") == is_local


def test_a_wrong_input_among_several_is_reported_and_the_others_answered(
    cleft_edge: Callable, worker: EmbeddedWorker, digits: Bundle, tmp_path: Path
) -> None:
    right = tmp_path / "right.npy"
    np.save(right, next(iter(inputs_of(digits).values())))
    (tmp_path / "text.npy").write_text("no array")
    np.save(tmp_path / "shape.npy", np.zeros((1, 2, 3), np.float32))
    (tmp_path / "half.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    names = ["text.npy", "right.npy", "absent.npy", "shape.npy", "half.png", "right.npy"]
    for cut in ("local", "cloud"):
        arguments = ["run", "--model", "digits", "--cloud", worker.target, "--cut", cut, "--json"]
        code, out, err = cleft_edge(*arguments, "--input", *(tmp_path / name for name in names))
        assert code == 1
        assert ["error" in record for record in records(out)] == [True, False, True, True, True, False]
        assert len(err.splitlines()) == 4


@pytest.mark.parametrize("cut", ["local", "after:embed"])
def test_an_input_on_which_the_model_fails_is_reported_and_the_next_answered(
    cut: str, cleft_edge: Callable, worker: EmbeddedWorker, wording: Bundle, tmp_path: Path
) -> None:
    for name, word in (("bad", 10**6), ("good", 1)):
        np.savez(tmp_path / f"{name}.npz", ids=np.full((1, 9), word), is_padding=np.zeros((1, 9), bool))
    argv = ["run", "--model", wording.path, "--cut", cut, "--cloud", worker.target, "--json", "--input"]
    code, out, err = cleft_edge(*argv, tmp_path / "bad.npz", tmp_path / "good.npz")
    assert code == 1
    assert [(record["input"], "error" in record) for record in records(out)] == [("bad.npz", True), ("good.npz", False)]
    assert len(err.splitlines()) == 1


def test_the_users_own_last_step_runs_here(
    cleft_edge: Callable, worker: EmbeddedWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_post.py").write_text(
        "def best(outputs):\n    return {'best': int(next(iter(outputs.values())).argmax())}\n"
        "def every(outputs):\n    return [(name, array[0], array.max()) for name, array in outputs.items()]\n"
        "def broken(outputs):\n    raise ValueError('no')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    common = ["run", "--model", "digits", "--cut", "local", "--random", 1, "--json"]
    code, out, _ = cleft_edge(*common, "--post", "my_post:best")
    assert code == 0
    assert set(records(out)[0]["post"]) == {"best"}  # type: ignore[call-overload]
    assert sys.path[-1] == str(tmp_path)
    code, out, _ = cleft_edge(*common, "--post", "my_post:every")
    ((_, scores, best),) = records(out)[0]["post"]  # type: ignore[misc, attr-defined]
    assert best == max(scores)
    code, out, err = cleft_edge(*common, "--post", "my_post:broken")
    assert code == 1
    assert "ValueError: no" in err
    for spec in ("my_post", "my_post:absent", "no_such_module:f"):
        code, _, err = cleft_edge(*common, "--post", spec)
        assert code == 2
        assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["run", "--model", "digits"], 2, "--input FILE or --random N"),
        (["run", "--model", "digits", "--random", "1", "--save", "y.txt"], 2, "end in .npz"),
        (["run", "--model", "digits", "--random", "1", "--save", "no/such/y.npz"], 2, "no directory no/such"),
        (["run", "--model", "digits", "--random", "1", "--save", "/proc/y.npz"], 2, "--save /proc/y.npz: no file can"),
        (["fetch-profile", "127.0.0.1:1", "-o", "no/such/y.json"], 2, "-o no/such/y.json: there is no directory"),
        (["run", "--model", "digits", "--random", "1", "--cut", "nowhere"], 1, "no cut 'nowhere'"),
        (["run", "--model", "digits", "--random", "1", "--codec", "gif"], 2, "no codec 'gif'"),
        (["run", "--model", "digits", "--random", "1", "--slowdown", "0.5"], 2, "1 or more"),
        (["run", "--model", "digits", "--random", "1", "--max-leakage", "0.5"], 2, "says what digits gives away"),
        (["run", "--model", "digits", "--random", "1", "--cloud", "nonsense"], 2, "port"),
        (["run", "--model", "digits", "--random", "1", "--check", "--pin-plan"], 2, "choose one"),
        (
            ["run", "--model", "digits", "--random", "1", "--cloud", "127.0.0.1:1", "--cut", "cloud"],
            1,
            "port is closed",
        ),
        (["run", "--model", "no/such/bundle", "--random", "1"], 1, "no such directory"),
        (["link", "127.0.0.1:1"], 1, "port is closed"),
        (["fetch-profile", "127.0.0.1:1", "-o", "x.json"], 1, "port is closed"),
        (["advise", "digits", "--cloud", "127.0.0.1:1"], 1, "port is closed"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_an_exit_code(
    argv: list[str], code: int, words: str, cleft_edge: Callable
) -> None:
    found, out, err = cleft_edge(*argv)
    assert (found, out) == (code, "")
    assert words in err
    assert len(err.splitlines()) == 1


def test_inputs_left_when_the_worker_dies_are_answered_here_with_one_warning(digits: Bundle, tmp_path: Path) -> None:
    given = tmp_path / "many.npy"
    np.save(given, np.random.default_rng(0).standard_normal((400, 1, 8, 8)).astype(np.float32))
    with EmbeddedWorker(digits.path, arguments=("--threads", "1")) as worker:
        argv = ["run", "--model", str(digits.path), "--cloud", worker.target, "--cut", "after:stem", "--json"]
        process = subprocess.Popen(
            [sys.executable, "-m", "edge", *argv, "--check", "--input", str(given)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(20)]
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        out, err = process.communicate(timeout=60)
    found = records("".join(lines) + out)
    assert process.returncode == 0
    assert [record["input"] for record in found] == [f"many.npy[{index}]" for index in range(400)]
    assert all(record["max_rel_diff"] <= 1e-5 for record in found)  # type: ignore[operator]
    assert (found[0]["where"], found[0]["fallback"]) == ("split", False)
    assert (found[-1]["where"], found[-1]["fallback"]) == ("edge", True)
    assert len(err.splitlines()) == 1


def test_the_link_is_told_with_its_spread(cleft_edge: Callable, worker: EmbeddedWorker) -> None:
    code, out, _ = cleft_edge("link", worker.target, "--budget", "300ms", "--json")
    assert code == 0
    link = json.loads(out)
    assert link["schema"] == "cleft.link/1"
    assert link["up_mbit"] == pytest.approx(link["up_bytes_per_s"] * 8e-6)
    assert {"rtt_s", "down_bytes_per_s", "up_spread", "down_spread", "rtt_spread"} <= link.keys()
    code, out, _ = cleft_edge("link", worker.target, "--budget", "300ms")
    assert "Mbit/s" in out


def test_a_workers_profile_is_fetched_into_a_file(
    cleft_edge: Callable, worker: EmbeddedWorker, digits: Bundle, tmp_path: Path
) -> None:
    path = tmp_path / "cloud.json"
    fetch = ("fetch-profile", worker.target, "-o", path, "--budget", "1s")
    code, _, err = cleft_edge(*fetch)
    assert code == 2
    assert "say which model" in err
    code, _, err = cleft_edge(*fetch, "--model", "nothing")
    assert code == 2
    assert not path.exists()
    for name in (digits.name, digits.digest, digits.digest[:8]):
        code, _, _ = cleft_edge(*fetch, "--model", name)
        assert code == 0
        assert Profile.loads(path.read_text()).model_digest == digits.digest


def test_advice_compares_this_link_with_others(cleft_edge: Callable, worker: EmbeddedWorker) -> None:
    asked = ("advise", "digits", "--cloud", worker.target, "--budget", "1s", "--edge-power", "idle=2W,active=5W")
    code, out, _ = cleft_edge(*asked, "--json")
    assert code == 0
    advice = json.loads(out)
    assert advice["schema"] == "cleft.advise/1"
    assert [preset["link"]["name"] for preset in advice["presets"]] == ["3g", "4g", "wifi"]
    fields = {"verdict", "split", "gain", "cut", "cut_id", "codec", "chosen_s", "all_local_s", "all_cloud_s", "link"}
    for each in (advice, *advice["presets"]):
        assert fields <= each.keys()
        assert each["chosen_s"] <= min(each["all_local_s"], each["all_cloud_s"])
        assert each["all_local_j"] == pytest.approx(5 * each["all_local_s"])
        assert each["all_cloud_j"] > 2 * each["all_cloud_s"] * 0.99
        assert each["energy_origin"] == "assumed"
    radios_j = [each["all_cloud_j"] - 2 * each["all_cloud_s"] for each in (advice, *advice["presets"])]
    assert radios_j[1] > radios_j[0]  # on a preset link its radio counts, on this one none
    code, out, _ = cleft_edge(*asked)
    assert "wifi" in out
    assert "energy: all-local" in out
    assert "mJ?" in out or "µJ?" in out


def test_without_a_worker_one_is_started_and_stopped(cleft_edge: Callable) -> None:
    before = set(threading.enumerate())
    code, out, _ = cleft_edge("run", "--model", "digits", "--random", 1, "--cut", "cloud", "--json")
    assert code == 0
    assert records(out)[0]["where"] == "cloud"
    assert {thread.name for thread in set(threading.enumerate()) - before} <= {"Thread"}


def test_a_folder_of_the_callers_never_shadows_ours(tmp_path: Path) -> None:
    for name in ("cloud", "partitioner"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the wrong one')")
    script = Path(sys.executable).parent / "cleft-edge"
    argv = [str(script), "run", "--model", "digits", "--random", "1", "--cut", "cloud", "--json"]
    found = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stderr
    assert records(found.stdout)[0]["where"] == "cloud"
