"""Random models, every cut: what is captured, cut and sent answers like the module.

Models are random graphs of residuals, concatenations, branches, views, in-place operators, early outputs, several
inputs and a batch that varies. What the algorithms on the graph promise is checked on random graphs without torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from partitioner.graph import Graph, Node, NodeKind, Symbol
from partitioner.plan import Segment
from partitioner.runtimes.eager import open_engine
from partitioner.segments import Cuts
from partitioner.subgraph import extract
from tests import every_cut
from tests.graphs import graph, node, size, value

SIDE = 4

Pair = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
OPERATORS: dict[str, Pair] = {
    "relu": lambda a, b: a.relu(),
    "add": lambda a, b: a + b,
    "product": lambda a, b: (a * b).tanh(),
    "in place": lambda a, b: a.clone().add_(b).mul_(0.5),
    "assign": lambda a, b: torch.slice_scatter(a, b[:, :2], 1, 1, 3),
    "concatenate": lambda a, b: torch.cat([a, b], 1)[:, 2 : 2 + SIDE],
    "transpose": lambda a, b: a.transpose(1, 2),
    "swap halves": lambda a, b: torch.cat(a.chunk(2, 1)[::-1], 1),
    "one of a split": lambda a, b: a.split(1, 2)[3].expand(-1, SIDE, SIDE),
    "outer": lambda a, b: a.bmm(b).tanh(),
    "softmax": lambda a, b: torch.softmax(a, -1) - b.mean((1, 2), keepdim=True),
    "times its batch": lambda a, b: a * a.shape[0] / 4,
    "spread over the batch": lambda a, b: a.sum(0, keepdim=True).expand(b.shape[0], SIDE, SIDE).tanh(),
    "fold the batch": lambda a, b: a.reshape(-1, SIDE).flip(1).view(a.shape[0], SIDE, SIDE),
    "round trip": lambda a, b: (a.double() + b.to(torch.bfloat16)).float(),
    "choose": lambda a, b: torch.where(a > 0, b, a),
    "sort": lambda a, b: a.sort(2).values,
    "count up": lambda a, b: a + torch.arange(SIDE, device=a.device),
    "by index": lambda a, b: a.gather(1, b.argsort(1)),
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Operators with the tensors they take, by position; the first ``inputs`` tensors are given."""

    inputs: int
    steps: tuple[tuple[str, int, int], ...]
    outputs: tuple[int, ...]


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    inputs = draw(st.integers(1, 2))
    names = st.sampled_from([*OPERATORS, "linear"])
    steps: list[tuple[str, int, int]] = []
    for index in range(draw(st.integers(1, 9))):
        taken = st.integers(max(0, inputs + index - 5), inputs + index - 1)
        steps.append((draw(names), draw(taken), draw(taken)))
    last = inputs + len(steps) - 1
    early = draw(st.lists(st.integers(0, last), max_size=2))
    return Recipe(inputs=inputs, steps=tuple(steps), outputs=(*early, last))


