"""What was learned from profiles of several models on one device: ``cleft.fit/1``.

A fit holds named parameters (``model``), the sizes that it has seen, what codecs and preparing an input cost there, and
how far it is off on each model when it is made without that one (leave one model out): the error to expect on a model
that was never measured. Networks of the same layers are left out together, whatever their weights.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from partitioner.errors import ProfileError, UsageError
from partitioner.predict.codecs import CodecFit, fit_codecs, prepare_rates, read_codec
from partitioner.predict.model import RATES, FloatArray, Model
from partitioner.predict.training import LEAST_S, Training, training_of
from partitioner.profile import DeviceInfo, Profile, RuntimeRecord, read_device, read_runtime
from partitioner.records import Fields, RecordError, read, to_json

SCHEMA = "cleft.fit/1"
MAX_TEXT_CHARS = 2**22
FEWEST = 3
"""Different models that a fit takes at least."""
_LARGEST_PARAMETER = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedModel:
    """A model that a fit was made of, and how far off one made without it is: predicted over measured time, less 1.

    ``architecture`` is the same for networks of the same layers. ``whole_error`` is of runs one after another,
    ``local_error`` of the cut that keeps everything on the device, as a frame finds it, ``prefix_error`` the median of
    all fronts, without sign; None where nobody measured them.
    """

    name: str
    digest: str
    architecture: str
    whole_s: float
    whole_error: float
    local_error: float | None
    prefix_error: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Times of one device with one runtime as a function of what layers compute.

    ``ranges`` are the least and the largest size of each kind of operator that was seen, in the logarithms of
    ``features``; ``prepare_s_per_byte`` is what preparing an input takes for each byte of the model's input tensors, by
    the kind of source.
    """

    schema: str = SCHEMA
    device: DeviceInfo
    runtime: RuntimeRecord
    models: tuple[FittedModel, ...]
    parameters: Mapping[str, float]
    ranges: Mapping[str, tuple[float, float]]
    codecs: tuple[CodecFit, ...]
    prepare_s_per_byte: Mapping[str, float]

    @property
    def median_error(self) -> float:
        """Of held-out whole models, without sign."""
        return statistics.median(abs(model.whole_error) for model in self.models)

    @property
    def worst(self) -> FittedModel:
        """The model that is furthest off when held out."""
        return max(self.models, key=lambda model: abs(model.whole_error))

    @property
    def local_verdict(self) -> str:
        """The same of the cut that keeps everything on the device, as frames find it."""
        found = [(abs(model.local_error), model.name) for model in self.models if model.local_error is not None]
        if not found:
            return "all-local, as frames find it: no profile has measured it"
        (worst, name), median_error = max(found), statistics.median(error for error, _ in found)
        return f"all-local, as frames find it: {median_error:.1%}, at worst {worst:.1%} ({name})"

    @property
    def verdict(self) -> str:
        """How far off to expect it, for people."""
        return (
            f"with {self.runtime.label}, whole models left out of the fit were off by {self.median_error:.1%} in the "
            f"median of {len(self.models)}, by {abs(self.worst.whole_error):.1%} at worst ({self.worst.name})"
        )

    def has_seen(self, profile: Profile) -> bool:
        """Whether it was made of this model, or of one of the same layers."""
        return architecture_of(profile) in {model.architecture for model in self.models}

    def to_json(self) -> dict[str, object]:
        """The fit as JSON values, with what follows from it."""
        values = cast("dict[str, object]", to_json(self))
        return {**values, "median_error": self.median_error, "worst_error": abs(self.worst.whole_error)}

    def dumps(self) -> str:
        """The fit as JSON text; ``loads`` gives back an equal one."""
        return json.dumps(self.to_json(), indent=1, allow_nan=False, ensure_ascii=False) + "\n"

    @staticmethod
    def loads(text: str | bytes) -> Fit:
        """Read JSON text.

        Raises:
            ProfileError: it is no fit of this version, or has faults; all are named.
        """
        try:
            return read(text, _fit, max_chars=MAX_TEXT_CHARS)
        except RecordError as faults:
            raise ProfileError(f"this fit cannot be used: {faults}; make a new one with `cleft-plan fit`") from faults


def architecture_of(profile: Profile) -> str:
    """What networks of the same layers have in common, whatever their weights, input sizes and modules' names are."""
    layers = ((layer.kind, layer.window, layer.groups, layer.weight_bytes) for layer in profile.layers)
    return hashlib.sha256(repr(tuple(layers)).encode()).hexdigest()[:12]


def differences(profile: Profile, device: DeviceInfo, runtime: RuntimeRecord) -> list[str]:
    """What the profile is of, where its times are not those of this device with this runtime."""
    found = []
    if not profile.device.is_like(device):
        found.append(f"another device ({profile.device.label}, not {device.label})")
    if profile.runtime.label != runtime.label:
        found.append(f"another runtime ({profile.runtime.label}, not {runtime.label})")
    if profile.slowdown != 1.0:
        found.append("an emulated device")
    return found


