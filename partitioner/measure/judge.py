"""What a lossy codec does to the model's answers: the tail runs on what the codec leaves of the crossing tensors.

Packing changes nothing, so each *transform* is judged once, on all crossing tensors together and, where several cross,
on each by itself. The deviation is the largest of ``relative_difference`` over outputs and samples; the accuracy is the
share of samples whose label still scores highest. A cut costs, per sample, one run of its head and one run of its tail
per transform (and per tensor).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from partitioner.difference import relative_difference
from partitioner.errors import InputError
from partitioner.measure.codecs import MAX_TENSORS, CodecMeasure
from partitioner.runtimes import Array, Engine
from partitioner.segments import Cut, Cuts
from protos.codecs import CODECS, applies_to, decode, dtype_name, encode, split

Tensors = Mapping[str, Array]
Steps = Generator[None, None, None]


@dataclass(slots=True)
class Tally:
    """Deviation and right answers of one choice, over the samples so far."""

    deviation: float = 0.0
    right: int = 0
    samples: int = 0

    def accuracy(self, labels: Sequence[int] | None) -> float | None:
        """The share of right answers; None without labels."""
        return self.right / self.samples if labels is not None and self.samples else None


@dataclass(slots=True, kw_only=True)
class Verdict:
    """Tallies at one cut: of each transform on all that crosses, and on each tensor by itself."""

    uniform: dict[str, Tally] = field(default_factory=dict)
    by_tensor: dict[str, dict[str, Tally]] = field(default_factory=dict)
    payloads: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    """Encoded bytes by codec and tensor, one entry per sample."""


class Judge:
    """Compares answers with the exact ones.

    Args:
        inputs: prepares the model's inputs of each sample.
        labels: the number of each sample's class, where that is known.
    """

    def __init__(
        self, engine: Engine, cuts: Cuts, inputs: Sequence[Callable[[], Tensors]], labels: Sequence[int] | None = None
    ) -> None:
        self._engine = engine
        self._cuts = cuts
        self._given = inputs
        self._inputs: list[Tensors] = []
        self._labels = labels
        self._exact: list[dict[str, Array]] = []
        self._whole = Tally()
        self._verdicts: dict[str, Verdict] = {}

    @property
    def samples(self) -> int:
        """How many samples were answered exactly, to compare with."""
        return len(self._exact)

    @property
    def accuracy(self) -> float | None:
        """The exact model's."""
        return self._whole.accuracy(self._labels)

    def prepare(self, *, should_stop: Callable[[], bool]) -> Steps:
        """Answer samples exactly, at least the first; those that are left when it is time to stop are not used.

        Raises:
            InputError: a sample does not fit the model, or there are labels and the model scores no classes.
        """
        whole = self._engine.segment(self._cuts.whole())
        for prepared in self._given:
            if self._exact and should_stop():
                return
            self._inputs.append(prepared())
            self._exact.append(whole(self._inputs[-1]))
            self.compare(self._whole, len(self._exact) - 1, self._exact[-1])
            yield

    def judge(self, cut: Cut, *, should_stop: Callable[[], bool]) -> Steps:
        """Judge every transform at a cut; what is stopped before the last sample leaves no verdict."""
        head_segment, tail_segment = self._cuts.segments(cut)
        if tail_segment is None:
            return
        head, tail = self._engine.segment(head_segment), self._engine.segment(tail_segment)
        names = tail_segment.inputs
        verdict = Verdict()
        for index, tensors in enumerate(self._inputs):
            made = head(tensors)
            crossing = {name: made[name] for name in names}
            for codec in CODECS:
                for name, array in crossing.items():
                    encoded = encode(array, codec)
                    verdict.payloads.setdefault(codec, {}).setdefault(name, []).append(len(encoded.payload))
            yield
            for tally, changed in self._choices(verdict, crossing):
                if should_stop():
                    return
                self.compare(tally, index, tail({**crossing, **changed}) if changed else self._exact[index])
                yield
        self._verdicts[cut.id] = verdict

    def figures(self, cut: Cut, measure: CodecMeasure, tensor: str | None = None) -> CodecMeasure:
        """The codec's measure with its deviation and accuracy at a cut, where they were judged."""
        verdict = self._verdicts.get(cut.id)
        if verdict is not None and tensor is None:
            sums = map(sum, zip(*verdict.payloads[measure.codec].values(), strict=True))
            measure = replace(measure, payload_bytes=round(statistics.median(sums)))
        elif verdict is not None and tensor is not None:
            sizes = verdict.payloads[measure.codec][tensor]
            measure = replace(measure, payload_bytes=round(statistics.median(sizes)))
        transform, _ = split(measure.codec)
        if transform == "none":
            return replace(measure, deviation=0.0, accuracy=self.accuracy)
        tallies: Mapping[str, Tally] = {}
        if verdict is not None:
            tallies = verdict.uniform if tensor is None else verdict.by_tensor.get(tensor, {})
        if transform not in tallies:
            return replace(measure, deviation=None, accuracy=None)
        tally = tallies[transform]
        return replace(measure, deviation=tally.deviation, accuracy=tally.accuracy(self._labels))

    def compare(self, tally: Tally, index: int, found: Tensors) -> None:
        """Count an answer to a sample; outputs that are not among those found are as they should be."""
        exact = self._exact[index]
        worst = max((relative_difference(found[name], exact[name]) for name in found if name in exact), default=0.0)
        tally.deviation = max(tally.deviation, worst)
        tally.samples += 1
        if self._labels is not None:
            name = self._cuts.graph.output_names[0]
            tally.right += _winner(found.get(name, exact[name])) == self._labels[index]

    def _choices(self, verdict: Verdict, crossing: Tensors) -> Generator[tuple[Tally, dict[str, Array]], None, None]:
        """Each choice's tally, and the tensors that it changes."""
        for transform in transforms():
            changed = {
                name: decode(encode(array, transform))
                for name, array in crossing.items()
                if applies_to(dtype_name(array), transform)
            }
            yield verdict.uniform.setdefault(transform, Tally()), changed
            if 1 < len(crossing) <= MAX_TENSORS:
                for name in crossing:
                    tally = verdict.by_tensor.setdefault(name, {}).setdefault(transform, Tally())
                    yield tally, {name: changed[name]} if name in changed else {}


def transforms() -> tuple[str, ...]:
    """The lossy transforms."""
    return tuple(codec for codec in CODECS if codec == split(codec)[0] != "none")


def _winner(scores: Array) -> int:
    if scores.size < 2 or scores.size != scores.shape[-1] or scores.dtype.kind in "bc":
        raise InputError(
            f"labels need a model whose first output is one row of scores, and this one's is of shape {scores.shape}"
        )
    return int(np.argmax(scores.astype(np.float64).ravel()))
