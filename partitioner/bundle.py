"""Bundles: a model captured once, as a directory that either side loads without the model's code.

    bundle.json           the manifest: schema, digest, name, where the weights are from, size and SHA-256 of every file
    graph.json            the operator graph (``graphjson``)
    weights.safetensors   parameters, buffers and constants
    preprocess.json       how an image becomes the model's input, or ``null``
    labels.json           names of the classes, or ``null``
    examples.safetensors  integer and boolean inputs that the model was captured with, to measure it with
    model.onnx            optional: the graph for ONNX Runtime; its weights are references into weights.safetensors
    check.safetensors     optional: an input and what the eager runtime makes of it, to check other runtimes against

The digest is the SHA-256 over the SHA-256s of graph, weights and preprocess: two sides with the same digest compute the
same thing. Every file is checked against the manifest before it is read, so a truncated or altered bundle is refused in
one line. The optional files are outside the digest and checked when a runtime asks for them: a bundle without them, or
with damaged ones, still runs in the eager runtime.

A bundle is written into a temporary directory and renamed, so a half-written one is never seen.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from partitioner import graphjson
from partitioner.errors import BundleError
from partitioner.graph import Graph
from partitioner.manifest import (
    CHECK,
    EXAMPLES,
    FILES,
    GRAPH,
    LABELS,
    MANIFEST,
    ONNX_MODEL,
    PREPROCESS,
    RUNTIME_FILES,
    SCHEMA,
    WEIGHTS,
    FileRecord,
    Manifest,
    WeightsOrigin,
    check_file,
    digest_of,
    read_manifest,
    record_of,
    to_json,
)

__all__ = [
    "CHECK",
    "EXAMPLES",
    "GRAPH",
    "LABELS",
    "MANIFEST",
    "ONNX_MODEL",
    "PREPROCESS",
    "SCHEMA",
    "WEIGHTS",
    "Bundle",
    "FileRecord",
    "Manifest",
    "SaveWeights",
    "WeightsOrigin",
    "add_optional",
    "cache_dir",
    "write",
]


Stamp = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """An opened bundle. The weights stay on disk until a runtime asks for them."""

    path: Path
    manifest: Manifest
    weights_stamp: Stamp

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Bundle:
        """Open a bundle and check every file against the manifest.

        Raises:
            BundleError: it is missing, truncated, altered, or of another version.
        """
        directory = Path(path)
        manifest = read_manifest(directory)
        stamp = _stamp(directory / WEIGHTS)
        for record in manifest.files:
            check_file(directory / record.name, record)
        if digest_of(manifest.files) != manifest.digest:
            raise BundleError(f"{directory}: the digest in {MANIFEST} is not that of its files: pack the model again")
        return cls(path=directory, manifest=manifest, weights_stamp=stamp)

    @property
    def digest(self) -> str:
        """SHA-256 over graph, weights and preprocess, as 64 hexadecimal digits."""
        return self.manifest.digest

    @property
    def name(self) -> str:
        """What the model is called, for people."""
        return self.manifest.name

    @property
    def weights_path(self) -> Path:
        """Where the weights are.

        Raises:
            BundleError: the file is another than the one that was checked, so its numbers may be another model's.
        """
        path = self.path / WEIGHTS
        if _stamp(path) != self.weights_stamp:
            raise BundleError(f"{path} has changed since the bundle was opened: start again")
        return path

    @cached_property
    def graph(self) -> Graph:
        """The operator graph.

        Raises:
            BundleError: ``graph.json`` is no graph of a schema we read.
        """
        return graphjson.loads((self.path / GRAPH).read_bytes())

    @cached_property
    def preprocess(self) -> dict[str, object] | None:
        """The preprocess record, or None where inputs are given as tensors."""
        record = self._json(PREPROCESS)
        if record is not None and not isinstance(record, dict):
            raise BundleError(f"{self.path / PREPROCESS} holds no record: pack the model again")
        return record

    @cached_property
    def labels(self) -> tuple[str, ...] | None:
        """Names of the classes, or None."""
        labels = self._json(LABELS)
        if labels is None:
            return None
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise BundleError(f"{self.path / LABELS} holds no list of names: pack the model again")
        return tuple(labels)

    @cached_property
    def examples(self) -> dict[str, npt.NDArray[np.generic]]:
        """Integer and boolean inputs that the model was captured with, by name; floats can be made up."""
        try:
            return cast("dict[str, npt.NDArray[np.generic]]", load_file(self.path / EXAMPLES))
        except (SafetensorError, OSError, KeyError) as error:
            raise BundleError(f"{self.path / EXAMPLES} cannot be read: {error}") from error

    @property
    def runtimes(self) -> tuple[str, ...]:
        """Names of the runtimes that this bundle has what they need."""
        names = {each.name for each in self.manifest.optional}
        return ("eager", *(runtime for runtime, file in RUNTIME_FILES.items() if {file, CHECK} <= names))

    def runtime_file(self, runtime: str) -> Path:
        """Where a runtime's own file is.

        Raises:
            BundleError: the bundle was packed without, or the file is damaged.
        """
        if runtime not in self.runtimes:
            why = self.manifest.without.get(runtime, "it was packed without; pack the model again")
            raise BundleError(f"{self.name} has no file for the runtime {runtime}: {why}")
        return self._optional(RUNTIME_FILES[runtime])

    @property
    def check(self) -> Path:
        """Where the record is that runtimes are checked against.

        Raises:
            BundleError: there is none, or it is damaged.
        """
        return self._optional(CHECK)

    def file_digest(self, name: str) -> str:
        """SHA-256 of a file as the manifest says it; empty where there is none."""
        files = (*self.manifest.files, *self.manifest.optional)
        return next((each.sha256 for each in files if each.name == name), "")

    def _optional(self, name: str) -> Path:
        record = next((each for each in self.manifest.optional if each.name == name), None)
        if record is None:
            raise BundleError(f"{self.name} was packed without {name}: pack the model again")
        check_file(self.path / name, record)
        return self.path / name

    def _json(self, name: str) -> object:
        try:
            return cast(object, json.loads((self.path / name).read_bytes()))
        except (ValueError, RecursionError) as error:
            raise BundleError(f"{self.path / name} cannot be read: {error}") from error


def write(
    path: str | os.PathLike[str],
    *,
    graph_text: str,
    weights: Mapping[str, object],
    save_weights: SaveWeights,
    name: str,
    origin: WeightsOrigin,
    notes: Iterable[str] = (),
    preprocess: Mapping[str, object] | None = None,
    labels: Iterable[str] | None = None,
    examples: Mapping[str, npt.NDArray[np.generic]] | None = None,
    overwrite: bool = False,
) -> Bundle:
    """Write a bundle at ``path`` in one step and open it.

    Args:
        weights: tensors by key, of whatever kind ``save_weights(weights, file)`` writes.
        overwrite: replace a bundle that is there; anything else that is there is left alone.

    Raises:
        BundleError: something is in the way, or the directory cannot be written.
    """
    target = Path(path)
    if target.exists() and not overwrite:
        raise BundleError(f"{target} exists already: remove it, choose another place, or pass --force")
    if target.exists() and not target.is_dir():
        raise BundleError(f"{target} is a file, no bundle, and is not replaced")
    if target.exists() and any(target.iterdir()) and not (target / MANIFEST).is_file():
        raise BundleError(f"{target} is no bundle, and is not replaced")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise BundleError(f"cannot write to {target.parent}: {error.strerror}") from error
    try:
        (staging / GRAPH).write_text(graph_text)
        save_weights(weights, staging / WEIGHTS)
        (staging / PREPROCESS).write_text(_canonical(preprocess))
        (staging / LABELS).write_text(_canonical(None if labels is None else list(labels)))
        save_file(dict(examples or {}), staging / EXAMPLES)
        files = tuple(record_of(staging / each) for each in FILES)
        manifest = {
            "schema": SCHEMA,
            "digest": digest_of(files),
            "name": name,
            "weights": origin,
            "notes": list(notes),
            "files": [to_json(each) for each in files],
        }
        (staging / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        staging.chmod(0o755)
        for written in staging.iterdir():
            written.chmod(0o644)  # safetensors writes for the owner alone; a worker may run as another user
        if target.exists():
            shutil.rmtree(target)
        staging.rename(target)
    except OSError as error:
        if not (target / MANIFEST).is_file():
            raise BundleError(f"cannot write {target}: {error.strerror}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Bundle.open(target)


def add_optional(bundle: Bundle, files: Mapping[str, bytes], *, without: Mapping[str, str] | None = None) -> Bundle:
    """Add files for runtimes to a bundle, and the reasons why others have none; returns it opened again.

    Raises:
        BundleError: the bundle cannot be written to.
    """
    manifest = json.loads((bundle.path / MANIFEST).read_bytes())
    try:
        for name, content in files.items():
            _replace(bundle.path / name, content)
        kept = {each.name: each for each in bundle.manifest.optional}
        kept.update({name: record_of(bundle.path / name) for name in files})
        manifest["optional"] = [to_json(each) for each in kept.values()]
        manifest["without"] = {**bundle.manifest.without, **(without or {})}
        _replace(bundle.path / MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())
    except OSError as error:
        raise BundleError(f"cannot write to {bundle.path}: {error.strerror}") from error
    return Bundle.open(bundle.path)


def cache_dir() -> Path:
    """Where packed models and profiles are kept: ``CLEFT_CACHE_DIR``, else ``cleft`` in the user's cache directory."""
    chosen = os.environ.get("CLEFT_CACHE_DIR")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "cleft"


class SaveWeights(Protocol):
    """Writes tensors by key to a safetensors file."""

    def __call__(self, weights: Mapping[str, object], path: Path) -> None:
        """Write the file."""


def _stamp(path: Path) -> Stamp:
    """What tells a file from one that takes its place: device, inode and time of change; zeros where there is none."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0, 0
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _replace(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or what was there before."""
    staging = path.with_name(f".{path.name}.new")
    staging.write_bytes(content)
    staging.chmod(0o644)
    staging.replace(path)


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
