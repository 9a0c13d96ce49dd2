"""Prices against the formula written out again, and laws that any price list obeys."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from partitioner.codecmix import EXACT
from partitioner.cost import TERMS, CandidateTable, Load
from partitioner.link import Link
from partitioner.optimize.gains import WORTHWHILE_RATIO, gains
from partitioner.optimize.scan import choose
from partitioner.profile import (
    CodecCost,
    CutProfile,
    DeviceInfo,
    Profile,
    RuntimeRecord,
    SourceProfile,
    Timing,
)

CODECS = ("none", "none+zstd", "fp16", "int8", "int8+zstd")

times_s = st.floats(0, 5, allow_subnormal=False)
sizes = st.integers(0, 10**8)
rates = st.floats(1e2, 1e10)
timings = st.builds(
    Timing,
    median_s=times_s,
    spread_s=times_s,
    samples=st.integers(1, 99),
    how=st.sampled_from(["measured", "calibrated"]),
)
links = st.builds(Link, up_bytes_per_s=rates, down_bytes_per_s=rates, rtt_s=st.floats(0, 2))


def codec_costs(codecs):
    one = st.builds(
        CodecCost, codec=st.just(""), up_bytes=sizes, encode_s=times_s, decode_s=times_s, deviation=st.floats(0, 1)
    )
    return st.tuples(*([one] * len(codecs))).map(
        lambda costs: tuple(
            CodecCost(
                codec=codec,
                up_bytes=cost.up_bytes,
                encode_s=cost.encode_s,
                decode_s=cost.decode_s,
                deviation=0.0 if codec in EXACT else cost.deviation,
            )
            for codec, cost in zip(codecs, costs, strict=True)
        )
    )


@st.composite
def profile_pairs(draw):
    """Edge's and cloud's profile of one random model."""
    count = draw(st.integers(2, 7))
    has_source = draw(st.booleans())
    chosen_codecs = [
        ()
        if index == count - 1
        else ("none", *draw(st.lists(st.sampled_from(CODECS[1:]), unique=True)))
        + (("source",) if index == 0 and has_source else ())
        for index in range(count)
    ]
    reply_bytes = [draw(sizes) for _ in range(count)]

    def profile(name):
        cuts = tuple(
            CutProfile(
                id=f"cut{index}",
                name="cloud" if index == 0 else "local" if index == count - 1 else f"after:{index}",
                depth=index,
                crossing=(),
                reply=(),
                edge_flops=0,
                cloud_flops=0,
                edge_weight_bytes=0,
                cloud_weight_bytes=0,
                edge_peak_bytes=0,
                cloud_peak_bytes=0,
                prefix=draw(timings),
                suffix=draw(timings),
                codecs=draw(codec_costs(chosen_codecs[index])),
                reply_cost=CodecCost(
                    codec="none", up_bytes=reply_bytes[index], encode_s=draw(times_s), decode_s=draw(times_s)
                ),
            )
            for index in range(count)
        )
        return Profile(
            model_digest="d" * 64,
            model_name="random",
            weights="random",
            device=DeviceInfo(name=name, machine="m", cpu="c", cores=1),
            runtime=RuntimeRecord(name="eager", device="cpu", threads=1, versions={}),
            binding=draw(st.just({}) | st.just({"t": 7})) if name == "edge" else {},
            cuts=cuts,
            whole=Timing(median_s=draw(st.floats(0.001, 5))),
            source=SourceProfile(kind="file", nbytes=1, how="measured", preprocess=draw(timings)),
            peak_rss_bytes=0,
            noise_ratio=draw(st.floats(0, 3)),
            noisy=draw(st.booleans()),
            created="2026-01-01T00:00:00Z",
        )

    edge, cloud = profile("edge"), profile("cloud")
    object.__setattr__(cloud, "binding", dict(edge.binding))
    return edge, cloud


def latency_s(edge, cloud, cut_id, codec, link, queue_s, slowdown):
    """The formula of the design, for one frame, with nothing shared with the code under test but the records."""
    near = next(cut for cut in edge.cuts if cut.id == cut_id)
    far = next(cut for cut in cloud.cuts if cut.id == cut_id)
    prepare_here = edge.source.preprocess.median_s
    if near.name == "local":
        return prepare_here + near.prefix.median_s
    up = next(cost for cost in near.codecs if cost.codec == codec)
    down = next(cost for cost in far.codecs if cost.codec == codec)
    head = near.prefix.median_s
    tail = far.suffix.median_s
    if codec == "source":
        tail = tail + cloud.source.preprocess.median_s
    else:
        head = head + prepare_here
    going_up = up.encode_s + link.rtt_s + up.up_bytes / link.up_bytes_per_s + down.decode_s
    coming_down = far.reply_cost.encode_s + near.reply_cost.up_bytes / link.down_bytes_per_s + near.reply_cost.decode_s
    return head + going_up + queue_s + slowdown * tail + coming_down


@given(profile_pairs(), links, st.floats(0, 3), st.floats(1, 20))
def test_every_price_equals_the_formula(pair, link, queue_s, slowdown):
    edge, cloud = pair
    table = CandidateTable.from_profiles(edge, cloud, codecs=None)
    prices = table.price(link, Load(queue_s=queue_s, slowdown=slowdown))
    expected = {(cut.id, cost.codec) for cut in edge.cuts for cost in cut.codecs} | {
        (cut.id, "none") for cut in edge.cuts if cut.name == "local"
    }
    assert {(candidate.cut_id, candidate.codec) for candidate in table.candidates} == expected
    breakdowns = table.breakdowns(link, Load(queue_s=queue_s, slowdown=slowdown))
    for candidate, price, breakdown in zip(table.candidates, prices, breakdowns, strict=True):
        truth = latency_s(edge, cloud, candidate.cut_id, candidate.codec, link, queue_s, slowdown)
        assert price == pytest.approx(truth, rel=1e-12, abs=1e-15)
        assert sum(getattr(breakdown, term) for term in TERMS) == pytest.approx(truth, rel=1e-12, abs=1e-15)


@given(profile_pairs(), links, st.floats(1, 100), st.floats(1, 100), st.sampled_from([None, EXACT]))
def test_more_bandwidth_never_costs_latency(pair, link, up_factor, down_factor, codecs):
    table = CandidateTable.from_profiles(*pair, codecs=codecs)
    faster = Link(
        up_bytes_per_s=link.up_bytes_per_s * up_factor,
        down_bytes_per_s=link.down_bytes_per_s * down_factor,
        rtt_s=link.rtt_s,
    )
    assert choose(table, faster).chosen.predicted_s <= choose(table, link).chosen.predicted_s


@given(profile_pairs(), links, st.sampled_from([None, EXACT, ("int8",), ("none",)]), st.floats(0, 1) | st.none())
def test_the_choice_is_never_worse_than_either_extreme(pair, link, codecs, max_deviation):
    edge, cloud = pair
    measured = {cost.codec for cut in edge.cuts for cost in cut.codecs}
    admitted = None if codecs is None else [codec for codec in codecs if codec in measured]
    table = CandidateTable.from_profiles(edge, cloud, codecs=admitted, max_deviation=max_deviation)
    choice = choose(table, link)
    original = "source" if "source" in measured else "none"
    local_s = latency_s(edge, cloud, edge.cuts[-1].id, "none", link, 0.0, 1.0)
    cloud_s = latency_s(edge, cloud, edge.cuts[0].id, original, link, 0.0, 1.0)
    assert choice.chosen.predicted_s <= min(local_s, cloud_s) * (1 + 1e-12)
    for priced in choice.ranked:
        if max_deviation is not None and (priced.candidate.cut, priced.candidate.codec) != ("cloud", original):
            assert priced.candidate.deviation <= max_deviation


@given(profile_pairs(), links)
def test_a_verdict_to_split_names_a_real_gain(pair, link):
    summary = gains(CandidateTable.from_profiles(*pair, codecs=None), link)
    splits = summary.chosen.candidate.cut not in ("local", "cloud")
    best_end_s = min(summary.all_local.predicted_s, summary.all_cloud.predicted_s)
    least_s = WORTHWHILE_RATIO * summary.chosen.predicted_s
    assume(abs(best_end_s - least_s) > 1e-9 * least_s)
    assert summary.verdict.startswith("splitting") == (splits and best_end_s > least_s)


@given(profile_pairs(), st.floats(0.1, 100))
@settings(max_examples=50)
def test_a_profile_survives_the_trip_through_json(pair, factor):
    for profile in (pair[0], pair[1], pair[0].slowed(factor)):
        assert Profile.loads(profile.dumps()) == profile


@given(profile_pairs(), links, st.floats(1, 50))
def test_a_slower_device_never_makes_anything_faster(pair, link, factor):
    edge, cloud = pair
    usual = CandidateTable.from_profiles(edge, cloud, codecs=None).price(link)
    slower = CandidateTable.from_profiles(edge.slowed(factor), cloud, codecs=None).price(link)
    assert (slower >= usual).all()
