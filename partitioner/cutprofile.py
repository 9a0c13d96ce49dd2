"""What was measured of one cut: its two sides, and every codec on what crosses.

A codec's *deviation* is what it does to the model's answer, not to the features: the tail runs on the decoded tensors,
and the outputs are compared with the exact ones. It is None where nobody measured it; a lossy codec is then not to be
chosen. It is ``INCOMPARABLE`` where an answer is of another shape, not finite, or off zero. Times are seconds, sizes
are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, cast

from partitioner.difference import INCOMPARABLE
from partitioner.records import Fields

ALL_CLOUD = "cloud"
ALL_LOCAL = "local"

How = Literal["measured", "calibrated", "predicted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Median and interquartile range of ``samples`` runs; a calibrated one is inferred from its neighbours, a predicted
    one from other models (``predict``).
    """

    median_s: float
    spread_s: float = 0.0
    samples: int = 1
    how: How = "measured"

    def slowed(self, factor: float) -> Timing:
        """The timing of a machine ``factor`` times slower."""
        return replace(self, median_s=self.median_s * factor, spread_s=self.spread_s * factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """A tensor that crosses; ``dtype`` is numpy's name, the shape is bound."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecCost:
    """One codec over what crosses.

    ``deviation`` is the largest max|a-b| / max|a| of the model's outputs over the profile's samples, and ``accuracy``
    the share of labelled samples that are still answered rightly; each is None where it was not measured.
    """

    codec: str
    up_bytes: int
    encode_s: float
    decode_s: float
    deviation: float | None = None
    accuracy: float | None = None

    def slowed(self, factor: float) -> CodecCost:
        """The cost on a machine ``factor`` times slower."""
        return replace(self, encode_s=self.encode_s * factor, decode_s=self.decode_s * factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorCodecs:
    """Every codec on one of several crossing tensors while the others stay exact."""

    name: str
    codecs: tuple[CodecCost, ...]

    def slowed(self, factor: float) -> TensorCodecs:
        """The costs on a machine ``factor`` times slower."""
        return replace(self, codecs=tuple(cost.slowed(factor) for cost in self.codecs))


@dataclass(frozen=True, slots=True, kw_only=True)
class CutProfile:
    """One cut on this device: ``prefix`` runs its edge side, ``suffix`` its cloud side.

    ``crossing`` goes up, ``reply`` comes down, ``edge_outputs`` never leave the device. ``codecs`` treats all that
    crosses alike; ``tensor_codecs`` has one entry per crossing tensor where several cross. ``reply_cost`` encodes in
    the cloud and decodes on the edge; its ``up_bytes`` are the reply's.
    """

    id: str
    name: str
    aliases: tuple[str, ...] = ()
    depth: int
    crossing: tuple[TensorSpec, ...]
    reply: tuple[TensorSpec, ...]
    edge_outputs: tuple[str, ...] = ()
    edge_flops: int
    cloud_flops: int
    edge_weight_bytes: int
    cloud_weight_bytes: int
    edge_peak_bytes: int
    cloud_peak_bytes: int
    prefix: Timing
    suffix: Timing
    codecs: tuple[CodecCost, ...]
    tensor_codecs: tuple[TensorCodecs, ...] = ()
    reply_cost: CodecCost

    def codec(self, name: str) -> CodecCost | None:
        """The cost of one codec, where it was measured."""
        return next((cost for cost in self.codecs if cost.codec == name), None)

    def slowed(self, factor: float) -> CutProfile:
        """The cut on a machine ``factor`` times slower."""
        return replace(
            self,
            prefix=self.prefix.slowed(factor),
            suffix=self.suffix.slowed(factor),
            codecs=tuple(cost.slowed(factor) for cost in self.codecs),
            tensor_codecs=tuple(each.slowed(factor) for each in self.tensor_codecs),
            reply_cost=self.reply_cost.slowed(factor),
        )


def read_cut(fields: Fields) -> CutProfile:
    """One cut of a profile."""
    cut = CutProfile(
        id=fields.text("id"),
        name=fields.text("name"),
        aliases=fields.texts("aliases"),
        depth=fields.whole("depth"),
        crossing=fields.records("crossing", _tensor),
        reply=fields.records("reply", _tensor),
        edge_outputs=fields.texts("edge_outputs"),
        edge_flops=fields.whole("edge_flops"),
        cloud_flops=fields.whole("cloud_flops"),
        edge_weight_bytes=fields.whole("edge_weight_bytes"),
        cloud_weight_bytes=fields.whole("cloud_weight_bytes"),
        edge_peak_bytes=fields.whole("edge_peak_bytes"),
        cloud_peak_bytes=fields.whole("cloud_peak_bytes"),
        prefix=fields.record("prefix", read_timing),
        suffix=fields.record("suffix", read_timing),
        codecs=fields.records("codecs", _codec),
        tensor_codecs=fields.records("tensor_codecs", _tensor_codecs),
        reply_cost=fields.record("reply_cost", _codec),
    )
    _check_codecs(fields, cut)
    return cut


def read_timing(fields: Fields) -> Timing:
    """One timing of a profile."""
    return Timing(
        median_s=fields.number("median_s"),
        spread_s=fields.number("spread_s"),
        samples=fields.whole("samples"),
        how=cast(How, fields.text("how", among=("measured", "calibrated", "predicted"))),
    )


def _check_codecs(fields: Fields, cut: CutProfile) -> None:
    codecs = [cost.codec for cost in cut.codecs]
    if len(set(codecs)) < len(codecs):
        fields.fault("codecs", "have one codec twice")
    if cut.name == ALL_LOCAL and cut.crossing:
        fields.fault("crossing", "is not empty although the cut is 'local'")
    if cut.name != ALL_LOCAL and not codecs:
        fields.fault("codecs", "is empty")
    if cut.tensor_codecs and [each.name for each in cut.tensor_codecs] != [spec.name for spec in cut.crossing]:
        fields.fault("tensor_codecs", "are not of the tensors that cross, one for each in their order")
    for index, each in enumerate(cut.tensor_codecs):
        names = [cost.codec for cost in each.codecs]
        if len(set(names)) < len(names):
            fields.fault(f"tensor_codecs[{index}].codecs", "have one codec twice")


def _tensor(fields: Fields) -> TensorSpec:
    name, dtype = fields.text("name"), fields.text("dtype")
    return TensorSpec(name=name, dtype=dtype, shape=fields.wholes("shape"), nbytes=fields.whole("nbytes"))


def _codec(fields: Fields) -> CodecCost:
    return CodecCost(
        codec=fields.text("codec"),
        up_bytes=fields.whole("up_bytes"),
        encode_s=fields.number("encode_s"),
        decode_s=fields.number("decode_s"),
        deviation=fields.optional_number("deviation", at_most=INCOMPARABLE),
        accuracy=fields.optional_number("accuracy", at_most=1.0),
    )


def _tensor_codecs(fields: Fields) -> TensorCodecs:
    return TensorCodecs(name=fields.text("name"), codecs=fields.records("codecs", _codec))
