"""The table of further cases, and what builds them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from tests.models import Case

MORE: dict[str, Callable[[], Case]] = {}


class Made(nn.Module):
    """A module of the given parts; ``run`` is its forward."""

    def __init__(self, run: Callable[..., object], **parts: nn.Module | torch.Tensor) -> None:
        super().__init__()
        self._run = run
        for name, part in parts.items():
            if isinstance(part, nn.Module):
                self.add_module(name, part)
            else:
                self.register_buffer(name, part)

    def forward(self, *args: object, **kwargs: object) -> object:
        return self._run(self, *args, **kwargs)


def more(build: Callable[[], Case]) -> Callable[[], Case]:
    """Enter ``build`` in the table; what it draws is seeded."""

    def seeded() -> Case:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(11)
            made = build()
        made.module.eval()
        return made

    MORE[build.__name__] = seeded
    return seeded


def square(size: int = 8) -> nn.Linear:
    return nn.Linear(size, size)
