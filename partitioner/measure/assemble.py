"""From what was run and timed to the records of a profile: layers, and cuts with what was measured or inferred."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from partitioner.dims import Binding
from partitioner.graph import Graph
from partitioner.measure.codecs import CodecMeasure, CutCodecs
from partitioner.measure.judge import Judge
from partitioner.measure.statistics import calibrate, nearest, timing
from partitioner.profile import ALL_CLOUD, CutProfile, LayerProfile, TensorCodecs, Timing
from partitioner.segments import Cut, CutCost, Cuts
from partitioner.structure import cut_structure, layer_of


@dataclass(slots=True)
class CutRuns:
    """Seconds of one cut's edge side and cloud side, one entry per round."""

    head_s: list[float] = field(default_factory=list)
    tail_s: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured, by the ids of cuts; ``sources`` are the ways to send the original input."""

    runs: Mapping[str, CutRuns]
    codecs: Mapping[str, CutCodecs]
    costs: Mapping[str, CutCost]
    sources: Sequence[CodecMeasure]
    judge: Judge | None


def layer_profiles(
    graph: Graph, binding: Binding, numbers: Sequence[int], ends: Sequence[Sequence[float]]
) -> tuple[LayerProfile, ...]:
    """Layers, from the seconds at which stretches of them ended in several runs; ``numbers``: which layers they are."""
    times: dict[int, list[float]] = {}
    for run in ends:
        starts = [0.0, *run[:-1]]
        totals: dict[int, float] = {}
        for number, begin, end in zip(numbers, starts, run, strict=True):
            totals[number] = totals.get(number, 0.0) + end - begin
        for number, seconds in totals.items():
            times.setdefault(number, []).append(seconds)
    return tuple(
        layer_of(graph, layer, binding, timing(times.get(index, [0.0]))) for index, layer in enumerate(graph.layers)
    )


def cut_profiles(cuts: Cuts, layers: Sequence[LayerProfile], measured: Measured) -> tuple[CutProfile, ...]:
    """Every candidate; times and codecs of those that were not run are inferred from their neighbours."""
    cumulative = [0.0]
    for layer in layers:
        cumulative.append(cumulative[-1] + layer.forward.median_s)
    candidates = cuts.candidates
    runs = {index: measured.runs[cut.id] for index, cut in enumerate(candidates) if cut.id in measured.runs}
    prefixes = calibrate(
        [cumulative[cut.depth] for cut in candidates], {index: timing(each.head_s) for index, each in runs.items()}
    )
    suffixes = calibrate(
        [0.0 if cut.is_local else cumulative[-1] - cumulative[cut.depth] for cut in candidates],
        {index: timing(each.tail_s) for index, each in runs.items()},
    )
    codecs = {index: measured.codecs[cut.id] for index, cut in enumerate(candidates) if cut.id in measured.codecs}
    return tuple(
        _cut_profile(cuts, cut, prefixes[index], suffixes[index], _nearest(codecs, index), measured)
        for index, cut in enumerate(candidates)
    )


def _cut_profile(
    cuts: Cuts, cut: Cut, prefix: Timing, suffix: Timing, near: CutCodecs, measured: Measured
) -> CutProfile:
    cost, judge = measured.costs[cut.id], measured.judge
    is_own = measured.codecs.get(cut.id) is near
    codecs = [each.scaled_to(cost.up_bytes, near.raw_bytes) for each in near.codecs] if cut.crossing else []
    tensors = near.tensors if is_own else ()
    if judge is not None:
        codecs = [judge.figures(cut, each) for each in codecs]
        tensors = tuple((name, tuple(judge.figures(cut, each, name) for each in every)) for name, every in tensors)
    if cut.name == ALL_CLOUD:
        codecs += measured.sources
    return replace(
        cut_structure(cuts, cut, cost),
        prefix=prefix,
        suffix=suffix,
        codecs=tuple(each.to_record() for each in codecs),
        tensor_codecs=tuple(
            TensorCodecs(name=name, codecs=tuple(each.to_record() for each in every)) for name, every in tensors
        ),
        reply_cost=near.reply.scaled_to(cost.down_bytes, near.reply_bytes).to_record(),
    )


def _nearest(measured: Mapping[int, CutCodecs], index: int) -> CutCodecs:
    """Codec costs of the cut itself, or of the nearest measured one that sends anything."""
    if index in measured:
        return measured[index]
    sending = {i: each for i, each in measured.items() if each.raw_bytes} or measured
    return sending[nearest(sending, index)]
