"""Preprocessing equals an independent formula; unknown records and dangerous pictures are refused."""

from __future__ import annotations

import copy
import io
import struct
import zlib
from contextlib import suppress

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from partitioner import preprocess
from partitioner.errors import BundleError, InputError

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def photograph(height: int, width: int, *, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Smooth shapes with some noise."""
    y, x = np.mgrid[0:height, 0:width]
    waves = np.stack([np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 13)], axis=-1)
    noise = np.random.default_rng(seed).normal(0, 12, waves.shape)
    return np.clip(waves * 90 + 128 + noise, 0, 255).astype(np.uint8)


def encoded(picture: Image.Image, kind: str, **options: object) -> npt.NDArray[np.uint8]:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return np.frombuffer(file.getvalue(), np.uint8)


def by_hand(picture: Image.Image, resize: int, crop: int, filter: Image.Resampling) -> npt.NDArray[np.float64]:
    """The classification transform as torchvision documents it, in float64, on a PIL picture."""
    width, height = picture.size
    if width <= height:
        picture = picture.resize((resize, int(resize * height / width)), filter)
    else:
        picture = picture.resize((int(resize * width / height), resize), filter)
    left, top = round((picture.width - crop) / 2.0), round((picture.height - crop) / 2.0)
    picture = picture.crop((left, top, left + crop, top + crop))
    pixels = np.asarray(picture, np.float64) / 255
    return ((pixels - MEAN) / STD).transpose(2, 0, 1)[np.newaxis]


@pytest.mark.parametrize(("height", "width"), [(300, 451), (451, 300), (256, 256), (97, 131)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_imagenet_evaluation_equals_the_formula(height: int, width: int, interpolation: str) -> None:
    pixels = photograph(height, width)
    record = preprocess.imagenet(resize=232, crop=224, interpolation=interpolation)
    got = preprocess.apply(record, pixels)["x"]
    wanted = by_hand(Image.fromarray(pixels), 232, 224, Image.Resampling[interpolation.upper()])
    assert got.dtype == np.float32
    assert got.flags.c_contiguous
    np.testing.assert_allclose(got, wanted, rtol=0, atol=3e-7)


def test_encoded_bytes_and_their_pixels_give_the_same_tensor() -> None:
    pixels = photograph(64, 80)
    record = preprocess.imagenet(resize=40, crop=32)
    from_pixels = preprocess.apply(record, pixels)["x"]
    for kind in ("PNG", "BMP", "PPM"):
        from_file = preprocess.apply(record, encoded(Image.fromarray(pixels), kind))["x"]
        np.testing.assert_array_equal(from_file, from_pixels)


def test_a_crop_larger_than_the_picture_is_black_around_it() -> None:
    record = {**preprocess.imagenet(crop=7), "resize": None, "mean": [0, 0, 0], "std": [1, 1, 1]}
    got = preprocess.apply(record, np.full((4, 5, 3), 255, np.uint8))["x"]
    wanted = np.zeros((1, 3, 7, 7))
    wanted[:, :, 1:5, 1:6] = 1
    np.testing.assert_array_equal(got, wanted)


def test_an_exact_resize_ignores_the_aspect() -> None:
    record = {**preprocess.imagenet(), "resize": {"size": [6, 4], "interpolation": "nearest", "antialias": True}}
    assert preprocess.apply({**record, "crop": None}, photograph(30, 30))["x"].shape == (1, 3, 6, 4)


@pytest.mark.parametrize("shape", [(9, 8), (9, 8, 1), (9, 8, 3), (9, 8, 4)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_pixels_of_any_channel_count_become_the_records_mode(shape: tuple[int, ...], mode: str) -> None:
    channels = {"L": 1, "RGB": 3}[mode]
    record = {**preprocess.imagenet(mean=[0.5] * channels, std=[1] * channels), "mode": mode, "resize": None}
    got = preprocess.apply({**record, "crop": None}, np.full(shape, 51, np.uint8))["x"]
    np.testing.assert_allclose(got, np.full((1, channels, 9, 8), 51 / 255 - 0.5), atol=3e-7)


def test_a_picture_on_its_side_is_turned_upright() -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = preprocess.decode(encoded(Image.fromarray(pixels), "PNG", exif=exif), "L")
    assert upright.size == (4, 6)
    np.testing.assert_array_equal(np.asarray(upright)[:, -1], 255)


def test_sixteen_bit_grey_keeps_its_upper_byte() -> None:
    grey = np.array([[0, 255, 256, 65535]], np.uint16)
    got = np.asarray(preprocess.decode(encoded(Image.fromarray(grey), "PNG"), "L"))
    np.testing.assert_array_equal(got, [[0, 0, 1, 255]])


def test_palette_with_transparency_decodes_without_a_warning() -> None:
    picture = Image.fromarray(photograph(8, 8)).quantize(4)
    assert preprocess.decode(encoded(picture, "PNG", transparency=b"\x00\x7f"), "RGB").size == (8, 8)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_a_truncated_picture_is_refused(kind: str) -> None:
    source = encoded(Image.fromarray(photograph(64, 64)), kind)
    for share in (0.5, 0.9):
        with pytest.raises(InputError, match=r"truncated or damaged|no readable picture") as caught:
            preprocess.decode(source[: int(len(source) * share)], "RGB")
        assert "\n" not in str(caught.value)


def test_flipped_bytes_never_escape_as_another_error() -> None:
    generator = np.random.default_rng(3)
    for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP"):
        source = encoded(Image.fromarray(photograph(24, 24)), kind)
        for _ in range(60):
            damaged = source.copy()
            damaged[generator.integers(0, len(source), 4)] = generator.integers(0, 256, 4)
            with suppress(InputError):
                assert preprocess.decode(damaged, "RGB", max_pixels=1 << 16).mode == "RGB"


def huge_png(width: int, height: int) -> npt.NDArray[np.uint8]:
    """A PNG of a few bytes whose header claims any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(100))), chunk(b"IEND", b"")]
    return np.frombuffer(b"\x89PNG\r\n\x1a\n" + b"".join(parts), np.uint8)


