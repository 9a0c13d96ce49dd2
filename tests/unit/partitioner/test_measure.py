"""What measuring promises: within its budget, marked for what it is, and true to the graph."""

import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from partitioner import bundle as bundles
from partitioner import graphjson
from partitioner.bundle import Bundle
from partitioner.inputs import Sample
from partitioner.measure import measure_steps, promising
from partitioner.measure.codecs import CodecMeter
from partitioner.measure.statistics import calibrate, spread_out, timing
from partitioner.measure.subject import spread
from partitioner.profile import Profile, Timing
from partitioner.runtimes.eager import open_engine
from partitioner.samples import SampleSet
from partitioner.segments import Cuts
from partitioner.trace import Example, capture, save
from protos import messages as pb
from protos.tensors import frame_bytes, join
from protos.tensors import pack as pack_tensors
from tests import every_cut

HEADER_BYTES = 100
"""More than what names and shapes one tensor on the wire."""


def chain(layers: int, width: int = 24) -> torch.nn.Module:
    torch.manual_seed(0)
    blocks = [torch.nn.Sequential(torch.nn.Conv2d(width, width, 3, padding=1), torch.nn.ReLU()) for _ in range(layers)]
    return torch.nn.Sequential(torch.nn.Conv2d(3, width, 1), *blocks, torch.nn.AdaptiveAvgPool2d(1)).eval()


def pack(tmp_path, module: torch.nn.Module, example: torch.Tensor, **records) -> Bundle:
    captured = capture(module, Example(args=(example,)))
    return bundles.write(
        tmp_path / "bundle",
        graph_text=graphjson.dumps(captured.graph, producer=captured.producer),
        weights=captured.weights,
        save_weights=save,
        name="chain",
        origin="random",
        **records,
    )


def measure(bundle: Bundle, **options) -> tuple[Profile, list[float]]:
    steps = measure_steps(bundle, open_engine(bundle, device="cpu", threads=1), **options)
    shares = []
    while True:
        try:
            shares.append(next(steps))
        except StopIteration as end:
            return end.value, shares


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Bundle:
    return pack(tmp_path_factory.mktemp("small"), chain(4), torch.zeros(1, 3, 32, 32))


@pytest.fixture(scope="module")
def measured(small) -> Profile:
    return measure(small, budget_s=3.0)[0]


def test_every_candidate_is_profiled_and_the_profile_reads_back(small, measured):
    names = [cut.name for cut in Cuts(small.graph, small.digest).candidates]
    assert [cut.name for cut in measured.cuts] == names
    assert Profile.loads(measured.dumps()) == measured


def test_bytes_and_flops_are_those_of_the_graph(small, measured):
    cuts = Cuts(small.graph, small.digest)
    for cut, found in zip(cuts.candidates, measured.cuts, strict=True):
        cost = cuts.cost(cut)
        assert sum(tensor.nbytes for tensor in found.crossing) == cost.up_bytes
        assert sum(tensor.nbytes for tensor in found.reply) == cost.down_bytes
        headers_bytes = found.reply_cost.up_bytes - cost.down_bytes
        assert headers_bytes == 0 if not found.reply else 0 < headers_bytes < 100 * len(found.reply)
        assert found.edge_flops + found.cloud_flops == measured.cuts[-1].edge_flops


def test_a_generous_budget_measures_every_cut(measured):
    assert {cut.prefix.how for cut in measured.cuts} == {"measured"}
    assert all(cut.prefix.samples >= 3 for cut in measured.cuts)


def test_a_small_budget_is_kept_and_the_rest_is_marked_calibrated(tmp_path):
    bundle = pack(tmp_path, chain(24, width=48), torch.zeros(1, 3, 64, 64))
    measure(bundle, budget_s=0.05)
    begun = time.monotonic()
    profile, _ = measure(bundle, budget_s=1.0)
    assert time.monotonic() - begun < 6.0
    hows = [cut.prefix.how for cut in profile.cuts]
    assert "calibrated" in hows
    assert hows[0] == hows[-1] == "measured", "all-cloud and all-local are always measured"


