"""The shipped model: a small residual network that reads handwritten digits.

Three stages of residual blocks, halving the picture twice, so that cuts inside it have different sizes and skip
connections cross some of them. 154,000 parameters, trained by ``partitioner.zoo.train_digits`` on scikit-learn's
bundled copy of the UCI optical digits (1,797 pictures of 8 x 8); 360 of them are held out by a fixed stratified draw
and were never trained on.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; Alpaydin and Kaynak, "Optical Recognition
of Handwritten Digits", UCI 1998.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import nn

from partitioner.errors import ModelError
from partitioner.zoo.digits_data import HELD_OUT, held_out, split

__all__ = ["HELD_OUT", "LABELS", "PREPROCESS", "accuracy", "build", "held_out", "normalise", "record", "split"]

LABELS = tuple("0123456789")
MEAN, STD = 0.3053, 0.3760
PREPROCESS: dict[str, object] = {
    "schema": "cleft.preprocess/1",
    "kind": "image",
    "input": "image",
    "mode": "L",
    "resize": {"size": [8, 8], "interpolation": "bilinear", "antialias": True},
    "crop": None,
    "scale": 1 / 255,
    "mean": [MEAN],
    "std": [STD],
    "layout": "NCHW",
}
WEIGHTS = Path(__file__).with_name("digits.safetensors")
RECORD = Path(__file__).with_name("digits.json")


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside a skip connection, which is projected where sizes differ."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.skip = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(N, inputs, H, W)`` to ``(N, outputs, H / stride, W / stride)``."""
        y = torch.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return torch.relu(y + self.skip(x))


class DigitsNet(nn.Module):
    """``(N, 1, 8, 8) float32``, normalised, to ``(N, 10)`` logits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU())
        self.stage1 = Residual(24, 24)
        self.stage2 = nn.Sequential(Residual(24, 48, stride=2), Residual(48, 48))
        self.stage3 = Residual(48, 64, stride=2)
        self.head = nn.Linear(64, len(LABELS))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits of the ten digits."""
        x = self.stage3(self.stage2(self.stage1(self.stem(image))))
        logits: torch.Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


def build() -> DigitsNet:
    """The trained network, ready for inference.

    Raises:
        ModelError: the shipped weights are missing or do not fit.
    """
    model = DigitsNet()
    try:
        model.load_state_dict(load_file(WEIGHTS))
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelError(f"the shipped weights {WEIGHTS} cannot be loaded: {error}") from error
    return model.eval()


def record() -> dict[str, object]:
    """What the training script wrote about the shipped weights: accuracy, SHA-256, the machine that made them."""
    loaded: dict[str, object] = json.loads(RECORD.read_text())
    return loaded


def normalise(pixels: npt.NDArray[np.uint8]) -> torch.Tensor:
    """``(N, 8, 8, 1) uint8`` to the network's ``(N, 1, 8, 8) float32``, as ``PREPROCESS`` states it."""
    planes = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
    return (planes.to(torch.float32) / 255 - MEAN) / STD


def accuracy(model: nn.Module, pixels: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> float:
    """Share of pictures that ``model`` names rightly, between 0 and 1."""
    with torch.inference_mode():
        answers = model(normalise(pixels)).argmax(dim=1).numpy()
    return float((answers == labels).mean())
