"""From a spec to a bundle on disk: load the module, capture it, write everything down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from partitioner import bundle as bundles
from partitioner import graphjson, preprocess
from partitioner.bundle import Bundle, WeightsOrigin, cache_dir
from partitioner.errors import BundleError, InputError, ModelError, UsageError
from partitioner.runtimes import EAGER
from partitioner.trace import Capture, Example, capture, load_exported, save
from partitioner.trace.dynamic import DynamicSizes, parse
from partitioner.zoo import DIGITS, ModelRequest, kind_of, read_record, slug
from partitioner.zoo.staging import staging

SEED = 0


@dataclass(frozen=True, kw_only=True)
class Source:
    """A module, what it is captured with, and the records that go with it."""

    module: torch.nn.Module
    example: Example
    name: str
    origin: WeightsOrigin
    preprocess: Mapping[str, object] | None = None
    labels: tuple[str, ...] | None = None
    notes: tuple[str, ...] = field(default=())


def pack(request: ModelRequest, target: Path, *, overwrite: bool = False) -> Bundle:
    """Capture what the request names and write its bundle at ``target``; ``overwrite`` replaces one that is there."""
    captured, source = _capture(request)
    bundle = bundles.write(
        target,
        graph_text=graphjson.dumps(captured.graph, producer=captured.producer),
        weights=captured.weights,
        save_weights=save,
        name=source.name,
        origin=source.origin,
        notes=(*source.notes, *captured.notes),
        preprocess=_preprocess_record(request, source, captured),
        labels=_labels(request, source, captured),
        examples=captured.examples,
        overwrite=overwrite,
    )
    if not set(request.runtimes) - {EAGER}:
        return bundle
    from partitioner.zoo.runtime_files import add_runtime_files

    return add_runtime_files(bundle)


def pack_into_cache(request: ModelRequest, target: Path | None) -> Bundle:
    """Capture what the request names into the cache: at ``target``, or (None) where the bundle's digest says."""
    directory = cache_dir() / "bundles"
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BundleError(f"the cache {directory} cannot be made ({error.strerror}): set CLEFT_CACHE_DIR") from error
    with staging(directory) as stage:
        packed = pack(request, stage / "bundle")
        place = target or directory / f"{slug(packed.name)}-{packed.digest[:12]}"
        try:
            packed.path.rename(place)
        except OSError:  # something is there: what another process has packed meanwhile, or a damaged bundle
            try:
                return Bundle.open(place)
            except BundleError:
                place.rename(stage / "damaged")
                packed.path.rename(place)
        return Bundle.open(place)


def _capture(request: ModelRequest) -> tuple[Capture, Source]:
    kind = kind_of(request.spec)
    dynamic = parse(request.dynamic)
    if kind == "pt2":
        return _load_pt2(request, dynamic)
    source = _source(kind, request)
    return capture(source.module, source.example, dynamic=dynamic), source


def _source(kind: str, request: ModelRequest) -> Source:
    torch.manual_seed(SEED)
    if kind == "torchvision":
        from partitioner.zoo import torchvision_models

        return torchvision_models.load(request.spec, request.shapes)
    if kind == DIGITS:
        from partitioner.zoo import digits

        return Source(
            module=digits.build(),
            example=Example(args=(torch.zeros(1, 1, 8, 8),)),
            name=DIGITS,
            origin="trained",
            preprocess=digits.PREPROCESS,
            labels=digits.LABELS,
        )
    from partitioner.zoo import user_models

    return user_models.load(request.spec, request.shapes)


def _load_pt2(request: ModelRequest, dynamic: DynamicSizes) -> tuple[Capture, Source]:
    if not request.is_trusted:
        raise UsageError(
            f"{request.spec}: loading a .pt2 file can run code from it; pass --trust if you trust where it came from"
        )
    if request.shapes:
        raise UsageError("--shape has no meaning for a .pt2 file: it was captured with its shapes")
    captured = load_exported(request.spec, dynamic=dynamic)
    module = torch.nn.Module()
    source = Source(module=module, example=Example(), name=Path(request.spec).stem, origin="given")
    return captured, source


def _preprocess_record(request: ModelRequest, source: Source, captured: Capture) -> Mapping[str, object] | None:
    record = source.preprocess
    if request.preprocess is not None:
        try:
            record = json.loads(read_record(request.preprocess, "--preprocess"))
        except ValueError as error:
            raise UsageError(f"--preprocess {request.preprocess}: {error}") from error
        if not isinstance(record, dict):
            raise UsageError(f"--preprocess {request.preprocess} holds no record")
    if record is None:
        return None
    names = [each.name for each in captured.graph.inputs]
    if len(names) != 1:
        raise ModelError(f"a preprocess record fits a model of one input; this one takes {', '.join(names)}")
    record = {**record, "input": names[0]}
    try:
        preprocess.check(record)
        made = preprocess.apply(record, np.zeros((64, 64, 3), np.uint8))[names[0]]
    except BundleError as error:
        raise UsageError(str(error)) from error
    except InputError as error:
        raise UsageError(f"the preprocess record cannot be used: {error}") from error
    value = captured.graph.inputs[0].value
    fixed = [size for size, dim in zip(made.shape, value.shape, strict=False) if isinstance(dim, int) and dim != size]
    if made.ndim != len(value.shape) or fixed or made.dtype.name != value.dtype:
        shape = "x".join(map(str, value.shape))
        raise UsageError(
            f"the preprocess record makes {made.dtype.name} {'x'.join(map(str, made.shape))}, "
            f"and the model takes {value.dtype} {shape}: change the record, or pack with another --shape"
        )
    return record


def _labels(request: ModelRequest, source: Source, captured: Capture) -> tuple[str, ...] | None:
    if request.labels is None:
        return source.labels
    lines = read_record(request.labels, "--labels").splitlines()
    labels = tuple(line.strip() for line in lines if line.strip())
    shapes = [value.shape for name in captured.graph.output_names if (value := captured.graph.values.get(name))]
    if len(shapes) == 1 and len(shapes[0]) == 2 and shapes[0][1] != len(labels):
        raise UsageError(f"--labels {request.labels} names {len(labels)} classes; the model scores {shapes[0][1]}")
    return labels
