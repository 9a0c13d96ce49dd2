"""What was measured of one bundle on one device: layer times to explain, prefix and suffix times to decide.

A profile belongs to one model digest, runtime, thread count and binding of the symbolic sizes. It is written by the
device it describes and read elsewhere, so reading is strict: every fault is named at once, and nothing that is
negative, infinite or of another version gets through. Times are seconds, sizes are bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, cast

from partitioner.cutprofile import (
    ALL_CLOUD,
    ALL_LOCAL,
    CodecCost,
    CutProfile,
    How,
    TensorCodecs,
    TensorSpec,
    Timing,
    read_cut,
    read_timing,
)
from partitioner.energy import EnergyProfile, read_energy
from partitioner.errors import ProfileError
from partitioner.layergraph import INPUT, Flow
from partitioner.leakage import LeakageProfile, read_leakage
from partitioner.records import Fields, RecordError, read, read_value, to_json
from partitioner.units import digits

__all__ = [
    "ALL_CLOUD",
    "ALL_LOCAL",
    "MAX_TEXT_CHARS",
    "SCHEMA",
    "CodecCost",
    "CutProfile",
    "DeviceInfo",
    "Flow",
    "How",
    "LayerProfile",
    "Profile",
    "RuntimeRecord",
    "SourceKind",
    "SourceProfile",
    "TensorCodecs",
    "TensorSpec",
    "Timing",
]

SCHEMA = "cleft.profile/2"
MAX_TEXT_CHARS = 64 * 2**20

SourceKind = Literal["file", "pixels", "tensor"]
Weights = Literal["trained", "random", "given"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_FAMILY = "cleft.profile/"
_VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerProfile:
    """One layer, timed inside a run of the whole model. Layer times do not add up to it.

    ``window`` is how many positions of its input one position of its output reads (a kernel's area) and ``groups`` into
    how many independent parts its channels fall; both are 1 of most layers, and None where the profile is too old to
    say.
    """

    id: str
    name: str
    kind: str
    forward: Timing
    flops: int
    weight_bytes: int
    output_bytes: int
    window: int | None = None
    groups: int | None = None


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

    @property
    def label(self) -> str:
        """What computes, for people."""
        return self.accelerator or self.cpu or self.machine

    def is_like(self, other: DeviceInfo) -> bool:
        """Whether both are of one make, so that times of one are times of the other."""
        return (self.machine, self.cpu, self.accelerator) == (other.machine, other.cpu, other.accelerator)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeRecord:
    """The runtime that ran the model."""

    name: str
    device: str
    threads: int
    versions: Mapping[str, str]

    @property
    def label(self) -> str:
        """What tells the runtimes of one machine apart, such as ``ort on cpu, 1 thread``."""
        return f"{self.name} on {self.device}, {self.threads} thread{'s' if self.threads != 1 else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Everything measured. ``slowdown`` over 1 means that times were multiplied to emulate a slower device.

    ``flows`` are the tensors between layers; a layer's index is its place in ``layers``. ``samples`` inputs, real or
    made up (``samples_how``), were run through lossy codecs: 0 on a side that left that to the other. ``accuracy`` is
    the exact model's, on labelled ones. ``energy`` and ``leakage`` are None where nobody measured them. ``notes`` say
    what to know of times that were predicted.
    """

    schema: str = SCHEMA
    model_digest: str
    model_name: str
    weights: Weights
    device: DeviceInfo
    runtime: RuntimeRecord
    binding: Mapping[str, int]
    slowdown: float = 1.0
    layers: tuple[LayerProfile, ...] = ()
    flows: tuple[Flow, ...] = ()
    cuts: tuple[CutProfile, ...]
    whole: Timing
    source: SourceProfile
    samples: int = 0
    samples_how: Literal["measured", "assumed"] = "assumed"
    accuracy: float | None = None
    peak_rss_bytes: int
    noise_ratio: float
    noisy: bool
    created: str
    energy: EnergyProfile | None = None
    leakage: LeakageProfile | None = None
    notes: tuple[str, ...] = ()

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
            energy=self.energy.slowed(factor) if self.energy else None,
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


def noise_of(profiles: Mapping[str, Profile]) -> str:
    """What people should know before they rely on profiles of these machines; empty where none is noisy."""
    noisy = [f"{name}'s ({digits(each.noise_ratio * 100)} %)" for name, each in profiles.items() if each.noisy]
    if not noisy:
        return ""
    return f"predictions may be off: whole runs varied much when {' and '.join(noisy)} profile was made"


def _refusal(faults: RecordError) -> ProfileError:
    return ProfileError(f"this profile cannot be used: {faults}; make a new one with `cleft-plan profile`")


def _profile(fields: Fields) -> Profile:
    _check_schema(fields.text("schema"))
    profile = Profile(
        model_digest=fields.text("model_digest"),
        model_name=fields.text("model_name"),
        weights=cast(Weights, fields.text("weights", among=("trained", "random", "given"))),
        device=fields.record("device", read_device),
        runtime=fields.record("runtime", read_runtime),
        binding=fields.wholes_by_name("binding"),
        slowdown=fields.number("slowdown", is_over_zero=True),
        layers=fields.records("layers", _layer),
        flows=fields.records("flows", _flow),
        cuts=fields.records("cuts", read_cut),
        whole=fields.record("whole", read_timing),
        source=fields.record("source", _source),
        samples=fields.whole("samples"),
        samples_how=cast('Literal["measured", "assumed"]', fields.text("samples_how", among=("measured", "assumed"))),
        accuracy=fields.optional_number("accuracy", at_most=1.0),
        peak_rss_bytes=fields.whole("peak_rss_bytes"),
        noise_ratio=fields.number("noise_ratio"),
        noisy=fields.flag("noisy"),
        created=fields.text("created"),
        energy=fields.optional("energy", read_energy),
        leakage=fields.optional("leakage", read_leakage),
        notes=() if fields.raw("notes") is None else fields.texts("notes"),
    )
    _check_names(fields, profile)
    _check_flows(fields, profile)
    _check_cuts(fields, profile.cuts)
    _check_energy(fields, profile)
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


def _check_names(fields: Fields, profile: Profile) -> None:
    """What is shown on terminals holds nothing that steers them: a worker's profile is not ours."""
    device = profile.device
    shown = {
        "model_name": (profile.model_name,),
        "device": (device.name, device.machine, device.cpu, device.accelerator),
        "runtime": (profile.runtime.name, profile.runtime.device),
        "notes": profile.notes,
        "layers": tuple(text for layer in profile.layers for text in (layer.id, layer.name, layer.kind)),
        "cuts": tuple(text for cut in profile.cuts for text in (cut.name, *cut.aliases)),
    }
    for key, texts in shown.items():
        if any(map(_CONTROL.search, texts)):
            fields.fault(key, "holds control characters")


def _check_flows(fields: Fields, profile: Profile) -> None:
    count = len(profile.layers)
    for index, flow in enumerate(profile.flows):
        readers = flow.consumers
        if not INPUT <= flow.producer < count:
            fields.fault(f"flows[{index}].producer", f"is {flow.producer}, which is none of {count} layers")
        if list(readers) != sorted(set(readers)) or any(not flow.producer < reader < count for reader in readers):
            fields.fault(f"flows[{index}].consumers", "are not layers after the producer, ascending")


def _check_cuts(fields: Fields, cuts: tuple[CutProfile, ...]) -> None:
    for what, found in (("id", [cut.id for cut in cuts]), ("name", [cut.name for cut in cuts])):
        if len(set(found)) < len(found):
            twice = next(text for text in found if found.count(text) > 1)
            fields.fault("cuts", f"have the {what} {twice!r} twice")
    for name in (ALL_CLOUD, ALL_LOCAL):
        if all(cut.name != name for cut in cuts):
            fields.fault("cuts", f"lack the one named {name!r}")
    if [cut.depth for cut in cuts] != sorted(cut.depth for cut in cuts):
        fields.fault("cuts", "are not in the order of their depth")


def _check_energy(fields: Fields, profile: Profile) -> None:
    if profile.energy is None:
        return
    if len(profile.energy.layers) != len(profile.layers):
        fields.fault("energy.layers", f"are {len(profile.energy.layers)}, but there are {len(profile.layers)} layers")
    if missing := {cut.id for cut in profile.cuts} ^ {each.cut_id for each in profile.energy.prefixes}:
        fields.fault("energy.prefixes", f"and the cuts differ: {len(missing)} are in one of them only")


def _layer(fields: Fields) -> LayerProfile:
    return LayerProfile(
        id=fields.text("id"),
        name=fields.text("name"),
        kind=fields.text("kind"),
        forward=fields.record("forward", read_timing),
        flops=fields.whole("flops"),
        weight_bytes=fields.whole("weight_bytes"),
        output_bytes=fields.whole("output_bytes"),
        window=None if fields.raw("window") is None else fields.whole("window", least=1),
        groups=None if fields.raw("groups") is None else fields.whole("groups", least=1),
    )


def _flow(fields: Fields) -> Flow:
    return Flow(
        name=fields.text("name"),
        dtype=fields.text("dtype"),
        shape=fields.wholes("shape"),
        nbytes=fields.whole("nbytes"),
        producer=fields.integer("producer"),
        consumers=fields.wholes("consumers"),
        is_output=fields.flag("is_output"),
    )


def _source(fields: Fields) -> SourceProfile:
    return SourceProfile(
        kind=cast(SourceKind, fields.text("kind", among=("file", "pixels", "tensor"))),
        nbytes=fields.whole("nbytes"),
        how=cast('Literal["measured", "assumed"]', fields.text("how", among=("measured", "assumed"))),
        preprocess=fields.optional("preprocess", read_timing),
    )


def read_device(fields: Fields) -> DeviceInfo:
    """The machine of a profile."""
    return DeviceInfo(
        name=fields.text("name"),
        machine=fields.text("machine"),
        cpu=fields.text("cpu"),
        cores=fields.whole("cores"),
        accelerator=fields.text("accelerator"),
    )


def read_runtime(fields: Fields) -> RuntimeRecord:
    """The runtime of a profile."""
    return RuntimeRecord(
        name=fields.text("name"),
        device=fields.text("device"),
        threads=fields.whole("threads"),
        versions=fields.texts_by_name("versions"),
    )
