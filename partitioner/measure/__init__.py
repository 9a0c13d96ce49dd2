"""Measure a model on this device: layers to explain, prefixes and suffixes to decide, codecs to price what crosses.

Layer times do not add up to the whole, so the edge side and the cloud side of a cut are run and timed as such. That is
quadratic in the number of cuts, hence a budget:

1. A *timeline* (one run of the whole model, the clock read between layers) gives every cut a first estimate at once.
2. Cuts are ranked by promise: fewer crossing bytes than any shallower cut first, then an even sample of the rest.
3. They are prepared one by one, each with a warm-up run and its codecs, while a quarter of the time lasts; then they
   are timed in turns (head, then tail over what the head made), so that a noisy machine's drift falls on all alike.
4. The others are *calibrated*: their timeline estimate times the ratio of measured to estimated at their measured
neighbours.

Source: the budgeted form of Kang et al., "Neurosurgeon", ASPLOS 2017, which profiles every layer; that sums mislead is
reported by Eshratifar et al., "JointDNN", 2019, and Zhang et al., "nn-Meter", MobiSys 2021.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from partitioner.bundle import Bundle
from partitioner.dims import Binding, shape_of
from partitioner.errors import PlanError
from partitioner.graph import Value
from partitioner.inputs import Sample
from partitioner.layergraph import layer_graph
from partitioner.measure.codecs import CodecMeasure, CodecMeter, CutCodecs
from partitioner.measure.device import device_info, peak_rss_bytes, runtime_record
from partitioner.measure.statistics import calibrate, nearest, spread_out, timing
from partitioner.measure.subject import Subject
from partitioner.profile import (
    ALL_CLOUD,
    CutProfile,
    LayerProfile,
    Profile,
    SourceProfile,
    TensorSpec,
    Timing,
)
from partitioner.runtimes import Engine
from partitioner.segments import Cut, CutCost, Cuts
from partitioner.subgraph import weight_bytes

DEFAULT_BUDGET_S = 60.0
NOISY_RATIO = 0.15
"""Interquartile range over median of whole runs from which a machine is called too noisy to tell close cuts apart."""

_MIN_ROUNDS = 3
_MAX_ROUNDS = 9
_WHOLE_RUNS = 12
_MIN_WHOLE_RUNS = 3
_WHOLE_SHARE = 0.15
_WARM_UP_SHARE = 0.25
"""Of the time that is left for cuts: preparing one and a first run take at least as long as each of three more runs."""

Steps = Generator[float, None, Profile]


def measure_steps(
    bundle: Bundle,
    engine: Engine,
    *,
    budget_s: float = DEFAULT_BUDGET_S,
    binding: Binding | None = None,
    sample: Sample | None = None,
) -> Steps:
    """Measure in steps: yields progress from 0 to 1 between runs, and returns the profile.

    A step is at most a run of the model and every codec on one cut, so that a worker can serve frames in between. The
    least that is measured (three whole runs, three rounds of all-cloud and all-local) may exceed a very small budget.

    Args:
        binding: sizes of the graph's symbols; default: those the model was packed with.
        sample: the input to measure with; default: random, and for an image model random pixels.

    Raises:
        PlanError: the model computes nothing that could be split.
        InputError: the sample does not fit the model.
        SegmentError: the model fails on this device.
    """
    return _Measurement(bundle, engine, budget_s, binding, sample).steps()


@dataclass(slots=True)
class _Samples:
    """Seconds of one cut's edge side and cloud side, one entry per round."""

    head_s: list[float]
    tail_s: list[float]


