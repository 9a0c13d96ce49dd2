"""What makes a plan good, as small objects: each scores every row of a frozen table, and less is better.

An objective knows nothing of how candidates were made or of what is allowed, so one more (money) is one more class
here. Scores of a sum keep their units: a weight says what one unit is worth in the unit of the sum.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from partitioner.cost import IDLE, NO_ENERGY, BoolArray, CandidateTable, FloatArray, Load
from partitioner.errors import UsageError
from partitioner.link import Link

DEFAULT_TOLERANCE = 0.05
UNKNOWN_J = 1e100
"""What a candidate scores whose energy nobody knows, where another's is known: it is never best."""


class Objective(Protocol):
    """Scores candidates."""

    @property
    def name(self) -> str:
        """What it is called on a command line."""

    def scores(
        self, table: CandidateTable, link: Link, load: Load = IDLE, *, among: BoolArray | None = None
    ) -> FloatArray:
        """(n,) numbers, less is better; where rows are compared with each other, with those in ``among`` only."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Time from an input to its answer, in seconds."""

    @property
    def name(self) -> str:
        """What it is called on a command line."""
        return "latency"

    def scores(
        self, table: CandidateTable, link: Link, load: Load = IDLE, *, among: BoolArray | None = None
    ) -> FloatArray:
        """Latencies."""
        return table.price(link, load)


@dataclass(frozen=True, slots=True)
class Throughput:
    """Time between two answers of a stream of frames, in seconds: that of the slowest stage."""

    @property
    def name(self) -> str:
        """What it is called on a command line."""
        return "throughput"

    def scores(
        self, table: CandidateTable, link: Link, load: Load = IDLE, *, among: BoolArray | None = None
    ) -> FloatArray:
        """Times of the slowest stages."""
        return table.slowest_stage(link, load)


@dataclass(frozen=True, slots=True)
class Energy:
    """What a frame takes from the device, in joules."""

    @property
    def name(self) -> str:
        """What it is called on a command line."""
        return "energy"

    def scores(
        self, table: CandidateTable, link: Link, load: Load = IDLE, *, among: BoolArray | None = None
    ) -> FloatArray:
        """Joules; ``UNKNOWN_J`` where nobody knows.

        Raises:
            UsageError: nobody knows any.
        """
        if not table.has_energy:
            raise UsageError(f"energy cannot be compared: {NO_ENERGY}")
        energy_j = table.energy(link, load)
        return np.nan_to_num(energy_j, copy=False, nan=UNKNOWN_J)


@dataclass(frozen=True, slots=True)
class Upload:
    """Bytes that leave the device."""

    @property
    def name(self) -> str:
        """What it is called on a command line."""
        return "upload"

    def scores(
        self, table: CandidateTable, link: Link, load: Load = IDLE, *, among: BoolArray | None = None
    ) -> FloatArray:
        """Bytes."""
        return table.up_bytes


@dataclass(frozen=True, slots=True)
class Deviation:
    """What the codecs do to the answer: max|a-b| / max|b| of its outputs."""

    @property
    def name(self) -> str:
        """What it is called on a command line."""
        return "deviation"

    def scores(
        self, table: CandidateTable, link: Link, load: Load = IDLE, *, among: BoolArray | None = None
    ) -> FloatArray:
        """Deviations."""
        return table.deviation


@dataclass(frozen=True, slots=True)
class Weighted:
    """The sum of objectives, each times its weight.

    Raises:
        UsageError: there is none, or a weight is negative or not finite.
    """

    parts: tuple[tuple[Objective, float], ...]

    def __post_init__(self) -> None:
        for objective, weight in self.parts:
            if not (weight >= 0 and math.isfinite(weight)):
                raise UsageError(f"the weight of {objective.name} is {weight:g}, not 0 or more")
        if not any(weight > 0 for _, weight in self.parts):
            raise UsageError("a weighted objective takes at least one weight over 0")

    @property
    def name(self) -> str:
        """What it is called on a command line."""
        return "weighted:" + ",".join(f"{objective.name}={weight:g}" for objective, weight in self.parts)

    def scores(
        self, table: CandidateTable, link: Link, load: Load = IDLE, *, among: BoolArray | None = None
    ) -> FloatArray:
        """Weighted sums; what has no bound stays at the largest number there is."""
        with np.errstate(over="ignore"):
            total: FloatArray = sum(
                (weight * objective.scores(table, link, load, among=among) for objective, weight in self.parts),
                start=np.zeros(len(table)),
            )
        return np.minimum(total, sys.float_info.max, out=total)


