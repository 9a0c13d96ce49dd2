"""What a cut and a codec cost over a link: the one judge of plans.

    latency = head + [anything remote: encode + up_bytes/up + rtt + queue + decode + slowdown * tail
                                       + encode_reply + down_bytes/down + decode_reply]

Head and tail are measured prefixes and suffixes, since layer times do not add. Preprocessing counts with the head, or
with the tail where the original input is sent (codec ``source``). All-local and all-cloud are always candidates.
Candidates are frozen once; pricing them for a link and a load is one vectorised pass of a few microseconds.

Source: Kang et al., "Neurosurgeon", ASPLOS 2017 (predict, price every cut, pick); the terms are those of the wire.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from partitioner.errors import ProfileError, UsageError
from partitioner.link import Link
from partitioner.profile import ALL_CLOUD, ALL_LOCAL, CodecCost, CutProfile, Profile
from partitioner.units import digits, size

FloatArray = npt.NDArray[np.float64]

SOURCE = "source"
LOSSLESS: tuple[str, ...] = ("none", "none+zstd", SOURCE, f"{SOURCE}+zstd")
"""Codecs that do not change the answer; the only ones admitted unasked."""

TERMS = (
    "head_s",
    "encode_s",
    "up_s",
    "rtt_s",
    "queue_s",
    "decode_s",
    "tail_s",
    "encode_reply_s",
    "down_s",
    "decode_reply_s",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """Where the time of one frame goes."""

    head_s: float
    encode_s: float
    up_s: float
    rtt_s: float
    queue_s: float
    decode_s: float
    tail_s: float
    encode_reply_s: float
    down_s: float
    decode_reply_s: float
    total_s: float

    def to_json(self) -> dict[str, float]:
        """Every term and the total, in seconds."""
        return {name: getattr(self, name) for name in (*TERMS, "total_s")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A cut with a codec. ``is_calibrated``: one of its compute times was inferred, not measured."""

    cut: str
    cut_id: str
    codec: str
    depth: int
    up_bytes: int
    down_bytes: int
    max_error: float
    is_calibrated: bool

    @property
    def is_local(self) -> bool:
        """Whether nothing leaves the device."""
        return self.cut == ALL_LOCAL

    @property
    def is_all_cloud(self) -> bool:
        """Whether the whole model runs in the cloud."""
        return self.cut == ALL_CLOUD


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fixed:
    """The terms of one candidate that neither link nor load change; the tail for an idle worker."""

    candidate: Candidate
    head_s: float
    encode_s: float = 0.0
    decode_s: float = 0.0
    tail_s: float = 0.0
    encode_reply_s: float = 0.0
    decode_reply_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CandidateTable:
    """Every admitted candidate, earliest cut first and fewer bytes first within a cut: ties go to the first.

    ``fixed_s`` is (n, 10) in the order of ``TERMS``; the other arrays are (n,). All are read-only.
    """

    model_name: str
    model_digest: str
    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...]
    fixed_s: FloatArray
    compute_s: FloatArray
    tail_s: FloatArray
    up_bytes: FloatArray
    down_bytes: FloatArray
    remote: FloatArray

    @staticmethod
    def from_profiles(
        edge: Profile,
        cloud: Profile,
        *,
        codecs: Collection[str] | None = LOSSLESS,
        max_error: float | None = None,
        source_bytes: int | None = None,
    ) -> CandidateTable:
        """Freeze the candidates of two profiles of one model.

        Args:
            edge: profile of the device.
            cloud: profile of the worker.
            codecs: admitted codecs; None admits every measured one. All-local and all-cloud with the original input
                (where it was measured) are candidates in any case.
            max_error: a codec is refused at a cut where its measured error is over this.
            source_bytes: size of the original input in place of the profile's.

        Raises:
            ProfileError: the profiles do not belong together.
            UsageError: a codec was measured at no cut.
        """
        check_pair(edge, cloud)
        _check_codecs(edge, cloud, codecs)
        rows = sorted(
            _rows(edge, cloud, codecs=codecs, max_error=max_error, source_bytes=source_bytes),
            key=lambda row: (row.candidate.depth, row.candidate.is_local),
        )
        _check_ends(rows)
        fixed_s = np.array([[getattr(row, term, 0.0) for term in TERMS] for row in rows], dtype=np.float64)
        is_tail = np.array([term == "tail_s" for term in TERMS])
        arrays = {
            "fixed_s": fixed_s,
            "compute_s": fixed_s[:, ~is_tail].sum(axis=1),
            "tail_s": fixed_s[:, is_tail].sum(axis=1),
            "up_bytes": np.array([row.candidate.up_bytes for row in rows], dtype=np.float64),
            "down_bytes": np.array([row.candidate.down_bytes for row in rows], dtype=np.float64),
            "remote": np.array([not row.candidate.is_local for row in rows], dtype=np.float64),
        }
        for array in arrays.values():
            array.flags.writeable = False
        return CandidateTable(
            model_name=edge.model_name,
            model_digest=edge.model_digest,
            candidates=tuple(row.candidate for row in rows),
            notes=tuple(_notes(edge, cloud, source_bytes)),
            **arrays,
        )

    def price(self, link: Link, *, queue_s: float = 0.0, slowdown: float = 1.0) -> FloatArray:
        """Latency of every candidate: (n,) seconds.

        Args:
            link: the network.
            queue_s: wait in the worker's queue.
            slowdown: how many times slower than profiled the worker computes under its load.
        """
        total_s = self.compute_s + self.tail_s * slowdown
        total_s += self.remote * (link.rtt_s + queue_s)
        total_s += self.up_bytes / link.up_bytes_per_s
        total_s += self.down_bytes / link.down_bytes_per_s
        return total_s

    def breakdowns(self, link: Link, *, queue_s: float = 0.0, slowdown: float = 1.0) -> tuple[Breakdown, ...]:
        """Where the time of every candidate goes."""
        terms_s = self.fixed_s.copy()
        terms_s[:, TERMS.index("tail_s")] *= slowdown
        terms_s[:, TERMS.index("rtt_s")] = self.remote * link.rtt_s
        terms_s[:, TERMS.index("queue_s")] = self.remote * queue_s
        terms_s[:, TERMS.index("up_s")] = self.up_bytes / link.up_bytes_per_s
        terms_s[:, TERMS.index("down_s")] = self.down_bytes / link.down_bytes_per_s
        totals_s = self.price(link, queue_s=queue_s, slowdown=slowdown).tolist()
        return tuple(
            Breakdown(**dict(zip(TERMS, row, strict=True)), total_s=total_s)
            for row, total_s in zip(terms_s.tolist(), totals_s, strict=True)
        )


