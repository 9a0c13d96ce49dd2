"""The shipped weights are what the script makes, and the network is as good as its record says."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from partitioner import preprocess
from partitioner.zoo import digits, train_digits


def test_the_shipped_file_is_the_one_of_its_record_and_small() -> None:
    data = digits.WEIGHTS.read_bytes()
    assert hashlib.sha256(data).hexdigest() == digits.record()["sha256"]
    assert len(data) < 1_000_000


def test_the_shipped_network_is_as_accurate_as_its_record_says() -> None:
    pixels, labels = digits.held_out()
    assert pixels.shape == (digits.HELD_OUT, 8, 8, 1)
    accuracy = digits.accuracy(digits.build(), pixels, labels)
    assert accuracy == pytest.approx(digits.record()["accuracy"], abs=0.005)
    assert accuracy >= 0.98


def test_no_held_out_picture_was_trained_on() -> None:
    parts = digits.split()
    trained = {picture.tobytes() for picture in parts.train_pixels}
    assert not [picture for picture in parts.held_pixels if picture.tobytes() in trained]
    assert len(parts.train_labels) + len(parts.held_labels) == 1797


def test_every_digit_is_held_out_in_its_share() -> None:
    _, labels = digits.held_out()
    counts = np.bincount(labels, minlength=10)
    assert counts.min() >= 34
    assert counts.max() <= 38


def test_the_preprocess_record_is_what_training_saw() -> None:
    pixels, _ = digits.held_out()
    by_record = np.concatenate([preprocess.apply(digits.PREPROCESS, picture)["image"] for picture in pixels[:20]])
    np.testing.assert_allclose(by_record, digits.normalise(pixels[:20]).numpy(), rtol=0, atol=1e-6)


def test_the_record_is_centred_on_the_training_pictures() -> None:
    shares = digits.split().train_pixels / 255
    assert shares.mean() == pytest.approx(digits.MEAN, abs=1e-3)
    assert shares.std() == pytest.approx(digits.STD, abs=1e-3)


def test_augmentation_without_its_draws_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_SHIFT_PIXELS", "_TURN_RADIANS", "_SCALE"):
        monkeypatch.setattr(train_digits, name, 0.0)
    images = digits.normalise(digits.held_out()[0][:7])
    torch.testing.assert_close(train_digits.augment(images), images, atol=1e-6, rtol=0)


@pytest.mark.slow
def test_the_script_makes_the_shipped_file(tmp_path: Path) -> None:
    """The same bytes where the record's versions and processor are these, and the same accuracy anywhere."""
    out = tmp_path / "made.safetensors"
    command = [sys.executable, "-m", "partitioner.zoo.train_digits", "--out", str(out)]
    root = Path(__file__).parents[3]
    done = subprocess.run(
        command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    made = json.loads(out.with_suffix(".json").read_text())
    assert made == json.loads(done.stdout)
    assert made["accuracy"] == pytest.approx(digits.record()["accuracy"], abs=0.005)
    if made["made_with"] == digits.record()["made_with"]:
        assert out.read_bytes() == digits.WEIGHTS.read_bytes()
