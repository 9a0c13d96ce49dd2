"""What codecs and preparing an input cost on a device, by bytes alone: a constant and a time for each byte.

How far a tensor packs depends on what is in it. A model's own figures are used where a profile has them; else the
median of other models stands in.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from partitioner.codecmix import EXACT
from partitioner.plan import SOURCE
from partitioner.profile import CodecCost, CutProfile, Profile, SourceProfile, Timing
from partitioner.records import Fields

_PLAIN = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecFit:
    """Times of one codec: ``constant + s_per_byte * bytes before encoding``; ``ratio`` is bytes sent per such byte."""

    codec: str
    encode_constant_s: float
    encode_s_per_byte: float
    decode_constant_s: float
    decode_s_per_byte: float
    ratio: float

    def cost(self, cost: CodecCost, raw_bytes: int) -> CodecCost:
        """The cost with this device's times for so many bytes."""
        return replace(
            cost,
            encode_s=self.encode_constant_s + self.encode_s_per_byte * raw_bytes,
            decode_s=self.decode_constant_s + self.decode_s_per_byte * raw_bytes,
        )


def sent_bytes(cut: CutProfile) -> int:
    """What crosses a cut before it is encoded."""
    return sum(spec.nbytes for spec in cut.crossing)


def reply_bytes(cut: CutProfile) -> int:
    """What comes back before it is encoded."""
    return sum(spec.nbytes for spec in cut.reply)


def fit_codecs(profiles: Sequence[Profile]) -> tuple[CodecFit, ...]:
    """Every codec of the profiles that is there at two sizes or more."""
    seen: defaultdict[str, list[tuple[int, CodecCost]]] = defaultdict(list)
    for profile in profiles:
        for cut in profile.cuts:
            for cost in cut.codecs:
                if raw_bytes := _raw_bytes(cut, cost.codec, profile.source):
                    seen[cost.codec].append((raw_bytes, cost))
    return tuple(_codec(name, found) for name, found in seen.items())


def prepare_rates(profiles: Sequence[Profile]) -> dict[str, float]:
    """Seconds of preparing an input for each byte of the model's input tensors, by kind of source."""
    seen: defaultdict[str, list[float]] = defaultdict(list)
    for profile in profiles:
        given_bytes = sent_bytes(profile.cuts[0])
        if profile.source.preprocess is not None and given_bytes:
            seen[profile.source.kind].append(profile.source.preprocess.median_s / given_bytes)
    return {kind: statistics.median(rates) for kind, rates in seen.items()}


def with_codecs(cut: CutProfile, codecs: Mapping[str, CodecFit], source: SourceProfile) -> CutProfile:
    """The cut with this device's codec times: of the codecs that it lists, and of every exact one.

    A codec that the fit does not know is left out, but for what must always be there: sending things as they are.
    """
    listed = {cost.codec: cost for cost in cut.codecs}
    raw_bytes = sent_bytes(cut)
    for name, each in codecs.items():
        if name in EXACT and not name.startswith(SOURCE) and cut.crossing:
            packed = CodecCost(codec=name, up_bytes=round(raw_bytes * each.ratio), encode_s=0.0, decode_s=0.0)
            listed.setdefault(name, replace(packed, deviation=0.0))
    return replace(
        cut,
        codecs=_timed(tuple(listed.values()), codecs, lambda name: _raw_bytes(cut, name, source)),
        tensor_codecs=tuple(
            replace(each, codecs=_timed(each.codecs, codecs, partial(_size, spec.nbytes)))
            for each, spec in zip(cut.tensor_codecs, cut.crossing, strict=False)
        ),
        reply_cost=_timed((cut.reply_cost,), codecs, partial(_size, reply_bytes(cut)))[0],
    )


def prepared(source: SourceProfile, rates: Mapping[str, float], given_bytes: int) -> SourceProfile:
    """The source with the time that this device takes to prepare an input of so many bytes, where it is prepared.

    A kind that was never prepared is taken for another, and for the source's own time where none was.
    """
    if source.preprocess is None:
        return source
    seconds = source.preprocess.median_s
    if rates:
        seconds = given_bytes * rates.get(source.kind, statistics.median(rates.values()))
    return replace(source, preprocess=Timing(median_s=seconds, samples=0, how="predicted"))


def read_codec(fields: Fields) -> CodecFit:
    """One codec of a fit."""
    return CodecFit(
        codec=fields.text("codec"),
        encode_constant_s=fields.number("encode_constant_s"),
        encode_s_per_byte=fields.number("encode_s_per_byte"),
        decode_constant_s=fields.number("decode_constant_s"),
        decode_s_per_byte=fields.number("decode_s_per_byte"),
        ratio=fields.number("ratio"),
    )


def _timed(
    costs: Sequence[CodecCost], codecs: Mapping[str, CodecFit], raw_bytes: Callable[[str], int]
) -> tuple[CodecCost, ...]:
    plain = codecs.get(_PLAIN)
    found: list[CodecCost] = []
    for cost in costs:
        known = codecs.get(cost.codec, plain if cost.codec in (_PLAIN, SOURCE) else None)
        if known is not None:
            found.append(known.cost(cost, raw_bytes(cost.codec)))
        elif cost.codec in (_PLAIN, SOURCE):
            found.append(cost)
    return tuple(found)


def _size(nbytes: int, codec: str) -> int:
    return nbytes


def _raw_bytes(cut: CutProfile, codec: str, source: SourceProfile) -> int:
    return source.nbytes if codec.startswith(SOURCE) else sent_bytes(cut)


def _codec(name: str, found: Sequence[tuple[int, CodecCost]]) -> CodecFit:
    sizes = [raw_bytes for raw_bytes, _ in found]
    encode = _line(sizes, [cost.encode_s for _, cost in found])
    decode = _line(sizes, [cost.decode_s for _, cost in found])
    return CodecFit(
        codec=name,
        encode_constant_s=encode[0],
        encode_s_per_byte=encode[1],
        decode_constant_s=decode[0],
        decode_s_per_byte=decode[1],
        ratio=statistics.median(cost.up_bytes / raw_bytes for raw_bytes, cost in found),
    )


def _line(sizes: Sequence[int], times_s: Sequence[float]) -> tuple[float, float]:
    """A constant and a slope of least squares of relative errors, neither below 0."""
    x, y = np.array(sizes, dtype=np.float64), np.array(times_s, dtype=np.float64)
    x, y = x[y > 0], y[y > 0]
    if not len(x):
        return 0.0, 0.0
    columns = np.stack([1 / y, x / y], axis=1)
    (constant, slope), *_ = np.linalg.lstsq(columns, np.ones(len(x)), rcond=None)
    if slope < 0 or len(set(sizes)) < 2:
        return float(1 / np.mean(1 / y)), 0.0
    if constant < 0:
        return 0.0, float((x / y).sum() / ((x / y) ** 2).sum())
    return float(constant), float(slope)
