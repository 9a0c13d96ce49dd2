"""Which codec for which tensor: the choices at one cut that are worth pricing, within what the user allows.

An exact codec is always allowed. A lossy one only where the user gave a bound and a measurement met it: the deviation
of the model's outputs, or its accuracy on labelled samples. Where several tensors cross, each may have a codec of its
own. A mix was not measured as such, so its parts add up: bytes, times, deviations and losses of accuracy, the last two
raised by as much as a codec over all tensors at once was measured to do more than the sum of its parts.

The mixes kept are the Pareto set in bytes, times and deviation, found tensor by tensor (what is dominated in part stays
dominated in whole), in number at most ``MAX_MIXES``: of more, those that are fastest over some rate. With n tensors, c
codecs and fronts of k mixes that takes O(n c k^2); k is bounded too.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from partitioner.cutprofile import CodecCost, CutProfile, TensorCodecs
from partitioner.difference import INCOMPARABLE
from partitioner.errors import UsageError
from partitioner.plan import SOURCE

EXACT: tuple[str, ...] = (
    "none",
    "none+zstd",
    *(SOURCE, f"{SOURCE}+zstd"),
    *(f"{SOURCE}:{name}" for name in ("png", "webp", "fit", "fit-png", "fit-webp")),
)
"""Codecs that keep every number that the model sees; the only ones allowed without a bound."""

_LOSSY = (
    *(f"{name}{packing}" for packing in ("", "+zstd") for name in ("fp16", "int8", "int4")),
    *(f"{SOURCE}:{fit}{name}" for fit in ("", "fit-") for name in ("webp80", "webp90", "jpeg75", "jpeg90", "jpeg95")),
)

KNOWN: tuple[str, ...] = (*EXACT, *_LOSSY)
"""Every codec there is, by the names that the wire knows."""

MAX_MIXES = 16
_MAX_PARTS = 64
_RATES_BYTES_PER_S = tuple(10.0 ** (exponent / 8) for exponent in range(16, 81))
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """How far the answer may be from the exact one; with none of the three, not at all.

    ``max_accuracy_drop`` is taken from the exact model's accuracy on the labelled samples.
    """

    max_deviation: float | None = None
    min_accuracy: float | None = None
    max_accuracy_drop: float | None = None

    @property
    def is_given(self) -> bool:
        """Whether anything lossy may be chosen."""
        return (self.max_deviation, self.min_accuracy, self.max_accuracy_drop) != (None, None, None)

    @property
    def needs_labels(self) -> bool:
        """Whether it takes labelled samples to tell."""
        return self.min_accuracy is not None or self.max_accuracy_drop is not None

    def check_given(self, codecs: str) -> None:
        """Check that something lossy may be chosen.

        Raises:
            UsageError: no bound is given.
        """
        if not self.is_given:
            raise UsageError(
                f"{codecs} changes answers: say by how much it may, with --max-deviation, --min-accuracy or "
                "--max-accuracy-drop, or name a cut and its codec"
            )

    def least_accuracy(self, exact: float | None) -> float | None:
        """The accuracy that must be kept, given the exact model's; None where there is no such bound.

        Raises:
            UsageError: it is bounded, and the profile has none.
        """
        if self.needs_labels and exact is None:
            raise UsageError(
                "an accuracy is bounded, but this profile was measured without labels: "
                "profile with --samples DIR --sample-labels FILE"
            )
        if self.max_accuracy_drop is None or exact is None:
            return self.min_accuracy
        return max(exact - self.max_accuracy_drop - _ROUNDING, self.min_accuracy or 0.0)


EXACTLY = Bound()
"""No bound: nothing lossy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """A codec for everything that crosses (``codecs`` is empty) or for each tensor; ``label`` names it for people.

    ``encode_s`` is the device's, ``decode_s`` the worker's. ``accuracy`` is None without labelled samples.
    """

    label: str
    codecs: Mapping[str, str] = field(default_factory=dict)
    up_bytes: int
    encode_s: float
    decode_s: float
    deviation: float = 0.0
    accuracy: float | None = None