def test_what_crosses_is_packed_also_where_no_time_is_left_to_run_the_cut(tmp_path, monkeypatch):
    monkeypatch.setattr("partitioner.measure._WARM_UP_SHARE", 0.0)
    monkeypatch.setattr("partitioner.measure._PACK_SHARE", 100.0)
    bundle = pack(tmp_path, chain(8, width=16), torch.zeros(1, 3, 32, 32))
    engine, cuts = open_engine(bundle, device="cpu", threads=1), Cuts(bundle.graph, bundle.digest)
    tensors = {bundle.graph.inputs[0].name: np.random.default_rng(3).standard_normal((1, 3, 32, 32), np.float32)}
    sample = Sample(name="noise", tensors=tensors, nbytes_original=12288)
    profile, _ = measure(bundle, budget_s=3.0, samples=SampleSet(samples=(sample,)))
    assert [cut.name for cut in profile.cuts if cut.prefix.how == "measured"] == ["cloud", "local"]
    for cut, found in zip(cuts.candidates, profile.cuts, strict=True):
        if cut.is_local:
            continue
        made = engine.segment(cuts.segments(cut)[0])(tensors) if cut.depth else tensors
        crossing = {value.name: made[value.name] for value in cut.crossing}
        headers, _, payload_bytes = pack_tensors(crossing, dict.fromkeys(crossing, "none+zstd"))
        cost = found.codec("none+zstd")
        assert cost is not None
        assert cost.up_bytes == frame_bytes(headers, payload_bytes)


def test_progress_never_runs_back_and_stays_below_one(small):
    _, shares = measure(small, budget_s=0.5)
    assert shares == sorted(shares)
    assert all(0 <= share < 1 for share in shares)


def test_the_local_cut_has_no_suffix_and_no_codecs(measured):
    local = measured.cuts[-1]
    assert local.suffix.median_s == 0.0
    assert local.codecs == ()
    assert local.crossing == ()


def test_a_model_of_tensors_offers_no_source_and_an_image_model_does(tmp_path, measured):
    record = {
        "schema": "cleft.preprocess/1",
        "kind": "image",
        "input": "input",
        "mode": "RGB",
        "resize": {"size": [32, 32], "interpolation": "bilinear", "antialias": True},
        "crop": None,
        "scale": 1 / 255,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "layout": "NCHW",
    }
    assert measured.cuts[0].codec("source") is None
    bundle = pack(tmp_path, chain(1), torch.zeros(1, 3, 32, 32), preprocess=record)
    profile, _ = measure(bundle, budget_s=0.3)
    assert profile.cuts[0].codec("source") is not None
    headers, _, _ = pack_tensors({"source": np.full((32, 32, 3), 0, np.uint8)})
    assert profile.cuts[0].codec("source").up_bytes == 32 * 32 * 3 + frame_bytes(headers, 0)
    assert (profile.source.kind, profile.source.how) == ("pixels", "assumed")
    pixels = np.zeros((40, 50, 3), np.uint8)
    sample = Sample(name="mine", source=pixels, nbytes_original=pixels.nbytes)
    profile, _ = measure(bundle, budget_s=0.3, samples=SampleSet(samples=(sample,)))
    assert (profile.source.nbytes, profile.source.how) == (pixels.nbytes, "measured")
    assert profile.cuts[0].codec("source+zstd").up_bytes < pixels.nbytes / 10


def test_a_lossy_codec_reports_its_error_and_a_lossless_one_reports_none(measured):
    for cut in measured.cuts[:-1]:
        assert cut.codec("none").deviation == cut.codec("none+zstd").deviation == 0.0
        assert 0.0 < cut.codec("int8").deviation < 0.02
        assert cut.codec("int8+zstd").deviation == cut.codec("int8").deviation
        assert cut.codec("int8").up_bytes < cut.codec("fp16").up_bytes < cut.codec("none").up_bytes


def test_promising_cuts_come_in_the_order_of_the_staircase(small):
    cuts = Cuts(small.graph, small.digest)
    order = promising(cuts.candidates, {})
    assert [cut.name for cut in order[:2]] == ["cloud", "local"]
    assert sorted(cut.id for cut in order) == sorted(cut.id for cut in cuts.candidates)
    fewest = min(cut.crossing[0].nbytes({}) for cut in cuts.candidates[1:-1])
    assert order[2].crossing[0].nbytes({}) == fewest


def test_spread_is_the_interquartile_range():
    assert timing([1.0, 2.0, 3.0, 4.0, 5.0]) == Timing(median_s=3.0, spread_s=2.0, samples=5)
    assert timing([7.0]).spread_s == 0.0


@given(st.integers(0, 200))
def test_spreading_out_keeps_every_item_once(count):
    assert sorted(spread_out(range(count))) == list(range(count))


