"""What is lossy is chosen only within the user's bound, and through the wire does no more than was measured."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import edge
from edge.advisor import Wish, select
from edge.answer import max_rel_diff
from edge.embedded import EmbeddedWorker
from edge.evidence import Evidence
from edge.sample import to_sample
from partitioner.bundle import Bundle
from partitioner.codecmix import Bound, is_exact, parse
from partitioner.errors import PlanError, UsageError
from partitioner.inputs import Sample
from partitioner.link import Link
from partitioner.measure import measure_steps
from partitioner.pictures import available
from partitioner.profile import Profile
from partitioner.runtimes.eager import open_engine
from partitioner.samples import NO_SAMPLES, SampleSet
from partitioner.segments import Cuts
from partitioner.zoo import resolve
from partitioner.zoo.digits_data import held_out
from protos.codecs import CODECS

THIN = Link(up_bytes_per_s=2e3, down_bytes_per_s=1e6, rtt_s=0.0)
NO_DROP = Bound(max_accuracy_drop=0.0)
CUT = "after:stage1"


class Offsets(torch.nn.Module):
    """Scores that hang on small differences between features with large offsets of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.lift, self.read = torch.nn.Linear(16, 16), torch.nn.Linear(16, 5)
        offsets = torch.linspace(-1000, 1000, 16)
        with torch.no_grad():
            self.lift.weight.copy_(torch.eye(16))
            self.lift.bias.copy_(offsets)
            self.read.bias.copy_(-self.read.weight @ offsets)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.read(torch.relu(self.lift(x) + 2000) - 2000)


def offsets() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    torch.manual_seed(0)
    return Offsets().eval(), (torch.randn(1, 16),)