def check_known(codecs: Iterable[str]) -> None:
    """Check that there are such codecs.

    Raises:
        UsageError: there are not; says which there are.
    """
    if unknown := [codec for codec in codecs if codec not in KNOWN]:
        near = difflib.get_close_matches(unknown[0], KNOWN, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise UsageError(f"there is no codec {', '.join(unknown)}{hint}; the codecs are {', '.join(KNOWN)}")


def is_exact(label: str) -> bool:
    """Whether a codec, or every codec of a mix, keeps every number."""
    parsed = parse(label)
    return all(codec in EXACT for codec in ([parsed] if isinstance(parsed, str) else parsed.values()))


def sends_source(label: str) -> bool:
    """Whether the original input is sent, as it is or re-encoded."""
    return label == SOURCE or label.startswith((f"{SOURCE}+", f"{SOURCE}:"))


def is_fitted(label: str) -> bool:
    """Whether the original input is resized and cropped first: its bytes then do not depend on the original's."""
    return label == f"{SOURCE}:fit" or label.startswith(f"{SOURCE}:fit-")


def parse(label: str) -> str | dict[str, str]:
    """One codec, or a codec by tensor of a label such as ``a=int8+zstd,b=none``.

    Raises:
        UsageError: a part names no tensor or no codec, or a tensor comes twice.
    """
    if "=" not in label:
        return label
    found: dict[str, str] = {}
    for part in label.split(","):
        name, _, codec = (each.strip() for each in part.rpartition("="))
        if not name or not codec or name in found:
            raise UsageError(f"{label[:80]!r} is no list of codecs such as a=int8+zstd,b=none, each tensor once")
        found[name] = codec
    return found


def mixes(
    edge_cut: CutProfile,
    cloud_cut: CutProfile,
    *,
    codecs: Collection[str] | None = None,
    max_deviation: float | None = None,
    min_accuracy: float | None = None,
    accuracy: float | None = None,
    far_ratio: float = 1.0,
) -> tuple[Mix, ...]:
    """What may be chosen at a cut, fewest bytes first: every allowed codec on all that crosses, then mixes of them.

    Args:
        edge_cut: the cut in the device's profile. Deviations are its own; the worker's where it measured none.
        cloud_cut: the same cut in the worker's.
        codecs: those to consider; None considers every measured one.
        max_deviation: allow a lossy codec whose deviation is at most this.
        min_accuracy: allow a lossy codec that keeps this accuracy. Of two bounds both must hold.
        accuracy: the exact model's on the labelled samples.
        far_ratio: the worker's time over the device's, for re-encoded input, which only the device measured.
    """
    rule = _Rule(codecs, max_deviation, min_accuracy, accuracy)
    uniform = [
        Mix(
            label=cost.codec,
            up_bytes=cost.up_bytes,
            encode_s=cost.encode_s,
            decode_s=far.decode_s,
            deviation=figures.deviation,
            accuracy=figures.accuracy,
        )
        for cost, far in _pairs(edge_cut.codecs, cloud_cut.codecs, far_ratio)
        if rule.considers(cost.codec) and (figures := rule.figures(cost, far)) is not None and rule.allows(figures)
    ]
    mixed = _mixed(edge_cut, cloud_cut, rule) if len(edge_cut.tensor_codecs) > 1 else []
    order = sorted(enumerate((*uniform, *mixed)), key=lambda each: (each[1].up_bytes, each[0]))
    return tuple(mix for _, mix in order)


@dataclass(frozen=True, slots=True)
class _Figures:
    """What a choice does to the answer; an exact one nothing."""

    deviation: float
    accuracy: float | None
    is_exact: bool


@dataclass(frozen=True, slots=True)
class _Rule:
    codecs: Collection[str] | None
    max_deviation: float | None
    min_accuracy: float | None
    accuracy: float | None

    def considers(self, codec: str) -> bool:
        return self.codecs is None or codec in self.codecs

    def figures(self, cost: CodecCost, far: CodecCost) -> _Figures | None:
        """The figures of whichever side measured them; None where neither did."""
        if cost.codec in EXACT:
            return _Figures(0.0, self.accuracy, True)
        known = far if cost.deviation is None else cost
        return None if known.deviation is None else _Figures(known.deviation, known.accuracy, False)

    def allows(self, figures: _Figures) -> bool:
        if figures.is_exact:
            return True
        if self.max_deviation is None and self.min_accuracy is None:
            return False
        keeps = self.min_accuracy is None or (figures.accuracy is not None and figures.accuracy >= self.min_accuracy)
        return keeps and (self.max_deviation is None or figures.deviation <= self.max_deviation)


def _pairs(
    near: Sequence[CodecCost], far: Sequence[CodecCost], far_ratio: float
) -> Iterator[tuple[CodecCost, CodecCost]]:
    """Each codec as both sides measured it; what only the device did with the original input is scaled."""
    there = {cost.codec: cost for cost in far}
    for cost in near:
        if cost.codec in there:
            yield cost, there[cost.codec]
        elif cost.codec == SOURCE and "none" in there:
            yield cost, there["none"]
        elif sends_source(cost.codec):
            yield cost, replace(cost, decode_s=cost.decode_s * far_ratio)


@dataclass(frozen=True, slots=True)
class _Part:
    """A choice for the first few tensors; ``loss`` is of accuracy: infinite where it is not known."""

    codecs: tuple[str, ...]
    up_bytes: int
    encode_s: float
    decode_s: float
    deviation: float
    loss: float

    @property
    def amounts(self) -> tuple[float, ...]:
        return self.up_bytes, self.encode_s, self.decode_s, self.deviation, self.loss

    def plus(self, other: _Part) -> _Part:
        return _Part(
            (*self.codecs, *other.codecs),
            self.up_bytes + other.up_bytes,
            self.encode_s + other.encode_s,
            self.decode_s + other.decode_s,
            self.deviation + other.deviation,
            self.loss + other.loss,
        )


def _mixed(edge_cut: CutProfile, cloud_cut: CutProfile, rule: _Rule) -> list[Mix]:
    far = {each.name: each for each in cloud_cut.tensor_codecs}
    excess = _excess(edge_cut, rule)
    front = [_Part((), 0, 0.0, 0.0, 0.0, 0.0)]
    for tensor in edge_cut.tensor_codecs:
        options = list(_options(tensor, far.get(tensor.name), rule, excess))
        grown = (part.plus(option) for part in front for option in options)
        front = _fewer(_front(part for part in grown if _is_within(part, rule)), _MAX_PARTS)
    names = [tensor.name for tensor in edge_cut.tensor_codecs]
    return [_mix(names, part, rule) for part in _fewer(front, MAX_MIXES) if len(set(part.codecs)) > 1]


def _options(tensor: TensorCodecs, far: TensorCodecs | None, rule: _Rule, excess: float) -> Iterator[_Part]:
    for cost, other in _pairs(tensor.codecs, far.codecs if far is not None else (), 1.0):
        figures = rule.figures(cost, other)
        if not rule.considers(cost.codec) or figures is None:
            continue
        if not figures.is_exact and rule.max_deviation is None and rule.min_accuracy is None:
            continue
        loss = 0.0
        if not figures.is_exact:
            is_known = rule.accuracy is not None and figures.accuracy is not None
            loss = max(0.0, (rule.accuracy or 0.0) - (figures.accuracy or 0.0)) * excess if is_known else math.inf
        yield _Part((cost.codec,), cost.up_bytes, cost.encode_s, other.decode_s, figures.deviation * excess, loss)


def _excess(cut: CutProfile, rule: _Rule) -> float:
    """How many times more a codec over all tensors deviates than its parts add up to, at the worst; at least 1."""
    worst = 1.0
    for cost in cut.codecs:
        parts = [part.deviation for each in cut.tensor_codecs for part in each.codecs if part.codec == cost.codec]
        known = [part for part in parts if part is not None]
        if cost.deviation and len(known) == len(cut.tensor_codecs) and rule.considers(cost.codec) and sum(known) > 0:
            worst = max(worst, cost.deviation / sum(known))
    return min(worst, INCOMPARABLE)


def _is_within(part: _Part, rule: _Rule) -> bool:
    if rule.max_deviation is not None and part.deviation > rule.max_deviation:
        return False
    if rule.min_accuracy is None or all(codec in EXACT for codec in part.codecs):
        return True
    return rule.accuracy is not None and rule.accuracy - part.loss >= rule.min_accuracy - _ROUNDING


def _front(parts: Iterable[_Part]) -> list[_Part]:
    """Those that no other is at least as good as in every amount; of equal ones the first."""
    ranked = sorted(parts, key=lambda each: each.amounts)
    amounts = np.array([part.amounts for part in ranked], dtype=np.float64)
    kept: list[int] = []
    found = np.empty_like(amounts)
    for row, mine in enumerate(amounts):
        if not (found[: len(kept)] <= mine).all(axis=1).any():
            found[len(kept)] = mine
            kept.append(row)
    return [ranked[row] for row in kept]


def _fewer(front: list[_Part], most: int) -> list[_Part]:
    """At most so many: those that are fastest over some rate, and of these an even share."""
    if len(front) <= most:
        return front
    fastest = [
        min(front, key=lambda part: part.up_bytes / rate + part.encode_s + part.decode_s) for rate in _RATES_BYTES_PER_S
    ]
    kept = list(dict.fromkeys(fastest))
    if len(kept) > most:
        kept = [kept[index * (len(kept) - 1) // (most - 1)] for index in range(most)]
    return kept


def _mix(names: Sequence[str], part: _Part, rule: _Rule) -> Mix:
    chosen = dict(zip(names, part.codecs, strict=True))
    return Mix(
        label=",".join(f"{name}={codec}" for name, codec in chosen.items()),
        codecs=chosen,
        up_bytes=part.up_bytes,
        encode_s=part.encode_s,
        decode_s=part.decode_s,
        deviation=min(part.deviation, INCOMPARABLE),
        accuracy=None if rule.accuracy is None or part.loss == math.inf else max(0.0, rule.accuracy - part.loss),
    )
