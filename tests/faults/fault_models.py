"""Models that are small in what a row does not need, and large in what it does: cuts, bytes, or time."""

from __future__ import annotations

import torch


class Ladder(torch.nn.Module):
    """Three steps to cut between, and little to do or to send."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU())
        self.second = torch.nn.Sequential(torch.nn.Conv2d(8, 8, 3, stride=2, padding=1), torch.nn.ReLU())
        self.third = torch.nn.Linear(8 * 8 * 8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.third(self.second(self.first(x)).flatten(1))


class Averages(torch.nn.Module):
    """A large input and little to do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x).mean(1)


class Grind(torch.nn.Module):
    """Much to do, in many layers, and little to send."""

    LAYERS = 12

    def __init__(self) -> None:
        super().__init__()
        self.steps = torch.nn.ModuleList(torch.nn.Linear(256, 256) for _ in range(self.LAYERS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.expand(640, 256) * torch.linspace(0.5, 1.0, 640)[:, None]
        for step in self.steps:
            rows = torch.relu(step(rows))
        return rows.mean(0)


class Spread(torch.nn.Module):
    """Little goes up, and 2 MB come down."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x[:, :, None] * torch.linspace(-1.0, 1.0, 8192)).reshape(1, -1)


class Overwriting(torch.nn.Module):
    """Works in place wherever it can."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.ReLU(inplace=True))
        self.second = torch.nn.Sequential(torch.nn.Conv2d(16, 16, 3, padding=1), torch.nn.ReLU(inplace=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        y = self.second(x)
        x += y
        x *= 0.5
        return x.clamp_(0, 3).sum((2, 3))


def ladder() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    torch.manual_seed(0)
    return Ladder().eval(), (torch.randn(1, 3, 16, 16),)


def other_ladder() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """The same graph with other weights."""
    torch.manual_seed(1)
    return Ladder().eval(), (torch.randn(1, 3, 16, 16),)


def other_graph() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """The same weights and shapes, and one operator that is another."""
    torch.manual_seed(0)
    model = Ladder().eval()
    model.first[1] = torch.nn.GELU()
    return model, (torch.randn(1, 3, 16, 16),)


def bulk() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """400 kB go up."""
    return Averages(), (torch.randn(100, 1024),)


def three_mebibytes() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    return Averages(), (torch.randn(768, 1024),)


def spread() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    return Spread(), (torch.randn(1, 64),)


def overwriting() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    torch.manual_seed(0)
    return Overwriting().eval(), (torch.randn(1, 3, 64, 64),)


def grind() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    torch.manual_seed(0)
    return Grind().eval(), (torch.randn(1, 256),)
