"""Sources of inputs: what each word means, lazily, in order, with errors in their place."""

from __future__ import annotations

import builtins
import io
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.answer import Answer
from edge.cli.feeding import Feed
from edge.lanes import Streamed
from edge.sources import Drawn, Reading, open_sources
from edge.sources.video import camera_device, is_video
from partitioner.errors import InputError
from partitioner.graph import Value
from partitioner.inputs import Sample
from partitioner.preprocess import imagenet

RNG = np.random.default_rng(2)
TENSORS = Reading(values=(Value(name="x", dtype="float32", shape=(1, 4)),), preprocess=None)
PICTURES = Reading(values=(Value(name="x", dtype="float32", shape=(1, 3, 224, 224)),), preprocess=imagenet())


def no_stdin() -> io.BytesIO:
    raise AssertionError("standard input was read")


def draw(words: Sequence[str | Path], reading: Reading = TENSORS, stdin: bytes | None = None) -> list[Drawn]:
    take = no_stdin if stdin is None else lambda: io.BytesIO(stdin)
    return list(open_sources([str(word) for word in words], reading, stdin=take))


def names(found: Sequence[Drawn]) -> list[str]:
    return [each.name for each in found]


def write(path: Path, rows: int = 1) -> Path:
    np.save(path, RNG.standard_normal((rows, 4)).astype(np.float32))
    return path


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


def test_a_folder_gives_its_inputs_by_name_and_nothing_else(tmp_path: Path) -> None:
    for name in ("b.npy", "a.npy", "c.npz"):
        write(tmp_path / name) if name.endswith("npy") else np.savez(tmp_path / name, x=np.zeros((1, 4), np.float32))
    (tmp_path / "notes.txt").write_text("not an input")
    write(tmp_path / "deep" / "d.npy") if (tmp_path / "deep").mkdir() else None
    assert names(draw([tmp_path])) == ["a.npy", "b.npy", "c.npz"]


def test_patterns_files_and_folders_come_one_after_the_other(tmp_path: Path) -> None:
    for name in ("p2.npy", "p1.npy", "q.npy", "[odd].npy"):
        write(tmp_path / name)
    (tmp_path / "folder").mkdir()
    write(tmp_path / "folder" / "z.npy")
    words = [tmp_path / "q.npy", tmp_path / "p*.npy", tmp_path / "[odd].npy", tmp_path / "folder"]
    assert names(draw(words)) == ["q.npy", "p1.npy", "p2.npy", "[odd].npy", "z.npy"]
    assert open_sources([str(word) for word in words], TENSORS, stdin=no_stdin).count == 5


def test_a_file_of_several_inputs_is_one_item(tmp_path: Path) -> None:
    source = open_sources([str(write(tmp_path / "rows.npy", rows=4))], TENSORS, stdin=no_stdin)
    found = list(source)
    assert names(found) == [f"rows.npy[{index}]" for index in range(4)]
    assert source.count == 1
    assert sum(each.share for each in found) == 1.0


def test_what_cannot_be_read_comes_as_its_error_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.npy").write_bytes(b"no array")
    good = write(tmp_path / "good.npy")
    words = [tmp_path / "none.npy", good, tmp_path / "broken.npy", tmp_path / "empty", tmp_path / "*.jpg", good]
    found = draw(words)
    assert [each.sample is None for each in found] == [True, False, True, True, True, False]
    lines = [str(each.error) for each in found if each.error is not None]
    for line, wanted in zip(
        lines, ("No such file", "no .npy array", "holds no inputs", "no file matches"), strict=True
    ):
        assert wanted in line
        assert "\n" not in line


def test_files_are_read_when_it_is_their_turn(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.npy"), write(tmp_path / "b.npy")
    drawing = iter(open_sources([str(first), str(second)], TENSORS, stdin=no_stdin))
    assert next(drawing).sample is not None
    second.unlink()
    assert next(drawing).error is not None


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_standard_input_holds_one_pictures_file(kind: str) -> None:
    data = encoded(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8), kind)
    (found,) = draw(["-"], PICTURES, stdin=data)
    assert found.sample is not None
    assert found.name == "stdin"
    assert found.sample.source is not None
    assert found.sample.source.tobytes() == data
    assert found.sample.nbytes_original == len(data)


def test_standard_input_holds_arrays_told_by_their_first_bytes() -> None:
    rows = RNG.standard_normal((3, 4)).astype(np.float32)
    one, many = io.BytesIO(), io.BytesIO()
    np.save(one, rows)
    np.savez(many, x=rows[:1])
    assert names(draw(["-"], stdin=one.getvalue())) == ["stdin[0]", "stdin[1]", "stdin[2]"]
    (found,) = draw(["-"], stdin=many.getvalue())
    assert found.sample is not None
    assert found.sample.tensors is not None
    assert np.array_equal(found.sample.tensors["x"], rows[:1])


@pytest.mark.parametrize(
    ("data", "reading", "line"),
    [
        (b"", PICTURES, "stdin: it is empty"),
        (b"garbage", PICTURES, "stdin: this is no readable picture"),
        (b"garbage", TENSORS, "stdin: the model has no preprocess record"),
        (b"\x93NUMPY garbage", TENSORS, "stdin: .npy version"),
        (b"PK\x03\x04garbage", TENSORS, "stdin: it is no readable .npz"),
    ],
)
def test_standard_input_that_holds_no_input_is_told_in_one_line(data: bytes, reading: Reading, line: str) -> None:
    (found,) = draw(["-"], reading, stdin=data)
    assert str(found.error).startswith(line)