@settings(deadline=None)
@given(
    st.lists(st.floats(0.001, 10.0), min_size=3, max_size=40),
    st.floats(0.2, 5.0),
    st.data(),
)
def test_calibration_undoes_a_constant_bias(truth, bias, data):
    """Where every estimate is off by the same factor, two measured ends correct all the others."""
    chosen = data.draw(st.sets(st.integers(0, len(truth) - 1), min_size=1))
    measured = {i: Timing(median_s=truth[i]) for i in chosen}
    found = calibrate([value * bias for value in truth], measured)
    for index, (each, value) in enumerate(zip(found, truth, strict=True)):
        assert math.isclose(each.median_s, value, rel_tol=1e-9)
        assert each.how == ("measured" if index in chosen else "calibrated")


def test_scales_and_headers_count_as_bytes_that_cross():
    arrays = {"x": np.random.default_rng(0).standard_normal((1, 64, 4, 4)).astype(np.float32)}
    cost = CodecMeter(["int8"]).measure(arrays, {}).codecs[0]
    headers, buffers, payload_bytes = pack_tensors(arrays, {"x": "int8"})
    sent = pb.Run(tensors=headers).SerializeToString() + join(buffers)
    assert payload_bytes + 64 * 4 < cost.nbytes <= len(sent) <= cost.nbytes + 4


def test_codec_costs_scale_to_tensors_that_were_not_measured():
    found = CodecMeter(["none"]).measure({"x": np.ones((64, 64), np.float32)}, {})
    doubled = found.codecs[0].scaled_to(2 * found.raw_bytes, found.raw_bytes)
    assert found.codecs[0].payload_bytes == 64 * 64 * 4
    assert doubled.nbytes == found.codecs[0].nbytes + 64 * 64 * 4
    assert doubled.encode_s == pytest.approx(2 * found.codecs[0].encode_s)


class Bag(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bag = torch.nn.EmbeddingBag(20, 8)
        self.out = torch.nn.Linear(8, 3)

    def forward(self, ids: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        return self.out(self.bag(ids, offsets))


def test_a_model_whose_integers_must_agree_is_measured_with_its_own_examples(tmp_path):
    """Offsets have to begin at 0 and ascend, which no random number does."""
    bundle = every_cut.pack(Bag().eval(), tmp_path / "bag", args=(torch.arange(9), torch.tensor([0, 4, 6])))
    profile, _ = measure(bundle, budget_s=0.3)
    assert profile.whole.median_s > 0


def test_a_deep_model_keeps_its_budget_in_small_steps(tmp_path):
    """Hundreds of cuts: preparing and pricing them is charged like running them, and no step holds a worker up."""
    layers = [torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.ReLU()) for _ in range(120)]
    bundle = every_cut.pack(torch.nn.Sequential(*layers).eval(), tmp_path / "deep", args=(torch.zeros(2, 16),))
    steps = measure_steps(bundle, open_engine(bundle, device="cpu"), budget_s=1.5)
    begun = last = time.monotonic()
    longest_s = 0.0
    for _ in steps:
        now = time.monotonic()
        longest_s, last = max(longest_s, now - last), now
    assert time.monotonic() - begun < 4.0
    assert longest_s < 1.0


def test_more_samples_than_the_budget_takes_are_sampled_evenly_and_said(small):
    """Two thousand samples in two seconds: what was used is what every figure rests on."""
    rng = np.random.default_rng(0)
    name = small.graph.input_names[0]
    given = [{name: rng.standard_normal((1, 3, 32, 32)).astype(np.float32)} for _ in range(2000)]
    samples = SampleSet(samples=tuple(Sample(name="", tensors=each, nbytes_original=1) for each in given))
    begun = time.monotonic()
    profile, _ = measure(small, budget_s=2.0, samples=samples)
    assert time.monotonic() - begun < 8.0
    assert 0 < profile.samples < 2000
    assert profile.samples_how == "measured"
    judged = [cut for cut in profile.cuts[:-1] if cut.codec("int8").deviation is not None]
    assert judged
    for cut in judged:
        assert cut.codec("int4").deviation > cut.codec("int8").deviation > 0.0


def test_every_beginning_of_spread_samples_stands_for_the_whole():
    samples = SampleSet(samples=(Sample(name="", nbytes_original=1),) * 100, labels=tuple(range(100)))
    for count in (1, 7, 15, 50):
        found = spread(samples).labels[:count]
        assert len(set(found)) == count
        gaps = np.diff([*sorted(found), min(found) + 100])
        assert gaps.max() <= 3 * 100 / count
