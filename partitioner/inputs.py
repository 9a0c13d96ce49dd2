"""What a user names on the command line, read as samples for a model: pictures, ``.npy``, ``.npz``, or random tensors.

A sample is either a *source* (the original bytes of a picture, or its pixels, which the bundle's preprocess record
turns into a tensor on either side) or model-ready *tensors*. Arrays convert to the model's dtype only where every
value survives; files are strangers' too, so headers are checked against the file's size and the limit before anything
is allocated, and pickled objects are refused.
"""

from __future__ import annotations

import io
import math
import stat
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from partitioner import preprocess as pictures
from partitioner.dims import Binding, Dim, shape_of, symbols_of
from partitioner.errors import InputError
from partitioner.graph import Value

Array = npt.NDArray[np.generic]

MAX_BYTES = 256 << 20
_MAX_RANK = 32
_NPY_MAGIC = b"\x93NUMPY"
_ZIP_MAGIC = b"PK\x03\x04"
_PLAIN = "biufcV"
_SHOWN_NAMES = 8
_FAMILIES = {"b": "bool", "i": "integer", "u": "integer", "f": "floating", "c": "complex"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One input of a model: exactly one of ``source`` and ``tensors`` is there.

    Attributes:
        name: where it came from, for people: a file's name, with ``[i]`` where the file holds several.
        source: ``uint8``; an encoded picture ``(n,)`` or pixels ``(H, W, C)``.
        tensors: one array per model input, of its dtype and shape.
        nbytes_original: what the user's own data weighs: the encoded file, the pixels, or the tensors.
    """

    name: str
    source: npt.NDArray[np.uint8] | None = None
    tensors: Mapping[str, Array] | None = None
    nbytes_original: int


def read(
    path: str | Path,
    *,
    bundle_inputs: Sequence[Value],
    preprocess: Mapping[str, object] | None,
    max_bytes: int = MAX_BYTES,
    max_pixels: int = pictures.MAX_PIXELS,
) -> list[Sample]:
    """Samples in the file at ``path``.

    Pictures need a ``preprocess`` record. A ``.npy`` holds uint8 pixels (for models with a record) or the one input's
    tensor; a ``.npz`` holds one array per input, by name. One more leading dimension than expected means several
    samples, and so does a leading dimension of n where the model's own is fixed at 1.

    Raises:
        InputError: the file cannot be read, is too large, damaged, or does not fit the model; one line that names it.
    """
    path = Path(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError("it is a directory" if stat.S_ISDIR(status.st_mode) else "it is no regular file")
        size = status.st_size
        if size > max_bytes:
            raise InputError(f"it has {size:,} bytes, over the limit of {max_bytes:,}")
        match path.suffix.lower():
            case ".npy":
                with path.open("rb") as file:
                    return _from_array(
                        path.name, _read_npy(file, size, max_bytes), bundle_inputs, preprocess, max_pixels
                    )
            case ".npz":
                return _from_npz(path, path.name, bundle_inputs, preprocess, max_bytes, max_pixels)
            case suffix if suffix in pictures.SUFFIXES:
                return [_from_picture(path.read_bytes(), path.name, preprocess, max_pixels)]
            case suffix:
                known = ", ".join(sorted(pictures.SUFFIXES | {".npy", ".npz"}))
                raise InputError(f"{suffix or 'no suffix'} is not an input's; known are {known}")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error


def read_data(
    data: bytes,
    *,
    name: str,
    bundle_inputs: Sequence[Value],
    preprocess: Mapping[str, object] | None,
    max_bytes: int = MAX_BYTES,
    max_pixels: int = pictures.MAX_PIXELS,
) -> list[Sample]:
    """Samples in what a file would hold; its first bytes tell ``.npy`` and ``.npz`` from pictures.

    Raises:
        InputError: as ``read``; one line that names it ``name``.
    """
    try:
        if len(data) > max_bytes:
            raise InputError(f"it has over {max_bytes:,} bytes")
        if not data:
            raise InputError("it is empty")
        if data.startswith(_NPY_MAGIC):
            array = _read_npy(io.BytesIO(data), len(data), max_bytes)
            return _from_array(name, array, bundle_inputs, preprocess, max_pixels)
        if data.startswith(_ZIP_MAGIC):
            return _from_npz(io.BytesIO(data), name, bundle_inputs, preprocess, max_bytes, max_pixels)
        return [_from_picture(data, name, preprocess, max_pixels)]
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def random_samples(
    n: int,
    values: Sequence[Value],
    *,
    binding: Binding,
    ranges: Mapping[str, tuple[int, int]] | None = None,
    seed: int = 0,
) -> list[Sample]:
    """``n`` model-ready samples; the same seed draws the same ones.

    Args:
        n: how many.
        values: the model's inputs.
        binding: a size for each symbol in their shapes.
        ranges: half-open (low, high) of integer inputs by name; (0, 2) where none is given.
        seed: of the generator.

    Raises:
        InputError: a range is empty, or beyond its dtype.
    """
    generator = np.random.default_rng(seed)
    samples = []
    for index in range(n):
        tensors = {value.name: _draw(value, binding, (ranges or {}).get(value.name), generator) for value in values}
        nbytes = sum(tensor.nbytes for tensor in tensors.values())
        samples.append(Sample(name=f"random[{index}]", tensors=tensors, nbytes_original=nbytes))
    return samples


def dtype_of(name: str) -> np.dtype[np.generic]:
    """The numpy dtype of a graph's dtype name; ``bfloat16`` is that of ``ml_dtypes``."""
    if name == "bfloat16":
        import ml_dtypes

        bfloat16: np.dtype[np.generic] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    return np.dtype(name)


def _from_picture(data: bytes, name: str, record: Mapping[str, object] | None, max_pixels: int) -> Sample:
    if record is None:
        raise InputError("the model has no preprocess record for pictures; give its tensors as .npy or .npz")
    source = np.frombuffer(data, np.uint8)
    pictures.check_header(source, max_pixels=max_pixels)
    return Sample(name=name, source=source, nbytes_original=source.nbytes)


def _from_npz(
    file: Path | IO[bytes],
    name: str,
    values: Sequence[Value],
    record: Mapping[str, object] | None,
    max_bytes: int,
    max_pixels: int,
) -> list[Sample]:
    wanted = {value.name for value in values}
    arrays: dict[str, Array] = {}
    left_bytes = max_bytes
    try:
        with zipfile.ZipFile(file) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            is_only = len(values) == 1 and len(members) == 1
            if not is_only and set(members) != wanted:
                raise InputError(f"it holds {_listed(members)}; the model's inputs are {_listed(wanted)}")
            for key, info in members.items():
                if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise InputError(f"its array {key!r} is packed in a way that numpy does not write")
                with archive.open(info) as member:
                    arrays[key] = _read_npy(member, info.file_size, left_bytes)
                left_bytes -= arrays[key].nbytes
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, ValueError) as error:
        raise InputError(f"it is no readable .npz archive, or is truncated ({error})") from error
    if is_only:
        return _from_array(name, next(iter(arrays.values())), values, record, max_pixels)
    stacks = {value.name: _stacked(arrays[value.name], value) for value in values}
    counts = {len(stack) for stack in stacks.values()}
    if len(counts) != 1:
        held = ", ".join(f"{len(stack)} of {key}" for key, stack in stacks.items())
        raise InputError(f"its arrays hold different numbers of samples: {held}")
    return _samples(name, [{key: stack[i] for key, stack in stacks.items()} for i in range(counts.pop())], values)