def check_pair(edge: Profile, cloud: Profile) -> None:
    """Check that two profiles are of one model, one binding and the same cuts.

    Raises:
        ProfileError: they are not; all differences are named.
    """
    faults = []
    if edge.model_digest != cloud.model_digest:
        faults.append(
            f"the edge's is of {edge.model_name} ({edge.model_digest[:12]}), "
            f"the cloud's of {cloud.model_name} ({cloud.model_digest[:12]})"
        )
    else:
        if dict(edge.binding) != dict(cloud.binding):
            faults.append(f"their sizes differ: {_bound(edge)} and {_bound(cloud)}")
        ids = {cut.id for cut in edge.cuts}, {cut.id for cut in cloud.cuts}
        if only := ids[0] ^ ids[1]:
            faults.append(f"they list different cuts: {len(only)} are in one of them only")
    if faults:
        raise ProfileError(
            f"these profiles do not belong together: {'; '.join(faults)}; profile one bundle on both sides"
        )


def _check_ends(rows: Sequence[_Fixed]) -> None:
    cuts = {row.candidate.cut for row in rows}
    if missing := [name for name in (ALL_CLOUD, ALL_LOCAL) if name not in cuts]:
        raise ProfileError(f"these profiles cannot price the cut {' and '.join(missing)}; profile the bundle again")


def _bound(profile: Profile) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(profile.binding.items())) or "none"


def _check_codecs(edge: Profile, cloud: Profile, codecs: Collection[str] | None) -> None:
    measured = dict.fromkeys(cost.codec for profile in (edge, cloud) for cut in profile.cuts for cost in cut.codecs)
    if unknown := sorted(set(codecs or ()) - set(measured) - set(LOSSLESS)):
        raise UsageError(f"no profile has codec {', '.join(unknown)}; measured are {', '.join(measured)}")


def _rows(
    edge: Profile,
    cloud: Profile,
    *,
    codecs: Collection[str] | None,
    max_error: float | None,
    source_bytes: int | None,
) -> Iterator[_Fixed]:
    cloud_cuts = {cut.id: cut for cut in cloud.cuts}
    for cut in edge.cuts:
        far_cut = cloud_cuts[cut.id]
        if cut.name == ALL_LOCAL:
            yield _local_row(edge, cut)
            continue
        pairs = []
        for cost in cut.codecs:
            is_original = cost.codec == _original(cut)
            is_admitted = codecs is None or cost.codec in codecs
            far_cost = far_cut.codec(cost.codec) or (far_cut.codec("none") if is_original else None)
            if far_cost is None or not (is_admitted or is_original):
                continue
            if max_error is None or is_original or max(cost.max_error, far_cost.max_error) <= max_error:
                pairs.append((_resized(cost, cut, source_bytes), far_cost))
        pairs.sort(key=lambda pair: (pair[0].up_bytes, not pair[0].codec.startswith(SOURCE)))
        for cost, far_cost in pairs:
            yield _remote_row(edge, cloud, cut=cut, far_cut=far_cut, cost=cost, far_cost=far_cost)


