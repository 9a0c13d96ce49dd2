from __future__ import annotations

import io
import math
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from edge_support import inputs_of

import edge
from edge.advisor import Selected
from edge.answer import max_rel_diff
from edge.embedded import EmbeddedWorker
from edge.errors import WorkerRefused
from edge.findings import Findings
from edge.sample import to_sample
from partitioner.bundle import Bundle
from partitioner.errors import CleftError, InputError, PlanError, UsageError
from partitioner.segments import Cuts

Start = Callable[..., EmbeddedWorker]


@pytest.fixture(scope="module")
def worker(digits: Bundle, branching: Bundle, wording: Bundle) -> Iterator[EmbeddedWorker]:
    arguments = ("--model", str(branching.path), "--model", str(wording.path), "--threads", "1")
    with EmbeddedWorker(digits.path, arguments=arguments) as running:
        yield running


@pytest.mark.parametrize("name", ["digits", "branching"])
def test_every_cut_answers_like_the_whole_model(
    name: str, worker: EmbeddedWorker, request: pytest.FixtureRequest
) -> None:
    bundle: Bundle = request.getfixturevalue(name)
    given = inputs_of(bundle)
    for cut in Cuts(bundle.graph, bundle.digest).candidates:
        with edge.Session(bundle, cloud=worker.target, cut=cut.id) as session:
            answer = session(given)
            assert max_rel_diff(answer.outputs, session.whole(given)) <= 1e-5, cut.name
            assert list(answer.outputs) == [output.path for output in bundle.graph.outputs]
            assert answer.where == ("edge" if cut.is_local else "split" if cut.depth else "cloud")
            assert not answer.is_fallback
            assert bool(answer.up_bytes) == bool(answer.down_bytes) == (not cut.is_local)


def test_lengths_that_vary_and_whole_numbers_cross_every_cut(worker: EmbeddedWorker, wording: Bundle) -> None:
    rng = np.random.default_rng(0)
    for cut in Cuts(wording.graph, wording.digest).candidates:
        with edge.Session(wording, cloud=worker.target, cut=cut.id, codec="int8" if cut.name == "cloud" else None) as s:
            for length in (2, 9, 64):
                is_padding = np.arange(length)[None] >= length - 1
                given = {"ids": rng.integers(0, 50, (1, length)), "is_padding": is_padding}
                answer = s(given)
                assert max_rel_diff(answer.outputs, s.whole(given)) <= 1e-5, (cut.name, length)
                assert isinstance(answer.value, tuple)
            with pytest.raises(InputError):
                s({"ids": rng.integers(0, 50, (1, 9)), "is_padding": np.zeros((1, 8), bool)})


@pytest.mark.parametrize(("codec", "bound"), [("none+zstd", 1e-5), ("fp16", 1e-2), ("int8", 0.1), ("int8+zstd", 0.1)])
def test_every_codec_stays_within_its_error(codec: str, bound: float, worker: EmbeddedWorker, digits: Bundle) -> None:
    given = inputs_of(digits)
    with edge.Session(digits, cloud=worker.target, cut="after:stage2", codec=codec) as session:
        answer = session(given)
        assert answer.codec == codec
        assert max_rel_diff(answer.outputs, session.whole(given)) <= bound


def test_outputs_keep_the_structure_of_what_the_model_returns(worker: EmbeddedWorker, branching: Bundle) -> None:
    given = inputs_of(branching)
    with edge.Session(branching, cloud=worker.target, cut="cloud") as session:
        value = session(given).value
    assert isinstance(value, dict)
    assert set(value) == {"late", "early", "count"}
    assert value["early"].shape == (1, 5)
    assert value["count"].shape == ()


def test_a_picture_is_answered_alike_whether_prepared_here_or_there(worker: EmbeddedWorker, digits: Bundle) -> None:
    from PIL import Image

    pixels = np.random.default_rng(1).integers(0, 256, (8, 8), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    answers = {}
    for codec in ("source", "source+zstd", "none"):
        with edge.Session(digits, cloud=worker.target, cut="cloud", codec=codec) as session:
            answers[codec] = session(file.getvalue())
            whole = session.whole(file.getvalue())
    for codec, answer in answers.items():
        assert max_rel_diff(answer.outputs, whole) <= 1e-5, codec
    assert 0 < answers["source"].up_bytes - len(file.getvalue()) < 100
    assert 0 < answers["none"].up_bytes - 8 * 8 * 4 < 100
    with edge.Session(digits, cloud=worker.target, cut="cloud") as session:
        assert session(pixels[..., np.newaxis]).codec == "source"
        assert session(inputs_of(digits)).codec == "none"


@pytest.mark.parametrize("cut", ["local", "after:stem", "after:stage3", "cloud"])
def test_a_picture_is_answered_at_every_kind_of_cut(cut: str, worker: EmbeddedWorker, digits: Bundle) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8, 1), np.uint8)
    with edge.Session(digits, cloud=worker.target, cut=cut) as session:
        answer = session(pixels)
        assert max_rel_diff(answer.outputs, session.whole(pixels)) <= 1e-5
    assert answer.times.preprocess_s > 0
    assert not answer.is_fallback


