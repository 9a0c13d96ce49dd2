"""Which of a Jetson's power rails add up to the board.

Where one rail is the input of the whole module, it is the total and the others are its parts. Where there is none, the
rails are summed, but for those that hang on another one that is counted.

Source: NVIDIA's developer guides, "Software-Based Power Consumption Modeling": ``VDD_IN`` and ``POM_5V_IN`` are the
module's input; on AGX Orin the power of ``VDDQ_VDD2_1V8AO`` "is also included in VIN_SYS_5V0". AGX Thor measures its
input as ``VIN``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

TOTALS = ("VDD_IN", "POM_5V_IN", "VIN")
BELOW = {"VDDQ_VDD2_1V8AO": "VIN_SYS_5V0"}
"""A rail, and the one that feeds it."""
_NOT_CONNECTED = re.compile(r"(NC[0-9]*)?", re.IGNORECASE)


def is_connected(name: str) -> bool:
    """Whether a rail of this name is one: not ``NC``."""
    return _NOT_CONNECTED.fullmatch(name) is None


def counted(names: Sequence[str]) -> list[int]:
    """Which of these rails, by number, make up the board."""
    for total in TOTALS:
        if total in names:
            return [names.index(total)]
    return [number for number, name in enumerate(names) if is_connected(name) and BELOW.get(name) not in names]
