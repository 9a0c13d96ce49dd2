"""What common devices take at rest and at work, for where there is no meter.

Each figure is one that somebody published, and is named with it. They are of whole boards without peripherals, at rest
and with all cores busy; a board of one's own may differ by a third. A device that nobody measured in public is not
here: its power can be given as ``idle=2W,active=5W``.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from partitioner.errors import UsageError

_DOCUMENTATION = "Raspberry Pi documentation, typical power requirements, average idle and stress current at 5.1 V"
_SUPPLY_V = 5.1
_REVIEWS = "J. Geerling, sbc-reviews, issue {}, idle and stress-ng --matrix 0, at the wall"
_ARK = "ARK Electronics, Jetson kernel documentation, docs/power.md, VDD_IN, idle and CPU and GPU busy, {} mode"
_GIVEN = re.compile(r"(idle|active)=([0-9.]+(?:e[+-]?[0-9]+)?)\s*(m?w)?", re.IGNORECASE)
_MOST_W = 1e5
EXAMPLE = "idle=2W,active=5W"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A device's power at rest and at work, in watts, and who says so."""

    name: str
    idle_w: float
    active_w: float
    source: str


def sheet_of(text: str) -> Sheet:
    """A device by its name or the one beginning that it has, or the power that is given: ``idle=2W,active=5W``.

    Raises:
        UsageError: there is no such sheet, or several; or a power is missing, is not over 0, or is less at work than
            at rest.
    """
    if "=" in text:
        return _given(text)
    name = re.sub(r"[\s_]+", "-", text.strip().lower()).replace("+", "-plus")
    if name in SHEETS:
        return SHEETS[name]
    longer = [each for each in SHEETS if name and re.match(f"{re.escape(name)}[^0-9]", each)]
    if len(longer) == 1:
        return SHEETS[longer[0]]
    near = longer or difflib.get_close_matches(name, SHEETS, n=3)
    others = f"did you mean {' or '.join(near)}" if near else f"there are {', '.join(SHEETS)}"
    raise UsageError(f"there is no sheet of {text.strip()!r}: {others}; or give its power: {EXAMPLE}")


def _given(text: str) -> Sheet:
    found: dict[str, float] = {}
    for part in text.split(","):
        matched = _GIVEN.fullmatch(part.strip())
        if matched is None or matched[1].lower() in found or matched[2].count(".") > 1 or matched[2] == ".":
            raise UsageError(f"{part.strip()!r} is not a device's power: write {EXAMPLE}")
        found[matched[1].lower()] = float(matched[2]) * (1e-3 if (matched[3] or "").lower() == "mw" else 1.0)
    if len(found) < 2:
        raise UsageError(f"{text!r} tells half of a device's power: write {EXAMPLE}")
    idle_w, active_w = found["idle"], found["active"]
    if not (0 < idle_w <= active_w <= _MOST_W and math.isfinite(active_w)):
        raise UsageError(
            f"{text!r} is no device's power: it is over 0, at most {_MOST_W:g} W, and no less at work than at rest"
        )
    return Sheet(
        name="given", idle_w=idle_w, active_w=active_w, source=f"given: {idle_w:g} W idle, {active_w:g} W active"
    )


def _documented(name: str, idle_a: float, stress_a: float) -> Sheet:
    return Sheet(name=name, idle_w=idle_a * _SUPPLY_V, active_w=stress_a * _SUPPLY_V, source=_DOCUMENTATION)


def _reviewed(name: str, idle_w: float, stress_w: float, issue: int) -> Sheet:
    return Sheet(name=name, idle_w=idle_w, active_w=stress_w, source=_REVIEWS.format(issue))


SHEETS: Mapping[str, Sheet] = MappingProxyType(
    {
        sheet.name: sheet
        for sheet in (
            _documented("raspberry-pi-zero", 0.10, 0.23),
            Sheet(
                name="raspberry-pi-zero-2-w",
                idle_w=0.6,
                active_w=0.35 * _SUPPLY_V,
                source="CNX Software, 2021-12-09, idle at 120 mA and 5 V; Raspberry Pi documentation, typical "
                "bare-board active current, 350 mA at 5.1 V",
            ),
            _documented("raspberry-pi-2b", 0.22, 0.75),
            _documented("raspberry-pi-3b", 0.30, 0.85),
            _reviewed("raspberry-pi-3b-plus", 3.1, 5.6, 16),
            _documented("raspberry-pi-4b", 0.60, 1.20),
            _reviewed("raspberry-pi-cm5", 2.4, 8.5, 58),
            _reviewed("raspberry-pi-500", 3.1, 9.0, 60),
            _reviewed("libre-computer-aml-s905x-cc", 1.3, 2.4, 17),
            _reviewed("starfive-visionfive-2", 3.1, 5.3, 10),
            Sheet(name="jetson-orin-nx-25w", idle_w=4.6, active_w=16.9, source=_ARK.format("25 W")),
            Sheet(name="jetson-orin-nx-40w", idle_w=4.6, active_w=27.6, source=_ARK.format("40 W")),
        )
    }
)
"""By name."""
