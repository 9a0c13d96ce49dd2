"""Capture: what is written down of a module, and what is refused."""

from __future__ import annotations

import logging
import math
import operator
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn

from partitioner.errors import ModelError, UsageError
from partitioner.graph import Graph
from partitioner.trace import Capture, Example, capture
from partitioner.trace.dynamic import Axis, parse
from tests.models import CASES
from tests.models_more import MORE, Made

ALL = {**CASES, **MORE}


def captured(name: str) -> Capture:
    case = ALL[name]()
    return capture(case.module, Example(args=case.args, kwargs=case.kwargs), dynamic=parse(case.dynamic))


def of(run: Callable[..., object], *args: object, dynamic: tuple[str, ...] = (), **parts: nn.Module) -> Graph:
    return capture(Made(run, **parts), Example(args=args), dynamic=parse(dynamic)).graph


def test_a_module_is_captured_in_inference_mode() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)).train()
    found = capture(module, Example(args=(torch.zeros(2, 4),)))
    assert found.notes == ()
    assert not any(node.is_random for node in found.graph.nodes)


def test_buffers_that_change_are_dropped_and_noted() -> None:
    assert any("stateless" in note and "calls" in note for note in captured("counts_its_calls").notes)


def test_an_input_that_is_a_number_is_fixed_and_noted() -> None:
    found = captured("numbers_flags_and_none_in")
    assert any("is fixed to 3" in note for note in found.notes)
    assert len(found.graph.inputs) == 1


def test_nothing_is_random_but_what_draws() -> None:
    def run(m: Made, x: torch.Tensor) -> torch.Tensor:
        return x + torch.randn_like(x)

    assert [node.is_random for node in of(run, torch.zeros(3)).nodes if "rand" in node.op] == [True]


TREES = {
    "two_inputs_dict_output": dict,
    "plain_values_out": dict,
    "a_dataclass_out": dict,
    "outputs_that_alias_each_other": tuple,
    "everything_so_far_is_read_again": list,
}


@pytest.mark.parametrize("name", TREES)
def test_the_tree_rebuilds_what_the_model_returns(name: str) -> None:
    tree, case = captured(name).graph.tree, ALL[name]()
    with torch.no_grad():
        answer = case.module(*case.args, **case.kwargs)
    leaves = torch.utils._pytree.tree_leaves(answer)
    rebuilt = rebuild(tree, leaves)
    assert isinstance(rebuilt, TREES[name])
    assert same(rebuilt, vars(answer) if name == "a_dataclass_out" else answer)


def rebuild(tree: object, leaves: list[object]) -> object:
    if isinstance(tree, int):
        return leaves[tree]
    assert isinstance(tree, dict)
    [(kind, items)] = tree.items()
    if kind == "dict":
        return {key: rebuild(item, leaves) for key, item in items}
    made = [rebuild(item, leaves) for item in items]
    return made if kind == "list" else tuple(made)


def same(ours: object, theirs: object) -> bool:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return all(key in theirs and same(value, theirs[key]) for key, value in ours.items())
    if isinstance(ours, list | tuple):
        assert isinstance(theirs, list | tuple)
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return bool(torch.equal(ours, theirs)) if isinstance(ours, torch.Tensor) else operator.eq(ours, theirs)


def test_outputs_are_named_by_where_they_stand() -> None:
    assert [each.path for each in captured("a_dataclass_out").graph.outputs] == ["logits", "hidden"]
    paths = [each.path for each in captured("plain_values_out").graph.outputs]
    assert {"y", "plain.0", "t.1.0"} <= set(paths)


def test_an_example_bounds_the_integers_of_its_input() -> None:
    graph = captured("keywords_in_another_order").graph
    bounds = {each.name: (each.low, each.high) for each in graph.inputs}
    case = ALL["keywords_in_another_order"]()
    small, large = case.kwargs["a"], case.kwargs["b"]["ids"][0]  # type: ignore[index]
    assert bounds["a"] == (int(small.min()), int(small.max()))  # type: ignore[attr-defined]
    assert bounds["b_ids_0"] == (int(large.min()), int(large.max()))


