"""Re-encoded pictures: what comes of them in the cloud is what the device would have made, or close to it."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from PIL import Image

from partitioner import pictures, preprocess
from partitioner.codecmix import EXACT
from partitioner.errors import InputError
from partitioner.preprocess import Pixels
from protos.pictures import PICTURES, is_fitted

RECORDS = {
    "imagenet": preprocess.imagenet(resize=40, crop=32),
    "grey": {**preprocess.imagenet(resize=40, crop=32), "mode": "L", "mean": [0.5], "std": [0.25]},
    "padded": {**preprocess.imagenet(), "resize": None, "crop": [90, 120]},
    "stretched": {
        **preprocess.imagenet(),
        "resize": {"size": [24, 48], "interpolation": "bicubic", "antialias": True},
        "crop": None,
    },
}


def scene(height: int = 60, width: int = 90, channels: int = 3) -> Pixels:
    """Smooth colours with some noise, like a photograph."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width]
    planes = [127 + 100 * np.sin(rows / (9 + c) + columns / (14 - c)) for c in range(channels)]
    return np.clip(np.stack(planes, -1) + rng.normal(0, 6, (height, width, channels)), 0, 255).astype(np.uint8)


def photograph() -> Pixels:
    """A file with an orientation tag."""
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(scene()).save(file, "JPEG", quality=92, exif=exif)
    return np.frombuffer(file.getvalue(), np.uint8)


SOURCES = {"pixels": scene(), "grey pixels": scene(channels=1), "file": photograph(), "with alpha": scene(channels=4)}


def received(record: dict[str, object], source: Pixels, name: str) -> Pixels:
    sent = pictures.encode(record, source, name)
    assert sent.dtype == np.uint8
    return preprocess.apply(preprocess.fitted(record) if is_fitted(name) else record, sent)[str(record["input"])]


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
@pytest.mark.parametrize("name", PICTURES)
def test_what_is_called_exact_is_and_the_rest_is_near(name, record, source):
    wanted = preprocess.apply(record, source)["x"]
    found = received(record, source, name)
    assert found.shape == wanted.shape
    if f"source:{name}" in EXACT:
        np.testing.assert_array_equal(found, wanted)
    else:
        assert 0 < np.abs(found - wanted).mean() < 0.25


def test_a_fitted_picture_is_the_size_of_the_input_whatever_the_original():
    record = RECORDS["imagenet"]
    for height, width in ((60, 90), (400, 300), (33, 41)):
        assert pictures.encode(record, scene(height, width), "fit").shape == (32, 32, 3)


def test_what_is_no_picture_or_cannot_be_written_is_refused():
    with pytest.raises(InputError):
        pictures.encode(RECORDS["imagenet"], np.arange(50, dtype=np.uint8), "png")
    with pytest.raises(InputError, match="cannot be written as webp"):
        pictures.encode(RECORDS["imagenet"], np.zeros((1, 20_000, 3), np.uint8), "webp")
    with pytest.raises(InputError, match="re-encoded"):
        pictures.encode(RECORDS["imagenet"], scene(), "gif")


def test_without_pillow_there_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    for source in SOURCES.values():
        with pytest.raises(InputError, match=r"cleft\[image\]"):
            preprocess.apply(RECORDS["imagenet"], source)
    pictures.available.cache_clear()
    assert pictures.available() == ()
    pictures.available.cache_clear()


def test_a_picture_is_bounded_before_it_is_decoded():
    sent = pictures.encode(RECORDS["imagenet"], scene(), "fit-png")
    with pytest.raises(InputError, match="over the limit"):
        preprocess.apply(preprocess.fitted(RECORDS["imagenet"]), sent, max_pixels=100)
