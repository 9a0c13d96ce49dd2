"""How much of the input a cut gives away: an indicator from sample inputs, no guarantee.

Two figures per cut. The *distance correlation* of inputs and crossing features is 0 where they are independent and 1
where one is a scaled and turned copy of the other. The *inversion error* is what a small inverter, trained to rebuild
the input from the features, still gets wrong on inputs it never saw, over what the mean input gets wrong: 0 is a
perfect copy, 1 is no better than knowing nothing. A stronger attacker may do better.

What crosses at a later cut is computed from what crosses at an earlier one, so the best attacker on the later one does
no better (the data processing inequality; a codec is one such computation). That bounds the inversion error of cuts
that were not measured. Distance correlation has no such law: a layer may drop what only hid the input. There the larger
of the two measured neighbours stands in, as an estimate.

Source: Székely, Rizzo and Bakirov, "Measuring and testing dependence by correlation of distances", Annals of Statistics
2007; Vepakomma et al., "NoPeek", ICDMW 2020; He, Zhang and Lee, "Model inversion attacks against collaborative
inference", ACSAC 2019.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from typing import Literal, cast

from partitioner.records import Fields

LeakageHow = Literal["measured", "defined", "bounded"]
HOWS: tuple[LeakageHow, ...] = ("measured", "defined", "bounded")

Kept = int | Set[int]
"""The layers that a cut keeps on the device: the first so many, or their indices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutLeakage:
    """What one cut gives away; ``inversion_error`` is None where no inverter was trained, ``inverter`` the best one.

    The intervals are half of the 95 % ones over the choice of samples, 0 where they are not known. *Defined* are those
    of the two ends: all-cloud sends the input itself (correlation 1, error 0), all-local nothing (0 and 1). *Bounded*
    ones come from measured cuts around it, see ``bounded``.
    """

    cut_id: str
    distance_correlation: float
    interval: float = 0.0
    how: LeakageHow = "measured"
    inversion_error: float | None = None
    inversion_interval: float = 0.0
    inversion_how: LeakageHow = "measured"
    inverter: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakageProfile:
    """The leakage of one bundle's cuts on ``samples`` inputs; ``inverter`` says what was trained, and how long."""

    samples: int
    inverter: str
    cuts: tuple[CutLeakage, ...]

    def of(self, cut_id: str) -> CutLeakage | None:
        """The figures of one cut, where there are some."""
        return next((each for each in self.cuts if each.cut_id == cut_id), None)


def everything(cut_id: str) -> CutLeakage:
    """The figures of the cut that sends the input itself."""
    return CutLeakage(
        cut_id=cut_id, distance_correlation=1.0, how="defined", inversion_error=0.0, inversion_how="defined"
    )


def nothing(cut_id: str) -> CutLeakage:
    """The figures of the cut at which nothing crosses."""
    return CutLeakage(
        cut_id=cut_id, distance_correlation=0.0, how="defined", inversion_error=1.0, inversion_how="defined"
    )


def bounded(leakage: LeakageProfile, kept: Mapping[str, Kept]) -> dict[str, CutLeakage]:
    """The figures of every cut of ``kept``, by its id: those it has, and bounds in place of those it lacks.

    A bound on the inversion error is that of the nearest cut before it (of those whose layers it keeps, the one with
    the most) that has one; where there is none, that of sending the input itself. The distance correlation is the
    larger one of the nearest cuts before and after it.
    """
    spans = {cut_id: _Span.of(layers) for cut_id, layers in kept.items()}
    known = [(spans[each.cut_id], each) for each in leakage.cuts if each.cut_id in spans]
    by_id = {each.cut_id: each for _, each in known}
    has_inverter = any(each.inversion_error is not None for _, each in known if each.inversion_how == "measured")
    found: dict[str, CutLeakage] = {}
    for cut_id, span in spans.items():
        own = by_id.get(cut_id)
        if own is None:
            before = _nearest(known, span, is_before=True) or everything("")
            after = _nearest(known, span, is_before=False) or before
            worst = max(before, after, key=lambda each: each.distance_correlation)
            own = CutLeakage(
                cut_id=cut_id,
                distance_correlation=worst.distance_correlation,
                interval=worst.interval,
                how="bounded",
                inversion_how="bounded",
            )
        if own.inversion_error is None and has_inverter:
            tried = [(each_span, each) for each_span, each in known if each.inversion_error is not None]
            attacked = _nearest(tried, span, is_before=True) or everything("")
            own = replace(
                own,
                inversion_error=attacked.inversion_error,
                inversion_interval=attacked.inversion_interval,
                inversion_how="bounded",
            )
        found[cut_id] = own
    return found


