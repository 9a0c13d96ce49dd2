"""The same numbers as the figures', as rows of text: what is not measured carries a mark (``words.MARKS``)."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from partitioner import units
from partitioner.cost import Candidate, EnergyBreakdown
from partitioner.energy import Origin, Quantity
from partitioner.optimize.scan import Priced
from partitioner.planner import Breakpoint, Trade
from partitioner.profile import Profile, Timing
from partitioner.report.words import MARKS
from partitioner.units import digits, ms, size

if TYPE_CHECKING:
    from partitioner.report.shown import Front, Plans, Rates

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""Headings and rows."""

UNKNOWN = "-"
ESTIMATED, AT_LEAST = "~", ">="
"""Before the leakage of a cut that was not measured: an estimate, and a bound."""
TEXTS = ("layer", "kind", "cut", "codec", "best cut", "no plan beats", "runtimes", "")
"""Headings of columns that are no numbers."""

_EXPLAINED = {
    "calibrated": "inferred from measured neighbours",
    "predicted": "predicted from other models",
    "modelled": "computed from what was measured",
    "assumed": "assumed, from a data sheet or other devices",
}


def layers_table(profile: Profile) -> Table:
    """One row a layer: latency, its spread, energy where known, bytes handed on, bytes of weights."""
    energies: Sequence[Quantity | None] = profile.energy.layers if profile.energy else [None] * len(profile.layers)
    headings = ("layer", "kind", "latency", "spread", "energy", "activation", "weights", "MFLOP")
    rows: list[tuple[str, ...]] = [
        (
            layer.id,
            layer.kind,
            timing(layer.forward),
            ms(layer.forward.spread_s) if layer.forward.how == "measured" else UNKNOWN,
            joules(energy),
            size(layer.output_bytes),
            size(layer.weight_bytes),
            digits(layer.flops * 1e-6),
        )
        for layer, energy in zip(profile.layers, energies, strict=True)
    ]
    return headings, rows


def cuts_table(plans: Plans) -> Table:
    """One row a cut with its best codec, by where the time goes; a column of which nothing is known is left out."""
    spent = ("device", "up", "round trip", "cloud", "down")
    headings: tuple[str, ...] = ("cut", "codec", "predicted", *spent, "sends", "energy", "leaks", "inversion", "")
    rows = [_cut(each, is_chosen=each.candidate == plans.chosen) for each in plans.cuts]
    if plans.table.has_choice_of_runtimes:
        headings = (*headings, "runtimes")
        rows = [(*row, each.candidate.runtimes) for row, each in zip(rows, plans.cuts, strict=True)]
    known = [index for index in range(len(headings)) if any(row[index] != UNKNOWN for row in rows)]
    return tuple(headings[index] for index in known), [tuple(row[index] for index in known) for row in rows]


def rates_table(rates: Rates) -> Table:
    """One row for each range of uplink rates."""
    return ("uplink Mbit/s", "best cut", "codec", "predicted"), [_span(point) for point in rates.points]


def front_table(front: Front) -> Table:
    """One row for each plan that no other beats."""
    names = [each.name for each in front.objectives]
    origins = {id(each): origin for each, origin in zip(front.candidates, front.origins, strict=True)}
    rows = [_trade(trade, names, origins[id(trade.candidate)]) for trade in front.trades]
    return ("no plan beats", "codec", *names), rows


def timing(value: Timing) -> str:
    """A time with the mark of what it rests on."""
    return f"{ms(value.median_s)}{MARKS[value.how]}"


def joules(value: Quantity | None) -> str:
    """An energy with the mark of what it rests on; a dash where nobody knows."""
    if value is None:
        return UNKNOWN
    return f"{units.joules(value.value)}{MARKS[value.origin]}"


def energy_cell(energy: EnergyBreakdown | None) -> str:
    """What a frame takes, marked; a dash where nobody knows."""
    return UNKNOWN if energy is None else f"{units.joules(energy.total_j)}{MARKS[energy.origin]}"


def leakage_cells(candidate: Candidate) -> tuple[str, str]:
    """Distance correlation and inversion error of what crosses; a dash where nobody knows, or nothing crosses."""
    leaks = candidate.leakage
    if leaks is None or candidate.is_local:
        return UNKNOWN, UNKNOWN
    correlation = f"{ESTIMATED if leaks.how == 'bounded' else ''}{digits(leaks.distance_correlation)}"
    if leaks.inversion_error is None:
        return correlation, UNKNOWN
    return correlation, f"{AT_LEAST if leaks.inversion_how == 'bounded' else ''}{digits(leaks.inversion_error)}"


def explained(origins: Collection[str]) -> list[str]:
    """What the marks of these origins mean."""
    return [f"{MARKS[origin]} {meaning}" for origin, meaning in _EXPLAINED.items() if origin in origins]


def _cut(priced: Priced, *, is_chosen: bool) -> tuple[str, ...]:
    candidate, spent = priced.candidate, priced.breakdown
    remote = [
        ms(spent.up_s),
        ms(spent.rtt_s + spent.queue_s),
        ms(spent.decode_s + spent.tail_s + spent.encode_reply_s),
        ms(spent.down_s),
        size(candidate.up_bytes),
    ]
    return (
        candidate.label,
        UNKNOWN if candidate.is_local else candidate.codec,
        f"{ms(priced.predicted_s)}{candidate.mark}",
        ms(spent.head_s + spent.encode_s + spent.decode_reply_s),
        *([UNKNOWN] * len(remote) if candidate.is_local else remote),
        energy_cell(priced.energy),
        *leakage_cells(candidate),
        "best" if is_chosen else "",
    )


def _span(point: Breakpoint) -> tuple[str, ...]:
    high = digits(point.to_up_bytes_per_s * 8e-6) if math.isfinite(point.to_up_bytes_per_s) else "any faster"
    rates = f"{digits(point.from_up_bytes_per_s * 8e-6)} - {high}"
    chosen = point.candidate
    if chosen is None:
        return rates, "none keeps the limits", UNKNOWN, UNKNOWN
    slow, fast = (ms(point.from_s) if math.isfinite(point.from_s) else "never"), ms(point.to_s)
    times = fast if slow == fast else f"{slow} - {fast}"
    return rates, chosen.label, UNKNOWN if chosen.is_local else chosen.codec, f"{times}{chosen.mark}"


def _trade(trade: Trade, names: Sequence[str], origin: Origin | None) -> tuple[str, ...]:
    codec = UNKNOWN if trade.candidate.is_local else trade.candidate.codec
    scores = (_score(name, value, origin) for name, value in zip(names, trade.scores, strict=True))
    return (trade.candidate.label, codec, *scores)


def _score(name: str, value: float, origin: Origin | None) -> str:
    if name == "energy":
        return f"{units.joules(value)}{MARKS[origin] if origin else ''}"
    return size(value) if name == "upload" else ms(value)