def test_flops_are_those_of_the_formula() -> None:
    def total(graph: Graph, **binding: int) -> int:
        return sum(graph.flops_of(layer, {**graph.example_binding, **binding}) for layer in graph.layers)

    linear = of(lambda m, x: m.linear(x), torch.zeros(3, 8), linear=nn.Linear(8, 16, bias=False))
    assert total(linear) == 2 * 3 * 8 * 16
    conv = of(lambda m, x: m.conv(x), torch.zeros(1, 3, 8, 8), conv=nn.Conv2d(3, 4, 3, padding=1, bias=False))
    assert total(conv) == 2 * 8 * 8 * 4 * 3 * 9
    product = of(lambda m, x: x @ x.transpose(1, 2), torch.zeros(2, 5, 7))
    assert total(product) == 2 * 2 * 5 * 7 * 5
    batch = of(lambda m, x: m.linear(x), torch.zeros(3, 8), linear=nn.Linear(8, 16, bias=False), dynamic=("args.0=b",))
    assert total(batch, b=10) == 2 * 10 * 8 * 16


def test_sizes_keep_the_users_names_and_ranges() -> None:
    symbols = {each.name: (each.low, each.high) for each in captured("text_encoder").graph.symbols}
    assert symbols == {"b": (1, 8), "t": (2, 64)}


def test_counting_flops_fixes_no_size() -> None:
    shapes = [each.value.shape for each in captured("sizes_through_floats").graph.inputs]
    assert shapes == [("b", 3, "h", "w")]


@pytest.mark.parametrize("name", ["input", "type", "add", "ids", "x_1"])
def test_an_input_of_any_name_may_vary(name: str) -> None:
    namespace: dict[str, type[nn.Module]] = {}
    source = f"class Net(nn.Module):\n    def forward(self, {name}):\n        return {name}.relu() + 1"
    exec(source, {"nn": nn}, namespace)
    graph = capture(namespace["Net"](), Example(args=(torch.zeros(2, 3),)), dynamic=parse([f"{name}=b"])).graph
    assert graph.inputs[0].value.shape == ("b", 3)


def test_torchs_suggestion_is_kept() -> None:
    case = ALL["sides_that_are_multiples"]()
    with pytest.raises(ModelError, match=r"Suggested fixes: .*h = 8\*_h") as caught:
        capture(case.module, Example(args=case.args), dynamic=parse(["x=b,_,h:16..128,w:16..128"]))
    assert "\n" not in str(caught.value)


