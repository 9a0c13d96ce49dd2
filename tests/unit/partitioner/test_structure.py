from __future__ import annotations

from collections.abc import Sequence

import pytest

from partitioner.graph import Arg, Graph, Input, Layer, Node, Output, Ref, Value, Weight
from partitioner.structure import layer_of, structure_of


def graph(op: str, *, given: Sequence[int], kernel: Sequence[int] = (), made: Sequence[int], args: Sequence[Arg] = ()):
    """One layer of one operator that reads ``x`` and, where there is one, a kernel."""
    weights = (Weight(value=Value(name="w", dtype="float32", shape=tuple(kernel)), key="w"),) if kernel else ()
    refs: tuple[Arg, ...] = (Ref("x"), *((Ref("w"),) if kernel else ()))
    node = Node(
        name="y", op=op, args=(*refs, *args), value=Value(name="y", dtype="float32", shape=tuple(made)), flops=99
    )
    return Graph(
        symbols=(),
        inputs=(Input(value=Value(name="x", dtype="float32", shape=tuple(given))),),
        weights=weights,
        nodes=(node,),
        outputs=(Output(path="", name="y"),),
        tree=0,
        layers=(Layer(id="one", path="one", kind=op, nodes=("y",)),),
    )


@pytest.mark.parametrize(
    ("op", "shapes", "args", "wanted"),
    [
        ("aten.conv2d.default", ((1, 8, 9, 9), (16, 8, 3, 5), (1, 16, 9, 9)), (), (15, 1)),
        ("aten.conv2d.default", ((1, 8, 9, 9), (16, 2, 3, 3), (1, 16, 9, 9)), (), (9, 4)),
        ("aten.conv2d.default", ((1, 8, 9, 9), (8, 1, 7, 7), (1, 8, 9, 9)), (), (49, 8)),
        ("aten.conv1d.default", ((1, 8, 9), (4, 8, 5), (1, 4, 9)), (), (5, 1)),
        ("aten.conv3d.default", ((1, 2, 4, 4, 4), (4, 2, 3, 3, 3), (1, 4, 4, 4, 4)), (), (27, 1)),
        ("aten.conv_transpose2d.input", ((1, 8, 4, 4), (8, 3, 2, 2), (1, 6, 8, 8)), (), (4, 2)),
        ("aten.max_pool2d.default", ((1, 8, 9, 9), (), (1, 8, 4, 4)), ((3, 2),), (6, 1)),
        ("aten.avg_pool2d.default", ((1, 8, 9, 9), (), (1, 8, 4, 4)), ((3,),), (9, 1)),
        ("aten.max_pool1d.default", ((1, 8, 9), (), (1, 8, 4)), (3,), (3, 1)),
        ("aten.adaptive_avg_pool2d.default", ((1, 8, 9, 9), (), (1, 8, 1, 1)), ((1, 1),), (1, 1)),
        ("aten.linear.default", ((1, 8), (16, 8), (1, 16)), (), (1, 1)),
    ],
)
def test_layers_say_how_wide_their_windows_are_and_into_how_many_groups_they_fall(op, shapes, args, wanted):
    given, kernel, made = shapes
    one = graph(op, given=given, kernel=kernel, made=made, args=args)
    layer = layer_of(one, one.layers[0], {})
    assert (layer.window, layer.groups) == wanted
    assert layer.flops == 99


def test_a_structure_has_both_extremes_and_no_times():
    one = graph("aten.linear.default", given=(1, 8), kernel=(16, 8), made=(1, 16))
    found = structure_of(one, digest="5f" * 32, name="one", weights="given", binding={}, pixels=None)
    assert [cut.name for cut in found.cuts] == ["cloud", "local"]
    assert found.cuts[0].crossing[0].nbytes == 32
    assert found.cuts[0].reply_cost.up_bytes == 64
    assert found.source.nbytes == 32
    assert found.source.preprocess is None
    assert [cost.codec for cost in found.cuts[0].codecs] == ["none"]
    assert {found.whole.median_s, *(cut.prefix.median_s for cut in found.cuts)} == {0.0}
    pictured = structure_of(one, digest="5f" * 32, name="one", weights="given", binding={}, pixels=7)
    assert [(cost.codec, cost.up_bytes) for cost in pictured.cuts[0].codecs] == [("none", 32), ("source", 7)]
