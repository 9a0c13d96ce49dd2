"""Samples and their labels, as a user names them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from partitioner import preprocess
from partitioner.cli import main
from partitioner.errors import InputError
from partitioner.graph import Value
from partitioner.samples import NO_SAMPLES, SampleSet, read_samples

RECORD = preprocess.imagenet(resize=8, crop=8)
VALUES = [Value(name="x", dtype="float32", shape=(1, 3, 8, 8))]
CLASSES = ("cat", "dog", "7")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "pictures"
    (made / "deeper").mkdir(parents=True)
    for index, name in enumerate(["b.png", "a.png", "c.JPG"]):
        Image.fromarray(np.full((9, 9, 3), 40 * index, np.uint8)).save(made / name)
    (made / "notes.txt").write_text("not a picture")
    return made


def read(*paths: Path, labels: Path | None = None, classes: tuple[str, ...] | None = CLASSES) -> SampleSet:
    return read_samples(paths, labels=labels, bundle_inputs=VALUES, preprocess=RECORD, classes=classes)


def test_a_folder_is_read_by_name_and_files_in_the_order_given(folder: Path):
    assert [each.name for each in read(folder).samples] == ["a.png", "b.png", "c.JPG"]
    assert [each.name for each in read(folder / "c.JPG", folder / "a.png").samples] == ["c.JPG", "a.png"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("c.JPG,cat\na.png,dog\nb.png,0\nother.png,dog\n", (1, 0, 0)),
        ("dog\ncat\n1\n", (1, 0, 1)),
        ("\ufeffa.png, cat\r\n\r\nb.png ,7\r\nc.JPG,2\r\n", (0, 2, 2)),
    ],
)
def test_labels_go_by_file_name_or_by_order_and_are_names_or_numbers(folder: Path, text: str, wanted: tuple[int, ...]):
    labels = folder / "labels.csv"
    labels.write_text(text, encoding="utf-8")
    assert read(folder, labels=labels).labels == wanted


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a.png,cat\n", "no label for b.png (2 of 3"),
        ("cat\ndog\n", "2 labels for 3 samples"),
        ("cat\nhorse\ndog\n", "'horse' is not a class's name or its number, 0 to 2"),
        ("cat\n3\ndog\n", "'3' is not"),
        ("a.png,cat,1\n", "neither a label nor"),
        ("", "neither a label nor"),
    ],
)
def test_labels_that_do_not_fit_are_refused(folder: Path, text: str, says: str):
    labels = folder / "labels.csv"
    labels.write_text(text)
    if not text:
        says = "no label for a.png"
    with pytest.raises(InputError, match=says.replace("(", r"\(")):
        read(folder, labels=labels)


def test_without_class_names_a_label_is_a_number(folder: Path):
    labels = folder / "labels.txt"
    labels.write_text("5\n0\n999\n")
    assert read(folder, labels=labels, classes=None).labels == (5, 0, 999)
    labels.write_text("5\n0\n-1\n")
    with pytest.raises(InputError, match="'-1' is not a class's number"):
        read(folder, labels=labels, classes=None)


def test_an_empty_folder_and_a_binary_file_of_labels_are_refused(folder: Path, tmp_path: Path):
    with pytest.raises(InputError, match="no samples"):
        read(folder / "deeper")
    with pytest.raises(InputError, match="UTF-8"):
        read(folder, labels=folder / "c.JPG")
    with pytest.raises(InputError, match=r"gone\.csv"):
        read(folder, labels=tmp_path / "gone.csv")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--sample-labels", "labels.csv"], "give --samples"),
        (["--input", "a.png", "--samples", "b.png"], "--input is a single sample"),
        (["--samples", "nowhere"], "nowhere: No such file"),
        (["--samples", "gone.png"], "gone.png: No such file"),
    ],
)
def test_samples_that_make_no_sense_are_one_line(capsys: pytest.CaptureFixture[str], flags: list[str], says: str):
    assert main(["profile", "digits", *flags]) != 0
    line = capsys.readouterr().err
    assert says in line
    assert line.count("\n") == 1


def test_the_digest_goes_by_contents_and_labels(folder: Path):
    first, again = read(folder), read(folder)
    assert first.digest == again.digest != ""
    assert NO_SAMPLES.digest == ""
    assert SampleSet(samples=first.samples, labels=(0, 1, 2)).digest != first.digest
    assert SampleSet(samples=first.samples[:2]).digest != first.digest