def composed(leakage: LeakageProfile, kept: Mapping[str, Kept]) -> LeakageProfile:
    """The leakage after letting every attacker run the layers in between: he may invert what crosses later instead.

    So no cut's inversion error is larger than that of a cut after it. Cuts that are not in ``kept`` stay as they are.
    """
    spans = {cut_id: _Span.of(layers) for cut_id, layers in kept.items()}

    def best(cut: CutLeakage) -> CutLeakage:
        if cut.cut_id not in spans or cut.inversion_error is None or cut.inversion_how != "measured":
            return cut
        after = [
            (each.inversion_error, each.inversion_interval)
            for each in leakage.cuts
            if each.cut_id in spans
            and each.inversion_error is not None
            and spans[cut.cut_id].is_within(spans[each.cut_id])
        ]
        error, interval = min(after)
        return replace(cut, inversion_error=error, inversion_interval=interval)

    return replace(leakage, cuts=tuple(best(each) for each in leakage.cuts))


def read_leakage(fields: Fields) -> LeakageProfile:
    """The leakage of a profile."""
    return LeakageProfile(
        samples=fields.whole("samples"), inverter=fields.text("inverter"), cuts=fields.records("cuts", _cut)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """A closed set of ``count`` layers: its first ``lead`` indices are 0, 1, ...; all of them are below ``end``."""

    count: int
    lead: int
    end: int
    layers: Set[int] | None = None

    @classmethod
    def of(cls, kept: Kept) -> _Span:
        if isinstance(kept, int):
            return cls(count=kept, lead=kept, end=kept)
        lead = next(index for index in range(len(kept) + 1) if index not in kept)
        return cls(count=len(kept), lead=lead, end=max(kept, default=-1) + 1, layers=kept)

    def is_within(self, other: _Span) -> bool:
        """Whether the other set holds all of this one."""
        if self.end <= other.lead:
            return True
        return self.layers is not None and other.layers is not None and self.layers <= other.layers


def _nearest(known: Iterable[tuple[_Span, CutLeakage]], span: _Span, *, is_before: bool) -> CutLeakage | None:
    """Of the cuts within this one, the one with the most layers; or of those that hold it, the one with the fewest."""
    if is_before:
        within = [(each.count, cut) for each, cut in known if each.is_within(span)]
        return max(within, key=_count)[1] if within else None
    holding = [(each.count, cut) for each, cut in known if span.is_within(each)]
    return min(holding, key=_count)[1] if holding else None


def _count(pair: tuple[int, CutLeakage]) -> int:
    return pair[0]


def _cut(fields: Fields) -> CutLeakage:
    correlation = fields.number("distance_correlation")
    if correlation > 1.0:
        fields.fault("distance_correlation", f"is {correlation:g}, not a number from 0 to 1")
    return CutLeakage(
        cut_id=fields.text("cut_id"),
        distance_correlation=correlation,
        interval=fields.number("interval"),
        how=cast(LeakageHow, fields.text("how", among=HOWS)),
        inversion_error=fields.optional_number("inversion_error"),
        inversion_interval=fields.number("inversion_interval"),
        inversion_how=cast(LeakageHow, fields.text("inversion_how", among=HOWS)),
        inverter=fields.text("inverter"),
    )
