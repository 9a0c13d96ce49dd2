"""Every candidate as one row of numbers, frozen: pricing all of them for a link and a load is one vectorised pass.

    latency = compute + slowdown * tail + remote * (rtt + queue) + up_bytes/up + down_bytes/down

and the slowest stage, which bounds a stream of frames, is the largest of the device's share, the
uplink's, the worker's and the downlink's; ``drain`` says what the energy is made of. Each pass takes microseconds for a
hundred candidates.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from partitioner.codecmix import EXACT
from partitioner.cost.candidates import TERMS, Breakdown, Candidate, Row
from partitioner.cost.drain import (
    ENERGY_TERMS,
    NOT_COUNTED,
    EnergyBreakdown,
    EnergyLine,
    RadioUse,
    energy_columns,
    radio_lines,
)
from partitioner.cost.load import IDLE, Load
from partitioner.cost.rows import Admitted, check_ends, notes_of, rows_of
from partitioner.energy import ORIGINS, weakest
from partitioner.link import Link
from partitioner.profile import Profile

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_ON_EDGE = ("head_s", "encode_s")
_IN_CLOUD = ("decode_s", "encode_reply_s")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CandidateTable:
    """Every admitted candidate, earliest cut first and fewer bytes first within a cut: ties go to the first.

    ``fixed_s`` is (n, 10) in the order of ``TERMS``; the other arrays are (n,). All are read-only. ``layers`` are the
    ids of the model's layers in their order. Energy and leakage are not a number (NaN) where nobody knows; of
    all-local, ``leakage`` is 0 and ``inversion_error`` infinite. ``energy_rank`` is a place in ``ORIGINS``, the radio
    not counted.
    """

    model_name: str
    model_digest: str
    candidates: tuple[Candidate, ...]
    layers: tuple[str, ...]
    notes: tuple[str, ...]
    fixed_s: FloatArray
    compute_s: FloatArray
    edge_s: FloatArray
    cloud_s: FloatArray
    tail_s: FloatArray
    up_bytes: FloatArray
    down_bytes: FloatArray
    edge_bytes: FloatArray
    cloud_bytes: FloatArray
    deviation: FloatArray
    remote: FloatArray
    head_j: FloatArray
    codec_j: FloatArray
    idle_w: FloatArray
    energy_rank: FloatArray
    leakage: FloatArray
    inversion_error: FloatArray
    radio: RadioUse = NOT_COUNTED

    @staticmethod
    def from_profiles(
        edge: Profile | Sequence[Profile],
        cloud: Profile | Sequence[Profile],
        *,
        codecs: Collection[str] | None = EXACT,
        max_deviation: float | None = None,
        min_accuracy: float | None = None,
        source_bytes: int | None = None,
        closed_sets: Mapping[str, frozenset[int]] | None = None,
        radio: RadioUse = NOT_COUNTED,
    ) -> CandidateTable:
        """Freeze the candidates of the profiles of one model.

        Args:
            edge: profile of the device; several, where it has several runtimes.
            cloud: profile of the worker; several, where it has several runtimes.
            codecs: admitted codecs; None admits every measured one. All-local and all-cloud with the original input
                (where it was measured) are candidates in any case.
            max_deviation: a lossy codec is refused at a cut where it changes the answer by more, or nobody measured it.
            min_accuracy: the same where it leaves a smaller share of the labelled samples right.
            source_bytes: size of the original input in place of the profile's.
            closed_sets: the layers of cuts that are no prefixes, by their ids.
            radio: what the network takes beside the device's idle power.

        Raises:
            ProfileError: the profiles do not belong together.
            UsageError: a codec was measured at no cut.
        """
        near = (edge,) if isinstance(edge, Profile) else tuple(edge)
        far = (cloud,) if isinstance(cloud, Profile) else tuple(cloud)
        rows = rows_of(
            near,
            far,
            admitted=Admitted(codecs, max_deviation, min_accuracy),
            source_bytes=source_bytes,
            closed_sets=closed_sets or {},
        )
        check_ends(rows)
        return CandidateTable.from_rows(
            rows,
            model_name=near[0].model_name,
            model_digest=near[0].model_digest,
            layers=tuple(layer.id for layer in near[0].layers),
            notes=tuple(notes_of(near, far, source_bytes, has_lossy=any(row.candidate.deviation for row in rows))),
            radio=radio,
        )

    @staticmethod
    def from_rows(
        rows: Iterable[Row],
        *,
        model_name: str,
        model_digest: str,
        layers: tuple[str, ...] = (),
        notes: tuple[str, ...] = (),
        radio: RadioUse = NOT_COUNTED,
    ) -> CandidateTable:
        """Freeze rows; within a cut they keep their order."""
        rows = sorted(rows, key=lambda row: (row.candidate.depth, row.candidate.is_local, row.candidate.cut))
        fixed_s = np.array([[getattr(row, term, 0.0) for term in TERMS] for row in rows], dtype=np.float64)
        fixed_s = fixed_s.reshape(len(rows), len(TERMS))
        arrays = {
            "up_bytes": np.array([row.candidate.up_bytes for row in rows], dtype=np.float64),
            "down_bytes": np.array([row.candidate.down_bytes for row in rows], dtype=np.float64),
            "edge_bytes": np.array([row.candidate.edge_bytes for row in rows], dtype=np.float64),
            "cloud_bytes": np.array([row.candidate.cloud_bytes for row in rows], dtype=np.float64),
            "deviation": np.array([row.candidate.deviation for row in rows], dtype=np.float64),
            "remote": np.array([not row.candidate.is_local for row in rows], dtype=np.float64),
            **_leakage(rows),
        }
        for array in arrays.values():
            array.flags.writeable = False
        return CandidateTable(
            model_name=model_name,
            model_digest=model_digest,
            candidates=tuple(row.candidate for row in rows),
            layers=layers,
            notes=notes,
            radio=radio,
            **_times(fixed_s),
            **energy_columns([row.energy for row in rows]),
            **arrays,
        )

    def __len__(self) -> int:
        return len(self.candidates)

    @property
    def has_choice_of_runtimes(self) -> bool:
        """Whether a side has several."""
        far = {candidate.cloud_runtime for candidate in self.candidates if not candidate.is_local}
        return len({candidate.edge_runtime for candidate in self.candidates}) > 1 or len(far) > 1

    @property
    def has_energy(self) -> bool:
        """Whether anybody knows what a candidate takes from the device."""
        return not np.isnan(self.head_j).all()

    @property
    def has_leakage(self) -> bool:
        """Whether anybody knows what a candidate gives away."""
        return not np.isnan(self.leakage).all()

    @property
    def has_inversion(self) -> bool:
        """Whether anybody tried to rebuild the input from what crosses."""
        return not np.isnan(self.inversion_error).all()

    def take(self, rows: IntArray) -> CandidateTable:
        """The table of these rows alone, in their order."""
        arrays = {name: getattr(self, name)[rows] for name in _ARRAYS}
        for array in arrays.values():
            array.flags.writeable = False
        return self._with(arrays, candidates=tuple(self.candidates[row] for row in rows.tolist()))

    def scaled(self, heads: FloatArray, tails: FloatArray) -> CandidateTable:
        """The table with every head, its energy too, and every tail multiplied by a factor: (n,) each."""
        fixed_s = self.fixed_s.copy()
        fixed_s[:, TERMS.index("head_s")] *= heads
        fixed_s[:, TERMS.index("tail_s")] *= tails
        scaled = {
            "head_j": self.head_j * heads,
            "energy_rank": np.maximum(self.energy_rank, (heads != 1.0) * float(ORIGINS.index("modelled"))),
        }
        for array in scaled.values():
            array.flags.writeable = False
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        return self._with(arrays | _times(fixed_s) | scaled, candidates=self.candidates)

    def over(self, radio: RadioUse) -> CandidateTable:
        """The table for another radio."""
        return replace(self, radio=radio)

    def _with(self, arrays: Mapping[str, FloatArray], *, candidates: tuple[Candidate, ...]) -> CandidateTable:
        return CandidateTable(
            model_name=self.model_name,
            model_digest=self.model_digest,
            candidates=candidates,
            layers=self.layers,
            notes=self.notes,
            radio=self.radio,
            **arrays,
        )

    def price(self, link: Link, load: Load = IDLE) -> FloatArray:
        """Latency of every candidate: (n,) seconds."""
        total_s = self.compute_s + self.tail_s * load.slowdown
        total_s += self.remote * (link.rtt_s + load.queue_s)
        total_s += self.up_bytes / link.up_bytes_per_s
        total_s += self.down_bytes / link.down_bytes_per_s
        return total_s

    def slowest_stage(self, link: Link, load: Load = IDLE) -> FloatArray:
        """Time between two answers of a stream of frames: (n,) seconds. A queue delays, and bounds nothing."""
        stage_s = np.maximum(self.edge_s, self.cloud_s + self.tail_s * load.slowdown)
        np.maximum(stage_s, self.up_bytes / link.up_bytes_per_s, out=stage_s)
        return np.maximum(stage_s, self.down_bytes / link.down_bytes_per_s, out=stage_s)

    def energy(self, link: Link, load: Load = IDLE) -> FloatArray:
        """What a frame takes from the device, by every candidate: (n,) joules, NaN where nobody knows."""
        up_s, down_s = self.up_bytes / link.up_bytes_per_s, self.down_bytes / link.down_bytes_per_s
        waiting_s = self.cloud_s + self.tail_s * load.slowdown + self.remote * (link.rtt_s + load.queue_s)
        total_j = self.head_j + self.codec_j + self.idle_w * (waiting_s + up_s + down_s)
        total_j += up_s * self.radio.model.up_w(link.up_bytes_per_s)
        total_j += down_s * self.radio.model.down_w(link.down_bytes_per_s)
        if self.radio.stays_awake:
            total_j += self.remote * self.radio.awake_j(up_s + down_s, waiting_s)
        return total_j

    def energy_lines(self, *, down_per_up: float, rtt_s: float, load: Load = IDLE) -> tuple[EnergyLine, ...]:
        """The energy of every candidate over seconds for an uplink byte, in spans where it is linear, from 0 upward.

        It never falls along them. Frames at an interval, which have no such lines, are taken for single ones.
        """
        waiting_s = self.cloud_s + self.tail_s * load.slowdown + self.remote * (rtt_s + load.queue_s)
        fixed_j = self.head_j + self.codec_j + self.idle_w * waiting_s
        moving_s = self.up_bytes + self.down_bytes / down_per_up
        return tuple(
            EnergyLine(
                begin=begin,
                end=end,
                offsets_j=fixed_j + self.up_bytes * up[0] + self.down_bytes * down[0],
                slopes_j=self.idle_w * moving_s + self.up_bytes * up[1] + self.down_bytes * down[1],
            )
            for begin, end, up, down in radio_lines(self.radio.model, down_per_up=down_per_up)
        )

    def energy_breakdowns(self, link: Link, load: Load = IDLE) -> tuple[EnergyBreakdown | None, ...]:
        """Where the energy of every candidate goes; None where nobody knows."""
        up_s, down_s = self.up_bytes / link.up_bytes_per_s, self.down_bytes / link.down_bytes_per_s
        waiting_s = self.cloud_s + self.tail_s * load.slowdown + self.remote * (link.rtt_s + load.queue_s)
        radio = self.radio.model
        awake_j = np.zeros(len(self))
        if self.radio.stays_awake:
            awake_j = self.remote * self.radio.awake_j(up_s + down_s, waiting_s)
        up_j, down_j = up_s * radio.up_w(link.up_bytes_per_s), down_s * radio.down_w(link.down_bytes_per_s)
        wait_j = self.idle_w * (waiting_s + up_s + down_s)
        terms_j = np.stack([self.head_j, self.codec_j, up_j, down_j, awake_j, wait_j], axis=1)
        return tuple(
            None
            if np.isnan(total_j)
            else EnergyBreakdown(
                **dict(zip(ENERGY_TERMS, row, strict=True)),
                total_j=total_j,
                origin=ORIGINS[int(rank)] if not remote else weakest(ORIGINS[int(rank)], radio.origin),
            )
            for row, total_j, rank, remote in zip(
                terms_j.tolist(),
                self.energy(link, load).tolist(),
                self.energy_rank.tolist(),
                self.remote.tolist(),
                strict=True,
            )
        )

    def breakdown(self, row: int, link: Link, load: Load = IDLE) -> Breakdown:
        """Where the time of one candidate goes."""
        return self.take(np.array([row])).breakdowns(link, load)[0]

    def breakdowns(self, link: Link, load: Load = IDLE) -> tuple[Breakdown, ...]:
        """Where the time of every candidate goes."""
        terms_s = self.fixed_s.copy()
        terms_s[:, TERMS.index("tail_s")] *= load.slowdown
        terms_s[:, TERMS.index("rtt_s")] = self.remote * link.rtt_s
        terms_s[:, TERMS.index("queue_s")] = self.remote * load.queue_s
        terms_s[:, TERMS.index("up_s")] = self.up_bytes / link.up_bytes_per_s
        terms_s[:, TERMS.index("down_s")] = self.down_bytes / link.down_bytes_per_s
        return tuple(
            Breakdown(**dict(zip(TERMS, row, strict=True)), total_s=total_s)
            for row, total_s in zip(terms_s.tolist(), self.price(link, load).tolist(), strict=True)
        )


_ARRAYS = tuple(each.name for each in fields(CandidateTable) if "FloatArray" in str(each.type))


def _leakage(rows: Sequence[Row]) -> dict[str, FloatArray]:
    """The columns of what crosses; where nothing does there is nothing to invert."""
    found = [row.candidate.leakage for row in rows]
    has_inverter = any(each and each.inversion_error is not None and each.inversion_how != "defined" for each in found)
    errors = [
        np.nan
        if not has_inverter
        else np.inf
        if row.candidate.is_local
        else np.nan
        if each is None or each.inversion_error is None
        else each.inversion_error
        for row, each in zip(rows, found, strict=True)
    ]
    return {
        "leakage": np.array([np.nan if each is None else each.distance_correlation for each in found]),
        "inversion_error": np.array(errors, dtype=np.float64),
    }


def _times(fixed_s: FloatArray) -> dict[str, FloatArray]:
    """The columns that are made of terms, read-only."""
    arrays = {
        "fixed_s": fixed_s,
        "compute_s": _sum(fixed_s, [term for term in TERMS if term != "tail_s"]),
        "edge_s": _sum(fixed_s, _ON_EDGE),
        "cloud_s": _sum(fixed_s, _IN_CLOUD),
        "tail_s": _sum(fixed_s, ("tail_s",)),
    }
    for array in arrays.values():
        array.flags.writeable = False
    return arrays


def _sum(fixed_s: FloatArray, terms: Sequence[str]) -> FloatArray:
    summed: FloatArray = fixed_s[:, np.isin(TERMS, terms)].sum(axis=1)
    return summed
