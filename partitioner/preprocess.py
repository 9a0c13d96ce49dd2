"""From a picture to a model's input, as a bundle's record says; the same function runs on the device and in the cloud.

The record is data: decode, resize, crop, scale, normalise. With Pillow's resizing and a table of the 256 values that a
channel can take, it equals torchvision's classification transforms to the last bits of a float32.

Pictures come from strangers, so the formats are a short list of plain decoders (none shells out or runs anything),
the size is read from the header before a pixel is decoded, and what resizing would make is bounded too. Orientation
tags are obeyed: the model sees what a viewer shows. Of an animation the first frame counts; transparency is dropped.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from partitioner.errors import BundleError, InputError

if TYPE_CHECKING:
    from PIL import Image

SCHEMA = "cleft.preprocess/1"
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM")
SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".gif", ".ppm", ".pgm"})
MAX_PIXELS = 64 << 20
_MAX_SIDE = 8192
_CHANNELS = {"L": 1, "RGB": 3}
_INTERPOLATIONS = ("nearest", "bilinear", "bicubic")
_KEYS = ("schema", "kind", "input", "mode", "resize", "crop", "scale", "mean", "std", "layout")
_RESIZE_KEYS = ("size", "interpolation", "antialias")

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A record that passed ``check``. Sizes are (height, width); a ``resize`` of one size sets the short side."""

    input: str
    mode: Literal["L", "RGB"]
    resize: tuple[int, ...] | None
    interpolation: str
    crop: tuple[int, int] | None
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


def imagenet(
    *,
    input: str = "x",
    resize: int = 256,
    crop: int = 224,
    interpolation: str = "bilinear",
    mean: Sequence[float] = (0.485, 0.456, 0.406),
    std: Sequence[float] = (0.229, 0.224, 0.225),
) -> dict[str, object]:
    """The record of the usual ImageNet evaluation: short side to ``resize``, centre ``crop``, normalised RGB."""
    return {
        "schema": SCHEMA,
        "kind": "image",
        "input": input,
        "mode": "RGB",
        "resize": {"size": [resize], "interpolation": interpolation, "antialias": True},
        "crop": [crop, crop],
        "scale": 1 / 255,
        "mean": list(mean),
        "std": list(std),
        "layout": "NCHW",
    }


def check(record: Mapping[str, object]) -> Recipe:
    """Read a record.

    Raises:
        BundleError: a key is unknown or missing, or a value is of the wrong kind or range; names every fault.
    """
    faults = [f"unknown key {key!r}" for key in record if key not in _KEYS]
    faults += [f"{key!r} is missing" for key in _KEYS if key not in record]
    if faults:
        raise _refusal(faults)
    if record["schema"] != SCHEMA:
        raise _refusal([f"schema is {record['schema']!r}, this version reads {SCHEMA!r}"])
    mode = record["mode"]
    channels = _CHANNELS.get(mode, 0) if isinstance(mode, str) else 0
    resize = record["resize"]
    options: Mapping[str, object] = resize if isinstance(resize, dict) else {}
    size = _sizes(options.get("size"), (1, 2))
    crop = _sizes(record["crop"], (2,))
    mean, std = _numbers(record["mean"]), _numbers(record["std"])
    scale = _numbers([record["scale"]])
    name = record["input"]
    claims = {
        "kind must be 'image'": record["kind"] == "image",
        "input must be a name": isinstance(name, str) and bool(name),
        "mode must be 'L' or 'RGB'": channels > 0,
        "resize must be null or {size, interpolation, antialias}": resize is None or set(options) == set(_RESIZE_KEYS),
        f"resize.size must be one or two integers of 1..{_MAX_SIDE}": not options or size is not None,
        f"resize.interpolation must be one of {', '.join(_INTERPOLATIONS)}": not options
        or options.get("interpolation") in _INTERPOLATIONS,
        "resize.antialias must be true": not options or options.get("antialias") is True,
        f"crop must be null or two integers of 1..{_MAX_SIDE}": record["crop"] is None or crop is not None,
        "scale must be a number": scale is not None,
        "mean must be one number per channel": mean is not None and (not channels or len(mean) == channels),
        "std must be one number other than 0 per channel": std is not None
        and (not channels or len(std) == channels)
        and 0 not in std,
        "layout must be 'NCHW'": record["layout"] == "NCHW",
    }
    faults = [claim for claim, holds in claims.items() if not holds]
    if faults or scale is None or mean is None or std is None:
        raise _refusal(faults)
    return Recipe(
        input=str(name),
        mode="L" if mode == "L" else "RGB",
        resize=size,
        interpolation=str(options.get("interpolation", "bilinear")),
        crop=None if crop is None else (crop[0], crop[1]),
        scale=scale[0],
        mean=mean,
        std=std,
    )


def apply(
    record: Mapping[str, object], source: Pixels, *, max_pixels: int = MAX_PIXELS
) -> dict[str, npt.NDArray[np.float32]]:
    """Model inputs from one picture.

    Args:
        record: the bundle's record.
        source: ``uint8``: an encoded file ``(n,)``, or pixels ``(H, W)`` or ``(H, W, C)`` with C of 1, 3 or 4.
        max_pixels: the most that decoding or resizing may make.

    Returns:
        ``(1, C, H, W) float32`` under the name of the record's input.

    Raises:
        InputError: the picture cannot be read, or is too large.
        BundleError: the record is at fault.
    """
    recipe = check(record)
    pixels = fit(recipe, source, max_pixels=max_pixels)
    out = np.empty((1, pixels.shape[2], *pixels.shape[:2]), np.float32)
    levels = np.arange(256) * recipe.scale
    for channel, (mean, std) in enumerate(zip(recipe.mean, recipe.std, strict=True)):
        np.take(((levels - mean) / std).astype(np.float32), pixels[:, :, channel], out=out[0, channel])
    return {recipe.input: out}


