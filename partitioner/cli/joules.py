"""Where plans' energy goes, as rows of text, and notes that explain the marks of energies and leakages."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from partitioner.cost import ENERGY_TERMS, CandidateTable, EnergyBreakdown
from partitioner.energy import Origin
from partitioner.link import Link
from partitioner.optimize.scan import Priced
from partitioner.radio import NO_RADIO
from partitioner.report.tables import AT_LEAST, ESTIMATED, leakage_cells
from partitioner.units import joules

_LABELS = {
    "head_j": "head, on the device",
    "codec_j": "encode and decode",
    "up_j": "radio, up",
    "down_j": "radio, down",
    "awake_j": "radio, in pauses",
    "wait_j": "idling meanwhile",
}


def energy_rows(energy: EnergyBreakdown) -> list[tuple[str, ...]]:
    """Where the energy goes: term, joules and share."""
    total_j = energy.total_j or 1.0
    terms = [(_LABELS[name], getattr(energy, name)) for name in ENERGY_TERMS]
    return [(label, joules(term_j), f"{term_j / total_j:.0%}") for label, term_j in terms if term_j > 0]


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
    cells = [cell for priced in shown for cell in leakage_cells(priced.candidate)]
    if any(cell.startswith((ESTIMATED, AT_LEAST)) for cell in cells):
        notes.append(f"{ESTIMATED} and {AT_LEAST} before a leakage: taken from the measured cuts around it")
    return notes
