"""The demonstration: real models and pictures, two processes, three links, and what splitting gains on each.

A worker and the devices run as child processes through the same commands that a user types (``children``), and their
``--json`` is all that is read; between them stands a relay that shapes rate and delay. Nothing is known beforehand:
every prediction comes from profiles measured while the demonstration runs.

Two parts. The shipped digits model answers all held-out pictures whole and split, with every transform, for its
accuracy (``digits``). Two full-size networks answer photographs over each link in three ways: all on the device, all
in the cloud at its best, and split where the planner finds it best (``networks``). Their weights are random, so their
answers mean nothing but can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from partitioner.children import worker
from partitioner.demo import digits, networks
from partitioner.demo.digits import DigitsRow
from partitioner.demo.networks import NetworkRow, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration:
    """Everything that was found; ``notes`` say what makes predictions doubtful."""

    digits: tuple[DigitsRow, ...]
    networks: tuple[NetworkRow, ...]
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...] = ()

    @property
    def is_right(self) -> bool:
        """Whether every answer with an exact codec equals the whole model's."""
        exact = [row for row in self.networks if row.is_exact]
        return all(row.is_same_answer and row.max_rel_diff <= networks.EXACT_DIFF for row in exact)


def steps() -> int:
    """How often ``demonstrate`` calls ``advance``."""
    return 1 + digits.steps() + networks.steps()


def demonstrate(*, advance: Callable[[str], None] = lambda what: None) -> Demonstration:
    """Run all of it; takes about two minutes on two cores.

    Args:
        advance: called at the start of each step with what it does.

    Raises:
        CleftError: a child process failed, or pictures are missing.
    """
    advance("starting a worker (models are packed when first used)")
    with worker(("digits", *networks.NETWORKS)) as address:
        small = tuple(digits.answers(address, advance))
        notes: list[str] = []
        large = tuple(
            row for spec in networks.NETWORKS for row in networks.answers(spec, address, advance, notes.append)
        )
    return Demonstration(digits=small, networks=large, verdicts=tuple(networks.verdicts(large)), notes=tuple(notes))


def top1(outputs: Mapping[str, npt.NDArray[np.generic]]) -> str:
    """The winning class of the first output; what a device prints as its answer (``--post partitioner.demo:top1``)."""
    return f"class {int(np.argmax(next(iter(outputs.values()))))}"
