"""What was measured of one bundle on one device: layer times to explain, prefix and suffix times to decide.

A profile belongs to one model digest, runtime, thread count and binding of the symbolic sizes. It is written by the
device it describes and read elsewhere, so reading is strict: every fault is named at once, and nothing that is
negative, infinite or of another version gets through. Times are seconds, sizes are bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, cast

from partitioner.errors import ProfileError
from partitioner.records import Fields, RecordError, read, read_value, to_json

SCHEMA = "cleft.profile/1"
MAX_TEXT_CHARS = 64 * 2**20
ALL_CLOUD = "cloud"
ALL_LOCAL = "local"

How = Literal["measured", "calibrated"]
SourceKind = Literal["file", "pixels", "tensor"]
Weights = Literal["trained", "random", "given"]

_FAMILY = "cleft.profile/"
_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Median and interquartile range of ``samples`` runs; a calibrated one is inferred from its neighbours."""

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
    """One codec over all crossing tensors at once; ``max_error`` is max|a-b| / max|a| after decoding."""

    codec: str
    up_bytes: int
    encode_s: float
    decode_s: float
    max_error: float = 0.0

    def slowed(self, factor: float) -> CodecCost:
        """The cost on a machine ``factor`` times slower."""
        return replace(self, encode_s=self.encode_s * factor, decode_s=self.decode_s * factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class CutProfile:
    """One cut on this device: ``prefix`` runs its edge side, ``suffix`` its cloud side.

    ``crossing`` goes up, ``reply`` comes down, ``edge_outputs`` never leave the device. ``reply_cost`` encodes in the
    cloud and decodes on the edge; its ``up_bytes`` are the reply's.
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
            reply_cost=self.reply_cost.slowed(factor),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerProfile:
    """One layer, timed inside a run of the whole model. Layer times do not add up to it."""

    id: str
    name: str
    kind: str
    forward: Timing
    flops: int
    weight_bytes: int
    output_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceProfile:
    """The original input (encoded file, uint8 pixels, or the input tensors themselves) and preparing it here."""

    kind: SourceKind
    nbytes: int
    how: Literal["measured", "assumed"]
    preprocess: Timing | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceInfo:
    """The machine."""

    name: str
    machine: str
    cpu: str
    cores: int
    accelerator: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeRecord:
    """The runtime that ran the model."""

    name: str
    device: str
    threads: int
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Everything measured. ``slowdown`` over 1 means that times were multiplied to emulate a slower device."""

    schema: str = SCHEMA
    model_digest: str
    model_name: str
    weights: Weights
    device: DeviceInfo
    runtime: RuntimeRecord
    binding: Mapping[str, int]
    slowdown: float = 1.0
    layers: tuple[LayerProfile, ...] = ()
    cuts: tuple[CutProfile, ...]
    whole: Timing
    source: SourceProfile
    peak_rss_bytes: int
    noise_ratio: float
    noisy: bool
    created: str

    def slowed(self, factor: float) -> Profile:
        """The profile of a device ``factor`` times slower in everything it computes."""
        prepare = self.source.preprocess
        return replace(
            self,
            slowdown=self.slowdown * factor,
            layers=tuple(replace(layer, forward=layer.forward.slowed(factor)) for layer in self.layers),
            cuts=tuple(cut.slowed(factor) for cut in self.cuts),
            whole=self.whole.slowed(factor),
            source=replace(self.source, preprocess=prepare.slowed(factor) if prepare else None),
        )

    def to_json(self) -> dict[str, object]:
        """The profile as JSON values."""
        return cast("dict[str, object]", to_json(self))

    def dumps(self) -> str:
        """The profile as JSON text; ``loads`` gives back an equal one."""
        return json.dumps(self.to_json(), indent=1, allow_nan=False, ensure_ascii=False) + "\n"

    @staticmethod
    def from_json(value: object) -> Profile:
        """Check JSON values and build the profile.

        Raises:
            ProfileError: they are no profile, or of another version, or have faults; all are named.
        """
        try:
            return read_value(value, _profile)
        except RecordError as faults:
            raise _refusal(faults) from faults

    @staticmethod
    def loads(text: str | bytes) -> Profile:
        """Read JSON text.

        Raises:
            ProfileError: it is truncated or no JSON, or anything that ``from_json`` refuses.
        """
        try:
            return read(text, _profile, max_chars=MAX_TEXT_CHARS)
        except RecordError as faults:
            raise _refusal(faults) from faults


def _refusal(faults: RecordError) -> ProfileError:
    return ProfileError(f"this profile cannot be used: {faults}; make a new one with `cleft-plan profile`")


def _profile(fields: Fields) -> Profile:
    _check_schema(fields.text("schema"))
    profile = Profile(
        model_digest=fields.text("model_digest"),
        model_name=fields.text("model_name"),
        weights=cast(Weights, fields.text("weights", among=("trained", "random", "given"))),
        device=fields.record("device", _device),
        runtime=fields.record("runtime", _runtime),
        binding=fields.wholes_by_name("binding"),
        slowdown=fields.number("slowdown", is_over_zero=True),
        layers=fields.records("layers", _layer),
        cuts=fields.records("cuts", _cut),
        whole=fields.record("whole", _timing),
        source=fields.record("source", _source),
        peak_rss_bytes=fields.whole("peak_rss_bytes"),
        noise_ratio=fields.number("noise_ratio"),
        noisy=fields.flag("noisy"),
        created=fields.text("created"),
    )
    _check_cuts(fields, profile.cuts)
    return profile


def _check_schema(schema: str) -> None:
    """Stop at once where it is no profile of this version: nothing else in it is worth reporting."""
    version = schema.removeprefix(_FAMILY)
    if not schema.startswith(_FAMILY) or not (version.isascii() and version.isdigit()) or len(version) > 6:
        raise RecordError([f"its schema is {schema[:60]!r}, not {SCHEMA!r}" if schema else "it names no schema"])
    if int(version) > _VERSION:
        raise RecordError([f"its schema {schema} is newer than this program, which reads {SCHEMA}"])
    if int(version) < _VERSION:
        raise RecordError([f"its schema {schema} is older than {SCHEMA}"])


def _check_cuts(fields: Fields, cuts: tuple[CutProfile, ...]) -> None:
    for what, found in (("id", [cut.id for cut in cuts]), ("name", [cut.name for cut in cuts])):
        if len(set(found)) < len(found):
            twice = next(text for text in found if found.count(text) > 1)
            fields.fault("cuts", f"have the {what} {twice!r} twice")
    for name in (ALL_CLOUD, ALL_LOCAL):
        if all(cut.name != name for cut in cuts):
            fields.fault("cuts", f"lack the one named {name!r}")
    for index, cut in enumerate(cuts):
        codecs = [cost.codec for cost in cut.codecs]
        if len(set(codecs)) < len(codecs):
            fields.fault(f"cuts[{index}].codecs", "have one codec twice")
        if cut.name == ALL_LOCAL and cut.crossing:
            fields.fault(f"cuts[{index}].crossing", "is not empty although the cut is 'local'")
        if cut.name != ALL_LOCAL and not codecs:
            fields.fault(f"cuts[{index}].codecs", "is empty")


def _timing(fields: Fields) -> Timing:
    return Timing(
        median_s=fields.number("median_s"),
        spread_s=fields.number("spread_s"),
        samples=fields.whole("samples"),
        how=cast(How, fields.text("how", among=("measured", "calibrated"))),
    )


def _tensor(fields: Fields) -> TensorSpec:
    name, dtype = fields.text("name"), fields.text("dtype")
    return TensorSpec(name=name, dtype=dtype, shape=fields.wholes("shape"), nbytes=fields.whole("nbytes"))


def _codec(fields: Fields) -> CodecCost:
    return CodecCost(
        codec=fields.text("codec"),
        up_bytes=fields.whole("up_bytes"),
        encode_s=fields.number("encode_s"),
        decode_s=fields.number("decode_s"),
        max_error=fields.number("max_error"),
    )


def _cut(fields: Fields) -> CutProfile:
    return CutProfile(
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
        prefix=fields.record("prefix", _timing),
        suffix=fields.record("suffix", _timing),
        codecs=fields.records("codecs", _codec),
        reply_cost=fields.record("reply_cost", _codec),
    )


def _layer(fields: Fields) -> LayerProfile:
    return LayerProfile(
        id=fields.text("id"),
        name=fields.text("name"),
        kind=fields.text("kind"),
        forward=fields.record("forward", _timing),
        flops=fields.whole("flops"),
        weight_bytes=fields.whole("weight_bytes"),
        output_bytes=fields.whole("output_bytes"),
    )


def _source(fields: Fields) -> SourceProfile:
    return SourceProfile(
        kind=cast(SourceKind, fields.text("kind", among=("file", "pixels", "tensor"))),
        nbytes=fields.whole("nbytes"),
        how=cast('Literal["measured", "assumed"]', fields.text("how", among=("measured", "assumed"))),
        preprocess=fields.optional("preprocess", _timing),
    )


def _device(fields: Fields) -> DeviceInfo:
    return DeviceInfo(
        name=fields.text("name"),
        machine=fields.text("machine"),
        cpu=fields.text("cpu"),
        cores=fields.whole("cores"),
        accelerator=fields.text("accelerator"),
    )


def _runtime(fields: Fields) -> RuntimeRecord:
    return RuntimeRecord(
        name=fields.text("name"),
        device=fields.text("device"),
        threads=fields.whole("threads"),
        versions=fields.texts_by_name("versions"),
    )
