"""What a plan must keep: limits on memory, time, energy, bytes, the answer and what leaks, and layers that stay.

Each limit is one column of numbers over a frozen table and one bound, so what is feasible is a few vectorised
comparisons. Where nothing is, the smallest set of limits that contradict each other is named (by leaving one after the
other out, Chinneck and Dravnieks' deletion filter), with the nearest value of each at which there is a plan while all
the others hold.

Source: Chinneck and Dravnieks, "Locating minimal infeasible constraint sets in linear programs", ORSA JoC 1991.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from partitioner.cost import IDLE, NO_ENERGY, BoolArray, Candidate, CandidateTable, FloatArray, Load
from partitioner.difference import INCOMPARABLE
from partitioner.errors import PlanError, UsageError
from partitioner.link import Link
from partitioner.units import size_flag

_NO_LEAKAGE = (
    "no profile says what a cut gives away: measure it with `cleft-plan leakage MODEL --samples DIR "
    "--profile edge.json -o edge.json`"
)
_NO_INVERTER = "no inverter was trained when leakage was measured: run `cleft-plan leakage` where torch is"


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """What is asked of a plan; None and empty ask nothing.

    Memory is a side's weights and the peak of what it computes. ``min_accuracy`` is of labelled samples. What crosses
    has a distance correlation of at most ``max_leakage`` with the input, and an inverter that errs by at least
    ``min_inversion_error``; a cut without such a figure is refused. ``pinned`` layers stay on the device, named by
    their id or by a module that holds them; ``min_depth`` keeps the first layers.

    Raises:
        UsageError: a number is negative or not finite.
    """

    max_edge_bytes: int | None = None
    max_cloud_bytes: int | None = None
    deadline_s: float | None = None
    max_up_bytes: int | None = None
    max_deviation: float | None = None
    min_accuracy: float | None = None
    max_energy_j: float | None = None
    max_leakage: float | None = None
    min_inversion_error: float | None = None
    pinned: tuple[str, ...] = ()
    min_depth: int = 0

    def __post_init__(self) -> None:
        faults = [
            f"{each.name} is {value:g}"
            for each in fields(self)
            if isinstance(value := getattr(self, each.name), int | float) and not (value >= 0 and math.isfinite(value))
        ]
        if faults:
            raise UsageError(f"these constraints make no sense: {'; '.join(faults)}")

    def within(self, max_deviation: float | None, min_accuracy: float | None) -> Constraints:
        """The same with these bounds on the answer; None leaves one as it is."""
        return replace(
            self,
            max_deviation=self.max_deviation if max_deviation is None else max_deviation,
            min_accuracy=self.min_accuracy if min_accuracy is None else min_accuracy,
        )

    @property
    def bounds_the_answer(self) -> bool:
        """Whether it says how far an answer may be off, and so admits lossy codecs."""
        return self.max_deviation is not None or self.min_accuracy is not None

    @property
    def bounds_memory(self) -> bool:
        """Whether it says how much memory a side may take."""
        return self.max_edge_bytes is not None or self.max_cloud_bytes is not None

    @property
    def bounds_leakage(self) -> bool:
        """Whether it says how much of the input may be given away."""
        return self.max_leakage is not None or self.min_inversion_error is not None

    @property
    def depends_on_link(self) -> bool:
        """Whether it asks for what a link decides."""
        return self.deadline_s is not None or self.max_energy_j is not None

    @property
    def is_wide(self) -> bool:
        """Whether what keeps it may lie apart from what is fastest at some rate."""
        return (
            self.bounds_memory or self.bounds_leakage or self.max_up_bytes is not None or self.max_energy_j is not None
        )

    @property
    def leaves_out_candidates(self) -> bool:
        """Whether some are not looked for, which another limit would allow."""
        return self.bounds_the_answer or self.bounds_memory or self.max_up_bytes is not None

    def kept(self, layers: Sequence[str]) -> dict[str, frozenset[int]]:
        """Which layers each pin keeps on the device.

        Raises:
            UsageError: a pin names none of the layers.
        """
        found = {name: frozenset(_matching(name, layers)) for name in self.pinned}
        if unknown := [name for name, indices in found.items() if not indices]:
            raise UsageError(
                f"the model has no layer {', '.join(map(repr, unknown))} to keep on the device; "
                "cleft-plan cuts lists cuts after each"
            )
        return found

    def limits(self, table: CandidateTable) -> tuple[Limit, ...]:
        """The limits that do not depend on the link.

        Raises:
            UsageError: a pin names no layer, or nobody knows what is limited.
        """
        return tuple(self._limits(table))

    def _limits(self, table: CandidateTable) -> Iterator[Limit]:
        if self.max_edge_bytes is not None:
            yield Limit("--max-edge-memory", self.max_edge_bytes, table.edge_bytes, is_size=True)
        if self.max_cloud_bytes is not None:
            yield Limit("--max-cloud-memory", self.max_cloud_bytes, table.cloud_bytes, is_size=True)
        if self.max_up_bytes is not None:
            yield Limit("--max-upload", self.max_up_bytes, table.up_bytes, is_size=True)
        if self.max_deviation is not None:
            yield Limit("--max-deviation", self.max_deviation, table.deviation)
        if self.min_accuracy is not None:
            yield Limit("--min-accuracy", self.min_accuracy, _accuracies(table), is_least=True)
        if self.max_leakage is not None:
            if not table.has_leakage:
                raise UsageError(f"--max-leakage: {_NO_LEAKAGE}")
            yield Limit("--max-leakage", self.max_leakage, table.leakage)
        if self.min_inversion_error is not None:
            if not table.has_inversion:
                raise UsageError(f"--min-inversion-error: {_NO_LEAKAGE if not table.has_leakage else _NO_INVERTER}")
            yield Limit("--min-inversion-error", self.min_inversion_error, table.inversion_error, is_least=True)
        if self.min_depth:
            depths = np.array([_depth(candidate) for candidate in table.candidates], dtype=np.float64)
            yield Limit("--min-depth", self.min_depth, depths, is_least=True)
        for name, layers in self.kept(table.layers).items():
            leaves = np.array([not candidate.keeps(layers) for candidate in table.candidates], dtype=np.float64)
            yield Limit(f"--pin {name}", 0, leaves, is_switch=True)

    def on_link(self, table: CandidateTable, link: Link, load: Load = IDLE) -> tuple[Limit, ...]:
        """The limits that depend on the link.

        Raises:
            UsageError: energy is limited, and nobody knows it.
        """
        found = []
        if self.deadline_s is not None:
            found.append(Limit("--deadline", self.deadline_s, table.price(link, load), scale=1e3, unit="ms"))
        if self.max_energy_j is not None:
            if not table.has_energy:
                raise UsageError(f"--max-energy: {NO_ENERGY}")
            found.append(Limit("--max-energy", self.max_energy_j, table.energy(link, load), unit="J"))
        return tuple(found)

    def check(self, table: CandidateTable, link: Link, load: Load = IDLE) -> BoolArray:
        """Which candidates keep all limits: (n,).

        Raises:
            Infeasible: none does.
        """
        limits = (*self.limits(table), *self.on_link(table, link, load))
        kept = feasible(limits, len(table))
        if not kept.any():
            raise Infeasible.of(limits, table)
        return kept


ANYTHING = Constraints()
"""Nothing is asked."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One bound on one column of a table: at most (or at least) ``asked``.

    A switch is kept or not and has no value; a size is in bytes.
    """

    name: str
    asked: float
    values: FloatArray
    is_least: bool = False
    is_switch: bool = False
    is_size: bool = False
    scale: float = 1.0
    unit: str = ""

    @property
    def kept(self) -> BoolArray:
        """Which rows keep it."""
        return self.values >= self.asked if self.is_least else self.values <= self.asked

    def nearest(self, among: BoolArray) -> float | None:
        """The value nearest to what was asked at which a row among these keeps it; None where there is none."""
        values = self.values[among & np.isfinite(self.values) & (self.values < INCOMPARABLE)]
        if not len(values):
            return None
        return float(values.max() if self.is_least else values.min())

    def write(self, value: float) -> str:
        """The flag with a value."""
        if self.is_switch:
            return self.name
        if self.is_size:
            return f"{self.name} {size_flag(math.ceil(value))}"
        scaled = value * self.scale
        return f"{self.name} {f'{scaled:.0f}' if scaled.is_integer() else f'{scaled:.6g}'}{self.unit}"

    def change(self, value: float) -> str:
        """What to ask instead: four digits, the last one raised (or lowered) so that what keeps it does."""
        if self.is_switch or not abs(value) < INCOMPARABLE:
            return f"leave out {self.name}"
        if self.is_size:
            return f"{self.name} {size_flag(math.ceil(value), is_rounded=True)}"
        scaled = value * self.scale
        texts = [f"{scaled:.0f}"] if scaled.is_integer() else []
        texts += [f"{scaled:.4g}", f"{scaled * (0.999 if self.is_least else 1.001):.4g}"]
        return f"{self.name} {next((text for text in texts if self._admits(text, value)), texts[-1])}{self.unit}"

    def _admits(self, text: str, value: float) -> bool:
        """Whether what people read, read again, is kept by a value."""
        asked = float(text) * (1 / self.scale)
        return value >= asked if self.is_least else value <= asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """One of the limits that contradict each other; ``nearest`` is None where changing it alone helps nothing."""

    name: str
    asked: float
    nearest: float | None


class Infeasible(PlanError):
    """No plan keeps all that is asked: ``conflicts`` is a smallest set of limits that contradict each other.

    ``nearest`` is the candidate that is the least beyond its worst limit, where changing one limit is not enough.
    """

    def __init__(self, message: str, *, conflicts: tuple[Conflict, ...], nearest: Candidate | None) -> None:
        super().__init__(message)
        self.conflicts = conflicts
        self.nearest = nearest

    @staticmethod
    def of(limits: Sequence[Limit], table: CandidateTable) -> Infeasible:
        """Name what contradicts, for limits that no row keeps all of."""
        core = _core(limits, len(table))
        changes = []
        conflicts = []
        for limit in core:
            others = feasible([each for each in limits if each is not limit], len(table))
            value = limit.nearest(others)
            conflicts.append(Conflict(name=limit.name, asked=limit.asked, nearest=value))
            if value is not None:
                changes.append(limit.change(value))
        asked = " with ".join(limit.write(limit.asked) for limit in core)
        if changes:
            hint = f"the nearest that works, with the rest kept: {', or '.join(changes)}"
            return Infeasible(f"no plan keeps {asked}; {hint}", conflicts=tuple(conflicts), nearest=None)
        row = _nearest_row(limits)
        broken = ", ".join(limit.change(float(limit.values[row])) for limit in limits if not limit.kept[row])
        candidate = table.candidates[row]
        hint = f"no single change is enough; {candidate.cut} ({candidate.codec}) takes {broken}"
        return Infeasible(f"no plan keeps {asked}; {hint}", conflicts=tuple(conflicts), nearest=candidate)


def feasible(limits: Sequence[Limit], rows: int) -> BoolArray:
    """Which rows keep all limits: (n,)."""
    kept = np.ones(rows, dtype=np.bool_)
    for limit in limits:
        kept &= limit.kept
    return kept


def _core(limits: Sequence[Limit], rows: int) -> list[Limit]:
    """A smallest set that still contradicts: what can be left out is, one after the other."""
    core = list(limits)
    for limit in limits:
        fewer = [each for each in core if each is not limit]
        if not feasible(fewer, rows).any():
            core = fewer
    return core


def _nearest_row(limits: Sequence[Limit]) -> int:
    """The row whose worst excess over what is asked, relative to it, is least."""
    excesses = []
    for limit in limits:
        beyond = limit.asked - limit.values if limit.is_least else limit.values - limit.asked
        with np.errstate(over="ignore"):
            excesses.append(np.maximum(beyond, 0.0) / max(abs(limit.asked), 1e-12))
    return int(np.argmin(np.nan_to_num(np.max(excesses, axis=0), nan=np.inf)))


def _accuracies(table: CandidateTable) -> FloatArray:
    """Of labelled samples; what is exact keeps any accuracy, what was not measured keeps none."""
    unknown = -math.inf
    return np.array(
        [
            math.inf if each.deviation == 0 else unknown if each.accuracy is None else each.accuracy
            for each in table.candidates
        ]
    )


def _depth(candidate: Candidate) -> int:
    """How many of the first layers stay on the device."""
    if candidate.edge_layers is None:
        return candidate.depth
    depth = 0
    while depth in candidate.edge_layers:
        depth += 1
    return depth


def _matching(name: str, layers: Sequence[str]) -> Iterator[int]:
    """Layers of this id, or in the module of this name; a call's index may follow a name."""
    for index, layer in enumerate(layers):
        if layer == name or layer.startswith((f"{name}.", f"{name}#")):
            yield index
