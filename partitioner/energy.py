"""What was found out about a device's energy: power at rest and at work, and what each front takes.

Every number says where it comes from. *Measured*: a meter read it on this device. *Modelled*: computed from measured
numbers, such as a layer's share of the fronts around it. *Assumed*: it rests on a data sheet, or on other people's
devices. What is put together from several is as weak as the weakest of them (``weakest``). A number that nobody knows
is None, never 0.

An energy is a whole device's, its idle power included (power at work times time); ``net_j`` is what came on top of
idling. Joules, watts, seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

from partitioner.records import Fields

Origin = Literal["measured", "modelled", "assumed"]
Scope = Literal["board", "package", "accelerator", "unknown"]

ORIGINS: tuple[Origin, ...] = ("measured", "modelled", "assumed")
"""Strongest first."""
SCOPES: tuple[Scope, ...] = ("board", "package", "accelerator", "unknown")


def weakest(*origins: Origin) -> Origin:
    """Where something comes from that was put together from these; of nothing, ``measured``."""
    return max(origins, key=ORIGINS.index, default="measured")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A number of joules or watts; ``interval`` is half of its 95 % interval, 0 where that is not known."""

    value: float
    interval: float = 0.0
    origin: Origin

    def times(self, factor: float, origin: Origin = "measured") -> Quantity:
        """The product with a number of this origin."""
        return Quantity(value=self.value * factor, interval=self.interval * factor, origin=weakest(self.origin, origin))


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixEnergy:
    """What the edge side of a cut takes, preprocessing not included; deeper ones never take less."""

    cut_id: str
    total_j: Quantity
    net_j: Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyProfile:
    """The energy of one bundle on one device.

    ``meter`` is its kind and ``source`` what it read (rails, zones); ``scope`` is what that covers. It makes a new
    value every ``period_s`` (0: it has none), and differences below ``resolution_j`` cannot be told. ``prefixes`` has
    one entry per cut, ``layers`` one per layer of the profile, in their order.
    """

    meter: str
    source: str
    scope: Scope
    period_s: float
    resolution_j: float
    idle_w: Quantity
    active_w: Quantity
    whole_j: Quantity
    prefixes: tuple[PrefixEnergy, ...]
    layers: tuple[Quantity, ...]

    def of(self, cut_id: str) -> PrefixEnergy | None:
        """The energy of one cut's edge side."""
        return next((each for each in self.prefixes if each.cut_id == cut_id), None)

    def slowed(self, factor: float) -> EnergyProfile:
        """The energy of a device of the same power that takes ``factor`` times longer: a model, not a measurement."""
        return self.stretched(
            whole=factor,
            prefixes={each.cut_id: factor for each in self.prefixes},
            layers=[factor] * len(self.layers),
        )

    def stretched(self, *, whole: float, prefixes: Mapping[str, float], layers: Sequence[float]) -> EnergyProfile:
        """The energy where each part takes so many times longer at the same power: a model, not a measurement."""
        return replace(
            self,
            whole_j=self.whole_j.times(whole, "modelled"),
            prefixes=tuple(
                replace(
                    each,
                    total_j=each.total_j.times(prefixes[each.cut_id], "modelled"),
                    net_j=each.net_j.times(prefixes[each.cut_id], "modelled"),
                )
                for each in self.prefixes
            ),
            layers=tuple(each.times(factor, "modelled") for each, factor in zip(self.layers, layers, strict=True)),
        )


def read_energy(fields: Fields) -> EnergyProfile:
    """The energy of a profile."""
    return EnergyProfile(
        meter=fields.text("meter"),
        source=fields.text("source"),
        scope=cast(Scope, fields.text("scope", among=SCOPES)),
        period_s=fields.number("period_s"),
        resolution_j=fields.number("resolution_j"),
        idle_w=fields.record("idle_w", read_quantity),
        active_w=fields.record("active_w", read_quantity),
        whole_j=fields.record("whole_j", read_quantity),
        prefixes=fields.records("prefixes", _prefix),
        layers=fields.records("layers", read_quantity),
    )


def read_quantity(fields: Fields) -> Quantity:
    """A number with its interval and origin."""
    return Quantity(
        value=fields.number("value"),
        interval=fields.number("interval"),
        origin=cast(Origin, fields.text("origin", among=ORIGINS)),
    )


def _prefix(fields: Fields) -> PrefixEnergy:
    return PrefixEnergy(
        cut_id=fields.text("cut_id"),
        total_j=fields.record("total_j", read_quantity),
        net_j=fields.record("net_j", read_quantity),
    )
