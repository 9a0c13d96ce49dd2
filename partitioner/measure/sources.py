"""The original input as it may be sent: as it is, packed, and re-encoded; its bytes, times, and effect on the answers.

The time of ``source`` and ``source+zstd`` leaves preparing the input out, which a profile states by itself. A
re-encoded input is prepared differently (a fitted one hardly at all), so the decoding time of ``source:...`` has it in.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from partitioner import pictures, preprocess
from partitioner.codecmix import EXACT
from partitioner.errors import InputError
from partitioner.measure.codecs import CodecMeasure, CodecMeter
from partitioner.measure.judge import Judge, Tally, Tensors
from partitioner.plan import SOURCE
from protos.pictures import is_fitted
from protos.tensors import frame_bytes, pack, unpack

WORTHWHILE = 0.95
_RUNS = 2
_LARGE_RATIO = 4

Pixels = npt.NDArray[np.uint8]
Answer = Callable[[Tensors], dict[str, npt.NDArray[np.generic]]]


def original(source: Pixels, meter: CodecMeter) -> list[CodecMeasure]:
    """The original input bytes as they are, and packed where that pays."""
    plain = replace(meter.one({SOURCE: source}, "none"), codec=SOURCE, deviation=0.0)
    packed = replace(meter.one({SOURCE: source}, "none+zstd"), codec=f"{SOURCE}+zstd", deviation=0.0)
    return [plain, packed] if packed.nbytes < WORTHWHILE * plain.nbytes else [plain]


def reencoded(record: Mapping[str, object], source: Pixels, name: str) -> tuple[CodecMeasure, Tensors]:
    """One way to re-encode the input, and the model inputs that come of it in the cloud.

    Raises:
        InputError: the picture cannot be read, or not be written so.
    """
    encode_s: list[float] = []
    decode_s: list[float] = []
    far_record = preprocess.fitted(record) if is_fitted(name) else record
    for _ in range(_RUNS):
        begun = time.perf_counter()
        headers, buffers, payload_bytes = pack({SOURCE: pictures.encode(record, source, name)})
        encode_s.append(time.perf_counter() - begun)
        payload = b"".join(buffers)
        begun = time.perf_counter()
        received = unpack(headers, payload)[SOURCE].astype(np.uint8, copy=False)
        tensors = preprocess.apply(far_record, received)
        decode_s.append(time.perf_counter() - begun)
    codec = f"{SOURCE}:{name}"
    measure = CodecMeasure(
        codec=codec,
        payload_bytes=payload_bytes,
        header_bytes=frame_bytes(headers, 0),
        encode_s=statistics.median(encode_s),
        decode_s=statistics.median(decode_s),
        deviation=0.0 if codec in EXACT else None,
    )
    return measure, tensors


def at_hand(record: Mapping[str, object], source: Pixels) -> list[CodecMeasure]:
    """The ways without loss to send this very input, but for whole pictures that are much larger than the model's."""
    recipe = preprocess.check(record)
    fitted_pixels = preprocess.fit(recipe, source)[:, :, 0].size
    width, height = preprocess.check_header(source) if source.ndim == 1 else (source.shape[1], source.shape[0])
    found: list[CodecMeasure] = []
    for name in pictures.available():
        is_small = is_fitted(name) or width * height <= _LARGE_RATIO * fitted_pixels
        if f"{SOURCE}:{name}" in EXACT and is_small:
            try:
                measure, _ = reencoded(record, source, name)
            except InputError:
                continue
            if measure.nbytes < WORTHWHILE * source.nbytes:
                found.append(measure)
    return found


@dataclass(slots=True)
class _Seen:
    measures: list[CodecMeasure] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)


class SourceJudge:
    """Every way to re-encode the samples, each measured and, where it is lossy, judged by the whole model."""

    def __init__(self, record: Mapping[str, object], samples: Sequence[Pixels], labels: Sequence[int] | None) -> None:
        self._record = record
        self._samples = samples
        self._labels = labels
        self._seen: dict[str, _Seen] = {}

    def steps(self, judge: Judge, answer: Answer, *, should_stop: Callable[[], bool]) -> Generator[None, None, None]:
        """Measure one way after the other until it is time to stop; ways that save nothing are left out.

        Only the samples that ``judge`` has answered are used.
        """
        self._samples = self._samples[: judge.samples]
        for name in pictures.available():
            seen = _Seen()
            for index, source in enumerate(self._samples):
                if should_stop():
                    return
                try:
                    measure, tensors = reencoded(self._record, source, name)
                except InputError:
                    break
                seen.measures.append(measure)
                if index == 0 and measure.nbytes >= WORTHWHILE * source.nbytes:
                    break
                if measure.codec not in EXACT:
                    judge.compare(seen.tally, index, answer(tensors))
                yield
            if len(seen.measures) == len(self._samples) and _median_bytes(seen) < WORTHWHILE * self._median_source():
                self._seen[name] = seen

    def measures(self, accuracy: float | None) -> list[CodecMeasure]:
        """What was measured: medians over the samples, deviation and accuracy over all of them."""
        return [self._median(seen, accuracy) for seen in self._seen.values()]

    def _median(self, seen: _Seen, accuracy: float | None) -> CodecMeasure:
        measures = seen.measures
        judged = measures[0]
        if judged.codec in EXACT:
            judged = replace(judged, accuracy=accuracy)
        elif seen.tally.samples:
            judged = replace(judged, deviation=seen.tally.deviation, accuracy=seen.tally.accuracy(self._labels))
        return replace(
            judged,
            payload_bytes=round(statistics.median(each.payload_bytes for each in measures)),
            encode_s=statistics.median(each.encode_s for each in measures),
            decode_s=statistics.median(each.decode_s for each in measures),
        )

    def _median_source(self) -> float:
        return statistics.median(source.nbytes for source in self._samples)


def _median_bytes(seen: _Seen) -> float:
    return statistics.median(each.nbytes for each in seen.measures)
