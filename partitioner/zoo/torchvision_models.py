"""torchvision's models, also where its compiled half cannot be loaded.

From the package index torchvision is built against another torch than the CPU build, and importing it fails because its
Python half describes operators that the compiled half would have registered. Declaring those operators first makes all
of ``torchvision.models`` importable; a model that really calls one of them still cannot run.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs

import torch

from partitioner import preprocess
from partitioner.errors import ModelError, UsageError
from partitioner.trace import Example
from partitioner.zoo.examples import from_shapes
from partitioner.zoo.packing import Source

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_IMAGE_INPUT = "x"
_declared: list[torch.library.Library] = []


def load(spec: str, shapes: Sequence[str]) -> Source:
    """A torchvision model, its usual example input and preprocess record.

    Raises:
        ModelError: torchvision has no such model, or its weights cannot be fetched.
    """
    name, _, query = spec.removeprefix("torchvision:").partition("?")
    wanted = _weights_asked(spec, query)
    models = _models()
    try:
        entries = models.get_model_weights(name)
        default = getattr(entries, "DEFAULT", None)
    except ValueError:
        near = _near(name, models.list_models())
        raise ModelError(f"torchvision has no model {name!r}{near}") from None
    weights = _entry(entries, wanted, spec) if wanted else None
    module = _build(models, name, weights, spec).eval()
    described = weights if weights is not None else default
    transform = described.transforms() if described is not None else None
    example = from_shapes(shapes or [_default_shape(transform)])
    notes = () if weights else ("the weights are random: the model was never trained, and its answers mean nothing",)
    record = _record(transform, example[0]) if len(example) == 1 and example[0].dim() == 4 else None
    return Source(
        module=module,
        example=Example(args=example),
        name=name,
        origin="trained" if weights else "random",
        preprocess=record,
        labels=tuple(weights.meta["categories"]) if weights and "categories" in weights.meta else None,
        notes=notes,
    )


def _weights_asked(spec: str, query: str) -> str | None:
    asked = parse_qs(query, keep_blank_values=True)
    unknown = sorted(set(asked) - {"weights"})
    if unknown:
        raise UsageError(f"model {spec!r}: {unknown[0]!r} is no option; ?weights=DEFAULT is the one there is")
    return asked["weights"][0] if "weights" in asked else None


def _entry(entries: Any, wanted: str, spec: str) -> Any:
    try:
        return entries[wanted] if wanted != "DEFAULT" else entries.DEFAULT
    except (KeyError, AttributeError):
        known = ", ".join(["DEFAULT", *(each.name for each in entries)])
        raise ModelError(f"{spec}: no weights {wanted!r}; there are {known}") from None


def _build(models: ModuleType, name: str, weights: object, spec: str) -> torch.nn.Module:
    options: dict[str, object] = {"weights": weights}
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = weights is None
    if weights is None and any(
        part in name for part in ("deeplab", "fcn", "lraspp", "rcnn", "retinanet", "ssd", "fcos")
    ):
        options["weights_backbone"] = None
    try:
        with contextlib.redirect_stdout(sys.stderr):  # a download says so on stdout
            module = models.get_model(name, **options)
    except OSError as error:
        raise ModelError(
            f"the weights of {spec} cannot be fetched ({error}); without ?weights= the weights are random"
        ) from error
    except Exception as error:
        raise ModelError(f"torchvision cannot build {name}: {type(error).__name__}: {error}") from error
    if not isinstance(module, torch.nn.Module):
        raise ModelError(f"torchvision's {name} is no module")
    return module


def _default_shape(transform: Any) -> str:
    crop = getattr(transform, "crop_size", None)
    size = getattr(transform, "resize_size", None)
    if crop and type(transform).__name__ == "VideoClassification":
        return f"1x3x16x{crop[0]}x{crop[-1]}"
    side = crop or size or [224]
    return f"1x3x{side[0]}x{side[-1]}"


def _record(transform: Any, example: torch.Tensor) -> dict[str, object] | None:
    """The preprocess record of an image model; sizes follow the example, so that what comes out fits the graph."""
    mean, std = getattr(transform, "mean", None), getattr(transform, "std", None)
    if mean is None or std is None or example.shape[1] != 3:
        return None
    height, width = int(example.shape[2]), int(example.shape[3])
    resize = getattr(transform, "resize_size", None) or [max(height, width)]
    usual = (getattr(transform, "crop_size", None) or [0])[0]
    short_side = resize[0] if usual == height == width else round(min(height, width) * 256 / 224)
    interpolation = getattr(getattr(transform, "interpolation", None), "value", "bilinear")
    record = preprocess.imagenet(
        input=_IMAGE_INPUT,
        resize=max(int(short_side), height, width),
        interpolation=str(interpolation),
        mean=[float(each) for each in mean],
        std=[float(each) for each in std],
    )
    return {**record, "crop": [height, width]}


def _near(name: str, known: Sequence[str]) -> str:
    import difflib

    found = difflib.get_close_matches(name, known, n=2)
    return f": did you mean {' or '.join(found)}?" if found else ""


def _models() -> ModuleType:
    if importlib.util.find_spec("torchvision") is None:
        raise ModelError("this needs torchvision, which is not installed: pip install 'cleft[vision]'")
    _declare_missing()
    try:
        return importlib.import_module("torchvision.models")
    except Exception as error:
        raise ModelError(f"torchvision cannot be imported beside this torch: {error}") from error


def _declare_missing() -> None:
    """Declare the operators that importing torchvision needs, where its compiled half does not load."""
    if _declared or hasattr(torch.ops.torchvision, "nms"):
        return
    found = importlib.util.find_spec("torchvision")
    origin = Path(found.origin).parent if found is not None and found.origin else Path()
    for compiled in sorted(origin.glob("_C*.so")):
        try:
            torch.ops.load_library(str(compiled))  # type: ignore[no-untyped-call]
        except OSError:
            continue
        return
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    _declared.append(library)
