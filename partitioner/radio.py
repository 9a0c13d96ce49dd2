"""What a radio takes beside the device's idle power: while it moves bytes, and while it falls asleep and wakes up.

While bytes move, its power rises linearly with the rate: watts = base + watts_per_mbit * rate. A fit says nothing
beyond the rates that it was made at, so faster links are priced at the power of the fastest of them. After the last
byte a radio stays awake for its *tail*; once asleep, the next byte costs a *promotion*. How much of that falls on one
frame depends on how often frames come.

The presets are phones of 2011 and 2012, so what is made of them is assumed; ``cleft-edge calibrate-radio`` fits the
device's own.

Source: Huang et al., "A close examination of performance and power characteristics of 4G LTE networks", MobiSys 2012
(coefficients, promotions, tails). The ends of their range are the rates at which JointDNN and DADS use them, those of
``link.PRESETS``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import cast

import numpy as np
import numpy.typing as npt

from partitioner.energy import ORIGINS, Origin
from partitioner.errors import ProfileError, UsageError
from partitioner.link import BYTES_PER_MBIT, Link
from partitioner.records import Fields, RecordError, read
from partitioner.records import to_json as json_of

FloatArray = npt.NDArray[np.float64]

SCHEMA = "cleft.radio/1"
MAX_TEXT_CHARS = 2**20

_NONE_KNOWN: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class RadioModel:
    """The power of one radio, over what the idle device takes.

    ``max_up_mbit`` and ``max_down_mbit`` end the rates that it was fitted at; None: it holds at any. ``intervals`` are
    halves of 95 % intervals, by the name of the field that they belong to; what is not there is not known.

    Raises:
        UsageError: a figure is negative or not finite.
    """

    name: str
    up_w_per_mbit: float
    down_w_per_mbit: float
    base_w: float
    max_up_mbit: float | None = None
    max_down_mbit: float | None = None
    promotion_s: float = 0.0
    promotion_w: float = 0.0
    tail_s: float = 0.0
    tail_w: float = 0.0
    origin: Origin
    source: str
    intervals: Mapping[str, float] = field(default_factory=lambda: _NONE_KNOWN, hash=False)

    def __post_init__(self) -> None:
        faults = [
            f"{each.name} is {value:g}, not 0 or more"
            for each in fields(self)
            if isinstance(value := getattr(self, each.name), int | float) and not (value >= 0 and math.isfinite(value))
        ]
        if faults:
            raise UsageError(f"this is no radio: {'; '.join(faults)}")

    @property
    def stays_awake(self) -> bool:
        """Whether a pause between bytes costs anything."""
        return self.tail_s * self.tail_w + self.promotion_s * self.promotion_w > 0

    def up_w(self, bytes_per_s: float) -> float:
        """Power while it sends at a rate."""
        return self.base_w + self.up_w_per_mbit * _clamped(bytes_per_s / BYTES_PER_MBIT, self.max_up_mbit)

    def down_w(self, bytes_per_s: float) -> float:
        """Power while it receives at a rate."""
        return self.base_w + self.down_w_per_mbit * _clamped(bytes_per_s / BYTES_PER_MBIT, self.max_down_mbit)

    def up_j(self, nbytes: float, bytes_per_s: float) -> float:
        """Energy of sending so many bytes at a rate."""
        return nbytes / bytes_per_s * self.up_w(bytes_per_s)

    def down_j(self, nbytes: float, bytes_per_s: float) -> float:
        """Energy of receiving so many bytes at a rate."""
        return nbytes / bytes_per_s * self.down_w(bytes_per_s)

    def pause_j(self, pause_s: FloatArray) -> FloatArray:
        """Energy of each of these pauses between bytes: the tail and, after a pause that outlives it, a promotion."""
        awake_s = np.minimum(pause_s, self.tail_s)
        return awake_s * self.tail_w + (pause_s > self.tail_s) * (self.promotion_s * self.promotion_w)

    def around_j(self, active_s: float, interval_s: float) -> float:
        """Energy of falling asleep and waking up, by frame, where one comes every ``interval_s`` and moves bytes for
        ``active_s`` without a pause; 0 where the radio is never at rest.
        """
        return float(self.pause_j(np.array(max(0.0, interval_s - active_s))))

    def beyond(self, link: Link | None) -> str:
        """What people should know of a link that is faster than the fit, or of any link; empty where it is not."""
        known = [
            f"{most:.3g} Mbit/s {way}"
            for way, rate, most in (
                ("up", link.up_mbit if link else math.inf, self.max_up_mbit),
                ("down", link.down_mbit if link else math.inf, self.max_down_mbit),
            )
            if most is not None and rate > most * (1 + 1e-9)
        ]
        if not known:
            return ""
        return f"the {self.name} radio's power is known up to {' and '.join(known)}: faster is priced at that power"

    def to_json(self) -> dict[str, object]:
        """The radio as ``cleft.radio/1``."""
        return {"schema": SCHEMA, **cast("dict[str, object]", json_of(self))}

    def dumps(self) -> str:
        """The radio as JSON text; ``loads`` gives back an equal one."""
        return json.dumps(self.to_json(), indent=1, allow_nan=False, ensure_ascii=False) + "\n"

    @staticmethod
    def from_json(value: object) -> RadioModel:
        """Check JSON values and build the radio.

        Raises:
            ProfileError: they are no radio, or of another version, or have faults; all are named.
        """
        return RadioModel.loads(json.dumps(value))

    @staticmethod
    def loads(text: str | bytes) -> RadioModel:
        """Read JSON text.

        Raises:
            ProfileError: it is truncated or no JSON, or anything that ``from_json`` refuses.
        """
        try:
            return read(text, _radio, max_chars=MAX_TEXT_CHARS)
        except RecordError as faults:
            raise ProfileError(
                f"this radio cannot be used: {faults}; `cleft-edge calibrate-radio` fits a new one"
            ) from faults


def _clamped(mbit: float, most_mbit: float | None) -> float:
    return mbit if most_mbit is None else min(mbit, most_mbit)


def _radio(record: Fields) -> RadioModel:
    schema = record.text("schema")
    if schema != SCHEMA:
        raise RecordError([f"its schema is {schema[:60]!r}, not {SCHEMA!r}" if schema else "it names no schema"])
    for rate in ("max_up_mbit", "max_down_mbit"):
        if record.raw(rate) == 0:
            record.fault(rate, "is 0, not null or a number over 0")
    return RadioModel(
        name=record.text("name"),
        up_w_per_mbit=record.number("up_w_per_mbit"),
        down_w_per_mbit=record.number("down_w_per_mbit"),
        base_w=record.number("base_w"),
        max_up_mbit=record.optional_number("max_up_mbit"),
        max_down_mbit=record.optional_number("max_down_mbit"),
        promotion_s=record.number("promotion_s"),
        promotion_w=record.number("promotion_w"),
        tail_s=record.number("tail_s"),
        tail_w=record.number("tail_w"),
        origin=cast(Origin, record.text("origin", among=ORIGINS)),
        source=record.text("source"),
        intervals=_intervals(record),
    )


def _intervals(record: Fields) -> dict[str, float]:
    known = {each.name for each in fields(RadioModel)}
    found = {}
    for name, value in record.raw_object("intervals").items():
        if name not in known or isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e100:
            record.fault(f"intervals.{name}", "is no number of 0 or more of a field of this record")
        else:
            found[name] = float(value)
    return found


_PHONES = "Huang et al., MobiSys 2012: phones of 2011 and 2012"

NO_RADIO = RadioModel(
    name="none",
    up_w_per_mbit=0.0,
    down_w_per_mbit=0.0,
    base_w=0.0,
    origin="assumed",
    source="what the network takes is part of idling",
)
"""A wire, or a radio whose power nobody asks for."""

RADIOS: Mapping[str, RadioModel] = MappingProxyType(
    {
        "none": NO_RADIO,
        "3g": RadioModel(
            name="3g",
            up_w_per_mbit=0.86898,
            down_w_per_mbit=0.12212,
            base_w=0.81788,
            max_up_mbit=1.1,
            max_down_mbit=2.03,
            promotion_s=0.582,
            promotion_w=0.659,
            tail_s=8.1,
            tail_w=0.804,
            origin="assumed",
            source=_PHONES,
        ),
        "4g": RadioModel(
            name="4g",
            up_w_per_mbit=0.43839,
            down_w_per_mbit=0.05197,
            base_w=1.28804,
            max_up_mbit=5.85,
            max_down_mbit=13.76,
            promotion_s=0.26,
            promotion_w=1.211,
            tail_s=11.6,
            tail_w=1.06,
            origin="assumed",
            source=_PHONES,
        ),
        "wifi": RadioModel(
            name="wifi",
            up_w_per_mbit=0.28317,
            down_w_per_mbit=0.13701,
            base_w=0.13286,
            max_up_mbit=18.88,
            max_down_mbit=54.97,
            promotion_s=0.079,
            promotion_w=0.124,
            tail_s=0.238,
            tail_w=0.119,
            origin="assumed",
            source=_PHONES,
        ),
    }
)
"""By name; those of the preset links have their names."""
