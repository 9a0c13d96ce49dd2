"""The mixes of codecs at a cut against every assignment of a codec to a tensor."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from partitioner.codecmix import EXACT, KNOWN, MAX_MIXES, Bound, is_exact, mixes, parse
from partitioner.cutprofile import CodecCost, CutProfile, TensorCodecs, TensorSpec, Timing
from partitioner.difference import INCOMPARABLE
from partitioner.plan import SOURCE
from protos import codecs as wire
from protos.pictures import PICTURES

CODECS = ("none", "none+zstd", "fp16", "int8", "int8+zstd")
ZERO = Timing(median_s=0.0)


def test_the_codecs_that_are_known_are_those_of_the_wire() -> None:
    pictures = [f"{SOURCE}:{name}" for name in PICTURES]
    assert sorted(KNOWN) == sorted([*wire.CODECS, SOURCE, f"{SOURCE}+zstd", *pictures])


times_s = st.sampled_from([0.0, 0.001, 0.002, 0.01])
shares = st.sampled_from([None, 0.0, 0.5, 0.9, 1.0])


@st.composite
def costs(draw, codecs=CODECS):
    return tuple(
        CodecCost(
            codec=codec,
            up_bytes=draw(st.integers(0, 2000)),
            encode_s=draw(times_s),
            decode_s=draw(times_s),
            deviation=0.0 if codec in EXACT else draw(st.sampled_from([None, 0.0, 0.01, 0.02, 0.05])),
            accuracy=None if codec in EXACT else draw(shares),
        )
        for codec in codecs
    )


@st.composite
def cuts(draw):
    count = draw(st.integers(1, 3))
    codecs = draw(st.lists(st.sampled_from(CODECS), unique=True, min_size=1))
    names = [f"t{index}" for index in range(count)]

    def side():
        tensors = tuple(TensorCodecs(name=name, codecs=draw(costs(codecs))) for name in names) if count > 1 else ()
        return CutProfile(
            id="id",
            name="after:x",
            depth=1,
            crossing=tuple(TensorSpec(name=name, dtype="float32", shape=(1,), nbytes=4) for name in names),
            reply=(),
            edge_flops=0,
            cloud_flops=0,
            edge_weight_bytes=0,
            cloud_weight_bytes=0,
            edge_peak_bytes=0,
            cloud_peak_bytes=0,
            prefix=ZERO,
            suffix=ZERO,
            codecs=draw(costs(codecs)),
            tensor_codecs=tensors,
            reply_cost=CodecCost(codec="none", up_bytes=0, encode_s=0, decode_s=0, deviation=0.0),
        )

    return side(), side()


bounds = st.sampled_from([None, 0.0, 0.01, 0.03, 0.2])
accuracies = st.sampled_from([None, 0.5, 0.9])


def known(near: CodecCost, far: CodecCost) -> CodecCost:
    return far if near.deviation is None else near


def assignments(edge: CutProfile, cloud: CutProfile, max_deviation, min_accuracy, exact):
    """Every assignment that keeps the bounds: (bytes, encode, decode) and what it chooses, by the definition."""
    excess = 1.0
    for cost in edge.codecs:
        parts = [next(c for c in each.codecs if c.codec == cost.codec).deviation for each in edge.tensor_codecs]
        if cost.deviation and parts and None not in parts and sum(parts) > 0:
            excess = max(excess, cost.deviation / sum(parts))
    pairs = [
        list(zip(near.codecs, far.codecs, strict=True))
        for near, far in zip(edge.tensor_codecs, cloud.tensor_codecs, strict=True)
    ]
    for chosen in itertools.product(*pairs):
        lossy = [known(near, far) for near, far in chosen if near.codec not in EXACT]
        if lossy and max_deviation is None and min_accuracy is None:
            continue
        if any(each.deviation is None for each in lossy):
            continue
        if max_deviation is not None and sum(each.deviation * excess for each in lossy) > max_deviation + 1e-12:
            continue
        if lossy and min_accuracy is not None:
            if exact is None or any(each.accuracy is None for each in lossy):
                continue
            if exact - sum(max(0.0, exact - each.accuracy) * excess for each in lossy) < min_accuracy - 1e-9:
                continue
        amounts = (
            sum(near.up_bytes for near, _ in chosen),
            sum(near.encode_s for near, _ in chosen),
            sum(far.decode_s for _, far in chosen),
        )
        yield amounts, tuple(near.codec for near, _ in chosen)


@settings(max_examples=300)
@given(cuts(), bounds, accuracies, shares)
def test_over_every_rate_the_mixes_hold_the_fastest_assignment(pair, max_deviation, min_accuracy, exact):
    edge, cloud = pair
    found = mixes(edge, cloud, max_deviation=max_deviation, min_accuracy=min_accuracy, accuracy=exact)
    if not edge.tensor_codecs:
        assert not any(mix.codecs for mix in found)
        return
    every = list(assignments(edge, cloud, max_deviation, min_accuracy, exact))
    mixed = {tuple(mix.codecs.values()): mix for mix in found if mix.codecs}
    assert len(mixed) <= MAX_MIXES
    allowed = {codecs: amounts for amounts, codecs in every}
    for codecs, mix in mixed.items():
        assert (mix.up_bytes, mix.encode_s, mix.decode_s) == tuple(map(approximately, allowed[codecs]))
        assert max_deviation is None or mix.deviation <= max_deviation or is_exact(mix.label)
        assert parse(mix.label) == mix.codecs
    several = [(amounts, codecs) for amounts, codecs in every if len(set(codecs)) > 1]
    alike = [amounts for amounts, codecs in every if len(set(codecs)) == 1]
    for exponent in range(2, 11):
        rate = 10.0**exponent

        def price(amounts, rate=rate):
            return amounts[0] / rate + amounts[1] + amounts[2]

        least = min((price(amounts) for amounts, _ in several), default=math.inf)
        if least < min((price(amounts) for amounts in alike), default=math.inf) - 1e-12:
            best = min(price((mix.up_bytes, mix.encode_s, mix.decode_s)) for mix in mixed.values())
            assert best <= least + 1e-9


def without_bound(codecs):
    return tuple(replace(cost, deviation=INCOMPARABLE) if cost.deviation else cost for cost in codecs)


@given(cuts())
def test_what_has_no_bound_is_still_a_number(pair):
    edge, cloud = (
        replace(
            cut,
            codecs=without_bound(cut.codecs),
            tensor_codecs=tuple(replace(each, codecs=without_bound(each.codecs)) for each in cut.tensor_codecs),
        )
        for cut in pair
    )
    assert all(0 <= mix.deviation <= INCOMPARABLE for mix in mixes(edge, cloud, max_deviation=math.inf))


def approximately(value: float) -> object:
    import pytest

    return pytest.approx(value)


@given(cuts(), bounds, accuracies, shares)
def test_a_codec_for_all_is_allowed_exactly_where_its_figures_are_within_the_bound(pair, deviation, accuracy, exact):
    edge, cloud = pair
    found = {
        mix.label
        for mix in mixes(edge, cloud, max_deviation=deviation, min_accuracy=accuracy, accuracy=exact)
        if not mix.codecs
    }
    for near, far in zip(edge.codecs, cloud.codecs, strict=True):
        figures = known(near, far)
        is_allowed = near.codec in EXACT or (
            figures.deviation is not None
            and (deviation, accuracy) != (None, None)
            and (deviation is None or figures.deviation <= deviation)
            and (accuracy is None or (figures.accuracy is not None and figures.accuracy >= accuracy))
        )
        assert (near.codec in found) == is_allowed


@given(cuts())
def test_without_a_bound_nothing_lossy_is_offered(pair):
    assert all(is_exact(mix.label) and mix.deviation == 0.0 for mix in mixes(*pair))


def test_a_bound_on_the_drop_is_taken_from_the_exact_accuracy():
    assert Bound(max_accuracy_drop=0.02).least_accuracy(0.9) == 0.88 - 1e-9
    assert Bound(max_accuracy_drop=0.5, min_accuracy=0.7).least_accuracy(0.9) == 0.7
    assert Bound(max_deviation=0.1).least_accuracy(None) is None
    assert not Bound().is_given
