"""Frames of a video file or a camera, as pixels, through PyAV (FFmpeg), which is an extra: ``cleft[video]``.

A frame is what a viewer shows: rotation tags are obeyed. Its size is checked before it is converted. Cameras are
Video4Linux devices; what they deliver while nobody asks is dropped by the driver's own few buffers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edge.sources.kinds import Drawn, Reading, unreadable
from partitioner.errors import InputError
from partitioner.inputs import Sample
from partitioner.preprocess import MAX_PIXELS

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer

SUFFIXES = frozenset({".avi", ".flv", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm"})
CAMERA_FORMAT: str | None = "v4l2"
_CAMERA = re.compile(r"camera:([0-9]{1,3})|(/dev/video[0-9]{1,3})")


def is_video(word: str) -> bool:
    """Whether a word names a video file, by its suffix."""
    return Path(word).suffix.lower() in SUFFIXES


def camera_device(word: str) -> str | None:
    """The device that ``camera:N`` or ``/dev/videoN`` names; None where it is no camera."""
    found = _CAMERA.fullmatch(word)
    if found is None:
        return None
    return found[2] or f"/dev/video{found[1]}"


class Video:
    """The frames of a file, in order, by the name ``FILE[i]``."""

    is_live = False
    count = None

    def __init__(self, word: str, reading: Reading) -> None:
        self._path = word
        self._reading = reading

    def __iter__(self) -> Iterator[Drawn]:
        return _frames(self._path, Path(self._path).name, self._reading, container_format=None)


class Camera:
    """The frames of a camera until it is gone, by the name ``camera:N[i]``."""

    is_live = True
    count = None

    def __init__(self, word: str, device: str, reading: Reading) -> None:
        self._name = word
        self._device = device
        self._reading = reading

    def __iter__(self) -> Iterator[Drawn]:
        return _frames(self._device, self._name, self._reading, container_format=CAMERA_FORMAT)


def _frames(path: str, name: str, reading: Reading, *, container_format: str | None) -> Iterator[Drawn]:
    """Frames by number; what cannot be opened or read ends them with its error."""
    number = 0
    try:
        with _opened(path, container_format, reading) as container:
            for frame in _decoded(container, path):
                pixels = _pixels(frame)
                sample = Sample(name=f"{name}[{number}]", source=pixels, nbytes_original=pixels.nbytes)
                yield Drawn(name=sample.name, sample=sample)
                number += 1
    except InputError as error:
        yield unreadable(f"{name}[{number}]" if number else name, error)


def _opened(path: str, container_format: str | None, reading: Reading) -> InputContainer:
    if reading.preprocess is None:
        raise InputError(f"{path}: the model has no preprocess record for pictures; give its tensors as .npy or .npz")
    try:
        import av
    except ImportError as error:
        raise InputError(f"{path}: videos and cameras need PyAV: pip install 'cleft[video]'") from error
    try:
        container = av.open(path, format=container_format)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{path}: {_reason(error)}") from error
    if not container.streams.video:
        container.close()
        raise InputError(f"{path} holds no video")
    return container


def _decoded(container: InputContainer, path: str) -> Iterator[VideoFrame]:
    import av

    stream = container.streams.video[0]
    if stream.codec_context.width * stream.codec_context.height > MAX_PIXELS:
        raise InputError(f"{path}: a frame is over the limit of {MAX_PIXELS:,} pixels")
    try:
        yield from container.decode(stream)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{path}: {_reason(error)}") from error


def _pixels(frame: VideoFrame) -> npt.NDArray[np.uint8]:
    if frame.width * frame.height > MAX_PIXELS:
        raise InputError(f"a frame of {frame.width} x {frame.height} is over the limit of {MAX_PIXELS:,} pixels")
    try:
        pixels = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    except (OSError, ValueError) as error:  # FFmpeg's own errors are both
        raise InputError(f"a frame of {frame.format.name} cannot be read: {_reason(error)}") from error
    turns = round(getattr(frame, "rotation", 0) / 90)  # PyAV tells it from 14 on
    return np.ascontiguousarray(np.rot90(pixels, turns))


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split())
