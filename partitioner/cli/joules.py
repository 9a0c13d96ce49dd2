"""How plans' energy and leakage are printed: cells with marks of what they rest on, and notes that explain them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from partitioner.cost import ENERGY_TERMS, CandidateTable, EnergyBreakdown
from partitioner.energy import Origin
from partitioner.link import Link
from partitioner.optimize.scan import Priced
from partitioner.radio import NO_RADIO
from partitioner.report.words import MARKS
from partitioner.units import digits, joules

_ESTIMATED, _AT_LEAST = "~", ">="
"""Before the leakage of a cut that was not measured: an estimate, and a bound."""
_LABELS = {
    "head_j": "head, on the device",
    "codec_j": "encode and decode",
    "up_j": "radio, up",
    "down_j": "radio, down",
    "awake_j": "radio, in pauses",
    "wait_j": "idling meanwhile",
}


def energy_cell(energy: EnergyBreakdown | None) -> str:
    """What a frame takes, marked; a dash where nobody knows."""
    return "-" if energy is None else f"{joules(energy.total_j)}{MARKS[energy.origin]}"


def energy_rows(energy: EnergyBreakdown) -> list[tuple[str, ...]]:
    """Where the energy goes: term, joules and share."""
    total_j = energy.total_j or 1.0
    terms = [(_LABELS[name], getattr(energy, name)) for name in ENERGY_TERMS]
    return [(label, joules(term_j), f"{term_j / total_j:.0%}") for label, term_j in terms if term_j > 0]


def leakage_cells(priced: Priced) -> tuple[str, str]:
    """Distance correlation and inversion error of what crosses; a dash where nobody knows, or nothing crosses."""
    leaks = priced.candidate.leakage
    if leaks is None or priced.candidate.is_local:
        return "-", "-"
    correlation = f"{_ESTIMATED if leaks.how == 'bounded' else ''}{digits(leaks.distance_correlation)}"
    if leaks.inversion_error is None:
        return correlation, "-"
    return correlation, f"{_AT_LEAST if leaks.inversion_how == 'bounded' else ''}{digits(leaks.inversion_error)}"


def energy_notes(table: CandidateTable, origins: Collection[Origin | None] = (), link: Link | None = None) -> list[str]:
    """What people should know of energies of these origins; without a link they are of any rate."""
    if not table.has_energy:
        return []
    notes = []
    radio = table.radio.model
    if radio is NO_RADIO:
        notes.append("what the network takes is taken for a part of idling: --radio 3g, 4g, wifi or FILE counts it")
    else:
        notes.append(f"the network's energy is that of the {radio.name} radio, {radio.origin} ({radio.source})")
    if beyond := radio.beyond(link):
        notes.append(beyond)
    if "modelled" in origins:
        notes.append("~ an energy that is computed from what was measured")
    if "assumed" in origins:
        notes.append("? an energy that rests on a data sheet or on other devices")
    return notes


def leakage_notes(table: CandidateTable, shown: Sequence[Priced]) -> list[str]:
    """What people should know of the leakage shown."""
    if not table.has_leakage:
        return []
    notes = ["leaks: distance correlation of the input and what crosses, an indicator and no guarantee"]
    if table.has_inversion:
        notes.append("inversion: what a small trained inverter gets wrong of the input; 1 is no better than guessing")
    cells = [cell for priced in shown for cell in leakage_cells(priced)]
    if any(cell.startswith((_ESTIMATED, _AT_LEAST)) for cell in cells):
        notes.append(f"{_ESTIMATED} and {_AT_LEAST} before a leakage: taken from the measured cuts around it")
    return notes