def _from_array(
    name: str, array: Array, values: Sequence[Value], record: Mapping[str, object] | None, max_pixels: int
) -> list[Sample]:
    if record is not None and array.dtype == np.uint8:
        return _from_pixels(name, array.astype(np.uint8, copy=False), max_pixels)
    if len(values) != 1:
        raise InputError(f"the model has {len(values)} inputs ({_listed(v.name for v in values)}); give them as .npz")
    return _samples(name, [{values[0].name: array} for array in _stacked(array, values[0])], values)


def _from_pixels(name: str, pixels: npt.NDArray[np.uint8], max_pixels: int) -> list[Sample]:
    has_channels = pixels.ndim > 2 and pixels.shape[-1] in (1, 3, 4)
    if pixels.ndim - has_channels not in (2, 3) or pixels.size == 0:
        raise InputError(f"uint8 pixels must be (H, W), (H, W, C) or a stack of these, got {pixels.shape}")
    if not has_channels:
        pixels = pixels[..., np.newaxis]
    stack = pixels if pixels.ndim == 4 else pixels[np.newaxis]
    if math.prod(stack.shape[1:3]) > max_pixels:
        raise InputError(f"a picture of {stack.shape[1:3]} pixels is over the limit of {max_pixels:,} pixels")
    return [
        Sample(name=_numbered(name, index, len(stack)), source=source, nbytes_original=source.nbytes)
        for index, source in enumerate(stack)
    ]


def _samples(name: str, found: Sequence[Mapping[str, Array]], values: Sequence[Value]) -> list[Sample]:
    """Check every sample's sizes against each other, and its dtypes."""
    samples = []
    for index, arrays in enumerate(found):
        binding: dict[str, int] = {}
        for value in values:
            _bind(value, arrays[value.name].shape, binding)
        for value in values:
            shape = arrays[value.name].shape
            bound = all(symbols_of(dim) <= binding.keys() for dim in value.shape)
            if bound and shape_of(value.shape, binding) != shape:
                raise InputError(_mismatch(value, arrays[value.name]) + f" with {binding}")
        tensors = {value.name: _converted(arrays[value.name], value) for value in values}
        nbytes = sum(array.nbytes for array in tensors.values())
        samples.append(Sample(name=_numbered(name, index, len(found)), tensors=tensors, nbytes_original=nbytes))
    return samples


