from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from by_hand import finished
from loopback import FakeBundle, FakeEngine, RowsEngine
from torch import nn

from cloud.batching import Batcher, Batchers, Subject
from cloud.frames import Answer, Work
from cloud.jobs import Ticket
from cloud.store import Model, prepare
from partitioner.difference import relative_difference
from partitioner.plan import Segment
from partitioner.runtimes.eager import open_engine
from partitioner.segments import Cuts
from protos.errors import InternalFailure, WireError
from protos.tensors import DEFAULT_LIMITS, join, pack, unpack
from tests import every_cut

TICKET = Ticket(queue_s=0.0, should_stop=lambda: False)
CASES_TRIED = (
    *("two_inputs_dict_output", "text_encoder", "unet", "detector_three_scales"),
    *("efficientnet_style", "channel_shuffle", "convnext_permutes", "recurrent"),
)


class Mixing(nn.Module):
    """A model whose rows know of each other."""

    def __init__(self, mix: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 8)
        self._mix = mix

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._mix(self.inner(x))


def subject_of(bundle, *, cut_index: int | None = None) -> Subject:
    engine = open_engine(bundle, device="cpu")
    cuts = Cuts(bundle.graph, bundle.digest)
    segment = cuts.whole()
    if cut_index is not None and len(cuts.candidates) > 2:
        found = [tail for cut in cuts.candidates if not cut.is_local and (tail := cuts.segments(cut)[1]) is not None]
        segment = found[cut_index % len(found)]
    return Subject(Model(bundle=bundle, engine=engine), segment, engine.segment(segment))


def checked(group) -> int:
    """Do the check of a group; returns in how many steps."""
    steps = 0
    while (step := group.take_chore()) is not None:
        step()
        steps += 1
    return steps


def shapes_of(subject: Subject):
    return tuple((value.name, shape) for value, shape in subject.inputs(()))


@pytest.mark.parametrize("is_dynamic", [False, True], ids=["captured with one row", "captured with any number"])
@pytest.mark.parametrize(
    ("mix", "is_right"),
    [
        (lambda x: x.relu().reshape(x.shape[0], 2, 4).flatten(1), True),
        (lambda x: x - x.mean(1, keepdim=True), True),
        (lambda x: x.softmax(0), False),
        (lambda x: x - x.mean(0, keepdim=True), False),
        (lambda x: x.cumsum(0), False),
        (lambda x: x / x.abs().max(), False),
        (lambda x: x - x[:1], False),
        (lambda x: x.flip(0), False),
        (lambda x: torch.where(x.sum() > 1e6, x * 2, x), False),
        (lambda x: torch.where(x.amax(0, keepdim=True) > 1e6, x * 2, x), False),
        (lambda x: torch.where(x.softmax(-1).amax(-1, keepdim=True) > 0.5, x.sort()[0], x.topk(8)[0]), True),
    ],
    ids=[
        *("reshape", "mean", "softmax", "batch mean", "sum", "scale", "first row", "order"),
        *("rare", "rare in a column", "within a row"),
    ],
)
def test_rows_that_know_of_each_other_are_never_run_together(mix, is_right, is_dynamic, tmp_path):
    example = torch.randn(3 if is_dynamic else 1, 8)
    bundle = every_cut.pack(Mixing(mix), tmp_path / "b", args=(example,), dynamic=("x=n",) if is_dynamic else ())
    subject = subject_of(bundle)
    shapes = (("x", (1, 8)),)
    assert (finished(subject.open(shapes)) is not None) == is_right


def test_every_case_that_may_run_together_gives_what_its_frames_give_alone(packed_case):
    admitted = set()
    random = np.random.default_rng(99)
    for name in CASES_TRIED:
        for cut_index in (0, 3):
            subject = subject_of(packed_case(name), cut_index=cut_index)
            shapes = shapes_of(subject)
            rows = finished(subject.open(shapes))
            if rows is None:
                continue
            admitted.add(name)
            frames = []
            for _ in range(4):
                frame = {value.name: random.standard_normal(shape) * 3 for value, shape in subject.inputs(shapes)}
                frames.append({
                    value.name: frame[value.name].clip(0, 1).astype(value.dtype) for value in subject.single.inputs
                })  # fmt: skip
            together = rows({key: np.concatenate([frame[key] for frame in frames]) for key in frames[0]})
            for index, frame in enumerate(frames):
                for key, alone in subject.single(frame).items():
                    part = np.split(together[key], len(frames))[index]
                    assert relative_difference(part, alone) <= 1e-5, (name, cut_index, key)
    assert len(admitted) >= 6


