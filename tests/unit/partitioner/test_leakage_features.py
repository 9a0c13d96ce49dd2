"""Distances between samples' features: those of a plain computation, whatever the dtype and however little memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from torch import nn

from partitioner.bundle import Bundle
from partitioner.inputs import Sample, random_samples
from partitioner.measure.leakage import canvas, leakage_steps
from partitioner.measure.leakage.features import Features, differing, together
from partitioner.measure.leakage.network import train
from partitioner.runtimes import Array
from partitioner.runtimes.eager import open_engine
from partitioner.samples import SampleSet
from partitioner.segments import Cuts
from tests import every_cut


class Casts(nn.Module):
    """One tensor of every dtype that a layer may leave."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = torch.tanh(x)
        kinds = (torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool)
        made = [(50 * y.abs()).to(kind) if kind is not torch.bool else y > 0 for kind in kinds]
        return (*made, torch.complex(y, 2 * y), torch.log(torch.relu(y)))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    place: Path = tmp_path_factory.mktemp("casts") / "bundle"
    return every_cut.pack(Casts(), place, args=(torch.randn(1, 40),))


def inputs_of(bundle: Bundle, count: int) -> list[Callable[[], Mapping[str, Array]]]:
    (name,) = bundle.graph.input_names
    rows = np.random.default_rng(0).standard_normal((count, 1, 40)).astype(np.float32)
    return [lambda row=row: {name: row} for row in rows]  # type: ignore[misc]


def finish(steps: object) -> Any:
    while True:
        try:
            next(steps)  # type: ignore[call-overload]
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize("held_bytes", [1 << 30, 40_000, 1])
def test_distances_are_those_of_a_plain_computation(bundle: Bundle, held_bytes: int) -> None:
    engine, cuts = open_engine(bundle, device="cpu"), Cuts(bundle.graph, bundle.digest)
    inputs = inputs_of(bundle, 23)
    wanted = [name for name in bundle.graph.output_names if name]
    run = engine.segment(cuts.whole())
    made = [run(each()) for each in inputs]
    dtypes = {np.asarray(made[0][name]).dtype for name in wanted}
    assert {np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16), np.dtype(np.int64), np.dtype(np.bool_)} <= dtypes
    shown: dict[tuple[int, str], int] = {}

    def seen(index: int, name: str, array: Array) -> None:
        shown[index, name] = shown.get((index, name), 0) + 1
        assert array.shape == (1, 40)

    sizes = {name: made[0][name].nbytes for name in wanted}
    found = finish(Features(engine, cuts, inputs, held_bytes=held_bytes).squared_distances(sizes, seen=seen))
    for name in wanted:
        rows = np.stack([each[name].reshape(-1) for each in made])
        rows = rows if rows.dtype.kind == "c" else rows.astype(np.float64)
        rows = np.where(np.isfinite(rows), rows, 0)
        plain = (np.abs(rows[:, np.newaxis] - rows[np.newaxis]) ** 2).sum(axis=-1)
        unit = plain.sum() / found[name].sum()
        np.testing.assert_allclose(unit * found[name], plain, rtol=1e-6, atol=1e-9 * plain.max())
    assert set(shown.values()) == {1}
    assert len(shown) == 23 * len(wanted)


def test_words_differ_or_not_whatever_their_numbers() -> None:
    ids = np.array([[[1, 2, 3]], [[1, 2, 9000]], [[7, 8, 9]]])
    np.testing.assert_array_equal(differing(ids), [[0, 1, 3], [1, 0, 3], [3, 3, 0]])


class Reads(nn.Module):
    """Looks words up, mixes each by itself, then all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.mix, self.last = nn.Embedding(30, 24), nn.Linear(24, 24), nn.Linear(24, 6)

    def forward(self, ids: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        y = torch.tanh(self.mix(self.words(ids)))
        return self.last(y.mean(dim=1)) * weight


def test_words_are_rebuilt_where_they_are_told_apart(tmp_path: Path) -> None:
    torch.manual_seed(0)
    bundle = every_cut.pack(
        Reads().eval(), tmp_path / "bundle", args=(torch.zeros(1, 6, dtype=torch.int64), torch.ones(1))
    )
    assert canvas.words(bundle.graph) == {bundle.graph.input_names[0]}
    draw = np.random.default_rng(1)
    ids = draw.zipf(1.4, (120, 1, 6)).clip(max=30) - 1
    samples = [
        Sample(
            name="",
            tensors=dict(zip(bundle.graph.input_names, (each, np.ones(1, np.float32)), strict=True)),
            nbytes_original=52,
        )
        for each in ids.astype(np.int64)
    ]
    cuts = Cuts(bundle.graph, bundle.digest).candidates
    first = [cuts[1].name, cuts[-2].name]
    given = SampleSet(samples=tuple(samples))
    engine = open_engine(bundle, device="cpu")
    found = finish(leakage_steps(bundle, engine, given, network=train, first=first, budget_s=1e-6))
    early, late = (found.of(cut.id) for cut in (cuts[1], cuts[-2]))
    assert early.inversion_error < 0.2 < 0.5 < late.inversion_error
    assert early.distance_correlation > 0.9 > 0.7 > late.distance_correlation


class Sends(nn.Module):
    """Reads a picture early and a complex signal late, so that the signal crosses as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(32, 4), nn.Linear(4, 2)

    def forward(self, picture: torch.Tensor, signal: torch.Tensor) -> torch.Tensor:
        y = torch.tanh(self.first(picture.flatten(1)))
        return self.last(y) * signal.abs().sum()


