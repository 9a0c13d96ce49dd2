"""Codecs on the tensors of a cut: bytes, encode and decode time (checksums included), for a profile.

A codec runs back to back here, for there are many; what running cold adds (``measure.cold``) is measured once on a
small tensor and added to each, whatever its size.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from partitioner.measure.cold import Pause
from partitioner.profile import CodecCost
from partitioner.runtimes import Array
from protos.codecs import CODECS
from protos.tensors import Limits, frame_bytes, join, pack, unpack

MAX_TENSORS = 8
"""Of more crossing tensors none is measured by itself."""
_RUNS = 3
_COLD_RUNS = 9
_LIMITS = Limits(max_frame_bytes=2**40)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecMeasure:
    """One codec over a set of tensors; see ``CodecCost``. ``cold_encode_s`` and ``cold_decode_s`` come on top."""

    codec: str
    payload_bytes: int
    header_bytes: int
    encode_s: float
    decode_s: float
    cold_encode_s: float = 0.0
    cold_decode_s: float = 0.0
    deviation: float | None = None
    accuracy: float | None = None

    @property
    def nbytes(self) -> int:
        """What a link carries."""
        return self.payload_bytes + self.header_bytes

    def scaled_to(self, raw_bytes: int, measured_bytes: int) -> CodecMeasure:
        """The cost for another set of tensors, of ``raw_bytes`` instead of the ``measured_bytes`` before encoding.

        Headers are taken to be as large as those measured.
        """
        if raw_bytes == measured_bytes:
            return self
        factor = raw_bytes / measured_bytes if measured_bytes else 0.0
        return replace(
            self,
            payload_bytes=round(self.payload_bytes * factor) if measured_bytes else raw_bytes,
            encode_s=self.encode_s * factor,
            decode_s=self.decode_s * factor,
        )

    def to_record(self) -> CodecCost:
        """As it stands in a profile."""
        return CodecCost(
            codec=self.codec,
            up_bytes=self.nbytes,
            encode_s=self.encode_s + self.cold_encode_s,
            decode_s=self.decode_s + self.cold_decode_s,
            deviation=self.deviation,
            accuracy=self.accuracy,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CutCodecs:
    """What was measured at one cut: every codec on what goes up and on each of several tensors, and the plain reply."""

    raw_bytes: int
    codecs: tuple[CodecMeasure, ...]
    tensors: tuple[tuple[str, tuple[CodecMeasure, ...]], ...]
    reply_bytes: int
    reply: CodecMeasure


class CodecMeter:
    """Times the wire's own functions."""

    def __init__(self, codecs: Sequence[str] = CODECS) -> None:
        self._codecs = tuple(codecs)
        self._cold_encode_s, self._cold_decode_s = _cold_s()

    def measure(self, crossing: Mapping[str, Array], reply: Mapping[str, Array], *, runs: int = _RUNS) -> CutCodecs:
        """Every codec on what crosses, and ``none`` on what comes back; a codec is timed ``runs`` times."""
        return CutCodecs(
            raw_bytes=sum(array.nbytes for array in crossing.values()),
            codecs=self._every(crossing, runs) if crossing else (),
            tensors=self._each(crossing, runs) if 1 < len(crossing) <= MAX_TENSORS else (),
            reply_bytes=sum(array.nbytes for array in reply.values()),
            reply=self.one(reply, "none", runs=runs),
        )

    def _each(self, crossing: Mapping[str, Array], runs: int) -> tuple[tuple[str, tuple[CodecMeasure, ...]], ...]:
        """Every codec on every tensor; of tensors packed together only the first runs cold."""
        found = [(name, self._every({name: array}, runs)) for name, array in crossing.items()]
        warm = [
            (name, tuple(replace(each, cold_encode_s=0.0, cold_decode_s=0.0) for each in costs))
            for name, costs in found[1:]
        ]
        return (*found[:1], *warm)

    def _every(self, arrays: Mapping[str, Array], runs: int) -> tuple[CodecMeasure, ...]:
        return tuple(self.one(arrays, codec, runs=runs) for codec in self._codecs)

    def one(self, arrays: Mapping[str, Array], codec: str, *, runs: int = _RUNS) -> CodecMeasure:
        """One codec on these tensors: medians of ``runs`` runs after a first."""
        chosen = dict.fromkeys(arrays, codec)
        encode_s: list[float] = []
        decode_s: list[float] = []
        payload_bytes, header_bytes = 0, 0
        for _ in range(runs + 1):
            begun = time.perf_counter()
            headers, buffers, payload_bytes = pack(arrays, chosen, limits=_LIMITS)
            encode_s.append(time.perf_counter() - begun)
            payload, header_bytes = join(buffers), frame_bytes(headers, 0)
            begun = time.perf_counter()
            unpack(headers, payload, limits=_LIMITS)
            decode_s.append(time.perf_counter() - begun)
        return CodecMeasure(
            codec=codec,
            payload_bytes=payload_bytes,
            header_bytes=header_bytes,
            encode_s=statistics.median(encode_s[1:]),
            decode_s=statistics.median(decode_s[1:]),
            cold_encode_s=self._cold_encode_s,
            cold_decode_s=self._cold_decode_s,
            deviation=0.0 if codec.startswith("none") else None,
        )


def _cold_s() -> tuple[float, float]:
    """Seconds that packing and unpacking take longer after a pause than at once."""
    pause = Pause()
    small = {"small": np.zeros(256, np.float32)}
    headers, buffers, _ = pack(small, {"small": "none"}, limits=_LIMITS)
    payload = join(buffers)
    return (
        _added_s(pause, lambda: pack(small, {"small": "none"}, limits=_LIMITS)),
        _added_s(pause, lambda: unpack(headers, payload, limits=_LIMITS)),
    )


def _added_s(pause: Pause, call: Callable[[], object]) -> float:
    added_s: list[float] = []
    for _ in range(_COLD_RUNS):
        pause()
        marks = [time.perf_counter()]
        for _ in range(2):
            call()
            marks.append(time.perf_counter())
        added_s.append((marks[1] - marks[0]) - (marks[2] - marks[1]))
    return max(0.0, statistics.median(added_s))
