"""What was measured of a device, a worker and the link between them, and how it changes with the input at hand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from partitioner.codecmix import EXACT, EXACTLY, Bound
from partitioner.cost import IDLE, CandidateTable, Load
from partitioner.dims import Binding
from partitioner.inputs import Sample
from partitioner.link import Link
from partitioner.optimize.constraints import ANYTHING, Constraints
from partitioner.plan import SOURCE
from partitioner.planner import Planner
from partitioner.profile import CodecCost, Profile, SourceKind, SourceProfile, Timing, noise_of
from partitioner.rescale import costs_of, rescaled
from partitioner.segments import Cuts
from protos.pictures import PICTURES

REENCODED = tuple(f"{SOURCE}:{name}" for name in PICTURES)
SOURCES = (SOURCE, f"{SOURCE}+zstd", *REENCODED)
"""Codecs by which the original input is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was measured."""

    edge: Profile
    cloud: Profile
    link: Link
    load: Load = IDLE

    def planner(
        self,
        *,
        codecs: tuple[str, ...] | None = None,
        bound: Bound = EXACTLY,
        constraints: Constraints = ANYTHING,
        source_bytes: int | None = None,
        closed_sets: Collection[frozenset[int]] = (),
    ) -> Planner:
        """Every admitted candidate of the two profiles, along the ratio of rates and under the load found.

        Raises:
            UsageError: an accuracy is bounded, and the device's profile was measured without labels.
            Infeasible: no candidate keeps the constraints.
        """
        return Planner.from_profiles(
            self.edge,
            self.cloud,
            codecs=codecs if codecs is not None or bound.is_given else EXACT,
            constraints=constraints.within(bound.max_deviation, bound.least_accuracy(self.edge.accuracy)),
            source_bytes=source_bytes,
            down_per_up=self.link.down_bytes_per_s / self.link.up_bytes_per_s,
            load=self.load,
            closed_sets=closed_sets,
        )

    def table(
        self,
        *,
        codecs: tuple[str, ...] | None = None,
        bound: Bound = EXACTLY,
        source_bytes: int | None = None,
    ) -> CandidateTable:
        """Every admitted candidate of the two profiles.

        Raises:
            UsageError: an accuracy is bounded, and the device's profile was measured without labels.
        """
        return self.planner(codecs=codecs, bound=bound, source_bytes=source_bytes).everything

    @property
    def warning(self) -> str:
        """What people should know before they rely on a prediction; mostly nothing."""
        doubt = noise_of({"this device": self.edge, "the worker": self.cloud})
        return f"{doubt}; --fresh measures again" if doubt else ""

    def at(self, cuts: Cuts, sizes: Binding) -> Evidence:
        """The same for other sizes of the model's tensors, as far as ``rescale`` can tell.

        Raises:
            ProfileError: the profiles are not of these cuts.
        """
        if dict(self.edge.binding) == dict(self.cloud.binding) == dict(sizes):
            return self
        new = Cuts(cuts.graph, cuts.model_digest, binding=sizes)
        costs = costs_of(cuts, new)
        return replace(
            self,
            edge=rescaled(self.edge, cuts, new, costs=costs),
            cloud=rescaled(self.cloud, cuts, new, costs=costs),
        )

    def with_input(self, sample: Sample, preprocess_s: float, reencoded: Sequence[CodecCost] = ()) -> Evidence:
        """The same, with the input at hand in place of the one that the device's profile was measured with.

        What was measured of re-encoding goes by the picture, so it stays only where that was a real one of this kind.

        Args:
            preprocess_s: preparing it here.
            reencoded: what re-encoding it costs here, where that was measured.
        """
        kind: SourceKind = "tensor"
        preprocess = None
        if sample.source is not None:
            kind = "file" if sample.source.ndim == 1 else "pixels"
            preprocess = Timing(median_s=preprocess_s)
        before = self.edge.source
        is_alike = before.kind == kind and before.how == "measured"
        at_hand = {cost.codec: cost for cost in reencoded}
        cuts = []
        for cut in self.edge.cuts:
            kept = [
                cost for cost in cut.codecs if cost.codec not in REENCODED or (is_alike and cost.codec not in at_hand)
            ]
            if cut.codec(SOURCE) is not None:
                kept += at_hand.values()
            cuts.append(replace(cut, codecs=tuple(kept)))
        source = SourceProfile(kind=kind, nbytes=sample.nbytes_original, how="measured", preprocess=preprocess)
        return replace(self, edge=replace(self.edge, source=source, cuts=tuple(cuts)))