def _original(cut: CutProfile) -> str | None:
    """The codec by which all-cloud sends the original input; ``none`` where the input tensors are all there is."""
    if cut.name != ALL_CLOUD:
        return None
    return SOURCE if cut.codec(SOURCE) else "none"


def _resized(cost: CodecCost, cut: CutProfile, source_bytes: int | None) -> CodecCost:
    """The cost with the input's real size; a packed input keeps its ratio."""
    plain = cut.codec(SOURCE)
    if source_bytes is None or plain is None or not cost.codec.startswith(SOURCE):
        return cost
    ratio = cost.up_bytes / plain.up_bytes if plain.up_bytes else 1.0
    return CodecCost(
        codec=cost.codec,
        up_bytes=round(source_bytes * ratio),
        encode_s=cost.encode_s,
        decode_s=cost.decode_s,
        max_error=cost.max_error,
    )


def _local_row(edge: Profile, cut: CutProfile) -> _Fixed:
    candidate = Candidate(
        cut=cut.name,
        cut_id=cut.id,
        codec="none",
        depth=cut.depth,
        up_bytes=0,
        down_bytes=0,
        max_error=0.0,
        is_calibrated=cut.prefix.how == "calibrated",
    )
    return _Fixed(candidate=candidate, head_s=_preprocess_s(edge) + cut.prefix.median_s)


def _remote_row(
    edge: Profile, cloud: Profile, *, cut: CutProfile, far_cut: CutProfile, cost: CodecCost, far_cost: CodecCost
) -> _Fixed:
    sends_source = cost.codec.startswith(SOURCE)
    candidate = Candidate(
        cut=cut.name,
        cut_id=cut.id,
        codec=cost.codec,
        depth=cut.depth,
        up_bytes=cost.up_bytes,
        down_bytes=cut.reply_cost.up_bytes,
        max_error=max(cost.max_error, far_cost.max_error),
        is_calibrated="calibrated" in (cut.prefix.how, far_cut.suffix.how),
    )
    return _Fixed(
        candidate=candidate,
        head_s=cut.prefix.median_s + (0.0 if sends_source else _preprocess_s(edge)),
        encode_s=cost.encode_s,
        decode_s=far_cost.decode_s,
        tail_s=far_cut.suffix.median_s + (_far_preprocess_s(edge, cloud) if sends_source else 0.0),
        encode_reply_s=far_cut.reply_cost.encode_s,
        decode_reply_s=cut.reply_cost.decode_s,
    )


def _preprocess_s(profile: Profile) -> float:
    return profile.source.preprocess.median_s if profile.source.preprocess else 0.0


def _far_preprocess_s(edge: Profile, cloud: Profile) -> float:
    """Preparing the input in the cloud; where only the edge saw a real one, its time scaled by the whole model's."""
    if not _scales_preprocess(edge, cloud):
        return _preprocess_s(cloud)
    return _preprocess_s(edge) * cloud.whole.median_s / edge.whole.median_s


def _scales_preprocess(edge: Profile, cloud: Profile) -> bool:
    """Whether the edge knows better: it prepared a real input, the cloud made-up pixels or nothing."""
    is_better = edge.source.how == "measured" and cloud.source.how == "assumed"
    return bool(edge.whole.median_s and edge.source.preprocess) and (is_better or not cloud.source.preprocess)


def _notes(edge: Profile, cloud: Profile, source_bytes: int | None) -> Iterator[str]:
    if edge.source.how == "assumed" and source_bytes is None:
        yield f"the size of the original input, {size(edge.source.nbytes)}, is assumed: all-cloud depends on it"
    if _scales_preprocess(edge, cloud):
        yield "preprocessing a real input in the cloud was not measured: scaled from the device's"
    for side, profile in (("edge", edge), ("cloud", cloud)):
        if profile.noisy:
            yield f"the {side} profile is noisy: spread {digits(profile.noise_ratio * 100)} % of the median"
        if profile.slowdown != 1.0:
            yield f"{side} times are multiplied by {profile.slowdown:g} to emulate a slower machine"
