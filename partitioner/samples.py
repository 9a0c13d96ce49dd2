"""Sample inputs, and where they have them their labels: what codecs are judged on.

Labels come as a text file: ``name,label`` on each line, by the samples' file names, or one label a line in the order of
the samples. A label is a class's name or its number.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from partitioner import inputs
from partitioner.errors import InputError
from partitioner.graph import Value
from partitioner.inputs import Sample
from partitioner.plan import SOURCE
from partitioner.preprocess import SUFFIXES

MAX_SAMPLES = 10_000
_MAX_LABEL_BYTES = 16 << 20
_SUFFIXES = SUFFIXES | {".npy", ".npz"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSet:
    """Inputs and, where they are known, the number of each one's class."""

    samples: tuple[Sample, ...]
    labels: tuple[int, ...] | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of the samples' data and labels (first 16 hexadecimal digits); empty where there are none."""
        if not self.samples:
            return ""
        found = hashlib.sha256(repr(self.labels).encode())
        for sample in self.samples:
            arrays = {SOURCE: sample.source} if sample.source is not None else dict(sample.tensors or {})
            for name, array in sorted(arrays.items()):
                found.update(f"{name} {array.dtype.name} {array.shape}".encode())
                found.update(array.tobytes())
        return found.hexdigest()[:16]


NO_SAMPLES = SampleSet(samples=())


def read_samples(
    paths: Sequence[Path],
    *,
    labels: Path | None = None,
    bundle_inputs: Sequence[Value],
    preprocess: Mapping[str, object] | None,
    classes: Sequence[str] | None = None,
) -> SampleSet:
    """The samples in files and directories (not in their subdirectories), by name, and their labels.

    Raises:
        InputError: there are none or too many, one cannot be read, or the labels do not fit; one line.
    """
    found: list[Sample] = []
    for path in _files(paths):
        found += inputs.read(path, bundle_inputs=bundle_inputs, preprocess=preprocess)
        if len(found) > MAX_SAMPLES:
            raise InputError(f"there are over {MAX_SAMPLES:,} samples: name fewer")
    if not found:
        raise InputError(f"no samples: {', '.join(map(str, paths))} holds none of {', '.join(sorted(_SUFFIXES))}")
    numbers = None if labels is None else _labels(labels, [each.name for each in found], classes)
    return SampleSet(samples=tuple(found), labels=numbers)


def _files(paths: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(each for each in path.iterdir() if each.suffix.lower() in _SUFFIXES and each.is_file())
        else:
            found.append(path)
    return found


def _labels(path: Path, names: Sequence[str], classes: Sequence[str] | None) -> tuple[int, ...]:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_LABEL_BYTES + 1).decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: the labels are not UTF-8 text") from error
    if len(text) > _MAX_LABEL_BYTES:
        raise InputError(f"{path}: the labels are over {_MAX_LABEL_BYTES:,} bytes")
    rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text)) if any(map(str.strip, row))]
    if rows and all(len(row) == 1 for row in rows):
        if len(rows) != len(names):
            raise InputError(f"{path} has {len(rows)} labels for {len(names)} samples")
        return tuple(_number(path, row[0], classes) for row in rows)
    if any(len(row) != 2 for row in rows):
        raise InputError(f"{path}: a line is neither a label nor 'file name,label'")
    by_name = {row[0]: row[1] for row in rows}
    if missing := [name for name in names if name not in by_name]:
        raise InputError(f"{path} has no label for {missing[0]} ({len(missing)} of {len(names)} samples lack one)")
    return tuple(_number(path, by_name[name], classes) for name in names)


def _number(path: Path, label: str, classes: Sequence[str] | None) -> int:
    if classes is not None and label in classes:
        return list(classes).index(label)
    if label.isascii() and label.isdigit() and len(label) <= 9 and (classes is None or int(label) < len(classes)):
        return int(label)
    known = "a class's number" if classes is None else f"a class's name or its number, 0 to {len(classes) - 1}"
    raise InputError(f"{path}: {label[:40]!r} is not {known}")
