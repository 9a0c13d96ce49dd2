"""How much of the input a cut gives away: an indicator from sample inputs, no guarantee.

Two figures per cut. The *distance correlation* of inputs and crossing features is 0 where they are independent and 1
where one is a scaled and turned copy of the other. The *inversion error* is what a small inverter, trained to rebuild
the input from the features, still gets wrong on inputs it never saw, over what the mean input gets wrong: 0 is a
perfect copy, 1 is no better than knowing nothing. A stronger attacker may do better.

Source: Székely, Rizzo and Bakirov, "Measuring and testing dependence by correlation of distances", Annals of Statistics
2007; Vepakomma et al., "NoPeek", ICDMW 2020; He, Zhang and Lee, "Model inversion attacks against collaborative
inference", ACSAC 2019.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from partitioner.records import Fields

LeakageHow = Literal["measured", "bounded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CutLeakage:
    """What one cut gives away; ``inversion_error`` is None where no inverter was trained.

    ``bounded`` figures are those of the nearest measured cut before it, whose features are all that this one's are made
    of.
    """

    cut_id: str
    distance_correlation: float
    inversion_error: float | None = None
    how: LeakageHow = "measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakageProfile:
    """The leakage of one bundle's cuts on ``samples`` inputs; ``inverter`` says what was trained, and how long."""

    samples: int
    inverter: str
    cuts: tuple[CutLeakage, ...]

    def of(self, cut_id: str) -> CutLeakage | None:
        """The figures of one cut, where there are some."""
        return next((each for each in self.cuts if each.cut_id == cut_id), None)


def read_leakage(fields: Fields) -> LeakageProfile:
    """The leakage of a profile."""
    return LeakageProfile(
        samples=fields.whole("samples"), inverter=fields.text("inverter"), cuts=fields.records("cuts", _cut)
    )


def _cut(fields: Fields) -> CutLeakage:
    correlation = fields.optional_number("distance_correlation", at_most=1.0)
    return CutLeakage(
        cut_id=fields.text("cut_id"),
        distance_correlation=1.0 if correlation is None else correlation,
        inversion_error=fields.optional_number("inversion_error"),
        how=cast(LeakageHow, fields.text("how", among=("measured", "bounded"))),
    )