class _Measurement:
    def __init__(
        self, bundle: Bundle, engine: Engine, budget_s: float, binding: Binding | None, sample: Sample | None
    ) -> None:
        self._bundle = bundle
        self._graph = bundle.graph
        self._engine = engine
        self._budget_s = budget_s
        self._binding = dict(self._graph.example_binding if binding is None else binding)
        self._cuts = Cuts(self._graph, bundle.digest, binding=self._binding)
        if len(self._cuts.candidates) == 1:
            raise PlanError(f"{bundle.name} has nothing to split: its outputs are its inputs or its weights")
        self._subject = Subject(bundle, self._binding, sample)
        self._begun = time.perf_counter()
        self._samples: dict[str, _Samples] = {}
        self._codecs: dict[str, CutCodecs] = {}
        self._costs: dict[str, CutCost] = {}

    def steps(self) -> Steps:
        prepare = self._prepare_times()
        yield self._progress()
        whole_s, ends = yield from self._whole()
        yield from self._price()
        yield from self._rounds()
        return self._profile(timing(whole_s), ends, prepare)

    def _prepare_times(self) -> Timing | None:
        return timing(self._subject.prepare_times(runs=5)) if self._subject.is_prepared else None

    def _whole(self) -> Generator[float, None, tuple[list[float], list[list[float]]]]:
        """Times of the whole model, sorted, and for each timed run the seconds at which its layers ended."""
        whole = self._engine.segment(self._cuts.whole())
        tensors = self._subject.tensors
        whole(tensors)
        whole_s: list[float] = []
        ends: list[list[float]] = []
        limit_s = self._elapsed() + _WHOLE_SHARE * self._budget_s
        while len(whole_s) < _MIN_WHOLE_RUNS or (len(whole_s) < _WHOLE_RUNS and self._elapsed() < limit_s):
            begun = time.perf_counter()
            whole(tensors)
            whole_s.append(time.perf_counter() - begun)
            ends.append(whole.timeline(tensors)[1])
            yield self._progress()
        return sorted(whole_s), ends

    def _price(self) -> Generator[float, None, None]:
        """What the graph says of every cut; on a model of hundreds of layers that takes seconds of the budget too."""
        for cut in self._cuts.candidates:
            self._costs[cut.id] = self._cuts.cost(cut)
            yield self._progress()

    def _rounds(self) -> Generator[float, None, None]:
        """Take cuts in the order of their promise while time for their rounds is left, then time them in turns."""
        meter = CodecMeter()
        chosen: list[Cut] = []
        begun_s = self._elapsed()
        warm_up_s = _WARM_UP_SHARE * (self._budget_s - begun_s)
        for cut in promising(self._cuts.candidates, self._binding):
            if len(chosen) >= 2 and self._elapsed() - begun_s > warm_up_s:
                break
            self._run_cut(cut, meter)
            chosen.append(cut)
            yield self._progress()
        chosen.sort(key=lambda each: each.depth)
        for number in range(_MAX_ROUNDS):
            for cut in chosen:
                if number >= _MIN_ROUNDS and self._elapsed() > self._budget_s:
                    return
                self._run_cut(cut, None)
                yield self._progress()

    def _run_cut(self, cut: Cut, meter: CodecMeter | None) -> None:
        head_segment, tail_segment = self._cuts.segments(cut)
        head = self._engine.segment(head_segment)
        begun = time.perf_counter()
        made = head(self._subject.tensors)
        head_s = time.perf_counter() - begun
        tail_s, reply = 0.0, {}
        if tail_segment is not None:
            tail = self._engine.segment(tail_segment)
            crossing = {name: made[name] for name in tail_segment.inputs}
            begun = time.perf_counter()
            reply = tail(crossing)
            tail_s = time.perf_counter() - begun
        if meter is not None:
            crossing = {value.name: made[value.name] for value in cut.crossing}
            self._codecs[cut.id] = meter.measure(crossing, reply)
            return
        samples = self._samples.setdefault(cut.id, _Samples([], []))
        samples.head_s.append(head_s)
        samples.tail_s.append(tail_s)

    def _profile(self, whole: Timing, ends: list[list[float]], prepare: Timing | None) -> Profile:
        noise_ratio = whole.spread_s / whole.median_s if whole.median_s else 0.0
        layers = self._layers(ends)
        return Profile(
            model_digest=self._bundle.digest,
            model_name=self._bundle.name,
            weights=self._bundle.manifest.weights,
            device=device_info(self._engine.info.device),
            runtime=runtime_record(self._engine.info),
            binding=self._binding,
            layers=layers,
            flows=layer_graph(self._graph, self._binding).flows,
            cuts=self._cut_profiles(layers, whole),
            whole=whole,
            source=self._source(prepare),
            peak_rss_bytes=peak_rss_bytes(),
            noise_ratio=noise_ratio,
            noisy=noise_ratio > NOISY_RATIO,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )

    def _layers(self, ends: list[list[float]]) -> tuple[LayerProfile, ...]:
        whole = self._engine.segment(self._cuts.whole())
        times: dict[int, list[float]] = {}
        for run in ends:
            starts = [0.0, *run[:-1]]
            totals: dict[int, float] = {}
            for number, begin, end in zip(whole.layers, starts, run, strict=True):
                totals[number] = totals.get(number, 0.0) + end - begin
            for number, seconds in totals.items():
                times.setdefault(number, []).append(seconds)
        values = self._graph.values
        found: list[LayerProfile] = []
        for index, layer in enumerate(self._graph.layers):
            weights = {name for node in layer.nodes for name in self._graph.node[node].refs()} & set(self._graph.weight)
            made = [values[name] for name in layer.nodes if name in values]
            found.append(
                LayerProfile(
                    id=layer.id,
                    name=layer.id,
                    kind=layer.kind,
                    forward=timing(times.get(index, [0.0])),
                    flops=self._graph.flops_of(layer, self._binding),
                    weight_bytes=weight_bytes(self._graph, weights),
                    output_bytes=made[-1].nbytes(self._binding) if made else 0,
                )
            )
        return tuple(found)

    def _cut_profiles(self, layers: tuple[LayerProfile, ...], whole: Timing) -> tuple[CutProfile, ...]:
        cumulative = [0.0]
        for layer in layers:
            cumulative.append(cumulative[-1] + layer.forward.median_s)
        candidates = self._cuts.candidates
        prefixes = calibrate(
            [cumulative[cut.depth] for cut in candidates],
            {i: timing(self._samples[cut.id].head_s) for i, cut in enumerate(candidates) if cut.id in self._samples},
        )
        suffixes = calibrate(
            [0.0 if cut.is_local else cumulative[-1] - cumulative[cut.depth] for cut in candidates],
            {i: timing(self._samples[cut.id].tail_s) for i, cut in enumerate(candidates) if cut.id in self._samples},
        )
        measured = {i: self._codecs[cut.id] for i, cut in enumerate(candidates) if cut.id in self._codecs}
        return tuple(
            self._cut_profile(cut, prefixes[i], suffixes[i], _nearest(measured, i)) for i, cut in enumerate(candidates)
        )

    def _cut_profile(self, cut: Cut, prefix: Timing, suffix: Timing, near: CutCodecs) -> CutProfile:
        cost = self._costs[cut.id]
        codecs = [each.scaled_to(cost.up_bytes, near.raw_bytes) for each in near.codecs] if cut.crossing else []
        if cut.name == ALL_CLOUD:
            codecs += self._source_codecs()
        return CutProfile(
            id=cut.id,
            name=cut.name,
            aliases=cut.aliases,
            depth=cut.depth,
            crossing=self._specs(cut.crossing),
            reply=self._specs(self._cuts.reply(cut)),
            edge_outputs=cut.edge_outputs,
            edge_flops=cost.edge_flops,
            cloud_flops=cost.cloud_flops,
            edge_weight_bytes=cost.edge_weight_bytes,
            cloud_weight_bytes=cost.cloud_weight_bytes,
            edge_peak_bytes=cost.edge_peak_bytes,
            cloud_peak_bytes=cost.cloud_peak_bytes,
            prefix=prefix,
            suffix=suffix,
            codecs=tuple(each.to_record() for each in codecs),
            reply_cost=near.reply.scaled_to(cost.down_bytes, near.reply_bytes).to_record(),
        )

    def _specs(self, values: tuple[Value, ...]) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(
                name=value.name,
                dtype=value.dtype,
                shape=shape_of(value.shape, self._binding),
                nbytes=value.nbytes(self._binding),
            )
            for value in values
        )

    def _source_codecs(self) -> list[CodecMeasure]:
        source = self._subject.source
        return CodecMeter().measure_source(source) if source is not None else []

    def _source(self, prepare: Timing | None) -> SourceProfile:
        return SourceProfile(
            kind=self._subject.kind, nbytes=self._subject.nbytes, how=self._subject.how, preprocess=prepare
        )

    def _elapsed(self) -> float:
        return time.perf_counter() - self._begun

    def _progress(self) -> float:
        return min(0.99, self._elapsed() / max(self._budget_s, 1e-6))


def promising(candidates: tuple[Cut, ...], binding: Binding) -> list[Cut]:
    """Candidates in the order in which they deserve to be measured.

    All-cloud and all-local first, then those that send less than every shallower cut (no shallower cut beats them while
    the cloud is the faster side), the fewest bytes first; then the others, spread evenly over the depth.
    """
    fewest: float = float("inf")
    staircase: list[tuple[int, Cut]] = []
    rest: list[Cut] = []
    for cut in candidates:
        nbytes = sum(value.nbytes(binding) for value in cut.crossing)
        if cut.is_local or cut.depth == 0:
            continue
        if nbytes < fewest:
            fewest = nbytes
            staircase.append((nbytes, cut))
        else:
            rest.append(cut)
    extremes = [cut for cut in candidates if cut.is_local or cut.depth == 0]
    staircase.sort(key=lambda each: each[0])
    return [*extremes, *(cut for _, cut in staircase), *spread_out(rest)]


def _nearest(measured: Mapping[int, CutCodecs], index: int) -> CutCodecs:
    """Codec costs of the cut itself, or of the nearest measured one that sends anything."""
    if index in measured:
        return measured[index]
    sending = {i: each for i, each in measured.items() if each.raw_bytes} or measured
    return sending[nearest(sending, index)]