@dataclass(frozen=True, slots=True)
class Lexicographic:
    """The first objective decides; of those within ``tolerance`` of its best the second, and so on.

    Raises:
        UsageError: there is no objective, or the tolerance is negative or not finite.
    """

    order: tuple[Objective, ...]
    tolerance: float = DEFAULT_TOLERANCE

    def __post_init__(self) -> None:
        if not self.order:
            raise UsageError("a lexicographic objective takes at least one objective")
        if not (self.tolerance >= 0 and math.isfinite(self.tolerance)):
            raise UsageError(f"the tolerance is {self.tolerance:g}, not 0 or more")

    @property
    def name(self) -> str:
        """What it is called on a command line."""
        return "lexicographic:" + ",".join([*(each.name for each in self.order), f"tolerance={self.tolerance:g}"])

    def scores(
        self, table: CandidateTable, link: Link, load: Load = IDLE, *, among: BoolArray | None = None
    ) -> FloatArray:
        """Ranks from 0: whoever drops out later is better, of those together the closest, then the fastest."""
        kept = np.ones(len(table), dtype=bool) if among is None else among.copy()
        survived = kept.astype(np.float64)
        last = np.zeros(len(table))
        for objective in self.order:
            scores = objective.scores(table, link, load, among=kept)
            np.copyto(last, scores, where=kept)
            best = scores[kept].min(initial=math.inf)
            if objective is not self.order[-1]:
                kept &= scores <= best * (1.0 + self.tolerance)
                survived += kept
        ranks = np.empty(len(table))
        ranks[np.lexsort((table.price(link, load), last, -survived))] = np.arange(len(table))
        return ranks


OBJECTIVES: Mapping[str, Objective] = {
    each.name: each for each in (Latency(), Throughput(), Energy(), Upload(), Deviation())
}
"""By name; these can be combined."""


def objective_of(text: str) -> Objective:
    """An objective from text such as ``latency``, ``weighted:latency=1,throughput=0.5`` or
    ``lexicographic:latency,upload,tolerance=0.1``.

    Raises:
        UsageError: it names none.
    """
    kind, colon, rest = text.partition(":")
    parts = [part.strip() for part in rest.split(",") if part.strip()]
    if kind == "weighted" and colon:
        weights = tuple((_named(name), _number(value, part)) for part, name, value in map(_pair, parts))
        _check_once([objective for objective, _ in weights])
        return Weighted(weights)
    if kind == "lexicographic" and colon:
        tolerance = DEFAULT_TOLERANCE
        order = []
        for part in parts:
            if part.startswith("tolerance="):
                tolerance = _number(part.partition("=")[2], part)
            else:
                order.append(_named(part))
        _check_once(order)
        return Lexicographic(tuple(order), tolerance)
    return _named(text.strip())


def _pair(part: str) -> tuple[str, str, str]:
    name, _, value = part.partition("=")
    return part, name.strip(), value


def _named(name: str) -> Objective:
    if name not in OBJECTIVES:
        raise UsageError(
            f"no objective {name!r}; choose from {', '.join(OBJECTIVES)}, weighted:NAME=WEIGHT,... "
            "or lexicographic:NAME,NAME,..."
        )
    return OBJECTIVES[name]


def _check_once(objectives: Sequence[Objective]) -> None:
    names = [each.name for each in objectives]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"{', '.join(twice)} is named twice in one objective")


def _number(text: str, part: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{part!r} is no weight such as latency=1") from None
