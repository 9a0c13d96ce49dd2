"""Sizes that no crossing tensor tells cross as numbers, so that a whole input need not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from partitioner.bundle import Bundle
from partitioner.errors import InputError
from partitioner.runtimes.eager import open_engine
from partitioner.segments import Cuts
from tests import every_cut


class Segmenter(nn.Module):
    """Fully convolutional: the last layer asks for the size of the picture, which strides have rounded away."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.b = nn.Conv2d(8, 4, 3, stride=2, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.b(torch.relu(self.a(x)))
        return nn.functional.interpolate(h, size=x.shape[2:], mode="bilinear", align_corners=False)


@pytest.fixture(scope="module")
def module() -> nn.Module:
    torch.manual_seed(0)
    return Segmenter().eval()


@pytest.fixture(scope="module")
def bundle(module: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path: Path = tmp_path_factory.mktemp("numbers") / "bundle"
    return every_cut.pack(module, path, args=(torch.randn(2, 3, 40, 56),), dynamic=["x=_,_,h:8..256,w:8..256"])


def test_two_numbers_cross_and_not_the_picture(bundle: Bundle) -> None:
    for cut in Cuts(bundle.graph, bundle.digest).candidates[1:-1]:
        assert "x" not in {value.name for value in cut.crossing}
        assert sorted(value.nbytes({}) for value in cut.crossing if not value.shape) == [8, 8]


@pytest.mark.parametrize("size", [(40, 56), (37, 51), (8, 256), (255, 9)], ids=str)
def test_every_cut_answers_like_the_whole_at_any_size(bundle: Bundle, module: nn.Module, size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size)
    with torch.inference_mode():
        truth = every_cut.as_arrays(every_cut.by_output(bundle, module(x)))
    assert every_cut.faults(bundle, every_cut.feed(bundle, (x,)), truth) == []


def test_a_number_that_contradicts_the_tensors_is_refused(bundle: Bundle) -> None:
    cuts = Cuts(bundle.graph, bundle.digest)
    head, tail = cuts.segments(cuts.candidates[1])
    assert tail is not None
    engine = open_engine(bundle, device="cpu")
    made = engine.segment(head)({"x": np.zeros((2, 3, 40, 56), np.float32)})
    sent = {name: made[name] for name in tail.inputs}
    number = next(name for name, array in sent.items() if array.ndim == 0)
    with pytest.raises(InputError):
        engine.segment(tail)({**sent, number: sent[number] + 9})
