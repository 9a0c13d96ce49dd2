"""ONNX Runtime as a runtime: blocks and one session answer alike, and what is damaged is refused."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from partitioner import bundle as bundles
from partitioner import zoo
from partitioner.bundle import Bundle
from partitioner.errors import BundleError, InputError, ModelError, SegmentError, UsageError
from partitioner.plan import Segment
from partitioner.runtimes import Array, check, opening
from partitioner.runtimes.eager import open_engine as open_eager
from partitioner.runtimes.ort import OrtEngine, open_engine
from partitioner.runtimes.ort.blocks import bounds
from partitioner.runtimes.ort.onnxfile import OnnxFile
from partitioner.segments import Cuts
from partitioner.subgraph import weight_bytes


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return zoo.resolve("digits")


@pytest.fixture
def copied(bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle.path, tmp_path / "copy"))


@pytest.fixture
def inputs(bundle: Bundle) -> dict[str, Array]:
    return check.read_inputs(bundle)


def engine_of(bundle: Bundle, settled_runs: int | None = None) -> OrtEngine:
    engine = open_engine(bundle, device="cpu", settled_runs=settled_runs)
    engine.bounds = bounds(engine.cuts, most_cost=math.inf)  # so small a model would be one block
    return engine


def whole_of(bundle: Bundle) -> Segment:
    return Cuts(bundle.graph, bundle.digest).whole()


def same(ours: dict[str, Array], theirs: dict[str, Array]) -> bool:
    return ours.keys() == theirs.keys() and all(
        check.relative_difference(ours[name], theirs[name]) < check.TOLERANCE for name in theirs
    )


def test_blocks_and_one_session_answer_alike(bundle: Bundle, inputs: dict[str, Array]) -> None:
    engine = engine_of(bundle)
    segment = engine.segment(whole_of(bundle))
    assert engine.bounds
    assert not segment.is_fused
    chained = segment(inputs)
    segment.settle()
    assert segment.is_fused
    assert same(segment(inputs), chained)
    assert same(chained, open_eager(bundle, device="cpu").segment(whole_of(bundle))(inputs))


def test_a_cut_between_blocks_builds_nothing_new(bundle: Bundle, inputs: dict[str, Array]) -> None:
    engine = engine_of(bundle)
    engine.segment(whole_of(bundle))(inputs)
    cuts = Cuts(bundle.graph, bundle.digest)
    depths = {bound.depth for bound in engine.bounds}
    built: list[Segment] = []
    build = engine.build
    engine.build = lambda segment: built.append(segment) or build(segment)  # type: ignore[method-assign,func-returns-value]
    for cut in cuts.candidates:
        if cut.depth in depths:
            head, tail = cuts.segments(cut)
            assert tail is not None
            made = engine.segment(head)(inputs)
            engine.segment(tail)(made)
    assert built == []


def test_a_segment_that_stays_is_fused_while_it_goes_on_answering(bundle: Bundle, inputs: dict[str, Array]) -> None:
    engine = engine_of(bundle, settled_runs=3)
    segment = engine.segment(whole_of(bundle))
    begun, may_end = threading.Event(), threading.Event()
    build = engine.build

    def held(wanted: Segment) -> object:
        begun.set()
        assert may_end.wait(30)
        return build(wanted)

    engine.build = held  # type: ignore[method-assign,assignment]
    truth = segment(inputs)
    segment(inputs)
    assert not begun.is_set()
    segment(inputs)
    assert begun.wait(30)
    for _ in range(5):
        assert same(segment(inputs), truth)
        assert not segment.is_fused
    may_end.set()
    engine.finish()
    assert segment.is_fused
    assert same(segment(inputs), truth)
    assert not [each for each in threading.enumerate() if each.name == "cleft-ort-fuse"]


def test_blocks_answer_for_good_where_nothing_can_be_fused(bundle: Bundle, inputs: dict[str, Array]) -> None:
    engine = engine_of(bundle, settled_runs=1)
    segment = engine.segment(whole_of(bundle))

    def fails(wanted: Segment) -> object:
        raise SegmentError("no")

    engine.build = fails  # type: ignore[method-assign,assignment]
    truth = segment(inputs)
    engine.finish()
    assert same(segment(inputs), truth)
    assert not segment.is_fused


def test_pinning_keeps_the_plan_alone(bundle: Bundle, inputs: dict[str, Array]) -> None:
    engine = engine_of(bundle)
    cuts = Cuts(bundle.graph, bundle.digest)
    engine.segment(cuts.whole())(inputs)
    assert engine.weight_bytes_held == weight_bytes(bundle.graph, bundle.graph.weight)
    cut = cuts.find("after:stage2")
    head, _ = cuts.segments(cut)
    assert engine.pin([head]) == engine.weight_bytes_held == cuts.cost(cut).edge_weight_bytes
    assert set(engine.segment(head)(inputs)) == set(head.outputs)
    assert set(engine.segment(cuts.whole())(inputs)) == set(bundle.graph.output_names)


def test_a_stop_is_heard_between_blocks(bundle: Bundle, inputs: dict[str, Array]) -> None:
    answers = iter([False, True])
    with pytest.raises(SegmentError, match="stopped"):
        engine_of(bundle).segment(whole_of(bundle))(inputs, should_stop=lambda: next(answers))


def test_a_timeline_names_every_layer_in_order(bundle: Bundle, inputs: dict[str, Array]) -> None:
    segment = engine_of(bundle).segment(whole_of(bundle))
    total_s, ends_s = segment.timeline(inputs)
    assert len(ends_s) == len(segment.layers)
    assert set(segment.layers) == set(range(len(bundle.graph.layers)))
    assert ends_s == sorted(ends_s)
    assert 0 < ends_s[0] <= ends_s[-1] == total_s


def test_inputs_that_do_not_fit_are_refused(bundle: Bundle, inputs: dict[str, Array]) -> None:
    segment = engine_of(bundle).segment(whole_of(bundle))
    (name,) = inputs
    right = inputs[name]
    for wrong in ({}, {name: right.astype(np.float64)}, {name: right[:, :, :4]}, {**inputs, "x": right}):
        with pytest.raises(InputError):
            segment(wrong)
    strided = np.asfortranarray(np.repeat(inputs[name], 2, axis=3))[..., ::2]
    assert same(segment({name: strided}), segment(inputs))


def test_segments_that_do_not_fit_are_refused(bundle: Bundle) -> None:
    engine = engine_of(bundle)
    whole = whole_of(bundle)
    for wrong in (
        Segment(model_digest="0" * 64, inputs=whole.inputs, outputs=whole.outputs),
        Segment(model_digest=bundle.digest, inputs=(), outputs=whole.outputs),
        Segment(model_digest=bundle.digest, inputs=whole.inputs, outputs=("nothing",)),
    ):
        with pytest.raises(SegmentError):
            engine.segment(wrong)
    with pytest.raises(UsageError, match="--threads 0"):
        open_engine(bundle, threads=0)
    with pytest.raises(UsageError, match="CUDA"):
        open_engine(bundle, device="cuda")
    with pytest.raises(UsageError, match="expected auto"):
        open_engine(bundle, device="abacus")


@pytest.mark.parametrize("name", ["model.onnx", "check.safetensors"])
@pytest.mark.parametrize("damage", ["removed", "truncated", "flipped"])
def test_a_bundle_with_a_damaged_runtime_file_runs_in_eager_alone(name: str, damage: str, copied: Path) -> None:
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
    assert opening.choose(bundle, device="cpu").runtime == "eager"
    with pytest.raises(ModelError, match="--runtime ort"):
        opening.open_engine(bundle, runtime="ort", device="cpu")


def test_a_runtime_that_answers_otherwise_is_refused(bundle: Bundle, copied: Path) -> None:
    stored = load_file(copied / "check.safetensors")
    name = f"value:{bundle.graph.output_names[0]}"
    stored[name] = stored[name] + np.float32(0.01) * np.abs(stored[name]).max()
    save_file(stored, copied / "check.safetensors")
    changed = bundles.add_optional(
        Bundle.open(copied), {"check.safetensors": (copied / "check.safetensors").read_bytes()}
    )
    fault = check.fault(changed, engine_of(changed))
    assert fault is not None
    assert "differs from the eager runtime" in fault
    assert opening.refusal(changed, "ort", device="cpu") == fault
    assert opening.refusal(changed, "ort", device="cpu") == fault  # remembered


def test_a_bundle_of_old_is_valid_and_says_what_it_lacks(copied: Path) -> None:
    manifest = json.loads((copied / "bundle.json").read_text())
    del manifest["optional"], manifest["without"]
    (copied / "bundle.json").write_text(json.dumps(manifest))
    bundle = Bundle.open(copied)
    assert bundle.runtimes == ("eager",)
    fault = opening.refusal(bundle, "ort")
    assert fault is not None
    assert "packed without" in fault


def test_the_weights_are_not_stored_twice(bundle: Bundle) -> None:
    sizes = {each.name: each.nbytes for each in bundle.manifest.optional}
    assert sizes["model.onnx"] < 0.1 * bundle.weights_path.stat().st_size


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
    monkeypatch.setattr(opening, "ask", lambda question: pytest.fail("it was raced before"))
    assert opening.choose(bundle, device="cpu") == choice


def test_a_file_may_refer_to_the_weights_and_to_nothing_else(bundle: Bundle) -> None:
    model = (bundle.path / "model.onnx").read_bytes()
    with pytest.raises(BundleError, match="no file of a bundle"):
        OnnxFile(model.replace(b"weights.safetensors", b"../../../etc/passwd"))


@settings(max_examples=60)
@given(place=st.floats(0, 1), value=st.integers(0, 255), length=st.floats(0, 1))
def test_a_damaged_file_is_read_or_refused(place: float, value: int, length: float) -> None:
    content = bytearray((zoo.resolve("digits").path / "model.onnx").read_bytes())
    content[int(place * (len(content) - 1))] = value
    for damaged in (content[: int(length * len(content))], content):
        with contextlib.suppress(BundleError):
            OnnxFile(bytes(damaged))
