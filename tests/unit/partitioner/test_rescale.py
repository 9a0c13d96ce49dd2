"""A profile at other sizes: exact where the graph knows, growing where it does not, and marked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate, pairwise

import pytest

from partitioner.assumed import assumed_energy
from partitioner.bundle import Bundle
from partitioner.cost import check_pair
from partitioner.errors import ProfileError
from partitioner.measure import measure_steps
from partitioner.profile import Profile
from partitioner.rescale import rescaled
from partitioner.runtimes.eager import open_engine
from partitioner.segments import Cuts

LENGTHS = (4, 8, 12, 16)


@pytest.fixture(scope="module")
def text(packed_case: Callable[[str], Bundle]) -> Bundle:
    return packed_case("text_encoder")


@pytest.fixture(scope="module")
def profile(text: Bundle) -> Profile:
    steps = measure_steps(text, open_engine(text), budget_s=0.3)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value


def cuts_at(bundle: Bundle, length: int | None = None) -> Cuts:
    sizes = bundle.graph.example_binding
    symbol = next(iter(sizes))
    return Cuts(bundle.graph, bundle.digest, binding=sizes if length is None else {**sizes, symbol: length})


def at(bundle: Bundle, profile: Profile, length: int) -> Profile:
    return rescaled(profile, cuts_at(bundle), cuts_at(bundle, length))


def test_at_its_own_sizes_a_profile_stays_as_it_is(text: Bundle, profile: Profile) -> None:
    assert rescaled(profile, cuts_at(text), cuts_at(text)) == profile


def test_bytes_work_and_memory_are_those_of_the_graph(text: Bundle, profile: Profile) -> None:
    before = {cut.id: cut for cut in profile.cuts}
    for length in LENGTHS:
        new = cuts_at(text, length)
        found = at(text, profile, length)
        assert found.binding == new.binding
        assert found.flows == new.layer_graph.flows
        by_id = {cut.id: cut for cut in cuts_at(text).candidates}
        for cut in found.cuts:
            cost = new.cost(by_id[cut.id])
            assert sum(spec.nbytes for spec in cut.crossing) == cost.up_bytes
            assert sum(spec.nbytes for spec in cut.reply) == cost.down_bytes
            spent = before[cut.id].reply_cost.up_bytes - sum(spec.nbytes for spec in before[cut.id].reply)
            assert cut.reply_cost.up_bytes == cost.down_bytes + spent
            assert (cut.edge_flops, cut.cloud_flops) == (cost.edge_flops, cost.cloud_flops)
            assert (cut.edge_peak_bytes, cut.cloud_peak_bytes) == (cost.edge_peak_bytes, cost.cloud_peak_bytes)
            assert (cut.edge_weight_bytes, cut.cloud_weight_bytes) == (cost.edge_weight_bytes, cost.cloud_weight_bytes)
            plain, measured = cut.codec("none"), before[cut.id].codec("none")
            if plain is not None and measured is not None:
                spent = measured.up_bytes - sum(spec.nbytes for spec in before[cut.id].crossing)
                assert plain.up_bytes == cost.up_bytes + spent


def test_times_and_bytes_grow_with_the_sizes(text: Bundle, profile: Profile) -> None:
    for short, long in pairwise(LENGTHS):
        before, after = at(text, profile, short), at(text, profile, long)
        assert before.whole.median_s < after.whole.median_s
        for small, large in zip(before.cuts, after.cuts, strict=True):
            assert small.prefix.median_s <= large.prefix.median_s
            assert small.suffix.median_s <= large.suffix.median_s
            for few, many in zip(small.codecs, large.codecs, strict=True):
                assert few.up_bytes <= many.up_bytes
                assert few.encode_s <= many.encode_s


def test_what_was_inferred_says_so_and_can_be_written_and_read(text: Bundle, profile: Profile) -> None:
    found = at(text, profile, LENGTHS[0])
    assert {found.whole.how, *(cut.prefix.how for cut in found.cuts), *(cut.suffix.how for cut in found.cuts)} == {
        "calibrated"
    }
    assert Profile.loads(found.dumps()) == found
    check_pair(found, at(text, profile, LENGTHS[0]))


def test_energy_grows_with_time_and_no_deeper_front_takes_less(text: Bundle, profile: Profile) -> None:
    energy = assumed_energy(profile, idle_w=1.0, active_w=4.0, source="")
    metered = replace(profile, energy=energy)
    for length in LENGTHS:
        found = at(text, metered, length)
        assert found.energy is not None
        if length == next(iter(metered.binding.values())):
            assert found == metered
            continue
        joules = [each.total_j.value for each in found.energy.prefixes]
        ratios = [new.prefix.median_s / old.prefix.median_s for new, old in zip(found.cuts, profile.cuts, strict=True)]
        grown_j = [each.total_j.value * ratio for each, ratio in zip(energy.prefixes, ratios, strict=True)]
        assert joules == pytest.approx(list(accumulate(reversed(grown_j), min))[::-1])
        assert found.energy.whole_j.value == pytest.approx(4.0 * found.whole.median_s)
        layers_s = [layer.forward.median_s for layer in profile.layers]
        grown = [layer.forward.median_s for layer in found.layers]
        scale = profile.whole.median_s / sum(layers_s)
        assert [each.value for each in found.energy.layers] == pytest.approx([4.0 * each * scale for each in grown])
        assert Profile.loads(found.dumps()) == found


def test_the_profile_of_another_model_is_refused(text: Bundle, profile: Profile) -> None:
    with pytest.raises(ProfileError, match="not of these cuts"):
        at(text, replace(profile, model_digest="0" * 64), LENGTHS[0])
    with pytest.raises(ProfileError, match="not of these cuts"):
        at(text, replace(profile, cuts=(replace(profile.cuts[0], id="f" * 12),)), LENGTHS[0])
