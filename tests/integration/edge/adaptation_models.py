"""A model whose right cut depends on the rate: much goes in, little crosses in the middle, and both halves compute."""

from __future__ import annotations

import torch


class Narrowing(torch.nn.Module):
    """197 kB of input, 2 kB after the second step."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = torch.nn.Sequential(
            torch.nn.Conv2d(3, 64, 3, stride=2, padding=1),
            torch.nn.ReLU(),
            torch.nn.Conv2d(64, 64, 3, padding=1),
            torch.nn.ReLU(),
        )
        self.narrow = torch.nn.Sequential(torch.nn.Conv2d(64, 8, 8, stride=8), torch.nn.ReLU())
        self.deep = torch.nn.Sequential(
            torch.nn.Conv2d(8, 384, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.Conv2d(384, 384, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.Conv2d(384, 16, 3, padding=1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.deep(self.narrow(self.wide(x))).mean((2, 3))


def narrowing() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    torch.manual_seed(0)
    return Narrowing().eval(), (torch.randn(1, 3, 128, 128),)
