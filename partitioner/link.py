"""A snapshot of the network between device and worker: goodput each way, round trip, and how sure we are.

The presets are the average rates that JointDNN and DADS use; their round trips are typical of each technology.

Source: Eshratifar et al., "JointDNN", IEEE TMC 2021; Hu et al., "Dynamic Adaptive DNN Surgery", INFOCOM 2019.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from partitioner.errors import UsageError

_LEAST_BYTES_PER_S = 1e-9
_LEAST = f"{_LEAST_BYTES_PER_S:g} bytes per second or more"
BYTES_PER_MBIT = 125_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What a byte and a round trip cost. A spread is the interquartile range over the value; 0: unknown.

    Raises:
        UsageError: a rate is not over zero, or anything is negative or not finite.
    """

    up_bytes_per_s: float
    down_bytes_per_s: float
    rtt_s: float
    name: str = ""
    up_spread: float = 0.0
    down_spread: float = 0.0
    rtt_spread: float = 0.0

    def __post_init__(self) -> None:
        faults = [
            f"{what} is {value:g}, not {wanted}"
            for what, value, wanted, is_right in (
                ("uplink rate", self.up_bytes_per_s, _LEAST, self.up_bytes_per_s >= _LEAST_BYTES_PER_S),
                ("downlink rate", self.down_bytes_per_s, _LEAST, self.down_bytes_per_s >= _LEAST_BYTES_PER_S),
                ("round trip", self.rtt_s, "0 or more", self.rtt_s >= 0),
                ("uplink spread", self.up_spread, "0 or more", self.up_spread >= 0),
                ("downlink spread", self.down_spread, "0 or more", self.down_spread >= 0),
                ("round-trip spread", self.rtt_spread, "0 or more", self.rtt_spread >= 0),
            )
            if not (is_right and math.isfinite(value))
        ]
        if faults:
            raise UsageError(f"this is no link: {'; '.join(faults)}")

    @staticmethod
    def from_mbit(up_mbit: float, down_mbit: float, rtt_ms: float, *, name: str = "") -> Link:
        """A link from rates in Mbit/s and a round trip in milliseconds."""
        return Link(
            up_bytes_per_s=up_mbit * BYTES_PER_MBIT,
            down_bytes_per_s=down_mbit * BYTES_PER_MBIT,
            rtt_s=rtt_ms * 1e-3,
            name=name,
        )

    @property
    def up_mbit(self) -> float:
        """Uplink rate in Mbit/s."""
        return self.up_bytes_per_s / BYTES_PER_MBIT

    @property
    def down_mbit(self) -> float:
        """Downlink rate in Mbit/s."""
        return self.down_bytes_per_s / BYTES_PER_MBIT

    def to_json(self) -> dict[str, object]:
        """The link as JSON values."""
        return {
            "name": self.name,
            "up_bytes_per_s": self.up_bytes_per_s,
            "down_bytes_per_s": self.down_bytes_per_s,
            "rtt_s": self.rtt_s,
        }


PRESETS: dict[str, Link] = {
    "3g": Link.from_mbit(1.1, 2.03, 100, name="3g"),
    "4g": Link.from_mbit(5.85, 13.76, 40, name="4g"),
    "wifi": Link.from_mbit(18.88, 54.97, 5, name="wifi"),
}
