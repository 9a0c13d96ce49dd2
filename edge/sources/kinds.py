"""What every source of inputs is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from partitioner.errors import InputError
from partitioner.graph import Value
from partitioner.inputs import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What inputs are read for: a model's tensors, and its record for pictures."""

    values: tuple[Value, ...]
    preprocess: Mapping[str, object] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """One input, or why it cannot be read. ``share`` is its part of the item that it came in, 1 where it is alone."""

    name: str
    sample: Sample | None
    error: InputError | None = None
    share: float = 1.0


class Source(Protocol):
    """Inputs, drawn one by one as they are asked for; each is iterated once."""

    @property
    def count(self) -> int | None:
        """How many items there are; None where that shows only at the end."""

    @property
    def is_live(self) -> bool:
        """Whether what is not taken in time is gone."""

    def __iter__(self) -> Iterator[Drawn]: ...


def drawn(samples: Sequence[Sample]) -> Iterator[Drawn]:
    """The samples of one item."""
    for sample in samples:
        yield Drawn(name=sample.name, sample=sample, share=1 / len(samples))


def unreadable(name: str, error: InputError) -> Drawn:
    """An item that cannot be read."""
    return Drawn(name=name, sample=None, error=error)