class Net(nn.Module):
    """The model of a recipe; two linear layers are shared by all the steps that want one."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.linears = nn.ModuleList(nn.Linear(SIDE, SIDE) for _ in range(2))

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        made = [x] if y is None else [x, y]
        for name, first, second in self.recipe.steps:
            a, b = made[first], made[second]
            made.append(self.linears[len(made) % 2](a) if name == "linear" else OPERATORS[name](a, b))
        return tuple(made[index] for index in self.recipe.outputs)


@settings(max_examples=30)
@given(recipe=recipes(), is_dynamic=st.booleans(), seed=st.integers(0, 99))
def test_every_cut_of_a_random_model_answers_like_the_model(recipe: Recipe, is_dynamic: bool, seed: int) -> None:
    torch.manual_seed(seed)
    module = Net(recipe).eval()
    args = tuple(torch.randn(3, SIDE, SIDE) for _ in range(recipe.inputs))
    dynamic = [f"{name}=b:1..9" for name in ("x", "y")[: recipe.inputs]] if is_dynamic else []
    with TemporaryDirectory() as directory:
        bundle = every_cut.pack(module, Path(directory) / "b", args=args, dynamic=dynamic)
        for batch in (3, 1, 9) if is_dynamic else (3,):
            given_now = tuple(torch.randn(batch, SIDE, SIDE) for _ in args)
            with torch.no_grad():
                truth = every_cut.as_arrays(every_cut.by_output(bundle, module(*given_now)))
            found = every_cut.faults(bundle, every_cut.feed(bundle, given_now), truth)
            assert [fault for fault in found if "not bit-equal" not in fault] == []


@settings(max_examples=10)
@given(recipe=recipes(), seed=st.integers(0, 99))
def test_a_whole_random_model_is_equal_to_the_bit(recipe: Recipe, seed: int) -> None:
    torch.manual_seed(seed)
    module = Net(recipe).eval()
    args = tuple(torch.randn(3, SIDE, SIDE) for _ in range(recipe.inputs))
    with TemporaryDirectory() as directory, torch.no_grad():
        bundle = every_cut.pack(module, Path(directory) / "b", args=args)
        truth = every_cut.as_arrays(every_cut.by_output(bundle, every_cut.exported(module, args)(*args)))
        answers = every_cut.whole(open_engine(bundle, device="cpu"), every_cut.feed(bundle, args))
    assert all(np.array_equal(answers[name], truth[name], equal_nan=True) for name in truth)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Graphs of any shape: views, cheap operators, sizes read from tensors, outputs made early, dead ends."""
    symbols = (Symbol(name="b", low=1, high=9, example=2), Symbol(name="t", low=1, high=9, example=3))
    inputs = (value("x", "b", 4), value("y", "t"))
    shapes: list[tuple[int | str, ...]] = [("b", 4), ("t",), (5,), ("b", "t"), ("b//2", 3), (1000,)]
    names, sized, nodes = ["x", "y"], {"x": "b", "y": "t"}, list[Node]()
    for index in range(draw(st.integers(1, 14))):
        name = f"n{index}"
        source = draw(st.sampled_from(names))
        if draw(st.integers(0, 5)) == 0 and source in sized:
            nodes.append(size(name, source, sized[source]))
            continue
        kind = draw(st.sampled_from(["compute", "compute", "pointwise", "view", "norm"]))
        others = draw(st.lists(st.sampled_from([*names, *(each.name for each in nodes)]), max_size=2))
        shape = draw(st.sampled_from(shapes))
        nodes.append(node(name, source, *others, shape=shape, kind=_kind(kind)))
        if isinstance(shape[0], str) and shape[0].isidentifier():
            sized[name] = shape[0]
        names.append(name)
    outputs = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
    return graph(nodes, outputs=outputs, inputs=inputs, symbols=symbols)


def _kind(name: str) -> NodeKind:
    kinds: dict[str, NodeKind] = {"compute": "compute", "pointwise": "pointwise", "view": "view", "norm": "norm"}
    return kinds[name]


@settings(max_examples=150)
@given(made=graphs())
def test_layers_hold_every_node_once_and_in_an_order_that_runs(made: Graph) -> None:
    placed = [name for layer in made.layers for name in layer.nodes]
    assert sorted(placed) == sorted(each.name for each in made.nodes if each.kind != "scalar")
    seen = set(made.input_names)
    for each in made.nodes:
        assert set(each.refs()) <= seen
        seen.add(each.name)


@settings(max_examples=150)
@given(made=graphs())
def test_head_and_tail_of_every_cut_can_be_run(made: Graph) -> None:
    """Each node of a segment reads only what the segment was given, made, or solved from the sizes it was given."""
    cuts = Cuts(made, "0" * 64)
    for cut in cuts.candidates:
        for segment in cuts.segments(cut):
            if segment is not None:
                assert runs(made, segment)


def runs(made: Graph, segment: Segment) -> bool:
    part = extract(made, segment)
    known = {each.name for each in part.inputs} | {each.name for each in part.sizes}
    for each in part.nodes:
        if not set(each.refs()) <= known:
            return False
        known.add(each.name)
    return set(segment.outputs) <= known


@settings(max_examples=100)
@given(made=graphs())
def test_deeper_cuts_keep_more_on_the_edge(made: Graph) -> None:
    cuts = Cuts(made, "0" * 64)
    outputs = [set(cut.edge_outputs) for cut in cuts.candidates]
    assert all(before <= after for before, after in pairwise(outputs))
    flops = [cuts.cost(cut).edge_flops for cut in cuts.candidates]
    assert flops == sorted(flops)
    assert cuts.candidates[-1].is_local
