"""Measure a model on this device: layers to explain, prefixes and suffixes to decide, codecs to price what crosses.

Layer times do not add up to the whole, so the edge side and the cloud side of a cut are run and timed as such. That is
quadratic in the number of cuts, hence a budget:

1. A *timeline* (one run of the whole model, the clock read between layers) gives every cut a first estimate at once.
2. Cuts are ranked by promise: fewer crossing bytes than any shallower cut first, then an even sample of the rest.
3. They are prepared one by one, each with a warm-up run and its codecs, while a quarter of the time lasts. What crosses
   at the others is packed all the same (``crossings``).
4. Lossy codecs are judged by what they do to the answers (``judge``), and the original input is re-encoded
   (``sources``): a quarter of what is left, half of it where there are samples. A single sample is judged at every
   cut that was prepared. Of several, as many are used as leave time for some cuts, spread evenly over those given, and
   a cut that was not reached with all of these has no deviation.
5. Cuts are timed in turns (head, then tail over what the head made), so that drift falls on all alike.
6. The others are *calibrated*: their timeline estimate times the ratio of measured to estimated at their measured
neighbours.

Source: the budgeted form of Kang et al., "Neurosurgeon", ASPLOS 2017, which profiles every layer; that sums mislead is
reported by Eshratifar et al., "JointDNN", 2019, and Zhang et al., "nn-Meter", MobiSys 2021.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from datetime import datetime, timezone

from partitioner.bundle import Bundle
from partitioner.dims import Binding
from partitioner.errors import PlanError, SegmentError
from partitioner.inputs import Sample
from partitioner.measure.assemble import CutRuns, Measured, cut_profiles, layer_profiles
from partitioner.measure.codecs import CodecMeasure, CodecMeter, CutCodecs
from partitioner.measure.cold import Pause
from partitioner.measure.crossings import crossings
from partitioner.measure.device import device_info, peak_rss_bytes, runtime_record
from partitioner.measure.judge import Judge
from partitioner.measure.sources import SourceJudge, original
from partitioner.measure.statistics import spread_out, timing
from partitioner.measure.subject import Subject, middling, spread
from partitioner.profile import Profile, SourceProfile, Timing
from partitioner.runtimes import Array, Engine
from partitioner.samples import NO_SAMPLES, SampleSet
from partitioner.segments import Cut, CutCost, Cuts

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
_PACK_SHARE = 0.1
"""Of the budget: packing what crosses at the cuts that are not run by themselves."""
_JUDGE_SHARE = 0.5
"""Of the time that is left then, where there are several samples to judge codecs on."""
_ANSWER_SHARE = 0.1
_SOURCE_SHARE = 0.4
"""Of the time for judging: until when samples are answered exactly, and the original input is re-encoded."""

Steps = Generator[float, None, Profile]


def measure_steps(
    bundle: Bundle,
    engine: Engine,
    *,
    budget_s: float = DEFAULT_BUDGET_S,
    binding: Binding | None = None,
    samples: SampleSet = NO_SAMPLES,
    is_judged: bool = True,
) -> Steps:
    """Measure in steps: yields progress from 0 to 1 between runs, and returns the profile.

    A step is at most a run of the model and every codec on one cut, so that a worker can serve frames in between. The
    least that is measured (three whole runs, three rounds of all-cloud and all-local) may exceed a very small budget.

    Args:
        binding: sizes of the graph's symbols; default: those the model was packed with.
        samples: inputs to judge lossy codecs on, the middling of them to measure with; default: a random one, and for
            an image model random pixels.
        is_judged: find out what lossy codecs do to the answers. A worker has no samples, and leaves that to the device.

    Raises:
        PlanError: the model computes nothing that could be split.
        InputError: the sample does not fit the model.
        SegmentError: the model fails on this device.
    """
    return _Measurement(
        bundle, engine, budget_s=budget_s, binding=binding, samples=samples, is_judged=is_judged
    ).steps()


class _Measurement:
    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        *,
        budget_s: float,
        binding: Binding | None,
        samples: SampleSet,
        is_judged: bool,
    ) -> None:
        self._bundle = bundle
        self._graph = bundle.graph
        self._engine = engine
        self._budget_s = budget_s
        self._binding = dict(self._graph.example_binding if binding is None else binding)
        self._cuts = Cuts(self._graph, bundle.digest, binding=self._binding)
        if len(self._cuts.candidates) == 1:
            raise PlanError(f"{bundle.name} has nothing to split: its outputs are its inputs or its weights")
        self._subject = Subject(bundle, self._binding, middling(samples.samples))
        self._pause = Pause()
        self._meter = CodecMeter()
        self._begun = time.perf_counter()
        self._runs: dict[str, CutRuns] = {}
        self._codecs: dict[str, CutCodecs] = {}
        self._costs: dict[str, CutCost] = {}
        self._inputs = max(1, len(samples.samples))
        self._has_samples = bool(samples.samples)
        samples = spread(samples)
        self._judge = Judge(engine, self._cuts, self._inputs_of(samples), samples.labels) if is_judged else None
        self._sources = self._source_judge(samples) if is_judged else None

    def _inputs_of(self, samples: SampleSet) -> list[Callable[[], Mapping[str, Array]]]:
        """Prepares the model's inputs of every sample; the subject's own without samples."""
        if not samples.samples:
            return [lambda: self._subject.tensors]
        return [functools.partial(self._prepared, sample) for sample in samples.samples]

    def _prepared(self, sample: Sample) -> Mapping[str, Array]:
        return Subject(self._bundle, self._binding, sample).tensors

    def _source_judge(self, samples: SampleSet) -> SourceJudge | None:
        given = [sample.source for sample in samples.samples] or [self._subject.source]
        sources = [source for source in given if source is not None]
        if self._bundle.preprocess is None or len(sources) < len(given):
            return None
        return SourceJudge(self._bundle.preprocess, sources, samples.labels)

    def steps(self) -> Steps:
        whole_s, ends = yield from self._whole()
        prepare = self._prepare_times()  # from memory that a run has left, as in use
        yield self._progress()
        yield from self._price()
        chosen = yield from self._prepare_cuts()
        yield from self._pack_others(chosen)
        yield from self._judge_codecs(chosen)
        yield from self._rounds(chosen)
        return self._profile(timing(whole_s), ends, prepare)

    def _prepare_times(self) -> Timing | None:
        return timing(self._subject.prepare_times(runs=5, pause=self._pause)) if self._subject.is_prepared else None

    def _whole(self) -> Generator[float, None, tuple[list[float], list[list[float]]]]:
        """Times of the whole model, sorted, and for each timed run the seconds at which its layers ended."""
        whole = self._engine.segment(self._cuts.whole())
        whole.settle()
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

    def _prepare_cuts(self) -> Generator[float, None, list[Cut]]:
        """Take cuts in the order of their promise while time for their rounds is left: a first run, and its codecs."""
        chosen: list[Cut] = []
        begun_s = self._elapsed()
        warm_up_s = _WARM_UP_SHARE * (self._budget_s - begun_s)
        for cut in promising(self._cuts.candidates, self._binding):
            if len(chosen) >= 2 and self._elapsed() - begun_s > warm_up_s:
                break
            self._run_cut(cut, self._meter)
            chosen.append(cut)
            yield self._progress()
        return chosen

    def _pack_others(self, chosen: list[Cut]) -> Generator[float, None, None]:
        """Pack what crosses at the other cuts once with every codec, for a share of the time."""
        others = [cut for cut in promising(self._cuts.candidates, self._binding) if cut not in chosen]
        ends_s = self._elapsed() + _PACK_SHARE * self._budget_s
        with contextlib.suppress(SegmentError):  # a runtime that gives out ends alone: neighbours stand in
            for cut, crossing, reply in crossings(self._engine, self._cuts, others, self._subject.tensors, self._costs):
                if self._elapsed() > ends_s:
                    return
                self._codecs[cut.id] = self._meter.measure(crossing, reply, runs=1)
                yield self._progress()

    def _judge_codecs(self, chosen: list[Cut]) -> Generator[float, None, None]:
        """Run lossy codecs at the cuts chosen, the most promising first, for a share of the time that is left."""
        if self._judge is None:
            return
        begun_s = self._elapsed()
        window_s = (_JUDGE_SHARE if self._inputs > 1 else _WARM_UP_SHARE) * (self._budget_s - begun_s)

        def is_over(share: float) -> bool:
            return self._elapsed() - begun_s > share * window_s

        yield from self._shown(self._judge.prepare(should_stop=lambda: is_over(_ANSWER_SHARE)))
        if self._sources is not None:
            whole = self._engine.segment(self._cuts.whole())
            yield from self._shown(self._sources.steps(self._judge, whole, should_stop=lambda: is_over(_SOURCE_SHARE)))
        for cut in chosen:
            yield from self._shown(self._judge.judge(cut, should_stop=lambda: self._inputs > 1 and is_over(1.0)))

    def _shown(self, steps: Generator[None, None, None]) -> Generator[float, None, None]:
        for _ in steps:
            yield self._progress()

    def _rounds(self, chosen: list[Cut]) -> Generator[float, None, None]:
        """Time cuts in turns."""
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
        head.settle()
        self._pause()
        begun = time.perf_counter()
        made = head(self._subject.tensors)
        head_s = time.perf_counter() - begun
        tail_s, reply = 0.0, {}
        if tail_segment is not None:
            tail = self._engine.segment(tail_segment)
            tail.settle()
            crossing = {name: made[name] for name in tail_segment.inputs}
            self._pause()
            begun = time.perf_counter()
            reply = tail(crossing)
            tail_s = time.perf_counter() - begun
        if meter is not None:
            crossing = {value.name: made[value.name] for value in cut.crossing}
            self._codecs[cut.id] = meter.measure(crossing, reply)
            return
        runs = self._runs.setdefault(cut.id, CutRuns())
        runs.head_s.append(head_s)
        runs.tail_s.append(tail_s)

    def _profile(self, whole: Timing, ends: list[list[float]], prepare: Timing | None) -> Profile:
        noise_ratio = whole.spread_s / whole.median_s if whole.median_s else 0.0
        layers = layer_profiles(self._graph, self._binding, self._engine.segment(self._cuts.whole()).layers, ends)
        raw = Measured(
            runs=self._runs, codecs=self._codecs, costs=self._costs, sources=self._source_codecs(), judge=self._judge
        )
        return Profile(
            model_digest=self._bundle.digest,
            model_name=self._bundle.name,
            weights=self._bundle.manifest.weights,
            device=device_info(self._engine.info.device),
            runtime=runtime_record(self._engine.info),
            binding=self._binding,
            layers=layers,
            flows=self._cuts.layer_graph.flows,
            cuts=cut_profiles(self._cuts, layers, raw),
            whole=whole,
            source=self._source(prepare),
            samples=0 if self._judge is None else self._judge.samples,
            samples_how="measured" if self._has_samples else "assumed",
            accuracy=None if self._judge is None else self._judge.accuracy,
            peak_rss_bytes=peak_rss_bytes(),
            noise_ratio=noise_ratio,
            noisy=noise_ratio > NOISY_RATIO,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )

    def _source_codecs(self) -> list[CodecMeasure]:
        if self._subject.source is None:
            return []
        accuracy = None if self._judge is None else self._judge.accuracy
        found = [replace(each, accuracy=accuracy) for each in original(self._subject.source, self._meter)]
        return found if self._sources is None else [*found, *self._sources.measures(accuracy)]

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
