"""Two profiles of one model side by side: two devices, two runtimes, two versions, or the same again.

A difference counts where it is larger than what measuring once more would make of it. The notch of a median is
1.57 * interquartile range / sqrt(runs): where the notches of two medians do not overlap, they differ with about 95 %
confidence. Medians also drift between one minute and the next, which runs in a row do not show: no notch is taken
to be narrower than half of how much whole runs varied (``noise_ratio``). Times that were not measured are set side by
side without a verdict.

Source: McGill, Tukey and Larsen, "Variations of box plots", The American Statistician 1978.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from partitioner.cutprofile import CutProfile, Timing
from partitioner.energy import Quantity
from partitioner.errors import ProfileError
from partitioner.profile import LayerProfile, Profile

T = TypeVar("T")
Verdict = Literal["less", "more", "same", "unknown"]

NOTCH = 1.57
_LEAST_RUNS = 3
_DEVICE = ("name", "machine", "cpu", "cores", "accelerator")
_RUNTIME = ("name", "device", "threads")


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """One time on either side; ``verdict`` is of ``b`` as against ``a``, ``unknown`` where one was not measured."""

    a: Timing
    b: Timing
    verdict: Verdict

    @property
    def ratio(self) -> float | None:
        """How many times as long it takes on ``b``; None where ``a`` takes no time."""
        return self.b.median_s / self.a.median_s if self.a.median_s > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Energies:
    """One energy on either side, likewise; 95 % intervals take the place of notches."""

    a: Quantity
    b: Quantity
    verdict: Verdict

    @property
    def ratio(self) -> float | None:
        """How many times as much ``b`` takes."""
        return self.b.value / self.a.value if self.a.value > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPair:
    """One layer on both sides."""

    a: LayerProfile
    b: LayerProfile
    forward: Times
    energy: Energies | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CutPair:
    """One cut on both sides; ``energy`` is of the front."""

    a: CutProfile
    b: CutProfile
    prefix: Times
    suffix: Times
    energy: Energies | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Something about the profiles themselves that is not the same."""

    what: str
    a: str
    b: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Both profiles, what tells them apart, and what they measured in pairs.

    ``is_same_model``: of one bundle. Otherwise they have the same layers, but other weights or sizes.
    """

    a: Profile
    b: Profile
    is_same_model: bool
    differences: tuple[Difference, ...]
    whole: Times
    whole_energy: Energies | None
    layers: tuple[LayerPair, ...]
    cuts: tuple[CutPair, ...]
    notes: tuple[str, ...]

    @property
    def times(self) -> list[Times]:
        """Every pair of times."""
        cuts = [time for each in self.cuts for time in (each.prefix, each.suffix)]
        return [self.whole, *(each.forward for each in self.layers), *cuts]

    @property
    def energies(self) -> list[Energies]:
        """Every pair of energies that are known."""
        pairs = [self.whole_energy, *(each.energy for each in self.layers), *(each.energy for each in self.cuts)]
        return [each for each in pairs if each is not None]


def compare(a: Profile, b: Profile) -> Comparison:
    """Set two profiles side by side.

    Raises:
        ProfileError: they are of different models, and their layers are not the same either.
    """
    is_same_model = a.model_digest == b.model_digest
    layers = _shared(a.layers, b.layers, lambda layer: layer.id)
    if not is_same_model and _architecture(a) != _architecture(b):
        raise ProfileError(
            f"these profiles are of different models, {_model(a)} and {_model(b)}, and so are their layers "
            f"({len(layers)} of {len(a.layers)} and {len(b.layers)} have the same names); profile one bundle twice"
        )
    cuts = _shared(a.cuts, b.cuts, lambda cut: cut.id)
    noise = (a.noise_ratio, b.noise_ratio)
    return Comparison(
        a=a,
        b=b,
        is_same_model=is_same_model,
        differences=tuple(differences(a, b)),
        whole=times(a.whole, b.whole, noise),
        whole_energy=energies(_whole_j(a), _whole_j(b)),
        layers=tuple(
            LayerPair(
                a=a.layers[i],
                b=b.layers[j],
                forward=times(a.layers[i].forward, b.layers[j].forward, noise),
                energy=energies(_layer_j(a, i), _layer_j(b, j)),
            )
            for i, j in layers
        ),
        cuts=tuple(_cuts(a, b, a.cuts[i], b.cuts[j], noise) for i, j in cuts),
        notes=tuple(_notes(a, b, is_same_model=is_same_model, layers=len(layers), cuts=len(cuts))),
    )


def times(a: Timing, b: Timing, noise: tuple[float, float]) -> Times:
    """Two times and whether they differ, for profiles whose whole runs varied by these ratios."""
    verdict: Verdict = "unknown"
    if a.how == b.how == "measured" and min(a.samples, b.samples) >= _LEAST_RUNS:
        verdict = _verdict(a.median_s, b.median_s, _notch_s(a, noise[0]) + _notch_s(b, noise[1]))
    return Times(a=a, b=b, verdict=verdict)


def energies(a: Quantity | None, b: Quantity | None) -> Energies | None:
    """Two energies and whether they differ; None where one is not known."""
    if a is None or b is None:
        return None
    verdict: Verdict = "unknown"
    if "assumed" not in (a.origin, b.origin) and a.interval > 0 and b.interval > 0:
        verdict = _verdict(a.value, b.value, math.hypot(a.interval, b.interval))
    return Energies(a=a, b=b, verdict=verdict)


def differences(a: Profile, b: Profile) -> list[Difference]:
    """What is not the same about the profiles: model, device, runtime, versions, sizes."""
    versions = sorted({*a.runtime.versions, *b.runtime.versions})
    named: list[tuple[str, str, str]] = [
        ("model", _model(a), _model(b)),
        ("weights", a.weights, b.weights),
        *((name, str(getattr(a.device, name)), str(getattr(b.device, name))) for name in _DEVICE),
        *((f"runtime {name}", str(getattr(a.runtime, name)), str(getattr(b.runtime, name))) for name in _RUNTIME),
        *((name, a.runtime.versions.get(name, ""), b.runtime.versions.get(name, "")) for name in versions),
        ("emulated slow-down", f"{a.slowdown:g}", f"{b.slowdown:g}"),
        ("sizes", _binding(a), _binding(b)),
        ("energy from", _meter(a), _meter(b)),
        ("made", a.created, b.created),
    ]
    return [Difference(what=what, a=left, b=right) for what, left, right in named if left != right]


def _verdict(a: float, b: float, margin: float) -> Verdict:
    if abs(a - b) <= margin:
        return "same"
    return "less" if b < a else "more"


def _notch_s(timing: Timing, noise_ratio: float) -> float:
    notch_s = NOTCH * timing.spread_s / math.sqrt(timing.samples)
    return max(notch_s, timing.median_s * noise_ratio / 2)


def _cuts(a: Profile, b: Profile, left: CutProfile, right: CutProfile, noise: tuple[float, float]) -> CutPair:
    fronts = [profile.energy.of(cut.id) if profile.energy else None for profile, cut in ((a, left), (b, right))]
    return CutPair(
        a=left,
        b=right,
        prefix=times(left.prefix, right.prefix, noise),
        suffix=times(left.suffix, right.suffix, noise),
        energy=energies(*(front.total_j if front else None for front in fronts)),
    )


def _whole_j(profile: Profile) -> Quantity | None:
    return profile.energy.whole_j if profile.energy else None


def _layer_j(profile: Profile, index: int) -> Quantity | None:
    return profile.energy.layers[index] if profile.energy else None


def _shared(a: Sequence[T], b: Sequence[T], key: Callable[[T], str]) -> list[tuple[int, int]]:
    """Where each of what both have stands in either, in the first one's order."""
    places = {key(each): index for index, each in enumerate(b)}
    return [(index, places[key(each)]) for index, each in enumerate(a) if key(each) in places]


def _notes(a: Profile, b: Profile, *, is_same_model: bool, layers: int, cuts: int) -> list[str]:
    notes = []
    if not is_same_model:
        notes.append("the profiles are of different bundles that have the same layers: their answers are not the same")
    if dict(a.binding) != dict(b.binding):
        notes.append("the profiles are of different sizes of input: ratios are of different work")
    for what, shared, counts in (
        ("layers", layers, (len(a.layers), len(b.layers))),
        ("cuts", cuts, (len(a.cuts), len(b.cuts))),
    ):
        if alone := sum(counts) - 2 * shared:
            notes.append(f"{alone} {what} are in one of them only")
    return notes


def _architecture(profile: Profile) -> list[tuple[str, str]]:
    return [(layer.id, layer.kind) for layer in profile.layers]


def _model(profile: Profile) -> str:
    return f"{profile.model_name} ({profile.model_digest[:12]})"


def _binding(profile: Profile) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(profile.binding.items())) or "none"


def _meter(profile: Profile) -> str:
    return f"{profile.energy.meter}: {profile.energy.source}" if profile.energy else "nothing"
