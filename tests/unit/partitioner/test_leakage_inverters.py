"""The inverters, on features of which it is known how much of the input can be rebuilt from them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
import torch

from partitioner.measure.leakage.canvas import Canvas
from partitioner.measure.leakage.inversion import MEAN, NETWORK, RIDGE, Inversion, Split, invert
from partitioner.measure.leakage.network import train

FloatArray = npt.NDArray[np.float64]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def drawn(seed: int, *shape: int) -> FloatArray:
    return np.random.default_rng(seed).standard_normal(shape)


def inverted(
    features: FloatArray, wanted: FloatArray, *, seed: int = 0, maps: bool = False, factor: int = 1
) -> Inversion:
    """What the inverters make of features (n, ...), of inputs (n, numbers) or (n, channels, height, width)."""
    rows = features.reshape(len(features), -1)
    squared = ((rows[:, np.newaxis] - rows[np.newaxis]) ** 2).sum(axis=-1)
    pixels = wanted.astype(np.float32).reshape(len(wanted), -1, *(wanted.shape[2:] or (1, 1)))
    size = (pixels.shape[2], pixels.shape[3])
    return invert(
        squared,
        Canvas(pixels=pixels, size=size if maps else None),
        Split.of(len(rows), seed=seed),
        train,
        maps=(features.astype(np.float32), factor) if maps else None,
        seed=seed,
    )


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_a_turned_and_scaled_copy_is_rebuilt(scale: float) -> None:
    x = drawn(0, 100, 12)
    turn, _ = np.linalg.qr(drawn(1, 12, 12))
    found = inverted(x @ turn * scale, x)
    assert found.error < 1e-3
    assert found.inverter == RIDGE


@pytest.mark.parametrize(("kept", "numbers"), [(4, 16), (12, 16)])
def test_what_is_dropped_is_what_is_missing(kept: int, numbers: int) -> None:
    x = drawn(2, 300, numbers)
    found = inverted(x[:, :kept] @ drawn(3, kept, 40), x)
    assert found.error == pytest.approx(1 - kept / numbers, abs=0.05)
    assert abs(found.error - (1 - kept / numbers)) <= 1.5 * found.interval


def test_noise_costs_what_it_must() -> None:
    """Of independent unit inputs seen through unit noise, no estimator leaves less than a half."""
    x = drawn(4, 500, 8)
    found = inverted(x + drawn(5, 500, 8), x)
    assert 0.47 < found.error < 0.56


def test_what_tells_nothing_is_answered_by_the_mean() -> None:
    found = [inverted(drawn(seed, 40, 3), drawn(seed + 900, 40, 5), seed=seed) for seed in range(12)]
    errors = [each.error for each in found]
    assert np.mean(errors) < 1.02
    assert sum(each.inverter == MEAN and each.error == 1.0 for each in found) >= 8
    constant = inverted(np.ones((40, 3)), drawn(6, 40, 5))
    assert (constant.error, constant.inverter) == (1.0, MEAN)


def test_a_few_large_pictures_are_rebuilt_by_what_is_local() -> None:
    """Of 50 samples, no more than a mix of 30 is linear in all; a convolution learns from every place of them."""
    pictures = drawn(7, 50, 3, 24, 24)
    mixed = np.einsum("nchw,dc->ndhw", pictures, drawn(8, 8, 3))
    found = inverted(np.maximum(mixed, 0.0), pictures, maps=True)
    assert found.inverter == NETWORK
    assert found.error < 0.2


def test_maps_of_a_coarser_grid_give_the_coarse_picture() -> None:
    """What is left of white pictures after means of 2 x 2 is a quarter of their numbers."""
    pictures = drawn(9, 60, 1, 16, 16)
    means = pictures.reshape(60, 1, 8, 2, 8, 2).mean(axis=(3, 5))
    found = inverted(means, pictures, maps=True, factor=2)
    assert found.error == pytest.approx(0.75, abs=0.03)


def test_the_same_seed_gives_the_same_figures_and_leaves_the_generator_alone() -> None:
    x = drawn(10, 60, 6)
    y = np.tanh(x @ drawn(11, 6, 6))
    state = torch.random.get_rng_state()
    first, second, other = (inverted(y, x, seed=seed) for seed in (3, 3, 4))
    assert first == second != other
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("count", [20, 21, 37, 512])
def test_every_sample_has_one_part(count: int) -> None:
    split = Split.of(count, seed=5)
    parts = [split.train, split.choose, split.judge]
    assert sorted(np.concatenate(parts).tolist()) == list(range(count))
    assert [len(split.choose), len(split.judge)] == [count // 5] * 2