def fit(recipe: Recipe, source: Pixels, *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """The picture resized and cropped to ``(H, W, C) uint8``: all but scaling and normalising.

    Raises:
        InputError: the picture cannot be read, or is too large.
    """
    picture = decode(source, recipe.mode, max_pixels=max_pixels)
    if recipe.resize is not None:
        picture = _resized(picture, recipe.resize, recipe.interpolation, max_pixels)
    pixels = np.asarray(picture).reshape(picture.height, picture.width, -1)
    return pixels if recipe.crop is None else _centre(pixels, recipe.crop)


def fitted(record: Mapping[str, object]) -> dict[str, object]:
    """The record for a picture that ``fit`` was done to: on it, ``apply`` does the rest of what ``record`` says."""
    return {**record, "resize": None, "crop": None}


def decode(source: Pixels, mode: Literal["L", "RGB"], *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The picture in ``source``, upright, as 8-bit ``mode``.

    Raises:
        InputError: it is no picture of a known format, it is damaged, or it has more than ``max_pixels``.
    """
    if source.dtype != np.uint8:
        raise InputError(f"pixels must be uint8, these are {source.dtype}")
    check_pillow()
    if source.ndim != 1:
        return _from_pixels(source, mode, max_pixels)
    from PIL import ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _open(source, max_pixels) as picture:
                picture.load()
                upright = ImageOps.exif_transpose(picture)
                return _as_mode(upright, mode)
    except InputError:
        raise
    except Exception as error:  # a decoder given damaged bytes raises nearly anything
        raise InputError(f"the picture is truncated or damaged: {_one_line(error)}") from error


def check_pillow() -> None:
    """Check that pictures can be read here.

    Raises:
        InputError: Pillow is missing.
    """
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise InputError("pictures need Pillow: pip install 'cleft[image]'") from error


def check_header(source: Pixels, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """(width, height) of an encoded picture, without decoding it.

    Raises:
        InputError: it is no picture of a known format, or it has more than ``max_pixels``.
    """
    check_pillow()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _open(source, max_pixels) as picture:
            return picture.width, picture.height


def _open(source: Pixels, max_pixels: int) -> Image.Image:
    from PIL import Image

    try:
        picture = Image.open(io.BytesIO(source.tobytes()), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise InputError(f"the picture is too large: {_one_line(error)}") from error
    except Exception as error:  # a decoder given damaged bytes raises nearly anything
        raise InputError(f"this is no readable picture ({', '.join(FORMATS)} are read)") from error
    _bound(picture.width, picture.height, max_pixels, "the picture has")
    return picture


def _from_pixels(pixels: Pixels, mode: Literal["L", "RGB"], max_pixels: int) -> Image.Image:
    from PIL import Image

    shape = pixels.shape
    if pixels.ndim == 3 and shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.size == 0 or not (pixels.ndim == 2 or (pixels.ndim == 3 and shape[2] in (3, 4))):
        raise InputError(f"pixels must be (H, W) or (H, W, C) with C of 1, 3 or 4, these are {shape}")
    _bound(shape[1], shape[0], max_pixels, "the picture has")
    return _as_mode(Image.fromarray(np.ascontiguousarray(pixels)), mode)


def _as_mode(picture: Image.Image, mode: Literal["L", "RGB"]) -> Image.Image:
    """8-bit ``mode``; 16-bit greys keep their upper byte, where Pillow would clip them."""
    from PIL import Image

    if picture.mode.startswith("I"):
        grey = np.clip(np.asarray(picture, dtype=np.int64), 0, 0xFFFF) >> 8
        picture = Image.fromarray(grey.astype(np.uint8))
    return picture if picture.mode == mode else picture.convert(mode)


def _resized(picture: Image.Image, size: tuple[int, ...], interpolation: str, max_pixels: int) -> Image.Image:
    from PIL import Image

    width, height = picture.size
    if len(size) == 2:
        target = (size[1], size[0])
    else:
        long = int(size[0] * max(width, height) / min(width, height))
        target = (size[0], long) if width <= height else (long, size[0])
    _bound(*target, max_pixels, "resizing would make")
    if target == (width, height):
        return picture
    return picture.resize(target, Image.Resampling[interpolation.upper()])


def _centre(pixels: Pixels, crop: tuple[int, int]) -> Pixels:
    """The middle of ``(H, W, C)``, black where the picture is smaller; rounds like torchvision."""
    short = [max(want - have, 0) for want, have in zip(crop, pixels.shape, strict=False)]
    if any(short):
        pixels = np.pad(pixels, [(n // 2, (n + 1) // 2) for n in short] + [(0, 0)])
    top, left = (round((have - want) / 2) for want, have in zip(crop, pixels.shape, strict=False))
    return pixels[top : top + crop[0], left : left + crop[1]]


def _bound(width: int, height: int, max_pixels: int, what: str) -> None:
    if width * height > max_pixels:
        raise InputError(f"{what} {width} x {height} pixels, over the limit of {max_pixels:,}")


def _sizes(value: object, lengths: tuple[int, ...]) -> tuple[int, ...] | None:
    if not isinstance(value, list) or len(value) not in lengths:
        return None
    good = all(type(item) is int and 1 <= item <= _MAX_SIDE for item in value)
    return tuple(value) if good else None


def _numbers(value: object) -> tuple[float, ...] | None:
    if not isinstance(value, list) or not all(type(item) in (int, float) and math.isfinite(item) for item in value):
        return None
    return tuple(float(item) for item in value)


def _refusal(faults: list[str]) -> BundleError:
    return BundleError(f"the preprocess record is refused: {'; '.join(faults)}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
