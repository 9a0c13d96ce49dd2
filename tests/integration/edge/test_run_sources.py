"""What ``cleft-edge run`` reads: folders, pipes, videos, cameras."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from edge_support import records
from PIL import Image

from partitioner import preprocess, zoo
from partitioner.runtimes.eager import open_engine
from partitioner.segments import Cuts


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def values(record: dict[str, object]) -> object:
    return record["outputs"]["output"]["values"]  # type: ignore[index]


def test_folders_pipes_and_videos_are_answered_in_order_however_many_at_once(
    cleft_edge: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    av = pytest.importorskip("av")
    rng = np.random.default_rng(6)
    pictures = rng.integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    (tmp_path / "folder").mkdir()
    for index, pixels in enumerate(pictures[:3]):
        (tmp_path / "folder" / f"{index}.png").write_bytes(png(pixels))
    (tmp_path / "folder" / "1b.png").write_bytes(b"no picture")
    with av.open(str(tmp_path / "walk.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = 16, 16, "bgr0"
        for pixels in pictures[3:]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="bgr0")))
        container.mux(stream.encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(png(pictures[0]))))
    words = ["run", "--model", "digits", "--cut", "local", "--json", "--input", tmp_path / "folder"]
    code, out, err = cleft_edge(*words, tmp_path / "walk.mkv", "-", "--depth", 3)
    assert code == 1
    assert err.count("\n") == 1
    assert "1b.png" in err
    found = records(out)
    names = [str(record["input"]).rpartition("/")[2] for record in found]
    frames = [f"walk.mkv[{index}]" for index in range(3)]
    assert names == ["0.png", "1.png", "1b.png", "2.png", *frames, "stdin"]
    answered = [record for record in found if "error" not in record]
    bundle = zoo.resolve("digits")
    segment = open_engine(bundle, device="cpu").segment(Cuts(bundle.graph, bundle.digest).whole())
    for record, pixels in zip(answered, [*pictures, pictures[0]], strict=True):
        wanted = segment(dict(preprocess.apply(bundle.preprocess or {}, pixels)))["linear"]
        assert np.allclose(values(record), wanted, rtol=1e-6)  # type: ignore[arg-type]


def test_a_limit_ends_the_run_and_the_first_failure_of_repeats_is_told_alone(
    cleft_edge: Callable, tmp_path: Path
) -> None:
    code, out, _ = cleft_edge("run", "--model", "digits", "--cut", "local", "--random", 9, "--limit", 2, "--json")
    assert (code, len(records(out))) == (0, 2)
    damaged = png(np.random.default_rng(7).integers(0, 256, (64, 64), dtype=np.uint8))[:2000]
    (tmp_path / "half.png").write_bytes(damaged)
    words = ["run", "--model", "digits", "--cut", "local", "--input", tmp_path / "half.png", "--random", 1]
    code, out, err = cleft_edge(*words, "--repeat", 3, "--depth", 2, "--json")
    assert code == 1
    assert ["error" in record for record in records(out)] == [True, False, False, False]
    assert err.count("\n") == 1


def test_a_camera_that_is_faster_than_the_answers_loses_frames_and_nothing_fails(
    cleft_edge: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "camera.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = 16, 16, "bgr0"
        for _ in range(40):
            frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame.reformat(format="bgr0")))
        container.mux(stream.encode())
    monkeypatch.setattr("edge.sources.video.CAMERA_FORMAT", None)  # a file plays the camera, as fast as it can
    monkeypatch.setattr("edge.sources.camera_device", lambda word: str(path))
    words = ["run", "--model", "digits", "--cut", "local", "--input", "camera:0", "--slowdown", 100, "--json"]
    code, out, err = cleft_edge(*words)
    assert code == 0
    found = re.search(r"([0-9]+) of 40 inputs were dropped for newer ones", err)
    assert found is not None
    names = [str(record["input"]) for record in records(out)]
    assert len(names) == 40 - int(found[1]) < 40
    numbers = [int(name.removeprefix("camera:0[").removesuffix("]")) for name in names]
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 0
    assert numbers[-1] == 39
    code, out, err = cleft_edge(*words, "--live", "block", "--limit", 5)
    assert (code, len(records(out))) == (0, 5)
    assert "dropped" not in err