def _stacked(array: Array, value: Value) -> list[Array]:
    """The samples that an array holds for one input, or an error that says what was expected."""
    rank, fixed_batch = len(value.shape), bool(value.shape) and value.shape[0] == 1
    if array.ndim == rank and _fits(array.shape, value.shape):
        return [array]
    if array.ndim == rank + 1 and len(array) and _fits(array.shape[1:], value.shape):
        return list(array)
    if fixed_batch and array.ndim == rank and len(array) and _fits(array.shape[1:], value.shape[1:]):
        return [array[index : index + 1] for index in range(len(array))]
    if fixed_batch and array.ndim == rank - 1 and _fits(array.shape, value.shape[1:]):
        return [array[np.newaxis]]
    raise InputError(_mismatch(value, array))


def _fits(shape: tuple[int, ...], dims: Sequence[Dim]) -> bool:
    return len(shape) == len(dims) and all(
        not isinstance(dim, int) or dim == size for size, dim in zip(shape, dims, strict=True)
    )


def _bind(value: Value, shape: tuple[int, ...], binding: dict[str, int]) -> None:
    for dim, size in zip(value.shape, shape, strict=True):
        if isinstance(dim, str) and dim.isidentifier() and binding.setdefault(dim, size) != size:
            raise InputError(f"{value.name} has {dim} = {size}, where {dim} = {binding[dim]} already")


def _converted(array: Array, value: Value) -> Array:
    """``array`` in the input's dtype, dense and native; only where every value survives."""
    wanted = dtype_of(value.dtype)
    array = np.ascontiguousarray(array).reshape(array.shape)
    if array.dtype == wanted:
        return array.astype(wanted, copy=False)
    if array.dtype == np.dtype("V2") and value.dtype == "bfloat16":
        return array.view(wanted)
    family = _FAMILIES.get(array.dtype.kind)
    if family is None or family != _FAMILIES.get(wanted.kind):
        raise InputError(_mismatch(value, array))
    with np.errstate(all="ignore"):
        cast = array.astype(wanted)
        survives = np.array_equal(cast.astype(array.dtype), array, equal_nan=family in ("floating", "complex"))
    if not survives:
        raise InputError(
            f"{_mismatch(value, array)}, and its values do not fit {value.dtype} exactly; convert them with "
            f".astype({value.dtype!r})"
        )
    return cast


def _read_npy(file: IO[bytes], size_bytes: int, max_bytes: int) -> Array:
    """The array in ``file``, which holds ``size_bytes``; nothing is allocated before the header is believed."""
    try:
        version = np.lib.format.read_magic(file)
        reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if reader is None:
            raise InputError(f".npy version {version} is not read")
        shape, is_fortran, dtype = reader(file)
    except (ValueError, SyntaxError, TypeError, EOFError) as error:
        raise InputError("it is no .npy array, or its header is truncated") from error
    if dtype.kind not in _PLAIN or dtype.names is not None or dtype.itemsize == 0 or len(shape) > _MAX_RANK:
        raise InputError(f"it holds dtype {dtype}, which is no plain tensor's")
    needed_bytes = math.prod(shape) * dtype.itemsize
    if min(shape, default=1) < 0 or needed_bytes > max_bytes:
        raise InputError(f"its header claims {needed_bytes:,} bytes (shape {shape}), over the limit of {max_bytes:,}")
    if needed_bytes > size_bytes:
        raise InputError(f"it is truncated: its header claims {needed_bytes:,} bytes, the file has {size_bytes:,}")
    data = file.read(needed_bytes)
    if len(data) < needed_bytes:
        raise InputError(f"it is truncated: its header claims {needed_bytes:,} bytes, {len(data):,} are there")
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if is_fortran else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)


def _draw(value: Value, binding: Binding, bounds: tuple[int, int] | None, generator: np.random.Generator) -> Array:
    shape, dtype = shape_of(value.shape, binding), dtype_of(value.dtype)
    if dtype.kind == "b":
        return generator.integers(0, 2, shape).astype(dtype)
    if dtype.kind in "iu":
        low, high = bounds or (0, 2)
        limits = np.iinfo(dtype.name)
        if not limits.min <= low < high <= int(limits.max) + 1:
            raise InputError(f"no {value.dtype} lies in {low}..{high} (half-open), asked for {value.name}")
        return generator.integers(low, high, shape, dtype=dtype)
    real = generator.standard_normal(shape)
    return (real + 1j * generator.standard_normal(shape) if dtype.kind == "c" else real).astype(dtype)


def _mismatch(value: Value, array: Array) -> str:
    wanted = ", ".join(map(str, value.shape))
    return f"{value.name} needs {value.dtype} ({wanted}), got {array.dtype} ({', '.join(map(str, array.shape))})"


def _numbered(name: str, index: int, count: int) -> str:
    return name if count == 1 else f"{name}[{index}]"


def _listed(names: Iterable[str]) -> str:
    shown = sorted(names)
    more = [f"and {len(shown) - _SHOWN_NAMES} more"] if len(shown) > _SHOWN_NAMES else []
    return ", ".join([*shown[:_SHOWN_NAMES], *more]) or "nothing"
