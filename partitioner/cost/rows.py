"""From measured profiles to rows: which cuts and codecs are admitted, and which measured time is which term.

Where a side has several runtimes, a candidate is a cut and a codec with one runtime on each side; all pairs are rows.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from partitioner.codecmix import EXACT, Mix, is_fitted, mixes, sends_source
from partitioner.cost.candidates import Candidate, Row
from partitioner.cost.drain import Drain
from partitioner.cost.pairing import check_sides
from partitioner.energy import EnergyProfile
from partitioner.errors import ProfileError, UsageError
from partitioner.leakage import CutLeakage, bounded, everything, nothing
from partitioner.plan import SOURCE
from partitioner.profile import ALL_CLOUD, ALL_LOCAL, CutProfile, Profile
from partitioner.units import digits, size

_PREPARED_THERE = (SOURCE, f"{SOURCE}+zstd")
"""What the worker prepares like an input of its own; decoding a re-encoded input includes that."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """Which codecs, and how much a lossy one may change the answer; None: any that was measured."""

    codecs: Collection[str] | None = EXACT
    max_deviation: float | None = None
    min_accuracy: float | None = None

    @property
    def most_deviation(self) -> float | None:
        """The bound on the deviation; where nothing is bounded, a lossy codec that is named is taken as it is."""
        return math.inf if self.max_deviation is None and self.min_accuracy is None else self.max_deviation


def rows_of(
    edge: Sequence[Profile],
    cloud: Sequence[Profile],
    *,
    admitted: Admitted,
    source_bytes: int | None,
    closed_sets: Mapping[str, frozenset[int]],
) -> list[Row]:
    """Every admitted candidate of the profiles, one for each runtime of a side.

    Raises:
        ProfileError: the profiles do not belong together.
        UsageError: a codec was measured at no cut, or the original input is smaller than a byte.
    """
    if source_bytes is not None and source_bytes < 1:
        raise UsageError(f"the original input's size is {source_bytes} bytes, not 1 or more")
    check_sides(edge, cloud)
    _check_codecs((*edge, *cloud), admitted.codecs)
    found: list[Row] = []
    leakage = leakage_of(edge, cloud, closed_sets)
    for near in edge:
        for index, far in enumerate(cloud):
            rows = _rows(
                near, far, admitted=admitted, source_bytes=source_bytes, closed_sets=closed_sets, leakage=leakage
            )
            found.extend(row for row in rows if index == 0 or not row.candidate.is_local)
    return found


def leakage_of(
    edge: Sequence[Profile], cloud: Sequence[Profile], closed_sets: Mapping[str, frozenset[int]]
) -> dict[str, CutLeakage]:
    """What each cut gives away, by its id, measured or bounded, and both ends by definition; empty where no profile
    says. The model leaks alike on any device, so the first that does is taken.
    """
    known = next((profile for profile in (*edge, *cloud) if profile.leakage is not None), None)
    if known is None or known.leakage is None:
        return {}
    found = bounded(known.leakage, {cut.id: closed_sets.get(cut.id, cut.depth) for cut in edge[0].cuts})
    ends = {ALL_CLOUD: everything, ALL_LOCAL: nothing}
    return found | {cut.id: ends[cut.name](cut.id) for cut in edge[0].cuts if cut.name in ends}


def check_ends(rows: Sequence[Row]) -> None:
    """Check that both extremes are candidates.

    Raises:
        ProfileError: the profiles cannot price one.
    """
    cuts = {row.candidate.cut for row in rows}
    if missing := [name for name in (ALL_CLOUD, ALL_LOCAL) if name not in cuts]:
        raise ProfileError(f"these profiles cannot price the cut {' and '.join(missing)}; profile the bundle again")


def _check_codecs(profiles: Sequence[Profile], codecs: Collection[str] | None) -> None:
    measured = dict.fromkeys(cost.codec for profile in profiles for cut in profile.cuts for cost in cut.codecs)
    if unknown := sorted(set(codecs or ()) - set(measured) - set(EXACT)):
        raise UsageError(f"no profile has codec {', '.join(unknown)}; measured are {', '.join(measured)}")


def _rows(
    edge: Profile,
    cloud: Profile,
    *,
    admitted: Admitted,
    source_bytes: int | None,
    closed_sets: Mapping[str, frozenset[int]],
    leakage: Mapping[str, CutLeakage],
) -> Iterator[Row]:
    cloud_cuts = {cut.id: cut for cut in cloud.cuts}
    drain = Drain.of(edge)
    far_ratio = cloud.whole.median_s / edge.whole.median_s if edge.whole.median_s else 1.0
    for cut in edge.cuts:
        far_cut = cloud_cuts[cut.id]
        if cut.name == ALL_LOCAL:
            yield _local_row(edge, cut, drain=drain, leakage=leakage.get(cut.id))
            continue
        found = mixes(
            cut,
            far_cut,
            codecs=admitted.codecs,
            max_deviation=admitted.most_deviation,
            min_accuracy=admitted.min_accuracy,
            accuracy=edge.accuracy,
            far_ratio=far_ratio,
        )
        if (original := _original(cut)) not in (None, *(mix.label for mix in found)):
            found = (*found, *mixes(cut, far_cut, codecs=(str(original),)))
        sized = [_resized(mix, cut, source_bytes) for mix in found]
        sized.sort(key=lambda mix: (mix.up_bytes, not sends_source(mix.label)))
        for mix in sized:
            leaks = leakage.get(cut.id)
            row = _remote_row(edge, cloud, cut=cut, far_cut=far_cut, mix=mix, drain=drain, leakage=leaks)
            layers = closed_sets.get(cut.id)
            yield row if layers is None else replace(row, candidate=replace(row.candidate, edge_layers=layers))


def _original(cut: CutProfile) -> str | None:
    """The codec by which all-cloud sends the original input; ``none`` where the input tensors are all there is."""
    if cut.name != ALL_CLOUD:
        return None
    return SOURCE if cut.codec(SOURCE) else "none"


def _resized(mix: Mix, cut: CutProfile, source_bytes: int | None) -> Mix:
    """The mix with the input's real size; a packed input keeps its ratio."""
    plain = cut.codec(SOURCE)
    if source_bytes is None or plain is None or not sends_source(mix.label) or is_fitted(mix.label):
        return mix
    ratio = mix.up_bytes / plain.up_bytes if plain.up_bytes else 1.0
    return replace(mix, up_bytes=round(source_bytes * ratio))


