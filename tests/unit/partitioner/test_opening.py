"""Which runtime opens a bundle: the one named or the fastest that passes, and what is remembered of that."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from partitioner import zoo
from partitioner.bundle import Bundle
from partitioner.errors import ModelError, UsageError
from partitioner.runtimes import opening, trial


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return zoo.resolve("digits")


@pytest.fixture
def copied(bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle.path, tmp_path / "copy"))


@pytest.mark.parametrize("name", ["model.onnx", "check.safetensors"])
@pytest.mark.parametrize("damage", ["removed", "truncated", "flipped"])
def test_a_bundle_with_a_damaged_runtime_file_runs_in_eager_alone_and_says_so(
    name: str, damage: str, copied: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("CLEFT_RUNTIME")
    path = copied / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    if damage != "removed":
        path.write_bytes(content if damage == "flipped" else content[:-1])
    bundle = Bundle.open(copied)
    fault = opening.refusal(bundle, "ort", device="cpu")
    assert fault is not None
    assert name in fault
    assert "\n" not in fault
    choice = opening.choose(bundle, device="cpu")
    assert choice.runtime == "eager"
    assert choice.lines("digits", is_every=False) == [f"digits: runs in eager, not in ort: {fault}"]
    assert opening.open_engine(bundle, device="cpu").info.name == "eager"
    assert fault in caplog.text
    with pytest.raises(ModelError, match="--runtime ort"):
        opening.open_engine(bundle, runtime="ort", device="cpu")


def test_a_bundle_of_old_is_valid_and_says_what_it_lacks(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = json.loads((copied / "bundle.json").read_text())
    del manifest["optional"], manifest["without"]
    (copied / "bundle.json").write_text(json.dumps(manifest))
    bundle = Bundle.open(copied)
    assert bundle.runtimes == ("eager",)
    fault = opening.refusal(bundle, "ort")
    assert fault is not None
    assert "packed without" in fault
    monkeypatch.delenv("CLEFT_RUNTIME")
    assert opening.choose(bundle).lines("digits", is_every=False) == []


def test_where_the_race_fails_the_one_that_passed_its_check_runs(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLEFT_RUNTIME")
    monkeypatch.setattr(opening, "_place", lambda bundle, what, *_, **__: tmp_path / what)
    monkeypatch.setattr(opening, "ask", lambda asked: {} if asked.is_race else {"ort": None})
    assert opening.choose(bundle, device="cpu").runtime == "ort"
    assert not (tmp_path / "race").exists()


def test_packages_that_are_missing_are_named(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening.importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else object())
    assert opening.refusal(bundle, "ort") == "ONNX Runtime is not installed: pip install 'cleft[ort]'"
    monkeypatch.setattr(opening.importlib.util, "find_spec", lambda name: None)
    monkeypatch.delenv("CLEFT_RUNTIME")
    with pytest.raises(ModelError, match=r"cleft\[torch\].*cleft\[ort\]"):
        opening.choose(bundle)


def test_what_auto_means_can_be_named(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEFT_RUNTIME", "ort")
    assert opening.open_engine(bundle, device="cpu").info.name == "ort"
    monkeypatch.setenv("CLEFT_RUNTIME", "abacus")
    with pytest.raises(UsageError, match="abacus"):
        opening.choose(bundle)


def test_auto_is_the_faster_one_and_says_why_not_the_other(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLEFT_RUNTIME")
    choice = opening.choose(bundle, device="cpu")
    (other,) = choice.others
    assert {choice.runtime, other} == {"eager", "ort"}
    assert "slower" in choice.others[other]
    assert choice.lines("digits", is_every=False) == []
    [line] = choice.lines("digits", is_every=True)
    assert line.startswith(f"digits: runs in {choice.runtime}, not in {other}: {other} is slower, ")
    monkeypatch.setattr(opening, "ask", lambda question: pytest.fail("it was raced before"))
    assert opening.choose(bundle, device="cpu") == choice


def test_a_gpu_that_is_missing_is_looked_for_again(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([{"ort": "no such GPU"}, {"ort": None}])
    monkeypatch.setattr(opening, "ask", lambda question: next(answers))
    monkeypatch.setattr(opening, "_place", lambda *_, **__: tmp_path / "verdict")
    assert opening.refusal(bundle, "ort", device="cuda") == "no such GPU"
    assert opening.refusal(bundle, "ort", device="cuda") is None


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '{"fault": 3}', '{"eager": "x", "ort": 1}', '{"eager": -1, "ort": 0}']
)
def test_a_damaged_memory_of_a_race_costs_time_alone(
    text: str, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLEFT_RUNTIME")
    monkeypatch.setattr(opening, "_place", lambda bundle, what, *_, **__: tmp_path / what)
    monkeypatch.setattr(
        opening, "ask", lambda asked: {"eager": 0.002, "ort": 0.001} if asked.is_race else {"ort": None}
    )
    for what in ("verdict", "race"):
        (tmp_path / what).write_text(text)
    assert opening.choose(bundle, device="cpu").runtime == "ort"
    assert json.loads((tmp_path / "verdict").read_text()) == {"fault": None}
    assert json.loads((tmp_path / "race").read_text()) == {"eager": 0.002, "ort": 0.001}


def test_another_build_of_a_runtime_is_checked_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime_gpu-1.23.0.dist-info").mkdir()
    found = SimpleNamespace(submodule_search_locations=[str(tmp_path / "onnxruntime")])
    monkeypatch.setattr(opening.importlib.util, "find_spec", lambda name: found)
    assert opening._installed("onnxruntime") == ["onnxruntime_gpu-1.23.0.dist-info"]


def test_a_child_that_fails_says_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    asked = trial.Question(bundle=str(tmp_path / "none"), runtimes=("ort",), is_race=False, device="cpu", threads=1)
    assert trial.ask(asked) == {}
    assert "there is no such directory" in caplog.text
