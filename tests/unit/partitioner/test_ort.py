"""ONNX Runtime as a runtime: blocks and one session answer alike, and what is damaged is refused."""

from __future__ import annotations

import contextlib
import gc
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
from partitioner.errors import BundleError, InputError, SegmentError, UsageError
from partitioner.plan import Segment
from partitioner.runtimes import Array, check, opening
from partitioner.runtimes.eager import open_engine as open_eager
from partitioner.runtimes.ort import OrtEngine, open_engine, sessions, wire
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


def test_a_segment_of_prepared_pictures_is_the_whole_model(bundle: Bundle, inputs: dict[str, Array]) -> None:
    # A device asks for one where it finishes what it had sent to a worker as a picture.
    engine = engine_of(bundle)
    whole = whole_of(bundle)
    pictures = Segment(model_digest=bundle.digest, inputs=(), outputs=whole.outputs, preprocess=True)
    answer = engine.segment(whole)(inputs)
    assert engine.segment(pictures) is engine.segment(whole)
    assert engine.pin([pictures]) == weight_bytes(bundle.graph, engine.segment(whole).weight_names)
    assert engine.segment(pictures).is_fused
    assert same(engine.segment(pictures)(inputs), answer)


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


def test_what_takes_a_timeline_is_given_back_when_it_settles(bundle: Bundle, inputs: dict[str, Array]) -> None:
    def blocks() -> int:
        gc.collect()
        return sum(type(each) is sessions.Block for each in gc.get_objects())

    segment = engine_of(bundle).segment(whole_of(bundle))
    segment.settle()
    before = blocks()
    first = segment.timeline(inputs)
    assert blocks() > before + 2
    segment.settle()
    assert blocks() == before
    assert len(segment.timeline(inputs)[1]) == len(first[1])


def test_fewer_segments_are_kept_where_each_takes_many_threads(bundle: Bundle) -> None:
    cuts = Cuts(bundle.graph, bundle.digest)
    for threads, most in ((1, 64), (128, 4)):
        engine = open_engine(bundle, device="cpu", threads=1)
        engine._threads = threads
        for cut in cuts.candidates:
            engine.segment(cuts.segments(cut)[0])
        assert len(engine._segments) == min(most, len(cuts.candidates))


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


def test_weights_that_take_the_place_of_those_checked_are_not_mixed_with_them(copied: Path) -> None:
    bundle = Bundle.open(copied)
    engines = (open_engine(bundle, device="cpu"), open_eager(bundle, device="cpu"))
    (copied / "new").write_bytes(bundle.weights_path.read_bytes())
    (copied / "new").replace(bundle.weights_path)
    for engine in engines:
        with pytest.raises(BundleError, match="changed since the bundle was opened"):
            engine.segment(whole_of(bundle))(check.read_inputs(bundle))


def test_the_weights_are_not_stored_twice(bundle: Bundle) -> None:
    sizes = {each.name: each.nbytes for each in bundle.manifest.optional}
    assert sizes["model.onnx"] < 0.1 * bundle.weights_path.stat().st_size


def test_a_file_may_refer_to_the_weights_and_to_nothing_else(bundle: Bundle) -> None:
    model = (bundle.path / "model.onnx").read_bytes()
    with pytest.raises(BundleError, match="no file of a bundle"):
        OnnxFile(model.replace(b"weights.safetensors", b"../../../etc/passwd"))


def test_a_constant_inside_a_file_lies_nowhere_else_either(bundle: Bundle) -> None:
    model = (bundle.path / "model.onnx").read_bytes()
    entry = wire.nested(1, "location") + wire.nested(2, "/etc/hostname")
    for place in (5, 10):  # an attribute's tensor, and its list of tensors
        constant = wire.nested(1, "value") + wire.nested(place, wire.nested(13, entry))
        node = wire.nested(2, "c") + wire.nested(4, "Constant") + wire.nested(5, constant)
        with pytest.raises(BundleError, match="no file of a bundle"):
            OnnxFile(model + wire.nested(7, wire.nested(1, node)))


def test_segments_that_nobody_shares_are_not_kept_without_end(
    bundle: Bundle, inputs: dict[str, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("partitioner.runtimes.ort.engine._MOST_BLOCKS", 1)
    engine = engine_of(bundle)
    whole = engine.segment(whole_of(bundle))
    assert engine.bounds
    assert len(engine._blocks) == 1
    assert same(whole(inputs), open_eager(bundle, device="cpu").segment(whole_of(bundle))(inputs))


def test_an_arena_of_the_application_s_own_is_in_order(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(*_: object) -> None:
        raise RuntimeError("an allocator for this device has already been registered for sharing")

    monkeypatch.setattr("onnxruntime.create_and_register_allocator", taken)
    sessions._share_memory.cache_clear()
    try:
        assert engine_of(bundle).segment(whole_of(bundle)).outputs
    finally:
        sessions._share_memory.cache_clear()


def test_a_gpu_provider_that_does_not_start_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sessions, "_available", lambda: ("CUDAExecutionProvider", "CPUExecutionProvider"))
    sessions._starts.cache_clear()
    try:
        assert sessions.device_of("auto") == "cpu"
        with pytest.raises(UsageError, match="--device cuda:1: ONNX Runtime finds no such GPU"):
            sessions.device_of("cuda:1")
        assert sessions.providers_of("cuda:0") == ("CPUExecutionProvider",)
    finally:
        sessions._starts.cache_clear()
    assert capsys.readouterr().out == ""


@settings(max_examples=60)
@given(place=st.floats(0, 1), value=st.integers(0, 255), length=st.floats(0, 1))
def test_a_damaged_file_is_read_or_refused(place: float, value: int, length: float) -> None:
    content = bytearray((zoo.resolve("digits").path / "model.onnx").read_bytes())
    content[int(place * (len(content) - 1))] = value
    for damaged in (content[: int(length * len(content))], content):
        with contextlib.suppress(BundleError):
            OnnxFile(bytes(damaged))
