"""Cuts: which there are, what they are called, and the plans that run them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from partitioner.bundle import Bundle
from partitioner.errors import PlanError
from partitioner.plan import SOURCE
from partitioner.segments import CLOUD, LOCAL, Cuts, cut_id, is_made_on
from partitioner.trace import Example, capture
from tests.graphs import graph, node, value

PackedCase = Callable[[str], Bundle]
NAMES = ("unet", "detector_three_scales", "text_encoder", "early_exit", "weights_on_both_sides")


def cuts_of(bundle: Bundle) -> Cuts:
    return Cuts(bundle.graph, bundle.digest)


@pytest.mark.parametrize("name", NAMES)
def test_every_output_is_made_on_exactly_one_side(name: str, packed_case: PackedCase) -> None:
    cuts = cuts_of(packed_case(name))
    for cut in cuts.candidates:
        assert sorted((*cut.reply, *cut.edge_outputs)) == sorted(cuts.graph.output_names)
        assert cut.is_local == (not cut.reply) == (not cut.crossing)


@pytest.mark.parametrize("name", NAMES)
def test_work_and_weights_are_shared_out(name: str, packed_case: PackedCase) -> None:
    cuts = cuts_of(packed_case(name))
    costs = [cuts.cost(cut) for cut in cuts.candidates]
    local = costs[-1]
    assert (local.up_bytes, local.down_bytes, local.cloud_flops, local.cloud_peak_bytes) == (0, 0, 0, 0)
    assert costs[0].edge_flops == 0
    for cut, cost in zip(cuts.candidates, costs, strict=True):
        assert cost.edge_flops + cost.cloud_flops == local.edge_flops
        assert cost.edge_weight_bytes + cost.cloud_weight_bytes >= local.edge_weight_bytes
        assert cost.up_bytes == sum(each.nbytes(cuts.binding) for each in cut.crossing)
        assert min(cost.edge_peak_bytes, cost.cloud_peak_bytes + 4 * cut.is_local) > 0


@pytest.mark.parametrize("name", NAMES)
def test_what_crosses_was_made_on_the_edge_and_is_no_weight(name: str, packed_case: PackedCase) -> None:
    cuts = cuts_of(packed_case(name))
    made = cuts.graph
    for cut in cuts.candidates[:-1]:
        edge = {*made.input_names, *(each for layer in made.layers[: cut.depth] for each in layer.nodes)}
        names = [each.name for each in cut.crossing]
        assert names
        assert set(names) <= edge - set(made.weight)
        assert len({made.root(each) for each in names}) == len(names) or len(names) > 1


def test_a_cut_that_does_no_more_work_is_listed_once() -> None:
    nodes = [node("a", "x"), node("b", "a", flops=0, op="aten.clone.default"), node("c", "b")]
    cuts = Cuts(graph(nodes, outputs=["c"]), "0" * 64)
    assert [cut.depth for cut in cuts.candidates] == [0, 1, 2, 3]  # another tensor crosses
    early = Cuts(graph([node("a", "x"), node("b", "a"), node("dead", "b", flops=0)], outputs=["b"]), "0" * 64)
    assert [cut.name for cut in early.candidates][-1] == LOCAL


def test_all_local_leaves_dead_layers_out() -> None:
    made = graph([node("a", "x"), node("b", "a")], outputs=["a"])
    assert [cut.name for cut in Cuts(made, "0" * 64).candidates] == [CLOUD, LOCAL]


def test_a_model_of_no_layers_is_local_alone() -> None:
    [cut] = Cuts(graph([], outputs=["x"]), "0" * 64).candidates
    assert (cut.name, cut.crossing, cut.edge_outputs) == (LOCAL, (), ("x",))


def test_ids_name_the_edges_layers_and_nothing_else() -> None:
    first = capture(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 4, 3)), image(8)).graph
    other = capture(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 4, 3)), image(16)).graph
    ids = [[cut.id for cut in Cuts(made, digest).candidates] for made, digest in ((first, "0" * 64), (other, "1" * 64))]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == len(ids[0])
    assert cut_id(first.layers[:1]) == ids[0][1]
    assert cut_id(reversed(first.layers)) == cut_id(first.layers)


def image(size: int) -> Example:
    return Example(args=(torch.zeros(1, 3, size, size),))


def test_a_cut_is_found_by_any_of_its_names(packed_case: PackedCase) -> None:
    cuts = cuts_of(packed_case("unet"))
    for cut in cuts.candidates:
        assert all(cuts.find(each) == cut for each in (cut.id, cut.name, *cut.aliases))


@pytest.mark.parametrize("name", ["nosuch", "", "after:", "after:enc", "LOCAL", "__class__", "after:" + "x" * 5000])
def test_a_cut_that_is_not_there_is_refused(name: str, packed_case: PackedCase) -> None:
    with pytest.raises(PlanError, match="has no cut"):
        cuts_of(packed_case("unet")).find(name)


def test_a_name_nearly_right_is_suggested(packed_case: PackedCase) -> None:
    with pytest.raises(PlanError, match="did you mean local"):
        cuts_of(packed_case("unet")).find("locale")


def test_a_plan_has_two_stages_that_fit(packed_case: PackedCase) -> None:
    cuts = cuts_of(packed_case("detector_three_scales"))
    plans = [cuts.plan(cut, codec="int8") for cut in cuts.candidates]
    assert len({plan.plan_id for plan in plans}) == len(plans)
    for plan in plans[:-1]:
        head, tail = plan.stages
        assert (head.place, tail.place) == ("edge", "cloud")
        assert set(tail.segment.inputs) <= set(head.segment.outputs)
        assert dict(head.codecs) == dict.fromkeys(tail.segment.inputs, "int8")
        assert {*head.segment.outputs, *tail.segment.outputs} >= set(cuts.graph.output_names)
    assert plans[0].stages[0].segment.is_identity
    assert (len(plans[-1].stages), plans[-1].is_local) == (1, True)


def test_the_original_bytes_are_sent_to_an_all_cloud_plan_alone(packed_case: PackedCase) -> None:
    cuts = cuts_of(packed_case("unet"))
    head, tail = cuts.plan(cuts.find(CLOUD), codec="none+zstd", from_source=True).stages
    assert (head.segment.inputs, head.segment.outputs, dict(head.codecs)) == (
        (SOURCE,),
        (SOURCE,),
        {SOURCE: "none+zstd"},
    )
    assert tail.segment.preprocess
    with pytest.raises(PlanError, match="original bytes"):
        cuts.plan(cuts.candidates[1], from_source=True)


def test_an_output_of_weights_alone_is_made_on_the_edge() -> None:
    made = graph([node("a", "x"), node("free", "w")], outputs=["a", "free"], inputs=[value("x", 4)])
    assert is_made_on(made, "free", frozenset({"x"}))
    assert not is_made_on(made, "a", frozenset({"x"}))


def branches() -> Cuts:
    """``a`` feeds ``b`` and ``c``, ``d`` reads both; layers are called by their modules."""
    nodes = [
        node("a", "x", module="stem"),
        node("b", "a", module="left.conv"),
        node("c", "a", module="right.conv"),
        node("d", "b", "c", module="head"),
    ]
    return Cuts(graph(nodes, outputs=["d"]), "0" * 64)


def test_a_cut_through_branches_is_found_by_its_last_layers() -> None:
    cuts = branches()
    right = cuts.from_layers(["stem", "right.conv"])
    assert (right.name, right.depth, right.edge_layers) == ("upto:right.conv", 2, frozenset({0, 2}))
    assert [each.name for each in right.crossing] == ["a", "c"]
    assert cuts.find("upto:right.conv") == right == cuts.find(right.name)
    assert right.id == cut_id([cuts.graph.layers[index] for index in (0, 2)])
    assert right.id not in {cut.id for cut in cuts.candidates}


def test_a_closed_set_that_is_a_prefix_is_the_candidate() -> None:
    cuts = branches()
    assert cuts.find("upto:left.conv") is cuts.find("after:left")
    assert cuts.find("upto:left.conv+right.conv") is cuts.find("after:right")
    assert cuts.find("upto:head") is cuts.find(LOCAL)
    assert cuts.from_layers([]) is cuts.find(CLOUD)


def test_layers_that_lack_what_they_read_are_refused() -> None:
    with pytest.raises(PlanError, match=r"layer 'right\.conv' cannot stay on the device without 'stem'"):
        branches().from_layers(["right.conv"])
    with pytest.raises(PlanError, match=r"no layer 'lft\.conv': did you mean left\.conv"):
        branches().find("upto:right.conv+lft.conv")
    with pytest.raises(PlanError, match="no layer ''"):
        branches().find("upto:")


def test_a_cut_through_branches_shares_out_the_work() -> None:
    cuts = branches()
    cost = cuts.cost(cuts.find("upto:right.conv"))
    assert (cost.edge_flops, cost.cloud_flops, cost.up_bytes, cost.down_bytes) == (2, 2, 32, 16)
    head, tail = cuts.plan(cuts.find("upto:right.conv")).stages
    assert (head.segment.outputs, tail.segment.inputs, tail.segment.outputs) == (("a", "c"), ("a", "c"), ("d",))


def test_a_module_may_have_a_plus_in_its_name() -> None:
    nodes = [node("a", "x", module="p+q"), node("b", "x", module="r"), node("c", "a", "b", module="s")]
    cuts = Cuts(graph(nodes, outputs=["c"]), "0" * 64)
    assert cuts.find("upto:r+p+q").depth == 2
    assert cuts.find("upto:r").edge_layers == {1}
