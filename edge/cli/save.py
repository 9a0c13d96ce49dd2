"""``--save FILE.npz``: a model's outputs in a file, one array for each by its path.

One input goes to the file itself, the n-th of several to ``FILE-n.npz``: each is written as soon as it is answered, and
none is kept in memory.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from partitioner.errors import UsageError
from partitioner.files import check_writable
from partitioner.runtimes import Array


def check_target(target: Path, *, count: int) -> None:
    """Check before anything is run that the outputs of ``count`` inputs may go there.

    Raises:
        UsageError: they cannot.
    """
    if target.suffix != ".npz":
        raise UsageError(f"--save {target}: the file's name must end in .npz")
    check_writable(path_of(target, 1, count=count), flag="--save", in_place=True)


def path_of(target: Path, number: int, *, count: int) -> Path:
    """Where the outputs of one of ``count`` inputs go; the first has number 1."""
    return target if count == 1 else target.with_name(f"{target.stem}-{number}.npz")


def save_outputs(path: Path, outputs: Mapping[str, Array]) -> None:
    """Write the outputs of an input; ``numpy.load`` reads them.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        with zipfile.ZipFile(path, "w") as archive:
            for name, array in outputs.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, _storable(array), allow_pickle=False)
    except OSError as error:
        raise UsageError(f"--save {path}: {error.strerror or error}") from error


def _storable(array: Array) -> Array:
    """The array in a type that every numpy knows; bfloat16 fits float32."""
    return array.astype(np.float32) if array.dtype.kind == "V" else array