def group_of(engine: FakeEngine):
    bundle = FakeBundle()
    model = Model(bundle=bundle, engine=engine)
    prepared = prepare(model, Segment(model_digest=bundle.digest, inputs=("x",), outputs=("y",)))
    batcher = Batchers(most=8).of(model, prepared)
    return batcher, batcher.group((("x", (2, 8)),)), prepared


def work_of(prepared, first: float, *, is_damaged: bool = False) -> Work:
    x = np.full((2, 8), first, np.float32)
    headers, buffers, _ = pack({"x": x})
    payload = bytearray(join(buffers))
    if is_damaged:
        payload[5] ^= 1
    return Work(prepared=prepared, codecs={}, headers=headers, payload=lambda: bytes(payload), limits=DEFAULT_LIMITS)


def value_of(answer: object) -> float:
    assert isinstance(answer, Answer)
    (y,) = unpack(answer.headers, join(answer.buffers)).values()
    assert y.shape == (2, 8)
    assert len(set(y.flat)) == 1
    return float(y.flat[0])


def test_frames_run_as_one_once_that_was_checked():
    engine = RowsEngine()
    _, group, prepared = group_of(engine)
    assert group.most(4) == 1
    checked(group)
    engine.sizes.clear()
    answers = group.run([work_of(prepared, number) for number in range(4)], [TICKET] * 4)
    assert [value_of(each) for each in answers] == [0, 2, 4, 6]
    assert engine.sizes == [8]


def test_the_check_runs_one_thing_at_a_time_so_that_frames_wait_for_no_more():
    engine = RowsEngine()
    _, group, _ = group_of(engine)
    assert group.take_chore() is None
    group.most(2)
    engine.runs = most = 0
    while (step := group.take_chore()) is not None:
        assert group.take_chore() is None
        before = engine.runs
        step()
        most = max(most, engine.runs - before)
    assert (engine.runs, most) == (7, 1)


def test_a_frame_that_cannot_be_decoded_fails_alone():
    engine = RowsEngine()
    _, group, prepared = group_of(engine)
    group.most(2)
    checked(group)
    works = [work_of(prepared, 1), work_of(prepared, 2, is_damaged=True), work_of(prepared, 3)]
    first, second, third = group.run(works, [TICKET] * 3)
    assert (value_of(first), value_of(third)) == (2, 6)
    assert isinstance(second, WireError)
    assert second.code == "CORRUPT"


@pytest.mark.parametrize(("unlucky", "wanted"), [(66.0, 132.0), (13.0, None)], ids=["only together", "alone too"])
def test_when_a_run_fails_each_frame_is_run_by_itself(unlucky, wanted):
    engine = RowsEngine()
    _, group, prepared = group_of(engine)
    group.most(2)
    checked(group)
    first, second = group.run([work_of(prepared, unlucky), work_of(prepared, 3)], [TICKET] * 2)
    assert value_of(second) == 6
    if wanted is None:
        assert isinstance(first, InternalFailure)
    else:
        assert value_of(first) == wanted


def test_a_batch_stops_only_when_nobody_waits_for_any_of_it():
    engine = RowsEngine()
    _, group, prepared = group_of(engine)
    group.most(2)
    checked(group)
    gone = Ticket(queue_s=0.0, should_stop=lambda: True)
    _, second = group.run([work_of(prepared, 1), work_of(prepared, 2)], [gone, TICKET])
    assert value_of(second) == 4


def test_an_engine_without_rows_is_asked_once_and_frames_run_alone():
    _, group, _ = group_of(FakeEngine())
    group.most(2)
    checked(group)
    assert group.take_chore() is None
    assert group.most(8) == 1


def test_batchers_live_as_long_as_somebody_holds_them():
    engine = FakeEngine()
    batcher, _, _ = group_of(engine)
    assert len(engine.made) == 1
    del batcher, _
    assert len(engine.made) == 0


def test_shapes_are_remembered_within_a_bound():
    batcher, _, _ = group_of(FakeEngine())
    assert isinstance(batcher, Batcher)
    first = batcher.group((("x", (1, 8)),))
    assert batcher.group((("x", (1, 8)),)) is first
    for rows in range(2, 200):
        batcher.group((("x", (rows, 8)),))
    assert batcher.group((("x", (1, 8)),)) is not first