def test_cameras_and_videos_are_told_from_files() -> None:
    assert camera_device("camera:2") == "/dev/video2"
    assert camera_device("/dev/video11") == "/dev/video11"
    assert camera_device("camera:x") is None
    assert camera_device("camera.npy") is None
    assert is_video("walk.MP4")
    assert not is_video("walk.gif")


av = pytest.importorskip("av")


def video(path: Path, frames: np.ndarray, *, codec: str = "ffv1", pix_fmt: str = "bgr0") -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pix_fmt)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_a_videos_frames_come_in_order_to_the_last_bit(tmp_path: Path) -> None:
    frames = RNG.integers(0, 256, (5, 48, 64, 3), dtype=np.uint8)
    path = video(tmp_path / "walk.mkv", frames)
    source = open_sources([str(path)], PICTURES, stdin=no_stdin)
    found = list(source)
    assert names(found) == [f"walk.mkv[{index}]" for index in range(5)]
    assert source.count is None
    assert not source.is_live
    for each, pixels in zip(found, frames, strict=True):
        assert each.sample is not None
        assert np.array_equal(each.sample.source, pixels)  # type: ignore[arg-type]
        assert each.sample.nbytes_original == pixels.nbytes


def test_a_video_held_upright_is_shown_upright(tmp_path: Path) -> None:
    """A phone films on its side and tags the file: the matrix of ISO 14496-12 turns a quarter to the right."""
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:24, :32] = 255
    path = video(tmp_path / "side.mp4", np.stack([frame] * 3), codec="mpeg4", pix_fmt="yuv420p")
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    path.write_bytes(data)
    sample = draw([path], PICTURES)[0].sample
    assert sample is not None
    assert sample.source is not None
    assert sample.source.shape == (64, 48, 3)
    corners = [int(sample.source[y, x].mean()) // 128 for y in (8, -8) for x in (8, -8)]
    assert corners == [0, 1, 0, 0]


def test_videos_that_cannot_be_shown_are_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "no.mp4").write_bytes(b"no video" * 100)
    whole = video(tmp_path / "whole.mkv", RNG.integers(0, 256, (5, 48, 64, 3), dtype=np.uint8))
    found = draw([tmp_path / "no.mp4", tmp_path / "gone.mp4", "camera:97"], PICTURES)
    assert [each.sample for each in found] == [None] * 3
    assert all("\n" not in str(each.error) for each in found)
    assert "camera" not in str(found[1].error)
    assert "/dev/video97" in str(found[2].error)
    assert "no preprocess record" in str(draw([whole])[0].error)


def test_a_missing_library_is_told_with_the_extra_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without_av(name: str, *rest: object) -> object:
        if name == "av":
            raise ImportError("no av")
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without_av)
    (found,) = draw([tmp_path / "walk.mkv"], PICTURES)
    assert "pip install 'cleft[video]'" in str(found.error)


def test_a_camera_is_live_and_a_file_is_not() -> None:
    assert open_sources(["a.npy", "camera:0"], PICTURES, stdin=no_stdin).is_live
    assert not open_sources(["a.npy"], PICTURES, stdin=no_stdin).is_live


def samples(*kinds: str) -> list[Drawn]:
    """``r`` can be read, ``x`` cannot."""
    return [
        Drawn(name=f"{kind}{index}", sample=None, error=InputError("no"))
        if kind == "x"
        else Drawn(name=f"{kind}{index}", sample=Sample(name=f"{kind}{index}", tensors={}, nbytes_original=0))
        for index, kind in enumerate(kinds)
    ]


def stream(given: Iterator[Sample]) -> Iterator[Streamed]:
    """Draws some inputs ahead, as lanes do."""
    answer: Answer | None = None
    for index, sample in enumerate(list(given)):
        yield Streamed(id=index, given=sample, answer=answer)


@pytest.mark.parametrize("kinds", ["rrr", "xrr", "rxxr", "rrx", "xxrxxrx"])
@pytest.mark.parametrize("repeat", [1, 3])
def test_everything_is_told_in_its_place(kinds: str, repeat: int) -> None:
    feed = Feed(samples(*kinds), repeat=repeat)
    assert feed.peek() is not None
    told = list(feed.told(stream(feed.samples())))
    wanted = [
        (index + 1, f"{kind}{index}") for index, kind in enumerate(kinds) for _ in range(repeat if kind == "r" else 1)
    ]
    assert [(each.number, each.drawn.name) for each in told] == wanted
    assert all((each.streamed is None) == (each.drawn.sample is None) for each in told)


def test_where_nothing_can_be_read_everything_is_told_and_nothing_drawn() -> None:
    feed = Feed(samples("x", "x"))
    assert feed.peek() is None
    assert [each.drawn.name for each in feed.unread()] == ["x0", "x1"]


def test_a_limit_counts_inputs() -> None:
    feed = Feed(iter(samples(*"rrrrr")), repeat=2, most=2)
    assert feed.peek() is not None
    assert len(list(feed.told(stream(feed.samples())))) == 4
