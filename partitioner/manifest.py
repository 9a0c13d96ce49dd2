"""The manifest of a bundle: which files it holds, and how each is checked before it is read."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from partitioner.errors import BundleError
from partitioner.records import Fields, RecordError, read

SCHEMA = "cleft.bundle/1"
MANIFEST = "bundle.json"
GRAPH = "graph.json"
WEIGHTS = "weights.safetensors"
PREPROCESS = "preprocess.json"
LABELS = "labels.json"
EXAMPLES = "examples.safetensors"
ONNX_MODEL = "model.onnx"
CHECK = "check.safetensors"
RUNTIME_FILES = {"ort": ONNX_MODEL}
_OPTIONAL = (*RUNTIME_FILES.values(), CHECK)
_DIGESTED = (GRAPH, WEIGHTS, PREPROCESS)
FILES = (*_DIGESTED, LABELS, EXAMPLES)
_MAX_RECORD_CHARS = 16 * 2**20
_READ_BYTES = 2**20

WeightsOrigin = Literal["trained", "random", "given"]
"""``given``: the user's module came with them, and nobody told us how they were made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """Size and SHA-256 of one file of a bundle."""

    name: str
    nbytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What ``bundle.json`` says.

    ``optional`` are the files that runtimes besides the eager one need; ``without`` says why such a runtime has none.
    """

    digest: str
    name: str
    weights: WeightsOrigin
    notes: tuple[str, ...]
    files: tuple[FileRecord, ...]
    optional: tuple[FileRecord, ...] = ()
    without: Mapping[str, str] = field(default_factory=dict)


def read_manifest(directory: Path) -> Manifest:
    """Read ``bundle.json``.

    Raises:
        BundleError: there is none, or it is of another version.
    """
    if not directory.is_dir():
        raise BundleError(f"{directory} is no bundle: there is no such directory")
    path = directory / MANIFEST
    if not path.is_file():
        raise BundleError(f"{directory} is no bundle: it holds no {MANIFEST}")
    try:
        if path.stat().st_size > _MAX_RECORD_CHARS:
            raise BundleError(f"{path} cannot be used: it is longer than {_MAX_RECORD_CHARS} bytes")
        return read(path.read_bytes(), _manifest, max_chars=_MAX_RECORD_CHARS)
    except RecordError as error:
        raise BundleError(f"{path} cannot be used: {error}") from error
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error


def _manifest(fields: Fields) -> Manifest:
    schema = fields.text("schema")
    if schema != SCHEMA:
        fields.fault("schema", f"is {schema!r}, and this version of cleft reads {SCHEMA!r}: pack the model again")
    files = fields.records("files", _file_record)
    if sorted(each.name for each in files) != sorted(FILES):
        fields.fault("files", f"are not {', '.join(FILES)}")
    return Manifest(
        digest=fields.text("digest"),
        name=fields.text("name"),
        weights=cast(WeightsOrigin, fields.text("weights", among=("trained", "random", "given"))),
        notes=fields.texts("notes"),
        files=files,
        optional=fields.records("optional", _optional_record) if fields.raw("optional") is not None else (),
        without=fields.texts_by_name("without") if fields.raw("without") is not None else {},
    )


def _file_record(fields: Fields) -> FileRecord:
    return FileRecord(
        name=fields.text("name", among=FILES), nbytes=fields.whole("nbytes"), sha256=fields.text("sha256")
    )


def _optional_record(fields: Fields) -> FileRecord:
    return FileRecord(
        name=fields.text("name", among=_OPTIONAL), nbytes=fields.whole("nbytes"), sha256=fields.text("sha256")
    )


def check_file(path: Path, record: FileRecord) -> None:
    """Raise where a file is not what the manifest says."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(f"{path} is no regular file: copy or pack the bundle again")
        nbytes = status.st_size
        if nbytes != record.nbytes:
            problem = "truncated" if nbytes < record.nbytes else "longer than it should be"
            raise BundleError(
                f"{path} is {problem}: {nbytes} bytes, not {record.nbytes}. Copy or pack the bundle again"
            )
        if _sha256(path) != record.sha256:
            raise BundleError(f"{path} is corrupt: its checksum is not the manifest's. Copy or pack the bundle again")
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error


def record_of(path: Path) -> FileRecord:
    """What the manifest says of a file that is there."""
    return FileRecord(name=path.name, nbytes=path.stat().st_size, sha256=_sha256(path))


def to_json(record: FileRecord) -> dict[str, object]:
    """A file's record as JSON values."""
    return {"name": record.name, "nbytes": record.nbytes, "sha256": record.sha256}


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        buffer = bytearray(_READ_BYTES)
        view = memoryview(buffer)
        while count := file.readinto(buffer):
            digest.update(view[:count])
    return digest.hexdigest()


def digest_of(files: Iterable[FileRecord]) -> str:
    """The model digest: over the SHA-256s of graph, weights and preprocess."""
    by_name = {each.name: each.sha256 for each in files}
    return hashlib.sha256("".join(f"{name}:{by_name[name]}\n" for name in _DIGESTED).encode()).hexdigest()
