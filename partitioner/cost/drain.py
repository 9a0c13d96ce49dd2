"""What a frame takes from the device, from its input to its answer:

    energy = head + active_w * (preprocess + encode + decode_reply) + radio(up) + radio(down) + idle_w * wait

Head is the measured energy of the prefix. The device waits while bytes move, on the way, and while the worker has the
frame; the radio comes on top of that. Where frames come at an interval, what the radio takes to stay awake in between
and to wake up counts too (``radio``). A row whose device nobody measured has no energy: not a number, never 0.

Source: Kang et al., "Neurosurgeon", ASPLOS 2017 (energy of a cut by device power and radio power).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from partitioner.energy import ORIGINS, Origin, PrefixEnergy, weakest
from partitioner.errors import UsageError
from partitioner.link import BYTES_PER_MBIT
from partitioner.profile import Profile
from partitioner.radio import NO_RADIO, RadioModel

FloatArray = npt.NDArray[np.float64]

ENERGY_TERMS = ("head_j", "codec_j", "up_j", "down_j", "awake_j", "wait_j")

NO_ENERGY = (
    "the device's profile has no energy: measure it with `cleft-plan profile MODEL --energy auto`, or give what the "
    "device takes with --edge-power idle=2W,active=5W"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RadioUse:
    """A radio, and how often a frame goes over it; None: falling asleep and waking up are not counted.

    Raises:
        UsageError: the interval is not over zero.
    """

    model: RadioModel = NO_RADIO
    frame_interval_s: float | None = None

    def __post_init__(self) -> None:
        if self.frame_interval_s is not None and not 0 < self.frame_interval_s < np.inf:
            raise UsageError(f"the interval of frames is {self.frame_interval_s:g} s, not over 0")

    @property
    def stays_awake(self) -> bool:
        """Whether pauses count. More bytes may then cost less: a radio that has no time to sleep need not wake up."""
        return self.frame_interval_s is not None and self.model.stays_awake

    def awake_j(self, moving_s: FloatArray, waiting_s: FloatArray) -> FloatArray:
        """What the pauses of a frame take: while it waits for its answer, and from there to the next frame.

        Frames that come before the last one is answered share their pauses.
        """
        pause_s = np.maximum((self.frame_interval_s or 0.0) - moving_s, 0.0)
        inside_s = np.minimum(waiting_s, pause_s)
        return self.model.pause_j(inside_s) + self.model.pause_j(pause_s - inside_s)


NOT_COUNTED = RadioUse()
"""What the network takes is part of idling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedEnergy:
    """The joules of one candidate that neither link nor load change, and the power at which it waits."""

    head_j: float
    codec_j: float
    idle_w: float
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyBreakdown:
    """Where the energy of one frame goes: ``up_j``, ``down_j`` and ``awake_j`` are the radio's over idling, ``wait_j``
    is idling while bytes move and others work.
    """

    head_j: float
    codec_j: float
    up_j: float
    down_j: float
    awake_j: float
    wait_j: float
    total_j: float
    origin: Origin

    def to_json(self) -> dict[str, float]:
        """Every term and the total, in joules."""
        return {name: getattr(self, name) for name in (*ENERGY_TERMS, "total_j")}


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyLine:
    """The joules of every candidate while an uplink byte takes x = ``begin`` to ``end`` seconds: offset + slope * x."""

    begin: float
    end: float
    offsets_j: FloatArray
    slopes_j: FloatArray


@dataclass(frozen=True, slots=True)
class Drain:
    """Finds the fixed energy of one device's candidates."""

    profile: Profile
    prefixes: Mapping[str, PrefixEnergy] = field(default_factory=dict)

    @staticmethod
    def of(profile: Profile) -> Drain:
        """Look up the fronts of a profile once."""
        return Drain(profile, {each.cut_id: each for each in profile.energy.prefixes} if profile.energy else {})

    def fixed(self, cut_id: str, *, prepare_s: float, codec_s: float, is_local: bool) -> FixedEnergy | None:
        """The energy of a candidate that prepares its input here and codes for so long; None where nobody knows."""
        energy, prefix = self.profile.energy, self.prefixes.get(cut_id)
        if energy is None or prefix is None:
            return None
        origins: list[Origin] = [prefix.total_j.origin]
        if prepare_s + codec_s > 0:
            origins += [energy.active_w.origin, "modelled"]
        if not is_local:
            origins += [energy.idle_w.origin, "modelled"]
        active_w = energy.active_w.value
        return FixedEnergy(
            head_j=prefix.total_j.value + active_w * prepare_s,
            codec_j=active_w * codec_s,
            idle_w=energy.idle_w.value,
            origin=weakest(*origins),
        )


Linear = tuple[float, float]
"""Joules of a byte where an uplink byte takes x seconds: offset + slope * x."""


def radio_lines(radio: RadioModel, *, down_per_up: float) -> Iterator[tuple[float, float, Linear, Linear]]:
    """Spans of seconds for an uplink byte, and in each what a byte up and a byte down take from the radio."""
    ways = (
        (1.0, radio.up_w_per_mbit, radio.max_up_mbit),
        (1.0 / down_per_up, radio.down_w_per_mbit, radio.max_down_mbit),
    )
    knots = [
        0.0 if most is None else np.inf if most == 0 else 1 / (most * BYTES_PER_MBIT * share) for share, _, most in ways
    ]
    ends = sorted({0.0, *knots, np.inf})
    for begin, end in pairwise(ends):
        up, down = (
            (w_per_mbit / BYTES_PER_MBIT, radio.base_w * share)
            if begin >= knot
            else (0.0, (radio.base_w + w_per_mbit * (most or 0.0)) * share)
            for (share, w_per_mbit, most), knot in zip(ways, knots, strict=True)
        )
        yield begin, end, up, down


def energy_columns(found: list[FixedEnergy | None]) -> dict[str, FloatArray]:
    """The columns of a table, read-only; ``energy_rank`` is the place of the origin in ``ORIGINS``."""
    rows = [
        (np.nan, np.nan, np.nan, len(ORIGINS) - 1.0)
        if each is None
        else (each.head_j, each.codec_j, each.idle_w, float(ORIGINS.index(each.origin)))
        for each in found
    ]
    columns = np.array(rows, dtype=np.float64).reshape(len(rows), 4).T.copy()
    columns.flags.writeable = False
    return dict(zip(("head_j", "codec_j", "idle_w", "energy_rank"), columns, strict=True))
