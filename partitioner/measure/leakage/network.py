"""The inverter that is a small network: convolutions over maps, two dense layers otherwise. Needs torch.

Maps are narrowed to 64 channels, unfolded to the size of the picture and smoothed by two more convolutions; a straight
linear path beside them makes an input that is there as it is easy to find. Training is AdamW with a falling rate, for
a number of steps that follows from the work of one, so that it does not depend on the clock; the state that does best
on the choosing samples is kept, and training ends when it has not been beaten for a while.

Source: He, Zhang and Lee, "Model inversion attacks against collaborative inference", ACSAC 2019 (black box: an inverse
network trained on pairs); Shi et al., "Real-time single image and video super-resolution using an efficient sub-pixel
convolutional neural network", CVPR 2016.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from partitioner.measure.leakage.canvas import Canvas, FloatArray32
from partitioner.measure.leakage.inversion import Given, Indices, Split

_CHANNELS = 64
_HIDDEN = 32
_DENSE = 256
_MOST_BATCH = 32
_STEPS = 8
"""Of an epoch at least, where there are samples enough for batches of four."""
_RATE = 3e-3
_DECAY = 1e-3
_MULTIPLICATIONS = 4e10
"""Of one training: about three seconds of a core."""
_MOST_EPOCHS = 120
_LEAST_EPOCHS = 4
_PATIENCE = 30


def train(given: Given, canvas: Canvas, split: Split, *, seed: int) -> FloatArray32:
    """Train a network to rebuild the canvas; what it makes of every sample, (n, numbers). See ``Network``."""
    scale = math.sqrt(canvas.rows.shape[1])
    seen = torch.from_numpy(_standardised(given.components if given.maps is None else given.maps, split.train))
    wanted = torch.from_numpy(canvas.pixels * np.float32(scale))
    with torch.random.fork_rng(devices=[]), torch.inference_mode(mode=False), torch.enable_grad():
        torch.manual_seed(seed)
        model = _model(seen, wanted, given.factor)
        _fit(model, seen, wanted, split)
        answers: FloatArray32 = (_answers(model, seen) / scale).flatten(1).numpy()
    return answers


class FromMaps(nn.Module):
    """Maps (n, inputs, h, w) to pictures (n, outputs, height, width), ``factor`` times as large."""

    def __init__(self, inputs: int, outputs: int, factor: int, size: tuple[int, int]) -> None:
        super().__init__()
        narrow = min(inputs, _CHANNELS)
        self._size = size
        self._unfold = (factor, factor if size[1] > 1 else 1)
        cells = math.prod(self._unfold)
        self.narrow = nn.Conv2d(inputs, narrow, 1)
        self.unfolded = nn.Conv2d(narrow, _HIDDEN * cells, 3, padding=1)
        self.smooth = nn.Conv2d(_HIDDEN, _HIDDEN, 3, padding=1)
        self.last = nn.Conv2d(_HIDDEN, outputs, 3, padding=1)
        self.straight = nn.Conv2d(narrow, outputs * cells, 3, padding=1)
        nn.init.zeros_(self.last.weight)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """The pictures."""
        narrow = self.narrow(maps)
        deep = functional.relu(self._unfolded(self.unfolded(narrow)))
        deep = self.last(functional.relu(self.smooth(deep)))
        found: torch.Tensor = deep + self._unfolded(self.straight(narrow))
        if found.shape[2:] != self._size:
            found = functional.interpolate(found, size=self._size, mode="bilinear", align_corners=False)
        return found

    def _unfolded(self, cells: torch.Tensor) -> torch.Tensor:
        """(n, c * a * b, h, w) to (n, c, h * a, w * b)."""
        down, across = self._unfold
        count, channels, height, width = cells.shape
        parts = cells.reshape(count, channels // (down * across), down, across, height, width)
        return parts.permute(0, 1, 4, 2, 5, 3).reshape(count, -1, height * down, width * across)


class FromRows(nn.Module):
    """Rows (n, inputs) to (n, outputs, height, width)."""

    def __init__(self, inputs: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self._shape = shape
        outputs = math.prod(shape)
        self.hidden = nn.Linear(inputs, _DENSE)
        self.last = nn.Linear(_DENSE, outputs)
        self.straight = nn.Linear(inputs, outputs)
        nn.init.zeros_(self.last.weight)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """The pictures."""
        found: torch.Tensor = self.last(functional.relu(self.hidden(rows))) + self.straight(rows)
        return found.reshape(len(rows), *self._shape)


def _model(given: torch.Tensor, wanted: torch.Tensor, factor: int) -> nn.Module:
    if given.ndim == 4:
        return FromMaps(given.shape[1], wanted.shape[1], factor, (wanted.shape[2], wanted.shape[3]))
    return FromRows(given.shape[1], tuple(wanted.shape[1:]))


def _fit(model: nn.Module, given: torch.Tensor, wanted: torch.Tensor, split: Split) -> None:
    train, choose = torch.from_numpy(split.train), torch.from_numpy(split.choose)
    epochs = _epochs(model, given, len(train))
    size = max(4, min(_MOST_BATCH, len(train) // _STEPS))
    steps = epochs * math.ceil(len(train) / size)
    optimiser = torch.optim.AdamW(model.parameters(), lr=_RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=_RATE, total_steps=steps, pct_start=0.1)
    best, best_epoch = math.inf, 0
    kept = _state(model)
    for epoch in range(epochs):
        model.train()
        for batch in torch.split(train[torch.randperm(len(train))], size):
            optimiser.zero_grad()
            torch.autograd.backward(_error(model(given[batch]), wanted[batch]))
            optimiser.step()
            schedule.step()
        error = float(_error(_answers(model, given[choose]), wanted[choose]))
        if error < best:
            best, best_epoch, kept = error, epoch, _state(model)
        elif epoch - best_epoch >= _PATIENCE:
            break
    model.load_state_dict(kept)


def _epochs(model: nn.Module, given: torch.Tensor, samples: int) -> int:
    """As many as the work allows: each weight is used once a place, forward and twice backward."""
    places = given.shape[2] * given.shape[3] if given.ndim == 4 else 1
    work = 0.0
    for layer in model.children():
        weights = sum(each.numel() for each in layer.parameters())
        is_late = isinstance(model, FromMaps) and layer in (model.smooth, model.last)
        work += weights * places * (math.prod(model._unfold) if is_late and isinstance(model, FromMaps) else 1)
    return int(min(_MOST_EPOCHS, max(_LEAST_EPOCHS, _MULTIPLICATIONS / (3 * work * samples))))


def _answers(model: nn.Module, given: torch.Tensor) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return torch.cat([model(part) for part in torch.split(given, _MOST_BATCH)])


def _error(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Squared error of a number, mean over all; the mean guess's is about 1."""
    return functional.mse_loss(found, wanted)


def _state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def _standardised(values: FloatArray32, train: Indices) -> FloatArray32:
    """Every channel (or column) about its training mean, by its training spread; those that do not vary are 0."""
    axes = (0, 2, 3) if values.ndim == 4 else (0,)
    mean = values[train].mean(axis=axes, keepdims=True, dtype=np.float64).astype(np.float32)
    centred: FloatArray32 = values - mean
    spread = np.sqrt((centred[train] ** 2).mean(axis=axes, keepdims=True, dtype=np.float64))
    least = 1e-6 * float(spread.max(initial=0.0))
    centred *= np.where(spread > least, 1.0 / np.where(spread > least, spread, 1.0), 0.0).astype(np.float32)
    return centred