def test_of_an_input_that_crosses_as_it_is_nothing_is_wrong(tmp_path: Path) -> None:
    torch.manual_seed(0)
    shapes = (1, 2, 4, 4), (1, 2, 3, 5)
    args = torch.randn(shapes[0]), torch.randn(shapes[1], dtype=torch.complex64)
    bundle = every_cut.pack(Sends().eval(), tmp_path / "bundle", args=args)
    given = random_samples(60, [each.value for each in bundle.graph.inputs], binding={})
    cuts = Cuts(bundle.graph, bundle.digest).candidates
    engine = open_engine(bundle, device="cpu")
    found = finish(leakage_steps(bundle, engine, SampleSet(samples=tuple(given)), network=train))
    middle = next(
        cut for cut in cuts if [value.nbytes({}) for value in cut.crossing if value.dtype == "float32"] == [16]
    )
    assert bundle.graph.input_names[1] in [value.name for value in middle.crossing]
    leak = found.of(middle.id)
    assert 0.35 < leak.inversion_error <= 0.51, "half of what is to be rebuilt crosses, and most of the rest is lost"
    assert leak.distance_correlation > 0.5


def test_a_tensor_of_large_numbers_does_not_hide_another() -> None:
    small, large = np.array([[0, 1.0], [1.0, 0]]), np.array([[0, 1e12], [1e12, 0]])
    np.testing.assert_allclose(together([small, large]), 2 * together([small]))


def test_pictures_are_shrunk_by_means_and_grown_by_repeats() -> None:
    plane = np.arange(48, dtype=np.float32).reshape(1, 6, 8)
    small = canvas.resized(plane, (3, 2))
    np.testing.assert_allclose(small, plane.reshape(1, 3, 2, 2, 4).mean(axis=(2, 4)))
    np.testing.assert_array_equal(canvas.resized(small, (6, 4)), small.repeat(2, axis=1).repeat(2, axis=2))
    uneven = canvas.resized(plane, (4, 3))
    assert uneven[0, 0, 0] == plane[0, 0, 0:2].mean()
    np.testing.assert_allclose(uneven[0, -1, -1], plane[0, 4:6, 5:8].mean())


@pytest.mark.parametrize(
    ("shape", "size", "laid"),
    [
        ((1, 64, 56, 56), (224, 224), (64, 56, 56)),
        ((1, 56, 56, 96), (224, 224), (96, 56, 56)),
        ((1, 24, 15, 20), (60, 80), (24, 15, 20)),
        ((1, 197, 768), (224, 224), (768, 14, 14)),
        ((1, 49, 96), (32, 32), (96, 7, 7)),
        ((1, 12, 64), (12, 1), (64, 12, 1)),
        ((1, 16, 250), (1000, 1), (16, 250, 1)),
        ((1, 512, 1, 1), (224, 224), None),
        ((1, 512), (224, 224), None),
        ((2, 64, 56, 56), (224, 224), None),
        ((), (224, 224), None),
    ],
)
def test_features_that_lie_over_the_input_are_maps(
    shape: tuple[int, ...], size: tuple[int, int], laid: tuple[int, ...] | None
) -> None:
    found = canvas.as_map(np.zeros(shape, np.float16), size)
    assert (None if found is None else found.shape) == laid


def test_tokens_lie_in_rows() -> None:
    tokens = np.concatenate([np.full((1, 1, 2), -1.0), np.arange(18.0).reshape(1, 9, 2)], axis=1)
    found = canvas.as_map(tokens, (48, 48))
    assert found is not None
    np.testing.assert_array_equal(found[0], np.arange(0, 18, 2).reshape(3, 3))
