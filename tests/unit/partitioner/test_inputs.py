"""Files become samples that fit the model, or one line that says why not."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from PIL import Image

from partitioner import preprocess
from partitioner.errors import InputError
from partitioner.graph import Value
from partitioner.inputs import Sample, random_samples, read

IMAGE = (Value(name="x", dtype="float32", shape=(1, 3, 8, 8)),)
TEXT = (
    Value(name="ids", dtype="int64", shape=("b", "t")),
    Value(name="mask", dtype="bool", shape=("b", "t")),
)
RECORD = preprocess.imagenet(resize=8, crop=8)


def saved(path: Path, *arrays: object, **named: object) -> Path:
    if path.suffix == ".npy":
        np.save(path, *arrays, allow_pickle=True)  # type: ignore[arg-type]
    else:
        np.savez(path, *arrays, **named)  # type: ignore[arg-type]
    return path


def tensor_of(sample: Sample, name: str = "x") -> np.ndarray:
    assert sample.source is None
    assert sample.tensors is not None
    return np.asarray(sample.tensors[name])


def refusal(
    path: Path, inputs: tuple[Value, ...] = IMAGE, record: dict[str, object] | None = None, **limits: int
) -> str:
    with pytest.raises(InputError) as caught:
        read(path, bundle_inputs=inputs, preprocess=record, **limits)
    text = str(caught.value)
    assert "\n" not in text
    assert path.name in text
    return text


def test_a_picture_keeps_its_own_bytes(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (40, 30), "red").save(path)
    (sample,) = read(path, bundle_inputs=IMAGE, preprocess=RECORD)
    assert sample.source is not None
    assert sample.source.tobytes() == path.read_bytes()
    assert sample.nbytes_original == path.stat().st_size
    assert sample.tensors is None


def test_a_picture_without_a_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.new("L", (4, 4)).save(path)
    assert "no preprocess record" in refusal(path)


def test_a_gigantic_picture_is_refused_from_its_header(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.new("1", (3000, 3000)).save(path)
    assert "9,000,000" not in refusal(path, record=RECORD, max_pixels=1_000_000)
    assert "over the limit of 1,000,000" in refusal(path, record=RECORD, max_pixels=1_000_000)


@pytest.mark.parametrize("shape", [(8, 9), (8, 9, 1), (8, 9, 3), (8, 9, 4)])
def test_uint8_arrays_are_pixels_for_a_model_of_pictures(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = np.arange(np.prod(shape)).astype(np.uint8).reshape(shape)
    (sample,) = read(saved(tmp_path / "a.npy", pixels), bundle_inputs=IMAGE, preprocess=RECORD)
    assert sample.source is not None
    np.testing.assert_array_equal(sample.source, pixels.reshape(8, 9, -1))
    assert sample.nbytes_original == pixels.nbytes
    assert preprocess.apply(RECORD, sample.source)["x"].shape == (1, 3, 8, 8)


@pytest.mark.parametrize("shape", [(5, 8, 9), (5, 8, 9, 1), (5, 8, 9, 3)])
def test_a_stack_of_pixels_is_several_samples(tmp_path: Path, shape: tuple[int, ...]) -> None:
    samples = read(saved(tmp_path / "a.npy", np.zeros(shape, np.uint8)), bundle_inputs=IMAGE, preprocess=RECORD)
    assert [sample.name for sample in samples] == [f"a.npy[{i}]" for i in range(5)]


@pytest.mark.parametrize("shape", [(7,), (2, 3, 4, 5, 3), (8, 0, 3)])
def test_uint8_of_another_rank_is_no_picture(tmp_path: Path, shape: tuple[int, ...]) -> None:
    assert "uint8 pixels must be" in refusal(saved(tmp_path / "a.npy", np.zeros(shape, np.uint8)), record=RECORD)


@pytest.mark.parametrize(
    ("shape", "count"), [((1, 3, 8, 8), 1), ((3, 8, 8), 1), ((4, 1, 3, 8, 8), 4), ((4, 3, 8, 8), 4)]
)
def test_tensors_are_cut_into_samples(tmp_path: Path, shape: tuple[int, ...], count: int) -> None:
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    for path in (
        saved(tmp_path / "a.npy", array),
        saved(tmp_path / "a.npz", array),
        saved(tmp_path / "b.npz", x=array),
    ):
        samples = read(path, bundle_inputs=IMAGE, preprocess=None)
        assert len(samples) == count
        assert all(tensor_of(sample).shape == (1, 3, 8, 8) for sample in samples)
        np.testing.assert_array_equal(np.stack([tensor_of(s) for s in samples]).ravel(), array.ravel())


def test_memory_order_and_byte_order_of_the_file_do_not_matter(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)
    for stored in (np.asfortranarray(array), array.astype(">f4")):
        (sample,) = read(saved(tmp_path / "a.npy", stored), bundle_inputs=IMAGE, preprocess=None)
        assert tensor_of(sample).dtype == np.dtype("float32")
        assert tensor_of(sample).flags.c_contiguous
        np.testing.assert_array_equal(tensor_of(sample), array)


@pytest.mark.parametrize("shape", [(1, 3, 8, 9), (3, 8), (2, 2, 3, 8, 8), (0, 3, 8, 8), ()])
def test_a_wrong_shape_says_what_was_expected_and_got(tmp_path: Path, shape: tuple[int, ...]) -> None:
    text = refusal(saved(tmp_path / "a.npy", np.zeros(shape, np.float32)))
    assert "x needs float32 (1, 3, 8, 8), got float32" in text


def test_values_that_survive_are_converted(tmp_path: Path) -> None:
    halves = np.full((1, 3, 8, 8), 0.5)
    halves[0, 0, 0, 0] = np.nan
    (sample,) = read(saved(tmp_path / "a.npy", halves), bundle_inputs=IMAGE, preprocess=None)
    np.testing.assert_array_equal(tensor_of(sample), halves.astype(np.float32))
    ids = (Value(name="x", dtype="int32", shape=(3,)),)
    (sample,) = read(saved(tmp_path / "b.npy", np.array([1, -2, 3])), bundle_inputs=ids, preprocess=None)
    assert tensor_of(sample).dtype == np.int32


@pytest.mark.parametrize(
    ("array", "wanted"),
    [
        (np.array([0.1]), "float32"),
        (np.array([2**40]), "int32"),
        (np.array([-1]), "uint8"),
        (np.array([1.0]), "int64"),
        (np.array([1]), "float32"),
        (np.array([1]), "bool"),
        (np.array([True]), "int64"),
        (np.array([1 + 1j]), "float32"),
        (np.array(["1"]), "int64"),
    ],
)
def test_values_that_would_change_are_refused(tmp_path: Path, array: np.ndarray, wanted: str) -> None:
    text = refusal(saved(tmp_path / "a.npy", array), (Value(name="x", dtype=wanted, shape=(1,)),))
    assert f"x needs {wanted} (1), got {array.dtype} (1)" in text or "no plain tensor" in text


def test_bfloat16_survives_a_file(tmp_path: Path) -> None:
    array = np.arange(4).astype(ml_dtypes.bfloat16)
    inputs = (Value(name="x", dtype="bfloat16", shape=(4,)),)
    (sample,) = read(saved(tmp_path / "a.npy", array), bundle_inputs=inputs, preprocess=None)
    assert tensor_of(sample).dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(tensor_of(sample), array)


def test_named_arrays_go_to_their_inputs(tmp_path: Path) -> None:
    ids, mask = np.arange(6).reshape(2, 3), np.ones((2, 3), bool)
    (sample,) = read(saved(tmp_path / "a.npz", mask=mask, ids=ids), bundle_inputs=TEXT, preprocess=None)
    np.testing.assert_array_equal(tensor_of(sample, "ids"), ids)
    np.testing.assert_array_equal(tensor_of(sample, "mask"), mask)
    stacked = saved(tmp_path / "b.npz", mask=np.stack([mask] * 4), ids=np.stack([ids] * 4))
    assert len(read(stacked, bundle_inputs=TEXT, preprocess=None)) == 4


def test_inputs_that_disagree_are_refused(tmp_path: Path) -> None:
    ids = np.zeros((2, 3), np.int64)
    cases = {
        "t = 4, where t = 3 already": {"ids": ids, "mask": np.ones((2, 4), bool)},
        "it holds ids; the model's inputs are ids, mask": {"ids": ids},
        "it holds ids, mask, more": {"ids": ids, "mask": ids, "more": ids},
        "different numbers of samples": {"ids": np.stack([ids] * 2), "mask": np.ones((2, 3), bool)},
    }
    for complaint, arrays in cases.items():
        assert complaint in refusal(saved(tmp_path / "a.npz", **arrays), TEXT)
    assert "give them as .npz" in refusal(saved(tmp_path / "a.npy", ids), TEXT)


def test_a_size_that_follows_from_others_is_checked(tmp_path: Path) -> None:
    inputs = (
        Value(name="a", dtype="float32", shape=("t",)),
        Value(name="b", dtype="float32", shape=("2*t + 1",)),
    )
    good = saved(tmp_path / "good.npz", a=np.zeros(3, np.float32), b=np.zeros(7, np.float32))
    assert len(read(good, bundle_inputs=inputs, preprocess=None)) == 1
    bad = saved(tmp_path / "bad.npz", a=np.zeros(3, np.float32), b=np.zeros(8, np.float32))
    assert "b needs float32 (2*t + 1), got float32 (8) with {'t': 3}" in refusal(bad, inputs)


def test_a_header_that_claims_the_world_allocates_nothing(tmp_path: Path) -> None:
    for shape in ((10**6, 10**6, 10**6), (10**6, 60)):
        file = io.BytesIO()
        np.lib.format.write_array_header_1_0(file, {"shape": shape, "fortran_order": False, "descr": "<f4"})
        path = tmp_path / "a.npy"
        path.write_bytes(file.getvalue() + bytes(64))
        assert "its header claims" in refusal(path)
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.write(path, "x.npy")
        assert "its header claims" in refusal(tmp_path / "a.npz")


def test_a_zip_bomb_is_refused_by_what_it_would_unpack_to(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.zeros((4000, 3, 8, 8), np.float32))
    assert "over the limit of 1,000,000" in refusal(path, max_bytes=1_000_000)


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path / name, np.zeros((1, 3, 8, 8), np.float32))
    whole = path.read_bytes()
    for count in (0, 3, 9, 40, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:count])
        refusal(path)


def test_flipped_bytes_in_an_archive_never_escape_as_another_error(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.arange(192, dtype=np.float32).reshape(1, 3, 8, 8))
    whole, generator = np.frombuffer(path.read_bytes(), np.uint8), np.random.default_rng(1)
    for _ in range(300):
        damaged = whole.copy()
        damaged[generator.integers(0, len(whole), 3)] = generator.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes())
        try:
            samples = read(path, bundle_inputs=IMAGE, preprocess=None)
        except InputError:
            continue
        assert all(tensor_of(sample).shape == (1, 3, 8, 8) for sample in samples)


def test_pickled_objects_are_refused_unread(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    path = saved(tmp_path / "a.npy", np.array([Bomb()], dtype=object))
    assert "no plain tensor" in refusal(path)
    assert not (tmp_path / "ran").exists()


def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "missing.npy")
    (tmp_path / "notes.txt").write_text("hello")
    assert ".txt is not an input's; known are .bmp" in refusal(tmp_path / "notes.txt")
    (tmp_path / "folder.npy").mkdir()
    assert "directory" in refusal(tmp_path / "folder.npy")
    (tmp_path / "big.png").write_bytes(bytes(5000))
    assert "5,000 bytes, over the limit of 4,096" in refusal(tmp_path / "big.png", max_bytes=4096)
    (tmp_path / "fake.jpg").write_bytes(b"not a picture")
    assert "no readable picture" in refusal(tmp_path / "fake.jpg", record=RECORD)


def test_random_samples_fit_and_repeat() -> None:
    values = (*TEXT, Value(name="z", dtype="complex64", shape=(2,)), Value(name="h", dtype="bfloat16", shape=("t",)))
    draw = lambda seed: random_samples(  # noqa: E731
        3, values, binding={"b": 2, "t": 5}, ranges={"ids": (10, 20)}, seed=seed
    )
    samples = draw(1)
    for sample in samples:
        ids = tensor_of(sample, "ids")
        assert ids.shape == (2, 5)
        assert ids.min() >= 10
        assert ids.max() < 20
        assert {name: str(tensor_of(sample, name).dtype) for name in ("ids", "mask", "z", "h")} == {
            "ids": "int64",
            "mask": "bool",
            "z": "complex64",
            "h": "bfloat16",
        }
    assert not np.array_equal(tensor_of(samples[0], "z"), tensor_of(samples[1], "z"))
    np.testing.assert_array_equal(tensor_of(draw(1)[2], "ids"), tensor_of(samples[2], "ids"))


@pytest.mark.parametrize("bounds", [(3, 3), (5, 2), (0, 300), (-1, 4)])
def test_a_range_that_holds_nothing_is_refused(bounds: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="half-open"):
        random_samples(1, (Value(name="x", dtype="uint8", shape=(2,)),), binding={}, ranges={"x": bounds})


@pytest.mark.parametrize("kind", ["device", "pipe"])
def test_what_is_no_regular_file_is_refused_unread(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "endless.png"
    if kind == "device":
        path.symlink_to("/dev/zero")
    else:
        os.mkfifo(path)
    with pytest.raises(InputError, match="no regular file"):
        read(path, bundle_inputs=(), preprocess=None)