def test_a_plan_that_is_chosen_is_predicted_and_run(worker: EmbeddedWorker, digits: Bundle) -> None:
    with edge.Session(digits, cloud=worker.target, slowdown=30, profile_budget_s=1.0) as session:
        given = inputs_of(digits)
        selected = session.select(given)
        assert selected.predicted is not None
        answer = session(given)
        assert selected.predicted.candidate.cut_id == answer.cut_id
        assert answer.predicted_s == pytest.approx(selected.predicted_s(to_sample(given, digits)))
        assert session.evidence().edge.slowdown == 30
        assert session.evidence().cloud.slowdown == 1


def test_a_choice_by_a_noisy_profile_is_warned_of_once(
    worker: EmbeddedWorker, digits: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("partitioner.measure.NOISY_RATIO", -1.0)
    said: list[str] = []
    options = {"cloud": worker.target, "profile_budget_s": 0.3, "fresh_profiles": True}
    with edge.Session(digits, **options, notify=said.append) as session:
        for given in (inputs_of(digits), np.zeros((8, 8, 1), np.uint8)):
            session(given)
    assert len(said) == 1
    assert "--fresh" in said[0]


def test_a_runtime_that_is_left_out_for_a_fault_is_told_of_once(
    digits: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLEFT_RUNTIME")
    copied = Path(shutil.copytree(digits.path, tmp_path / "copy"))
    with (copied / "model.onnx").open("rb+") as file:
        file.truncate(100)
    said: list[str] = []
    with edge.Session(Bundle.open(copied), cut="local", notify=said.append) as session:
        session(inputs_of(digits))
        assert session.engine.info.name == "eager"
    [line] = said
    assert line.startswith("note: digits: runs in eager, not in ort: ")
    assert "model.onnx is truncated" in line


def test_each_length_is_predicted_and_planned_for_itself(
    worker: EmbeddedWorker, wording: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.plans._KEPT_KINDS", 2)
    with edge.Session(wording, cloud=worker.target, slowdown=100, profile_budget_s=0.5) as session:

        def select(length: int) -> Selected:
            return session.select({"ids": np.ones((1, length), np.int64), "is_padding": np.zeros((1, length), bool)})

        short, long = select(2), select(64)
        assert short.predicted is not None
        assert long.predicted is not None
        assert short.predicted.predicted_s < long.predicted.predicted_s
        assert select(2) is short
        assert select(3) is not long
        assert select(64) is not long
        assert select(64).predicted == long.predicted


def test_a_deadline_may_be_endless_but_must_be_a_time(worker: EmbeddedWorker, digits: Bundle) -> None:
    with edge.Session(digits, cloud=worker.target, cut="cloud") as session:
        for deadline_s in (1e12, math.inf):
            assert session(inputs_of(digits), deadline_s=deadline_s).where == "cloud"
            assert session.submit(inputs_of(digits), deadline_s=deadline_s).result().where == "cloud"
        for nonsense in (math.nan, -1.0):
            with pytest.raises(UsageError, match="deadline"):
                session.submit(inputs_of(digits), deadline_s=nonsense)


def test_a_pinned_cut_stays_whatever_comes(worker: EmbeddedWorker, wording: Bundle) -> None:
    with edge.Session(wording, cloud=worker.target, slowdown=100, profile_budget_s=0.5, pin_plan=True) as session:
        found = set()
        for length in (2, 7, 64, 2):
            given = {"ids": np.ones((1, length), np.int64), "is_padding": np.zeros((1, length), bool)}
            found.add(session(given).cut)
        assert len(found) == 1


def test_an_emulated_slower_device_takes_longer_in_its_own_steps_only(worker: EmbeddedWorker, digits: Bundle) -> None:
    given = inputs_of(digits)

    def head_s(slowdown: float) -> float:
        with edge.Session(digits, cloud=worker.target, cut="after:stage3", slowdown=slowdown) as session:
            return min(session(given).times.head_s for _ in range(5))

    assert head_s(20) > 8 * head_s(1)


def test_the_embedded_worker_lives_as_long_as_the_session(digits: Bundle) -> None:
    with edge.Session(digits, cut="cloud") as session:
        assert session(inputs_of(digits)).where == "cloud"
        target = session.client.target
    with pytest.raises(edge.EdgeError, match="port is closed"), edge.Session(digits, cut="cloud", cloud=target):
        pass


def test_closing_does_not_wait_for_a_worker_to_be_measured(
    worker: EmbeddedWorker, digits: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, pause = threading.Event(), threading.Event()

    def measure(self: Findings, *, with_worker: bool) -> None:
        client = self._client()
        begun.set()
        for _ in range(1000):
            if client.failure is None:
                pause.wait(0.01)

    monkeypatch.setattr(Findings, "prepare", measure)
    with edge.Session(digits, cloud=worker.target, start_alone=True) as session:
        assert session(inputs_of(digits)).is_fallback
        assert begun.wait(10)
        begun_s = time.monotonic()
    assert time.monotonic() - begun_s < 5


def test_a_session_that_could_not_be_opened_may_be_tried_again(digits: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    session = edge.Session(digits, cut="local")
    with monkeypatch.context() as patch:
        patch.setattr("edge.parts.load", lambda *given, **options: (_ for _ in ()).throw(UsageError("not yet")))
        with pytest.raises(UsageError, match="not yet"):
            session.open()
    with session:
        assert session.submit(inputs_of(digits)).result().where == "edge"


def test_all_local_needs_no_worker_even_where_one_is_named(digits: Bundle) -> None:
    with edge.Session(digits, cloud="127.0.0.1:1", cut="local") as session:
        assert session(inputs_of(digits)).where == "edge"
        with pytest.raises(UsageError):
            _ = session.client


def test_pinning_the_plan_drops_the_weights_that_run_elsewhere(worker: EmbeddedWorker, digits: Bundle) -> None:
    said: list[str] = []
    with edge.Session(digits, cloud=worker.target, cut="after:stem", pin_plan=True, notify=said.append) as session:
        given = inputs_of(digits)
        answer = session(given)
        assert session.engine.weight_bytes_held < 2000
    assert any("pinned" in line for line in said)
    with edge.Session(digits, cut="local") as session:
        assert max_rel_diff(answer.outputs, session.whole(given)) <= 1e-5


def test_a_model_that_the_worker_does_not_serve_is_refused_at_the_handshake(
    worker: EmbeddedWorker,
    averaging: Bundle,
) -> None:
    with (
        pytest.raises(WorkerRefused, match=r"UNKNOWN_MODEL.*it serves digits"),
        edge.Session(averaging, cloud=worker.target, cut="cloud"),
    ):
        pass


def test_wishes_that_cannot_be_granted_are_refused_before_anything_is_started(digits: Bundle) -> None:
    with pytest.raises(PlanError, match="no cut 'after:nothing'"), edge.Session(digits, cut="after:nothing"):
        pass
    with pytest.raises(UsageError, match="no codec 'jpeg'"):
        edge.Session(digits, codec="jpeg")
    with pytest.raises(UsageError, match="--cut cloud"):
        edge.Session(digits, codec="source")
    with pytest.raises(UsageError, match="slowdown"):
        edge.Session(digits, slowdown=0.5)


@pytest.mark.parametrize("cut", ["local", "cloud", "after:stage2"])
def test_an_input_that_does_not_fit_is_refused_and_the_next_is_answered(
    cut: str,
    worker: EmbeddedWorker,
    digits: Bundle,
) -> None:
    with edge.Session(digits, cloud=worker.target, cut=cut) as session:
        for wrong in (np.zeros((1, 1, 9, 9), np.float32), np.zeros((1, 1, 8, 8), np.int64), {"nothing": np.zeros(1)}):
            with pytest.raises(InputError):
                session(wrong)
        assert session(inputs_of(digits)).outputs


def test_a_length_that_the_model_was_not_packed_for_is_refused_before_it_is_sent(
    worker: EmbeddedWorker, wording: Bundle
) -> None:
    given = {"ids": np.zeros((1, 65), np.int64), "is_padding": np.zeros((1, 65), np.bool_)}
    with (
        edge.Session(wording, cloud=worker.target, cut="cloud", fallback=False) as session,
        pytest.raises(InputError, match=r"outside 2\.\.64"),
    ):
        session(given)


@pytest.mark.parametrize("cut", ["local", "cloud", "after:embed"])
def test_an_input_on_which_the_model_fails_spoils_no_other(cut: str, worker: EmbeddedWorker, wording: Bundle) -> None:
    is_padding = np.zeros((1, 9), bool)
    with edge.Session(wording, cloud=worker.target, cut=cut) as session:
        for _ in range(2):
            with pytest.raises((CleftError, edge.EdgeError)):
                session({"ids": np.full((1, 9), 10**6), "is_padding": is_padding})
        right = {"ids": np.ones((1, 9), np.int64), "is_padding": is_padding}
        assert max_rel_diff(session(right).outputs, session.whole(right)) <= 1e-5


def test_the_whole_model_is_computed_without_the_emulated_slowness(
    digits: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("edge.clock.time.sleep", waited.append)
    with edge.Session(digits, cut="local", slowdown=1000) as session:
        session.whole(inputs_of(digits))
        session.whole(np.zeros((8, 8, 1), np.uint8))
        assert waited == []
        session(inputs_of(digits))
        assert len(waited) == 1


def test_importing_the_package_is_light() -> None:
    import subprocess
    import sys

    code = "import edge, sys; print([m for m in ('torch', 'grpc', 'numpy', 'google.protobuf') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
