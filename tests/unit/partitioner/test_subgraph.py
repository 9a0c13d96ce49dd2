"""What a segment computes, and what must cross a cut."""

from __future__ import annotations

import pytest

from partitioner.errors import SegmentError
from partitioner.graph import Graph, Ref, Symbol, Weight
from partitioner.plan import Segment
from partitioner.subgraph import crossing, extract, weight_bytes
from tests.graphs import graph, node, size, value

BATCH = Symbol(name="b", low=1, high=9, example=2)


def segment(inputs: tuple[str, ...], outputs: tuple[str, ...], *, preprocess: bool = False) -> Segment:
    return Segment(model_digest="0" * 64, inputs=inputs, outputs=outputs, preprocess=preprocess)


def diamond() -> Graph:
    """x -> a -> (b, c) -> d"""
    nodes = [node("a", "x"), node("b", "a"), node("c", "a"), node("d", "b", "c")]
    return graph(nodes, outputs=["d"])


def test_a_tensor_crosses_once_however_many_read_it() -> None:
    assert crossing(diamond(), {"x", "a"}, ["d"], {}) == ("a",)


def test_all_that_the_far_side_reads_crosses() -> None:
    assert crossing(diamond(), {"x", "a", "b"}, ["d"], {}) == ("a", "b")
    assert crossing(diamond(), {"x", "a", "b", "c"}, ["d"], {}) == ("b", "c")


def test_an_input_that_is_read_late_crosses() -> None:
    skip = graph([node("a", "x"), node("b", "a"), node("c", "b", "x")], outputs=["c"])
    assert crossing(skip, {"x", "a"}, ["c"], {}) == ("x", "a")


def views(wide: int) -> Graph:
    """One tensor in two views, each read by a layer of its own."""
    nodes = [
        node("a", "x", shape=(wide,)),
        node("left", "a", shape=(3,), kind="view"),
        node("right", "a", shape=(3,), kind="view"),
        node("b", "left"),
        node("c", "right"),
        node("d", "b", "c"),
    ]
    return graph(nodes, outputs=["d"])


def test_of_several_views_the_storage_crosses_where_it_is_smaller() -> None:
    assert crossing(views(4), {"x", "a", "left", "right"}, ["d"], {}) == ("a",)


def test_of_several_views_the_views_cross_where_they_are_smaller() -> None:
    assert crossing(views(1000), {"x", "a", "left", "right"}, ["d"], {}) == ("left", "right")


def test_what_depends_on_weights_alone_is_made_again() -> None:
    weights = [Weight(value=value("w", 1000), key="w")]
    nodes = [node("norm", "w", shape=(1000,)), node("a", "x"), node("b", "a", "norm")]
    made = graph(nodes, outputs=["b"], weights=weights)
    assert crossing(made, {"x", "a"}, ["b"], {}) == ("a",)
    far = extract(made, segment(("a",), ("b",)))
    assert ([each.name for each in far.nodes], far.weights) == (["norm", "b"], ("w",))


def sized(crossing_shape: tuple[int | str, ...]) -> Graph:
    """The tail needs the size ``b``, read from a tensor that stays behind."""
    nodes = [
        size("n", "x", "b"),
        node("a", "x", shape=crossing_shape),
        node("b1", "a", shape=crossing_shape),
        node("c", "b1", "n", shape=("b", 4)),
    ]
    return graph(nodes, outputs=["c"], inputs=[value("x", "b", 4)], symbols=[BATCH])


def test_a_size_is_read_from_what_crosses() -> None:
    made = sized(("b", 4))
    assert crossing(made, {"x", "a"}, ["c"], {"b": 2}) == ("a",)
    far = extract(made, segment(("a",), ("c",)))
    assert [each.name for each in far.sizes] == ["n"]
    assert [each.name for each in far.nodes] == ["b1", "c"]


def test_where_nothing_that_crosses_has_the_size_the_number_itself_crosses() -> None:
    assert crossing(sized((4,)), {"x", "a"}, ["c"], {"b": 2}) == ("a", "n")


def test_a_size_that_cannot_be_solved_crosses_as_a_number() -> None:
    graph = sized(("b//2", 4))
    assert crossing(graph, {"x", "a"}, ["c"], {"b": 2}) == ("a", "n")
    part = extract(graph, segment(("a", "n"), ("c",)))
    assert part.known == {"b"}
    assert part.sizes == ()


def test_a_segment_takes_only_what_it_needs() -> None:
    part = extract(diamond(), segment(("a",), ("b",)))
    assert [each.name for each in part.nodes] == ["b"]
    assert part.weights == part.sizes == ()


def test_an_output_that_is_an_input_needs_nothing() -> None:
    part = extract(diamond(), segment(("x",), ("x",)))
    assert (part.nodes, part.outputs) == ((), ("x",))


def test_a_segment_with_preprocess_starts_at_the_models_inputs() -> None:
    part = extract(diamond(), segment((), ("d",), preprocess=True))
    assert [each.name for each in part.inputs] == ["x"]
    assert len(part.nodes) == 4


REFUSED = {
    "an unknown input": segment(("nosuch",), ("d",)),
    "an unknown output": segment(("x",), ("nosuch",)),
    "a weight as an input": segment(("x", "w"), ("d",)),
    "an input twice": segment(("x", "x"), ("d",)),
    "an output twice": segment(("x",), ("d", "d")),
    "too few inputs": segment(("b",), ("d",)),
    "no inputs": segment((), ("d",)),
    "a name that is no name": segment(("__class__",), ("d",)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_segment_that_does_not_fit_is_refused(case: str) -> None:
    nodes = [node("a", "x", "w"), node("b", "a"), node("c", "a"), node("d", "b", "c")]
    made = graph(nodes, outputs=["d"], weights=[Weight(value=value("w", 4), key="w")])
    with pytest.raises(SegmentError) as caught:
        extract(made, REFUSED[case])
    assert "\n" not in str(caught.value)


def test_shared_weights_count_once() -> None:
    weights = [Weight(value=value(name, 8), key=key) for name, key in (("p", "k"), ("q", "k"), ("r", "other"))]
    made = graph([node("a", "x", "p", "q", "r")], outputs=["a"], weights=weights)
    assert weight_bytes(made, ["p", "q", "r"]) == 2 * 8 * 4
    assert isinstance(made.nodes[0].args[1], Ref)