def _local_row(edge: Profile, cut: CutProfile, *, drain: Drain, leakage: CutLeakage | None) -> Row:
    prepare_s = _preprocess_s(edge)
    candidate = Candidate(
        cut=cut.name,
        cut_id=cut.id,
        codec="none",
        depth=cut.depth,
        up_bytes=0,
        down_bytes=0,
        edge_bytes=cut.edge_weight_bytes + cut.edge_peak_bytes,
        is_calibrated=cut.prefix.how == "calibrated",
        is_predicted=cut.prefix.how == "predicted",
        leakage=leakage,
        edge_runtime=edge.runtime.name,
    )
    return Row(
        candidate=candidate,
        head_s=prepare_s + cut.prefix.median_s,
        energy=drain.fixed(cut.id, prepare_s=prepare_s, codec_s=0.0, is_local=True),
    )


def _remote_row(
    edge: Profile,
    cloud: Profile,
    *,
    cut: CutProfile,
    far_cut: CutProfile,
    mix: Mix,
    drain: Drain,
    leakage: CutLeakage | None,
) -> Row:
    prepare_s = 0.0 if sends_source(mix.label) else _preprocess_s(edge)
    candidate = Candidate(
        cut=cut.name,
        cut_id=cut.id,
        codec=mix.label,
        codecs=mix.codecs,
        depth=cut.depth,
        up_bytes=mix.up_bytes,
        down_bytes=cut.reply_cost.up_bytes,
        edge_bytes=cut.edge_weight_bytes + cut.edge_peak_bytes,
        cloud_bytes=far_cut.cloud_weight_bytes + far_cut.cloud_peak_bytes,
        deviation=mix.deviation,
        accuracy=mix.accuracy,
        is_calibrated="calibrated" in (cut.prefix.how, far_cut.suffix.how),
        is_predicted="predicted" in (cut.prefix.how, far_cut.suffix.how),
        leakage=leakage,
        edge_runtime=edge.runtime.name,
        cloud_runtime=cloud.runtime.name,
    )
    return Row(
        candidate=candidate,
        head_s=cut.prefix.median_s + prepare_s,
        encode_s=mix.encode_s,
        decode_s=mix.decode_s,
        tail_s=far_cut.suffix.median_s + (_far_preprocess_s(edge, cloud) if mix.label in _PREPARED_THERE else 0.0),
        encode_reply_s=far_cut.reply_cost.encode_s,
        decode_reply_s=cut.reply_cost.decode_s,
        energy=drain.fixed(cut.id, prepare_s=prepare_s, codec_s=mix.encode_s + cut.reply_cost.decode_s, is_local=False),
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


def notes_of(
    edge: Sequence[Profile], cloud: Sequence[Profile], source_bytes: int | None, *, has_lossy: bool = False
) -> Iterator[str]:
    """What makes the prices doubtful; ``has_lossy``: candidates change answers."""
    near, far = edge[0], cloud[0]
    if has_lossy and near.samples_how == "assumed":
        yield "what lossy codecs do to answers was measured on a made-up input: profile with --samples DIR"
    if near.source.how == "assumed" and source_bytes is None:
        yield f"the size of the original input, {size(near.source.nbytes)}, is assumed: all-cloud depends on it"
    if _scales_preprocess(near, far):
        yield "preprocessing a real input in the cloud was not measured: scaled from the device's"
    for side, profiles in (("edge", edge), ("cloud", cloud)):
        for profile in profiles:
            runtime = f" ({profile.runtime.name})" if len(profiles) > 1 else ""
            if profile.noisy:
                spread = digits(profile.noise_ratio * 100)
                yield f"the {side} profile{runtime} is noisy: spread {spread} % of the median"
            yield from (f"the {side}'s times{runtime}: {note}" for note in profile.notes)
        if len(names := dict.fromkeys(profile.device.name for profile in profiles)) > 1:
            yield f"the {side} profiles are of {' and '.join(names)}: plans take them for runtimes of one machine"
        if profiles[0].slowdown != 1.0:
            yield f"{side} times are multiplied by {profiles[0].slowdown:g} to emulate a slower machine"
    for profile in edge:
        if profile.energy is not None:
            yield from _energy_notes(profile.energy, f" ({profile.runtime.name})" if len(edge) > 1 else "")


def _energy_notes(energy: EnergyProfile, runtime: str) -> Iterator[str]:
    if energy.active_w.origin == "assumed":
        yield f"the device's energy{runtime} is assumed ({energy.source})"
    if energy.scope in ("package", "accelerator"):
        yield f"the device's energy{runtime} is that of its {energy.scope} alone ({energy.source})"
