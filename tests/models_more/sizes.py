"""Sizes that depend on the inputs or on the data, at the places where a cut may fall."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from tests.models import Case
from tests.models_more.table import Made, more, square


class Kept(nn.Module):
    """Keeps the rows whose first feature is positive."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> object:
        y = self.first(x)
        kept = (y[:, 0] > 0).nonzero().squeeze(1)
        return self.second(y[kept].relu()).sigmoid(), kept.shape[0], kept


@more
def as_many_rows_as_the_data_say() -> Case:
    return Case(module=Kept(), args=(torch.randn(6, 4),), dynamic=("x=n:1..100",))


@more
def a_size_from_a_tensor() -> Case:
    def run(m: Made, x: torch.Tensor, count: torch.Tensor) -> object:
        y = m.linear(x)
        rows = count.item()
        torch._check(rows >= 0)
        torch._check(rows <= 6)
        return m.linear(y.narrow(0, 0, rows)), y * rows

    return Case(module=Made(run, linear=square(4)), args=(torch.randn(6, 4), torch.tensor(3)))


class SizesOnly(nn.Module):
    """The tail wants a size that only a tensor which stays behind has."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = square(), square()

    def forward(self, x: torch.Tensor) -> object:
        y = self.second(self.first(x).sum(0).relu())
        return y.expand(x.shape[0], 8).relu().cumsum(0), y * x.shape[0], torch.arange(x.shape[0]), x.shape[0] / 2


@more
def a_size_that_does_not_cross() -> Case:
    return Case(module=SizesOnly(), args=(torch.randn(3, 8),), dynamic=("x=b",))


class Resized(nn.Module):
    """Sizes that halve, grow by half and come back."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.down = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, stride=2, padding=1)

    def forward(self, x: torch.Tensor) -> object:
        y = self.first(x).relu()
        small = self.down(y).relu()
        larger = functional.interpolate(self.down(small), scale_factor=1.5, mode="bilinear")
        return functional.interpolate(small, size=y.shape[2:]) + y, larger, functional.interpolate(x, scale_factor=0.5)


@more
def sizes_through_floats() -> Case:
    return Case(module=Resized(), args=(torch.randn(2, 3, 32, 32),), dynamic=("x=b,_,h:16..64,w:16..64",))


class Joined(nn.Module):
    """Joins two batches of different sizes and takes them apart again."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = square()

    def forward(self, x: torch.Tensor, batch: dict[str, torch.Tensor]) -> object:
        z = self.linear(torch.cat([self.linear(x), batch["y"]])).relu()
        return self.linear(z[: x.shape[0]]), z[x.shape[0] :], z.reshape(-1).cumsum(0)


@more
def two_batches_of_their_own_sizes() -> Case:
    args = (torch.randn(2, 8), {"y": torch.randn(3, 8)})
    return Case(module=Joined(), args=args, dynamic=("x=b", "batch.y=c"))


class Halved(nn.Module):
    """A U-Net that halves an image three times: its sides are multiples of eight."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))
        self.up = nn.ModuleList(nn.ConvTranspose2d(4, 4, 2, stride=2) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, skips = self.first(x).relu(), []
        for down in self.down:
            skips.append(y)
            y = down(functional.max_pool2d(y, 2)).relu()
        for up, skip in zip(self.up, skips[::-1], strict=True):
            y = torch.cat([up(y), skip], 1)[:, 2:6].relu()
        return y


@more
def sides_that_are_multiples() -> Case:
    return Case(module=Halved(), args=(torch.randn(1, 3, 32, 48),), dynamic=("x=b,_,8*h:2..16,8*w:2..16",))
