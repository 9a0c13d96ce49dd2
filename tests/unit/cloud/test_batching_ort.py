"""Rows of several frames in ONNX Runtime: an export with one row is opened for any number."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from by_hand import finished
from torch import nn

from cloud.batching import Subject
from cloud.store import Model
from partitioner.errors import InputError, SegmentError
from partitioner.runtimes.ort import open_engine
from partitioner.segments import Cuts
from partitioner.zoo import ModelRequest, resolve_request


class Shuffle(nn.Module):
    """Reshapes to sizes that begin with the one row of the export."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.last = nn.Linear(8 * 16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x).view(1, 2, 4, 4, 4).transpose(1, 2).reshape(1, 8, 4, 4)
        return self.last(x.relu().view(1, 128))


class Centred(Shuffle):
    """Its rows know of each other."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x - x.mean(0, keepdim=True))


def shuffle() -> nn.Module:
    torch.manual_seed(3)
    return Shuffle().eval()


def centred() -> nn.Module:
    torch.manual_seed(3)
    return Centred().eval()


def subject_of(name: str, monkeypatch: pytest.MonkeyPatch) -> Subject:
    monkeypatch.syspath_prepend(__file__.rpartition("/")[0])
    bundle = resolve_request(ModelRequest(spec=f"{__name__}:{name}", shapes=("1x3x4x4",)))
    engine = open_engine(bundle, device="cpu")
    whole = Cuts(bundle.graph, bundle.digest).whole()
    return Subject(Model(bundle=bundle, engine=engine), whole, engine.segment(whole))


def test_an_export_with_one_row_takes_any_number(monkeypatch):
    subject = subject_of("shuffle", monkeypatch)
    (name,) = (value.name for value in subject.single.inputs)
    rows = finished(subject.open(((name, (1, 3, 4, 4)),)))
    assert rows is not None
    frames = np.random.default_rng(4).standard_normal((7, 3, 4, 4)).astype(np.float32)
    (together,) = rows({name: frames}).values()
    for frame, found in zip(frames, together, strict=True):
        (alone,) = subject.single({name: frame[None]}).values()
        np.testing.assert_allclose(found[None], alone, rtol=1e-5, atol=1e-6)
    with pytest.raises(SegmentError, match="stopped"):
        rows({name: frames}, should_stop=lambda: True)
    with pytest.raises(InputError):
        rows({name: frames[:, :2]})


def test_rows_that_know_of_each_other_are_never_run_together(monkeypatch):
    subject = subject_of("centred", monkeypatch)
    (name,) = (value.name for value in subject.single.inputs)
    assert finished(subject.open(((name, (1, 3, 4, 4)),))) is None