class Branching(nn.Module):
    """Branches on a value, as torch.export cannot."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.sum() > 0 else x


def test_a_branch_on_values_is_refused_in_a_sentence_that_helps() -> None:
    with pytest.raises(ModelError, match=r"torch\.cond") as caught:
        capture(Branching(), Example(args=(torch.ones(2, 2),)))
    said = str(caught.value)
    assert "data-dependent" in said
    assert "if x.sum() > 0 else x" in said
    assert not any(word in said for word in ("\n", "TORCH_LOGS", "http", "guard_or_false"))
    assert len(said) < 400


DYNAMIC = [
    "x=0*b",
    "x=*b",
    "x=2*",
    "x=-2*b",
    "x=2*3",
    "x",
    "=b",
    "x=1",
    "x=b:5",
    "x=b:9..3",
    "x=b:0..1",
    "x=Max",
    "x=b c",
    "x=b:1..2..3",
    "x=-b",
]


@pytest.mark.parametrize("spec", DYNAMIC)
def test_a_size_that_cannot_be_read_is_refused(spec: str) -> None:
    with pytest.raises(UsageError, match="--dynamic"):
        parse([spec])


def test_sizes_are_read_axis_by_axis() -> None:
    assert parse(["x=b,_,t:2..64"]) == {"x": (Axis(name="b"), Axis(), Axis(name="t", low=2, high=64))}
    assert parse(["x=16*h:2..4"]) == {"x": (Axis(name="h", low=2, high=4, times=16),)}


@pytest.mark.parametrize("spec", ["y=b", "x=b,c,d,e,f"])
def test_sizes_of_an_input_that_is_not_so_are_refused(spec: str) -> None:
    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.relu()

    with pytest.raises(UsageError, match="--dynamic names"):
        capture(Net(), Example(args=(torch.zeros(2, 3),)), dynamic=parse([spec]))


class Sparse(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("sparse", torch.eye(4).to_sparse())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sparse.mm(self.sparse, x)


def float8(m: Made, x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.float8_e4m3fn).to(torch.float32)


def on_data(m: Made, x: torch.Tensor) -> torch.Tensor:
    return x if x.sum() > 0 else -x


def to_numpy(m: Made, x: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(x.numpy() + 1)


REFUSED: dict[str, tuple[nn.Module, tuple[object, ...]]] = {
    "a branch on data": (Made(on_data), (torch.ones(2),)),
    "numpy inside": (Made(to_numpy), (torch.ones(2),)),
    "too few inputs": (nn.Bilinear(2, 2, 2), (torch.ones(1, 2),)),
    "too many inputs": (nn.Linear(2, 2), (torch.ones(1, 2), torch.ones(1))),
    "an input of the wrong shape": (nn.Linear(2, 2), (torch.ones(1, 5),)),
    "an input that is no tensor": (nn.Linear(2, 2), (object(),)),
    "a dtype that cannot be sent": (Made(float8), (torch.ones(2),)),
    "a sparse buffer": (Sparse(), (torch.ones(4, 4),)),
    "weights without data": (nn.Linear(2, 2, device="meta"), (torch.ones(1, 2),)),
    "a model that raises": (Made(lambda m, x: 1 / 0), (torch.ones(1),)),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("dynamic", [False, True])
def test_what_cannot_be_captured_is_refused_in_one_line(
    case: str, dynamic: bool, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    module, args = REFUSED[case]
    name = "args.0" if isinstance(module, Made) else ("x" if isinstance(module, Sparse) else "input1")
    name = "input" if isinstance(module, nn.Linear) else name
    with pytest.raises((ModelError, UsageError)) as caught:
        capture(module, Example(args=args), dynamic=parse([f"{name}=b"] if dynamic else []))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


def test_capturing_leaves_warnings_and_logs_as_they_were() -> None:
    before, level = list(warnings.filters), logging.getLogger("torch").level
    captured("a_single_operator")
    assert (list(warnings.filters), logging.getLogger("torch").level) == (before, level)


def test_capturing_leaves_the_callers_tensors_alone() -> None:
    case = ALL["writes_to_its_input"]()
    before = [leaf.clone() for leaf in case.args if isinstance(leaf, torch.Tensor)]
    capture(case.module, Example(args=case.args))
    assert all(torch.equal(a, b) for a, b in zip(before, case.args, strict=True))  # type: ignore[arg-type]


class Attend(torch.nn.Module):
    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(query, key, value) * 2


@pytest.mark.parametrize("batch", [(), (3,), (2, 4), (2, 3, 4)], ids=str)
def test_attention_over_any_number_of_batch_axes_is_captured_and_counted(batch: tuple[int, ...]) -> None:
    shapes = ((*batch, 5, 8), (*batch, 7, 8), (*batch, 7, 6))
    found = capture(Attend(), Example(args=tuple(torch.randn(shape) for shape in shapes)))
    attention = next(node for node in found.graph.nodes if "attention" in node.op)
    assert attention.flops == math.prod(batch) * 2 * 5 * 7 * (8 + 6)


def test_attention_with_a_broadcast_batch_is_captured() -> None:
    found = capture(Attend(), Example(args=(torch.randn(1, 2, 5, 8), torch.randn(3, 2, 7, 8), torch.randn(3, 2, 7, 8))))
    attention = next(node for node in found.graph.nodes if "attention" in node.op)
    assert attention.flops == 3 * 2 * 2 * 5 * 7 * 16


def test_integer_examples_are_kept_and_floats_are_not() -> None:
    class Look(torch.nn.Module):
        def forward(self, x: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return x[ids] * mask

    found = capture(Look(), Example(args=(torch.randn(4), torch.tensor([3, 1]), torch.tensor([True, False]))))
    assert {name: array.tolist() for name, array in found.examples.items()} == {"ids": [3, 1], "mask": [True, False]}
