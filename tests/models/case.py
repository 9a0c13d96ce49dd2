"""What a case is, and the table of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

CASES: dict[str, Callable[[], Case]] = {}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A module in inference mode, example inputs, and sizes that vary as ``--dynamic`` writes them."""

    module: nn.Module
    args: tuple[object, ...] = ()
    kwargs: Mapping[str, object] = field(default_factory=dict)
    dynamic: tuple[str, ...] = ()


def case(build: Callable[[], Case]) -> Callable[[], Case]:
    """Enter ``build`` in the table; what it draws is seeded, and the caller's generator is left as it was."""

    def seeded() -> Case:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            made = build()
        made.module.eval()
        return made

    CASES[build.__name__] = seeded
    return seeded


def picture(channels: int = 3, size: int = 32, *, batch: int = 1) -> torch.Tensor:
    """A random image tensor."""
    return torch.randn(batch, channels, size, size)


def conv(inputs: int, outputs: int, kernel: int = 3, **options: int) -> nn.Sequential:
    """Convolution, batch norm with statistics that are not the identity, ReLU."""
    norm = nn.BatchNorm2d(outputs)
    nn.init.uniform_(norm.running_mean, -0.5, 0.5)
    nn.init.uniform_(norm.running_var, 0.5, 2.0)
    options.setdefault("padding", kernel // 2)
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, bias=False, **options), norm, nn.ReLU(inplace=True))
