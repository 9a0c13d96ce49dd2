"""Small models, and what the tests of the edge do with them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from partitioner.bundle import Bundle
from partitioner.runtimes import Array


class Branches(torch.nn.Module):
    """A skip over many layers, an output made early, and a dict of outputs that are not in the order they are made."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.mid = torch.nn.Sequential(torch.nn.Conv2d(8, 8, 3, padding=1), torch.nn.ReLU())
        self.last = torch.nn.Conv2d(16, 4, 1)
        self.early = torch.nn.Linear(8, 5)

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> dict[str, torch.Tensor]:
        stem = torch.relu(self.stem(x))
        early = self.early(stem.mean((2, 3)))
        mid = self.mid(stem) + bias
        late = self.last(torch.cat([mid, stem], 1))
        return {"late": late, "early": early, "count": (late > 0).sum()}


class Words(torch.nn.Module):
    """Whole numbers and a mask come in, of a length that varies."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(50, 16)
        self.attend = torch.nn.MultiheadAttention(16, 2, batch_first=True)
        self.head = torch.nn.Linear(16, 4)

    def forward(self, ids: torch.Tensor, is_padding: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        words = self.embed(ids)
        found, _ = self.attend(words, words, words, key_padding_mask=is_padding, need_weights=False)
        pooled = (found + words).mean(1)
        return self.head(pooled), pooled


class Averages(torch.nn.Module):
    """A large input and little to do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x).reshape(100, -1).mean(1)


def branches() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    torch.manual_seed(0)
    return Branches().eval(), (torch.randn(1, 3, 12, 12), torch.randn(1, 8, 1, 1))


def words() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    torch.manual_seed(0)
    return Words().eval(), (torch.randint(0, 50, (1, 7)), torch.zeros(1, 7, dtype=torch.bool))


def averages() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    return Averages(), (torch.randn(100, 1024),)


def bulky() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    return Averages(), (torch.randn(100, 7864),)


def inputs_of(bundle: Bundle, *, seed: int = 0) -> dict[str, Array]:
    """Random inputs of a model without symbolic sizes."""
    rng = np.random.default_rng(seed)
    found: dict[str, Array] = {}
    for each in bundle.graph.inputs:
        shape = tuple(int(size) for size in each.value.shape)
        found[each.name] = rng.standard_normal(shape).astype(np.float32)
    return found


@contextmanager
def meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """Do something on another thread while the body runs; what it raises is raised at the end."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if failed:
        raise failed[0]


def records(out: str) -> list[dict[str, object]]:
    """What a command printed, one JSON object a line."""
    return [json.loads(line) for line in out.splitlines()]
