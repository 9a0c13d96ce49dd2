"""Models by name: what a *spec* may be, and the bundle it stands for.

    torchvision:resnet18                  with random weights; ``?weights=DEFAULT`` fetches trained ones
    package.module:callable               returns a module, or a module with its example inputs
    digits                                the small trained model that ships with cleft
    path/to/bundle                        a bundle
    path/to/program.pt2                   an exported program, only where the user says that it is trusted

A spec that is no bundle is packed into the cache first. Random weights are drawn once, from a fixed seed, when the
bundle is packed: capturing twice need not give the same model, so both sides are meant to load one bundle. A user's
callable is called every time, since nobody else can tell whether its code or its checkpoint has changed; its bundle is
named by its digest.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from partitioner.bundle import MANIFEST, Bundle, cache_dir
from partitioner.errors import BundleError, ModelError, UsageError
from partitioner.runtimes import ORT, RUNTIMES

DIGITS = "digits"
_TORCHVISION = "torchvision:"
_CALLABLE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_MAX_RECORD_BYTES = 16 * 2**20
_CAPTURE_VERSION = 1
"""Part of the cache's key; raised when the same model would be captured differently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """A spec and what goes with it.

    ``shapes`` are example inputs such as ``1x3x224x224`` or ``2x16:int64``, in the order of ``forward``'s arguments;
    ``dynamic`` names sizes that vary (``ids=b,t:1..512``), ``runtimes`` those that the bundle is to have files for.
    """

    spec: str
    shapes: tuple[str, ...] = ()
    dynamic: tuple[str, ...] = ()
    is_trusted: bool = False
    preprocess: Path | None = None
    labels: Path | None = None
    runtimes: tuple[str, ...] = RUNTIMES


def resolve(
    spec: str,
    *,
    shapes: Sequence[str] = (),
    dynamic: Sequence[str] = (),
    trust: bool = False,
) -> Bundle:
    """The bundle that a spec stands for; packs it into the cache where it has to.

    Raises:
        UsageError: the spec is none of the forms above.
        ModelError: the model cannot be found or captured.
        BundleError: the bundle cannot be used.
    """
    return resolve_request(ModelRequest(spec=spec, shapes=tuple(shapes), dynamic=tuple(dynamic), is_trusted=trust))


def resolve_request(request: ModelRequest) -> Bundle:
    """``resolve``, with everything that can be asked."""
    kind = kind_of(request.spec)
    if kind == "bundle":
        if request.shapes or request.dynamic or request.preprocess or request.labels:
            raise UsageError(f"{request.spec} is packed already: --shape, --dynamic and the like apply when packing")
        return Bundle.open(request.spec)
    target = _cached_path(request) if kind in ("torchvision", DIGITS) else None
    if target is not None and (target / MANIFEST).is_file():
        try:
            return Bundle.open(target)
        except BundleError:
            pass  # damaged in the cache: packed again below
    from partitioner.zoo.packing import pack_into_cache

    bundle = pack_into_cache(request, target)
    gc.collect()  # a module's cycles would keep its weights in memory beside the bundle's
    return bundle


def kind_of(spec: str) -> str:
    """``bundle``, ``pt2``, ``torchvision``, ``digits`` or ``callable``.

    Raises:
        UsageError: the spec has none of these forms.
        ModelError: it is a path, and nothing is there.
    """
    if spec == DIGITS:
        return DIGITS
    if spec.startswith(_TORCHVISION):
        return "torchvision"
    path = Path(spec)
    if spec and path.is_dir():
        return "bundle"
    if spec.endswith(".pt2"):
        if not path.is_file():
            raise ModelError(f"there is no file {spec}")
        return "pt2"
    if _CALLABLE.fullmatch(spec):
        return "callable"
    if spec and (os.sep in spec or path.exists()):
        raise ModelError(f"{spec} is no bundle: there is no such directory (cleft-plan pack makes one)")
    raise UsageError(
        f"model {spec!r} is none of: torchvision:NAME, package.module:callable, a bundle's directory, "
        f"a trusted .pt2 file, {DIGITS!r}"
    )


def _cached_path(request: ModelRequest) -> Path:
    """Where the bundle of a spec that always means the same thing lies in the cache."""
    from importlib.metadata import PackageNotFoundError, version

    versions: dict[str, str] = {}
    for package in ("torch", "torchvision", *(("onnxscript",) if ORT in request.runtimes else ())):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = ""
    extras = {
        name: read_record(path, f"--{name}") if path is not None else None
        for name, path in (("preprocess", request.preprocess), ("labels", request.labels))
    }
    if request.spec == DIGITS:
        extras[DIGITS] = hashlib.sha256(Path(__file__).with_name("digits.safetensors").read_bytes()).hexdigest()
    key = json.dumps(
        [request.spec, request.shapes, request.dynamic, versions, extras, _CAPTURE_VERSION], sort_keys=True
    )
    return cache_dir() / "bundles" / f"{slug(request.spec)}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def read_record(path: Path, flag: str) -> str:
    """Text of a small file that the user named.

    Raises:
        UsageError: it cannot be read, or is no small regular file of text.
    """
    try:
        if not path.is_file():
            raise UsageError(f"{flag} {path}: there is no such file")
        if path.stat().st_size > _MAX_RECORD_BYTES:
            raise UsageError(f"{flag} {path}: the file is larger than {_MAX_RECORD_BYTES} bytes")
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{flag} {path}: {error}") from error


def slug(spec: str) -> str:
    """A spec as part of a file name."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", spec.removeprefix(_TORCHVISION)).strip("-.")[:60] or "model"
