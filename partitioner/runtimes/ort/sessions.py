"""ONNX Runtime sessions over parts of one model, with the weights mapped from the bundle's own file.

A session is made from bytes in memory whose weights are references into ``weights.safetensors``; ONNX Runtime maps
that file, so several sessions share its pages, and what a kernel repacks for itself replaces what it read. Making one
takes 5 to 50 ms for the usual classifiers. Nothing spins: waiting threads slow down whoever shares the cores.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from partitioner.errors import SegmentError, UsageError
from partitioner.runtimes import Array
from partitioner.runtimes.ort import wire
from partitioner.runtimes.ort.onnxfile import Part

if TYPE_CHECKING:
    import onnxruntime

_FOLDER = "session.model_external_initializers_file_folder_path"
_CUDA = "CUDAExecutionProvider"
_FATAL_ONLY = 4
_SHOWN_CHARS = 200


class Sessions:
    """Makes sessions for one bundle on one device."""

    def __init__(self, folder: Path, *, device: str, threads: int) -> None:
        self._folder = folder
        self._threads = threads
        self.device = device
        _share_memory()
        self.providers = providers_of(device)

    def make(self, part: Part) -> Block:
        """A session for a part.

        Raises:
            SegmentError: ONNX Runtime refuses it.
        """
        import onnxruntime

        if not part.fetches:
            return Block(part, None)
        try:
            session = onnxruntime.InferenceSession(part.model, self._options(), providers=list(self.providers))
        except Exception as error:  # its errors have no common root but Exception
            raise SegmentError(f"ONNX Runtime cannot build this segment: {_reason(error)}") from error
        return Block(part, session)

    def _options(self) -> onnxruntime.SessionOptions:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = _FATAL_ONLY
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry(_FOLDER, str(self._folder.resolve()))
        return options


class Block:
    """A part that is ready to run over a pool of values."""

    def __init__(self, part: Part, session: onnxruntime.InferenceSession | None) -> None:
        self._session = session
        self._feeds = part.feeds
        self._passed = part.passed
        self._fetches = [name for _, name in part.fetches]
        self._made = [name for name, _ in part.fetches]

    def run(self, pool: Mapping[str, onnxruntime.OrtValue]) -> dict[str, onnxruntime.OrtValue]:
        """What the part makes of the values in the pool, which stay where they are.

        Raises:
            SegmentError: a kernel failed.
        """
        made = {name: pool[given] for name, given in self._passed}
        if self._session is None:
            return made
        feeds = {name: pool[given] for given, name in self._feeds}
        try:
            results = self._session.run_with_ort_values(self._fetches, feeds)
        except Exception as error:
            raise SegmentError(f"the model failed: {_reason(error)}") from error
        made.update(zip(self._made, results, strict=True))
        return made


def to_ort(array: Array) -> onnxruntime.OrtValue:
    """An array as ONNX Runtime takes it, over the same memory where that is in order."""
    import onnxruntime

    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return onnxruntime.OrtValue.ortvalue_from_numpy(np.asarray(array, order="C"))


@cache
def _share_memory() -> None:
    """One arena for the activations of every session of this process, which grows by no more than is asked for.

    Without one, what the C library keeps of freed activations made a MobileNetV2 front 15 MB larger and its runs up to
    twice as slow; with one each, every block holds its own.
    """
    import onnxruntime

    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    with contextlib.suppress(RuntimeError):  # the application that we are part of has registered one before
        onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg({"arena_extend_strategy": 1}))


def providers_of(device: str) -> tuple[str | tuple[str, Mapping[str, str]], ...]:
    """ONNX Runtime's execution providers for ``cpu`` or ``cuda:N``, the fastest first."""
    if device == "cpu":
        return ("CPUExecutionProvider",)
    index = device.partition(":")[2] or "0"
    found = [name for name in ("TensorrtExecutionProvider", _CUDA) if _starts(name, index)]
    return (*((name, {"device_id": index}) for name in found), "CPUExecutionProvider")


def device_of(device: str) -> str:
    """``cpu`` or ``cuda:N`` for what the user asked.

    Raises:
        UsageError: there is no such device here.
    """
    if device == "auto":
        return "cuda:0" if _starts(_CUDA, "0") else "cpu"
    kind, _, index = device.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdecimal()) or (kind == "cpu" and index):
        raise UsageError(f"--device {device}: expected auto, cpu, cuda or cuda:N")
    if kind == "cpu":
        return "cpu"
    if _CUDA not in _available():
        raise UsageError(f"--device {device}: this ONNX Runtime has no CUDA provider: pip install onnxruntime-gpu")
    if not _starts(_CUDA, index or "0"):
        raise UsageError(f"--device {device}: ONNX Runtime finds no such GPU, or not the CUDA that it was built for")
    return f"cuda:{index or 0}"


@cache
def _starts(provider: str, index: str) -> bool:
    """Whether a provider starts on a GPU. One that does not is passed over by sessions, which print that on stdout."""
    import onnxruntime

    if provider not in _available():
        return False
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    wanted = [(provider, {"device_id": index}), "CPUExecutionProvider"]
    with contextlib.redirect_stdout(StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            session = onnxruntime.InferenceSession(_identity(), options, providers=wanted)
        except Exception:  # its errors have no common root but Exception
            return False
    return provider in session.get_providers()


def _identity() -> bytes:
    """The smallest model: a number comes back as it is."""
    number = wire.nested(2, wire.nested(1, wire.number(1, 1) + wire.nested(2, b"")))
    node = wire.nested(1, "x") + wire.nested(2, "y") + wire.nested(4, "Identity")
    values = [wire.nested(place, wire.nested(1, name) + number) for place, name in ((11, "x"), (12, "y"))]
    graph = wire.nested(1, node) + wire.nested(2, "identity") + b"".join(values)
    return wire.number(1, 8) + wire.nested(8, wire.number(2, 18)) + wire.nested(7, graph)


def _available() -> Sequence[str]:
    import onnxruntime

    return tuple(onnxruntime.get_available_providers())


def _reason(error: BaseException) -> str:
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return line if len(line) <= _SHOWN_CHARS else f"{line[:_SHOWN_CHARS]}..."