def measured(bundle: Bundle, samples: SampleSet, *, budget_s: float) -> Profile:
    """A profile whose budget is of processor time, so that a busy machine leaves nothing out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("partitioner.measure.time", SimpleNamespace(perf_counter=time.process_time))
        steps = measure_steps(bundle, open_engine(bundle, threads=1), budget_s=budget_s, samples=samples)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value


@pytest.fixture(scope="module")
def samples() -> SampleSet:
    """Held-out digits, enlarged to pictures of 64 x 64, with what they are."""
    pixels, labels = held_out()
    large = [np.kron(each, np.ones((8, 8, 1), np.uint8)) for each in pixels[:40]]
    given = tuple(Sample(name=str(i), source=each, nbytes_original=each.nbytes) for i, each in enumerate(large))
    return SampleSet(samples=given, labels=tuple(int(each) for each in labels[:40]))


@pytest.fixture(scope="module")
def profile(digits: Bundle, samples: SampleSet) -> Profile:
    return measured(digits, samples, budget_s=8.0)


@pytest.fixture(scope="module")
def worker(digits: Bundle, branching: Bundle) -> Iterator[EmbeddedWorker]:
    with EmbeddedWorker(digits.path, arguments=("--model", str(branching.path), "--threads", "1")) as running:
        yield running


def test_the_profile_says_what_was_measured_and_on_how_much(profile: Profile) -> None:
    assert profile.samples == 40
    assert profile.accuracy is not None
    assert profile.accuracy > 0.95
    cloud = profile.cuts[0]
    assert cloud.codec("none").accuracy == profile.accuracy
    for name in ("fp16", "int8", "int4"):
        assert cloud.codec(name).deviation == cloud.codec(f"{name}+zstd").deviation > 0.0
    assert cloud.codec("fp16").deviation < cloud.codec("int8").deviation < cloud.codec("int4").deviation
    assert cloud.codec("source:fit").deviation == 0.0
    assert cloud.codec("source:fit").up_bytes < 200 < 4096 < cloud.codec("source").up_bytes


def test_a_worker_judges_nothing(digits: Bundle) -> None:
    steps = measure_steps(digits, open_engine(digits, threads=1), budget_s=0.3, is_judged=False)
    found: list[Profile] = []

    def run() -> Iterator[float]:
        found.append((yield from steps))

    assert list(run())
    assert (found[0].samples, found[0].accuracy) == (0, None)
    lossy = [cost for cut in found[0].cuts for cost in cut.codecs if not is_exact(cost.codec)]
    assert lossy
    assert all(cost.deviation is None for cost in lossy)


@pytest.mark.parametrize("bound", [NO_DROP, Bound(max_deviation=0.01), Bound(min_accuracy=0.9, max_deviation=0.05)])
def test_every_lossy_candidate_keeps_the_bound(profile: Profile, bound: Bound) -> None:
    table = Evidence(edge=profile, cloud=profile, link=THIN).table(bound=bound)
    lossy = [each for each in table.candidates if not is_exact(each.codec)]
    assert lossy
    least = bound.least_accuracy(profile.accuracy)
    for each in lossy:
        assert bound.max_deviation is None or each.deviation <= bound.max_deviation
        assert least is None or each.accuracy >= least


def test_no_drop_admits_int8_on_the_digits_and_the_choice_does_through_the_wire_what_was_measured(
    profile: Profile, digits: Bundle, samples: SampleSet, worker: EmbeddedWorker
) -> None:
    cuts = Cuts(digits.graph, digits.digest)
    evidence = Evidence(edge=profile, cloud=profile, link=THIN)
    wish = Wish(cut=CUT, codec="auto", codecs=("none", "none+zstd", "int8", "int8+zstd"), bound=NO_DROP)
    given = to_sample({"image": np.zeros((1, 1, 8, 8), np.float32)}, digits)
    selected = select(cuts, wish, given, evidence=lambda: evidence)
    assert selected.codec.startswith("int8")
    cost = next(cut for cut in profile.cuts if cut.name == CUT).codec(selected.codec)
    assert samples.labels is not None
    with edge.Session(digits, cloud=worker.target, cut=CUT, codec=selected.codec) as session:
        diffs, right = [], 0
        for sample, label in zip(samples.samples, samples.labels, strict=True):
            answer = session(sample)
            assert answer.codec == selected.codec
            diffs.append(max_rel_diff(answer.outputs, session.whole(sample)))
            right += int(np.argmax(answer.outputs["logits" if "logits" in answer.outputs else "output"])) == label
    assert max(diffs) == pytest.approx(cost.deviation, rel=1e-3)
    assert right / len(diffs) == cost.accuracy == profile.accuracy


def test_a_codec_that_breaks_answers_is_refused() -> None:
    bundle = resolve("test_bounded_codecs:offsets")
    rng = np.random.default_rng(1)
    tensors = [{bundle.graph.input_names[0]: rng.standard_normal((1, 16)).astype(np.float32)} for _ in range(30)]
    engine = open_engine(bundle, threads=1)
    whole = engine.segment(Cuts(bundle.graph, bundle.digest).whole())
    labels = tuple(int(np.argmax(next(iter(whole(each).values())))) for each in tensors)
    given = tuple(Sample(name=str(i), tensors=each, nbytes_original=64) for i, each in enumerate(tensors))
    profile = measured(bundle, SampleSet(samples=given, labels=labels), budget_s=3.0)
    assert profile.accuracy == 1.0
    lifted = [cut for cut in profile.cuts if cut.depth > 0 and cut.crossing]
    assert lifted
    for cut in lifted:
        assert cut.codec("int4").accuracy <= cut.codec("int8").accuracy < 1.0
    table = Evidence(edge=profile, cloud=profile, link=THIN).table(bound=NO_DROP)
    admitted = {each.codec for each in table.candidates if each.cut in {cut.name for cut in lifted}}
    assert "none" in admitted
    assert not any(codec.startswith("int") for codec in admitted)


def test_an_accuracy_cannot_be_kept_without_labels(profile: Profile) -> None:
    bare = replace(profile, accuracy=None)
    with pytest.raises(UsageError, match="--sample-labels"):
        Evidence(edge=bare, cloud=bare, link=THIN).table(bound=NO_DROP)


@pytest.mark.parametrize("name", [each for each in available() if each != "png"])
def test_a_reencoded_input_answers_as_far_off_as_was_measured(
    name: str, profile: Profile, digits: Bundle, samples: SampleSet, worker: EmbeddedWorker
) -> None:
    codec = f"source:{name}"
    cost = profile.cuts[0].codec(codec)
    assert cost is not None
    with edge.Session(digits, cloud=worker.target, cut="cloud", codec=codec) as session:
        for sample in samples.samples[:5]:
            answer = session(sample)
            assert (answer.where, answer.codec, answer.is_fallback) == ("cloud", codec, False)
            assert max_rel_diff(answer.outputs, session.whole(sample)) <= cost.deviation * (1 + 1e-6)
            assert answer.up_bytes < sample.nbytes_original
            assert answer.times.encode_s > 0


def test_a_device_left_alone_finishes_from_the_original(
    digits: Bundle, samples: SampleSet, start_worker: object
) -> None:
    running = start_worker(digits)  # type: ignore[operator]
    sample = samples.samples[0]
    with edge.Session(digits, cloud=running.target, cut="cloud", codec="source:fit-jpeg75") as session:
        assert not session(sample).is_fallback
        running.stop()
        answer = session(sample)
        assert answer.is_fallback
        assert max_rel_diff(answer.outputs, session.whole(sample)) == 0.0


def test_every_way_to_send_the_input_is_a_plan_of_its_own(digits: Bundle) -> None:
    cuts = Cuts(digits.graph, digits.digest)
    cloud = cuts.find("cloud")
    plans = [cuts.plan(cloud, codec=name, from_source=True) for name in ("none", "none+zstd", *available())]
    assert len({plan.plan_id for plan in plans}) == len(plans)


def test_each_tensor_may_have_a_codec_of_its_own(branching: Bundle, worker: EmbeddedWorker) -> None:
    cut = next(each for each in Cuts(branching.graph, branching.digest).candidates if len(each.crossing) > 1)
    first, *rest = [value.name for value in cut.crossing]
    rng = np.random.default_rng(0)
    given = {
        each.name: rng.standard_normal([int(dim) for dim in each.value.shape]).astype(np.float32)
        for each in branching.graph.inputs
    }
    sent = {}
    for codec in ("none", "int4", f"{first}=int4", ",".join([f"{first}=none", *(f"{name}=int4" for name in rest)])):
        with edge.Session(branching, cloud=worker.target, cut=cut.id, codec=codec) as session:
            answer = session(given)
            assert answer.codec == codec
            sent[codec] = answer.up_bytes
    assert sent["int4"] < min(list(sent.values())[2:])
    assert max(list(sent.values())[2:]) < sent["none"]
    with (
        edge.Session(branching, cloud=worker.target, cut=cut.id, codec="nothing=int8") as session,
        pytest.raises(PlanError, match=r"no .* crosses at .*; what crosses there: "),
    ):
        session(given)


def test_a_mix_is_chosen_within_the_bound_and_keeps_it_through_the_wire(
    branching: Bundle, worker: EmbeddedWorker
) -> None:
    rng = np.random.default_rng(0)
    tensors = {
        each.name: rng.standard_normal([int(dim) for dim in each.value.shape]).astype(np.float32)
        for each in branching.graph.inputs
    }
    profile = measured(
        branching,
        SampleSet(samples=(Sample(name="one", tensors=tensors, nbytes_original=1),)),
        budget_s=2.0,
    )
    cut = next(each for each in profile.cuts if len(each.tensor_codecs) > 1)
    coarse = [cost.deviation for each in cut.tensor_codecs for cost in each.codecs if cost.codec == "int4"]
    bound = Bound(max_deviation=(min(coarse) + cut.codec("int4").deviation) / 2)
    wish = Wish(cut=cut.id, codec="auto", bound=bound)
    evidence = Evidence(edge=profile, cloud=profile, link=THIN)
    cuts = Cuts(branching.graph, branching.digest)
    selected = select(cuts, wish, to_sample(tensors, branching), evidence=lambda: evidence)
    assert "=" in selected.codec
    assert selected.plan.stages[0].codecs == parse(selected.codec)
    assert selected.predicted is not None
    with edge.Session(branching, cloud=worker.target, cut=cut.id, codec=selected.codec) as session:
        answer = session(tensors)
        assert max_rel_diff(answer.outputs, session.whole(tensors)) <= bound.max_deviation
        assert answer.up_bytes == pytest.approx(selected.predicted.candidate.up_bytes, abs=8 * len(cut.crossing))


def test_where_several_tensors_cross_each_is_judged_by_itself(branching: Bundle) -> None:
    profile = measured(branching, NO_SAMPLES, budget_s=1.5)
    several = [cut for cut in profile.cuts if len(cut.crossing) > 1 and cut.codec("int8").deviation is not None]
    assert several
    for cut in several:
        assert [each.name for each in cut.tensor_codecs] == [spec.name for spec in cut.crossing]
        for each in cut.tensor_codecs:
            assert {cost.codec for cost in each.codecs} == set(CODECS)
            assert all(cost.deviation is not None for cost in each.codecs)
        parts = sum(cost.up_bytes for each in cut.tensor_codecs for cost in each.codecs if cost.codec == "none")
        assert parts == pytest.approx(cut.codec("none").up_bytes, abs=4 * len(cut.crossing))