def fit(profiles: Sequence[Profile], *, advance: Callable[[str], None] = lambda what: None) -> Fit:
    """Learn from profiles of different models on one device with one runtime.

    Args:
        advance: told once for each model that is left out, and for the fit itself.

    Raises:
        UsageError: there are too few models.
        ProfileError: a profile is of another device, runtime or slow-down, is predicted itself, or is too old.
    """
    _check(profiles)
    training = training_of(profiles)
    model = Model(training.operators)
    kinds = [architecture_of(profile) for profile in profiles]
    held: dict[str, FloatArray] = {}
    for kind in dict.fromkeys(kinds):
        advance(f"without {profiles[kinds.index(kind)].model_name}")
        weights = np.array([training.weights[row] * (kinds[of] != kind) for row, of in enumerate(training.model)])
        theta = model.fit(training.segments, training.measured_s, weights)
        held[kind] = model.times_s(theta, training.segments) / training.measured_s - 1.0
    advance("all models")
    theta = model.fit(training.segments, training.measured_s, training.weights)
    return Fit(
        device=profiles[0].device,
        runtime=profiles[0].runtime,
        models=tuple(_fitted(each, number, held[kinds[number]], training) for number, each in enumerate(profiles)),
        parameters=dict(zip(model.names, theta.tolist(), strict=True)),
        ranges=_ranges(training),
        codecs=fit_codecs(profiles),
        prepare_s_per_byte=prepare_rates(profiles),
    )


def _check(profiles: Sequence[Profile]) -> None:
    models = {architecture_of(profile) for profile in profiles}
    if len(models) < FEWEST:
        raise UsageError(
            f"a fit takes profiles of {FEWEST} different models at least, better a dozen; not {len(models)}"
        )
    first = profiles[0]
    for profile in profiles:
        faults = [f"of {each}" for each in differences(profile, first.device, first.runtime)]
        if profile.whole.how == "predicted":
            faults.append("predicted itself")
        if not (profile.layers and profile.whole.median_s > LEAST_S):
            faults.append("without a time that tells anything")
        if faults:
            raise ProfileError(f"the profile of {profile.model_name} is {' and '.join(faults)}: leave it out")


def _fitted(profile: Profile, number: int, errors: FloatArray, training: Training) -> FittedModel:
    def of(kind: str) -> list[float]:
        return [float(errors[row]) for row in training.of(number, kind)]

    local = of("local")
    fronts = [abs(error) for error in (*of("prefix"), *local)]
    return FittedModel(
        name=profile.model_name,
        digest=profile.model_digest,
        architecture=architecture_of(profile),
        whole_s=profile.whole.median_s,
        whole_error=of("whole")[0],
        local_error=local[0] if local else None,
        prefix_error=statistics.median(fronts) if fronts else None,
    )


def _ranges(training: Training) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    for operator in training.operators:
        for size, value in operator.sizes.items():
            name = f"{operator.key} {size}"
            low, high = found.get(name, (value, value))
            found[name] = min(low, value), max(high, value)
    return found


def _fit(fields: Fields) -> Fit:
    fields.text("schema", among=(SCHEMA,))
    models = fields.records("models", _model)
    if not models:
        fields.fault("models", "is empty")
    parameters = fields.numbers_by_name("parameters", least=-_LARGEST_PARAMETER, most=_LARGEST_PARAMETER)
    if missing := [name for name in RATES if name not in parameters]:
        fields.fault("parameters", f"has no {', no '.join(missing)}")
    return Fit(
        device=fields.record("device", read_device),
        runtime=fields.record("runtime", read_runtime),
        models=models,
        parameters=parameters,
        ranges=_read_ranges(fields),
        codecs=fields.records("codecs", read_codec),
        prepare_s_per_byte=fields.numbers_by_name("prepare_s_per_byte", least=0.0, most=1.0),
    )


def _read_ranges(fields: Fields) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    if fields.raw("ranges") is None:
        fields.fault("ranges", "is missing")
        return found
    for name, pair in fields.raw_object("ranges").items():
        ends = [float(each) for each in pair if type(each) in (float, int)] if isinstance(pair, list) else []
        if len(ends) == 2 and ends[0] <= ends[1]:
            found[name] = ends[0], ends[1]
        else:
            fields.fault(f"ranges.{name}", "is not two numbers, the smaller first")
    return found


def _model(fields: Fields) -> FittedModel:
    return FittedModel(
        name=fields.text("name"),
        digest=fields.text("digest"),
        architecture=fields.text("architecture"),
        whole_s=fields.number("whole_s", is_over_zero=True),
        whole_error=fields.signed_number("whole_error"),
        local_error=None if fields.raw("local_error") is None else fields.signed_number("local_error"),
        prefix_error=fields.optional_number("prefix_error"),
    )