@pytest.mark.parametrize(("width", "height"), [(9000, 9000), (10_000, 10_000), (60_000, 60_000)])
def test_a_gigantic_picture_is_refused_by_its_header(width: int, height: int) -> None:
    for refuse in (lambda source: preprocess.decode(source, "RGB"), preprocess.check_header):
        with pytest.raises(InputError, match=r"over the limit|too large"):
            refuse(huge_png(width, height))


def test_a_resize_that_would_make_a_gigantic_picture_is_refused() -> None:
    sliver = np.zeros((1, 1_000_000, 3), np.uint8)
    with pytest.raises(InputError, match="resizing would make 256000000 x 256"):
        preprocess.apply(preprocess.imagenet(), sliver)


def test_formats_outside_the_list_are_not_opened() -> None:
    postscript = np.frombuffer(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", np.uint8)
    tiff = encoded(Image.fromarray(photograph(8, 8)), "TIFF")
    for source in (postscript, tiff, np.zeros(0, np.uint8), np.frombuffer(b"hello", np.uint8)):
        with pytest.raises(InputError, match="no readable picture"):
            preprocess.decode(source, "RGB")


@pytest.mark.parametrize("shape", [(4, 4, 2), (2, 4, 4, 3), (0, 4, 3), (4, 0)])
def test_pixels_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"pixels must be \(H, W\)"):
        preprocess.decode(np.zeros(shape, np.uint8), "RGB")


def test_pixels_of_another_dtype_are_refused() -> None:
    with pytest.raises(InputError, match="must be uint8, these are float32"):
        preprocess.apply(preprocess.imagenet(), np.zeros((4, 4, 3), np.float32))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("schema", "cleft.preprocess/9", "schema is 'cleft.preprocess/9'"),
        ("kind", "audio", "kind must be"),
        ("input", "", "input must be a name"),
        ("mode", ["RGB"], "mode must be"),
        ("mode", "CMYK", "mode must be"),
        ("resize", [256], "resize must be null or"),
        ("resize", {"size": [256]}, "resize must be null or"),
        ("resize", {"size": [0], "interpolation": "bilinear", "antialias": True}, "resize.size"),
        ("resize", {"size": [10**9], "interpolation": "bilinear", "antialias": True}, "resize.size"),
        ("resize", {"size": [8], "interpolation": "lanczos", "antialias": True}, "resize.interpolation"),
        ("resize", {"size": [8], "interpolation": "bilinear", "antialias": False}, "antialias"),
        ("crop", [224], "crop must be"),
        ("crop", [224.0, 224], "crop must be"),
        ("crop", [10**9, 10**9], "crop must be"),
        ("scale", "1/255", "scale must be"),
        ("scale", float("nan"), "scale must be"),
        ("mean", [0.5], "mean must be"),
        ("std", [1, 0, 1], "std must be"),
        ("std", None, "std must be"),
        ("layout", "NHWC", "layout must be"),
        ("gamma", 2.2, "unknown key 'gamma'"),
    ],
)
def test_a_record_that_is_not_understood_is_refused(key: str, value: object, complaint: str) -> None:
    with pytest.raises(BundleError, match=complaint.replace("/", r"\/")):
        preprocess.check({**preprocess.imagenet(), key: value})


def test_all_faults_of_a_record_are_told_at_once() -> None:
    record = copy.deepcopy(preprocess.imagenet())
    record |= {"scale": "x", "layout": "HWC", "kind": "sound"}
    with pytest.raises(BundleError, match=r"kind.*scale.*layout"):
        preprocess.check(record)
    del record["mean"]
    with pytest.raises(BundleError, match="'mean' is missing"):
        preprocess.check(record)
