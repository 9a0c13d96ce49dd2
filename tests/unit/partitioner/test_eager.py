"""The eager runtime: what it holds, what it takes, when it stops."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from partitioner.bundle import Bundle
from partitioner.errors import InputError, SegmentError, UsageError
from partitioner.plan import Segment
from partitioner.runtimes import Array
from partitioner.runtimes.eager import EagerEngine, open_engine
from partitioner.segments import Cuts
from partitioner.subgraph import weight_bytes
from tests import every_cut

PackedCase = Callable[[str], Bundle]


@pytest.fixture
def bundle(packed_case: PackedCase) -> Bundle:
    return packed_case("unet")


@pytest.fixture
def cuts(bundle: Bundle) -> Cuts:
    return Cuts(bundle.graph, bundle.digest)


@pytest.fixture
def engine(bundle: Bundle) -> EagerEngine:
    return open_engine(bundle, device="cpu")


@pytest.fixture
def image(bundle: Bundle) -> dict[str, Array]:
    [value] = [each.value for each in bundle.graph.inputs]
    shape = [dim if isinstance(dim, int) else 2 for dim in value.shape]
    return {value.name: np.random.default_rng(0).standard_normal(shape).astype(np.float32)}


def test_threads_are_what_was_asked(bundle: Bundle) -> None:
    try:
        assert open_engine(bundle, device="cpu", threads=2).info.threads == torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert open_engine(bundle, device="cpu").info.threads == 1


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads_is_a_wrong_number(bundle: Bundle, threads: int) -> None:
    with pytest.raises(UsageError, match="--threads"):
        open_engine(bundle, threads=threads)


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "cpux", "mps", "", "meta", "cpu:-3"])
def test_a_device_that_is_not_there_is_refused(bundle: Bundle, device: str) -> None:
    with pytest.raises(UsageError, match="--device"):
        open_engine(bundle, device=device)


def test_each_weight_is_held_once_over_many_segments(engine: EagerEngine, cuts: Cuts) -> None:
    assert engine.weight_bytes_held == 0
    for cut in cuts.candidates:
        for segment in cuts.segments(cut):
            if segment is not None:
                engine.segment(segment)
    assert engine.weight_bytes_held == weight_bytes(cuts.graph, cuts.graph.weight)


def test_shared_weights_are_held_once(tmp_path: Path) -> None:
    shared = torch.nn.Linear(32, 32)
    module = torch.nn.Sequential(shared, torch.nn.ReLU(), shared, torch.nn.ReLU(), shared)
    bundle = every_cut.pack(module, tmp_path / "b", args=(torch.zeros(1, 32),))
    engine = open_engine(bundle, device="cpu")
    engine.segment(Cuts(bundle.graph, bundle.digest).whole())
    assert engine.weight_bytes_held == (32 * 32 + 32) * 4


def test_a_segment_is_made_ready_once(engine: EagerEngine, cuts: Cuts) -> None:
    assert engine.segment(cuts.whole()) is engine.segment(cuts.whole())


def test_pinning_drops_the_far_side(engine: EagerEngine, cuts: Cuts, image: dict[str, Array]) -> None:
    truth = every_cut.whole(engine, image)
    cut = cuts.candidates[len(cuts.candidates) // 2]
    head, tail = cuts.segments(cut)
    assert tail is not None
    cost = cuts.cost(cut)
    assert (
        engine.pin([head]) == engine.weight_bytes_held == cost.edge_weight_bytes < engine.segment(head).weight_bytes + 1
    )
    assert engine.pin([tail]) == cost.cloud_weight_bytes
    assert engine.pin([]) == 0
    again = every_cut.whole(engine, image)
    assert {name: array.tobytes() for name, array in again.items()} == {k: v.tobytes() for k, v in truth.items()}


def test_it_stops_between_layers(engine: EagerEngine, cuts: Cuts, image: dict[str, Array]) -> None:
    segment = engine.segment(cuts.whole())
    asked = 0

    def after(count: int) -> Callable[[], bool]:
        def should_stop() -> bool:
            nonlocal asked
            asked += 1
            return asked > count

        return should_stop

    for count in (0, 3):
        asked = 0
        with pytest.raises(SegmentError, match="stopped"):
            segment(image, should_stop=after(count))
        assert asked == count + 1
    asked = 0
    segment(image, should_stop=after(10**6))
    assert asked == len(segment.layers)


def test_the_timeline_ends_with_the_whole(engine: EagerEngine, cuts: Cuts, image: dict[str, Array]) -> None:
    segment = engine.segment(cuts.whole())
    total_s, ends_s = segment.timeline(image)
    assert len(ends_s) == len(segment.layers) == len(cuts.graph.layers)
    assert ends_s == sorted(ends_s)
    assert 0 < ends_s[0] <= ends_s[-1] == total_s


WRONG: dict[str, Callable[[Array], dict[str, Array]]] = {
    "another size": lambda x: {"x": x[:, :, :-1]},
    "another rank": lambda x: {"x": x[0]},
    "another dtype": lambda x: {"x": x.astype(np.float64)},
    "integers": lambda x: {"x": x.astype(np.int64)},
    "no tensor": lambda x: {},
    "another name": lambda x: {"y": x},
    "one tensor more": lambda x: {"x": x, "y": x},
    "objects": lambda x: {"x": x.astype(object)},
    "texts": lambda x: {"x": x.astype(str)},
    "an empty batch": lambda x: {"x": x[:0]},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_input_that_does_not_fit_is_refused(
    wrong: str, engine: EagerEngine, cuts: Cuts, image: dict[str, Array]
) -> None:
    [(name, array)] = image.items()
    given = {(name if key == "x" else key): value for key, value in WRONG[wrong](array).items()}
    with pytest.raises(InputError) as caught:
        engine.segment(cuts.whole())(given)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(1, 1), (9, 4), (0, 4), (2, 65), (2, 0)])
def test_a_size_outside_its_range_is_refused(shape: tuple[int, int], packed_case: PackedCase) -> None:
    bundle = packed_case("text_encoder")
    segment = open_engine(bundle, device="cpu").segment(Cuts(bundle.graph, bundle.digest).whole())
    with pytest.raises(InputError, match="outside"):
        segment({"ids": np.zeros(shape, np.int64), "mask": np.ones(shape, np.bool_)})


def test_sizes_that_contradict_each_other_are_refused(packed_case: PackedCase) -> None:
    bundle = packed_case("text_encoder")
    segment = open_engine(bundle, device="cpu").segment(Cuts(bundle.graph, bundle.digest).whole())
    with pytest.raises(InputError, match="expected"):
        segment({"ids": np.zeros((2, 5), np.int64), "mask": np.ones((2, 6), np.bool_)})


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "read-only": lambda x: _frozen(x.copy()),
    "misaligned": lambda x: np.frombuffer(bytearray(b"\0" + x.tobytes()), np.uint8)[1:].view(x.dtype).reshape(x.shape),
    "one element off": lambda x: np.concatenate([[np.float32(0)], x.ravel()])[1:].reshape(x.shape),
    "reversed twice": lambda x: x[:, :, ::-1].copy()[:, :, ::-1],
    "columns first": np.asfortranarray,
    "channels last": lambda x: np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
    "every other one": lambda x: np.repeat(x, 2, axis=3)[..., ::2],
    "big-endian": lambda x: x.astype(">f4"),
    "spread by zero strides": lambda x: np.broadcast_to(x, (2, *x.shape))[1],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_in_memory_gives_the_same_answer(
    layout: str, engine: EagerEngine, cuts: Cuts, image: dict[str, Array]
) -> None:
    [(name, array)] = image.items()
    given = LAYOUTS[layout](array)
    assert np.array_equal(given, array)
    before = given.tobytes()
    answers = engine.segment(cuts.whole())({name: given})
    for key, truth in every_cut.whole(engine, image).items():
        assert every_cut.max_rel_diff(answers[key], truth) <= 1e-5
    assert given.tobytes() == before


@pytest.mark.parametrize("name", ["writes_in_place", "writes_to_its_input", "weights_as_outputs", "counts_its_calls"])
def test_running_again_gives_the_same_answer(name: str, packed_case: PackedCase) -> None:
    bundle = packed_case(name)
    engine = open_engine(bundle, device="cpu")
    inputs = {
        each.name: np.ones([d if isinstance(d, int) else 2 for d in each.value.shape], each.value.dtype)
        for each in bundle.graph.inputs
    }
    first = {key: array.tobytes() for key, array in every_cut.whole(engine, inputs).items()}
    assert {key: array.tobytes() for key, array in every_cut.whole(engine, inputs).items()} == first
    assert all((array == 1).all() for array in inputs.values())


@pytest.mark.parametrize("shape", [(1, 3, 20, 16), (1, 3, 8, 16), (1, 3, 136, 16)])
def test_a_side_that_is_no_multiple_is_refused(shape: tuple[int, ...], packed_case: PackedCase) -> None:
    bundle = packed_case("sides_that_are_multiples")
    segment = open_engine(bundle, device="cpu").segment(Cuts(bundle.graph, bundle.digest).whole())
    with pytest.raises(InputError, match=r"expected float32 bx3x8\*hx8\*w|outside 2..16"):
        segment({"x": np.zeros(shape, np.float32)})


def test_a_segment_of_another_model_is_refused(engine: EagerEngine, cuts: Cuts) -> None:
    other = Segment(model_digest="f" * 64, inputs=cuts.whole().inputs, outputs=cuts.whole().outputs)
    with pytest.raises(SegmentError, match="is of model ffffffffffff"):
        engine.segment(other)


def test_what_fails_inside_the_model_is_one_line(packed_case: PackedCase) -> None:
    bundle = packed_case("text_encoder")
    segment = open_engine(bundle, device="cpu").segment(Cuts(bundle.graph, bundle.digest).whole())
    with pytest.raises(SegmentError, match="the model failed") as caught:
        segment({"ids": np.full((2, 5), 10**9), "mask": np.ones((2, 5), np.bool_)})
    assert "\n" not in str(caught.value)


def _frozen(array: Array) -> Array:
    array.flags.writeable = False
    return array


def test_only_recent_segments_are_kept_and_old_ones_still_run(
    bundle: Bundle, cuts: Cuts, engine: EagerEngine, image: dict[str, Array]
) -> None:
    first = engine.segment(cuts.whole())
    forgotten = weakref.ref(engine.segment(cuts.segments(cuts.candidates[1])[0]))
    made = [node.name for node in bundle.graph.nodes if node.value is not None]
    for count in range(70):
        outputs = (made[count % len(made)], *made[-1 - count // len(made) :])
        segment = Segment(model_digest=bundle.digest, inputs=bundle.graph.input_names, outputs=tuple(set(outputs)))
        engine.segment(segment)
    gc.collect()
    assert forgotten() is None
    assert first(image)
