"""Cuts through branches in plans: named and sized like the cuts that run, priced like what was measured around them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from partitioner.bundle import Bundle
from partitioner.cost.unmeasured import graph_of, layer_times_s, with_cuts
from partitioner.link import Link
from partitioner.measure import measure_steps
from partitioner.optimize.constraints import Constraints, Infeasible
from partitioner.optimize.objectives import Throughput
from partitioner.planner import Planner
from partitioner.profile import Profile
from partitioner.runtimes.eager import open_engine
from partitioner.segments import Cuts
from tests.closed_sets import sideways_sets

PackedCase = Callable[[str], Bundle]
MODELS = ("googlenet_concat", "detector_three_scales")
FIELDS = {
    "--max-edge-memory": "max_edge_bytes",
    "--max-cloud-memory": "max_cloud_bytes",
    "--max-upload": "max_up_bytes",
}
FAST = Link(up_bytes_per_s=1e9, down_bytes_per_s=1e9, rtt_s=0.0)


def measured(bundle: Bundle) -> Profile:
    steps = measure_steps(bundle, open_engine(bundle, threads=1), budget_s=0.5, binding=bundle.graph.example_binding)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def additive(profile: Profile) -> Profile:
    """The profile of a machine on which layer times do add up."""
    times_s = layer_times_s(profile)
    cuts = tuple(
        replace(
            cut,
            prefix=replace(cut.prefix, median_s=float(times_s[: cut.depth].sum())),
            suffix=replace(cut.suffix, median_s=float(times_s[cut.depth :].sum())),
        )
        for cut in profile.cuts
    )
    return replace(profile, cuts=cuts)


@pytest.mark.parametrize("name", MODELS)
def test_a_cut_that_was_not_measured_is_the_one_that_runs(packed_case: PackedCase, name: str) -> None:
    bundle = packed_case(name)
    cuts, profile = Cuts(bundle.graph, bundle.digest), additive(measured(bundle))
    graph = graph_of(profile)
    assert graph == cuts.layer_graph
    sets = sideways_sets(graph, np.random.default_rng(0), count=6)
    assert sets
    priced = with_cuts(profile, graph, sets).cuts[len(profile.cuts) :]
    times_s = layer_times_s(profile)
    for edge, found in zip(sets, priced, strict=True):
        cut = cuts.from_layers(graph.layers[index] for index in edge)
        cost = cuts.cost(cut)
        assert (found.id, found.name, found.depth) == (cut.id, cut.name, cut.depth)
        assert cuts.find(found.name).id == cut.id
        assert [spec.name for spec in found.crossing] == [value.name for value in cut.crossing]
        assert sum(spec.nbytes for spec in found.crossing) == cost.up_bytes
        assert sum(spec.nbytes for spec in found.reply) == cost.down_bytes
        assert found.edge_weight_bytes >= cost.edge_weight_bytes  # what layers share is counted for each
        assert name != "googlenet_concat" or found.edge_weight_bytes == cost.edge_weight_bytes
        assert found.edge_flops == cost.edge_flops
        assert 0 < found.edge_peak_bytes <= 2 * cost.edge_peak_bytes
        assert found.prefix.median_s == pytest.approx(times_s[sorted(edge)].sum(), rel=1e-9)
        assert found.prefix.how == found.suffix.how == "calibrated"
        plain = found.codec("none")
        assert plain is not None
        assert plain.up_bytes == pytest.approx(cost.up_bytes, rel=0.2, abs=200)


@pytest.mark.parametrize("name", MODELS)
def test_plans_through_branches_can_be_made(packed_case: PackedCase, name: str) -> None:
    bundle = packed_case(name)
    cuts, profile = Cuts(bundle.graph, bundle.digest), measured(bundle)
    planner = Planner.from_profiles(profile.slowed(4), profile, objective=Throughput())
    branches = [each for each in planner.everything.candidates if each.edge_layers is not None]
    assert branches
    for candidate in branches:
        cut = cuts.find(candidate.cut)
        assert (cut.id, cut.edge_layers) == (candidate.cut_id, candidate.edge_layers)
        codec = dict(candidate.codecs) or candidate.codec
        plan = cuts.plan(cut, codec=codec)
        assert [stage.place for stage in plan.stages] == ["edge", "cloud"]
        assert candidate.is_calibrated


def test_what_is_advised_in_place_of_a_limit_can_be_had(packed_case: PackedCase) -> None:
    profile = measured(packed_case("googlenet_concat"))
    everything = Planner.from_profiles(profile, profile, objective=Throughput()).everything
    remote = [row for row, candidate in enumerate(everything.candidates) if not candidate.is_local]
    advised = 0
    for share in (0.0, 0.1, 0.3, 0.6):
        for bound in ("max_edge_bytes", "max_cloud_bytes"):
            columns = {"max_up_bytes": everything.up_bytes, bound: getattr(everything, bound.removeprefix("max_"))}
            asked = Constraints(**{name: int(np.quantile(each[remote], share)) for name, each in columns.items()})
            try:
                Planner.from_profiles(profile, profile, constraints=asked)
            except Infeasible as refusal:
                for conflict in refusal.conflicts:
                    name = FIELDS[conflict.name]
                    assert conflict.nearest is not None
                    planner = Planner.from_profiles(
                        profile, profile, constraints=replace(asked, **{name: int(conflict.nearest)})
                    )
                    assert len(planner.feasible) > 0
                    advised += 1
    assert advised


def test_what_is_pinned_is_kept_through_branches(packed_case: PackedCase) -> None:
    bundle = packed_case("googlenet_concat")
    profile = measured(bundle)
    deep = profile.layers[len(profile.layers) // 2].id
    planner = Planner.from_profiles(
        profile.slowed(50), profile, objective=Throughput(), constraints=Constraints(pinned=(deep,))
    )
    index = [layer.id for layer in profile.layers].index(deep)
    assert all(candidate.keeps(frozenset({index})) for candidate in planner.frozen.candidates)
    assert planner.at(FAST).candidate.depth < len(profile.layers)
