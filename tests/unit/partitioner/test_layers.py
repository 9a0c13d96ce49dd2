"""Layers: what is fused, what is not, in which order; and how much memory a run of them takes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence

import pytest
import torch

from partitioner.bundle import Bundle
from partitioner.graph import Graph, Node, Value
from partitioner.layers import peak_bytes
from partitioner.trace import Example, capture
from tests.graphs import graph, node, value
from tests.models import CASES

FLOAT_BYTES = 4
MIB = 2**20


def kinds(module: torch.nn.Module, *inputs: torch.Tensor) -> list[tuple[str, str]]:
    return [(layer.id, layer.kind) for layer in capture(module, Example(args=inputs)).graph.layers]


def test_what_follows_cheaply_is_fused() -> None:
    block = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Dropout())
    [(name, kind)] = kinds(block, torch.zeros(1, 3, 8, 8))
    assert name == "0"
    assert kind.startswith("conv2d+batch_norm+relu")


def test_pooling_and_the_next_operator_begin_layers_of_their_own() -> None:
    block = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.MaxPool2d(2), torch.nn.Conv2d(4, 4, 3))
    assert [name for name, _ in kinds(block, torch.zeros(1, 3, 8, 8))] == ["0", "1", "2"]


def test_what_two_read_ends_a_layer() -> None:
    nodes = [node("a", "x"), node("b", "a", kind="pointwise"), node("c", "a", kind="pointwise"), node("d", "b", "c")]
    assert [layer.nodes for layer in graph(nodes, outputs=["d"]).layers] == [("a",), ("b",), ("c",), ("d",)]


def test_what_grows_a_tensor_begins_a_layer() -> None:
    nodes = [node("a", "x"), node("b", "a", kind="pointwise", shape=(400,)), node("c", "b")]
    assert [layer.nodes for layer in graph(nodes, outputs=["c"]).layers] == [("a",), ("b",), ("c",)]


def test_fusing_never_makes_a_circle() -> None:
    nodes = [node("a", "x"), node("b", "a"), node("sum", "a", "b", kind="pointwise"), node("c", "sum")]
    made = graph(nodes, outputs=["c"])
    assert [layer.nodes for layer in made.layers] == [("a",), ("b", "sum"), ("c",)]


def test_what_is_dead_belongs_to_no_layer() -> None:
    class Dead(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            torch.sin(x)
            return torch.cos(x)

    assert [kind for _, kind in kinds(Dead(), torch.zeros(2))] == ["cos"]


@pytest.mark.parametrize("name", ["unet", "text_encoder", "densenet_skips", "detector_three_scales", "recurrent"])
def test_layers_are_in_an_order_in_which_they_can_run(name: str, packed_case: Callable[[str], Bundle]) -> None:
    made = packed_case(name).graph
    seen = {*made.input_names, *made.weight}
    for each in made.nodes:
        assert set(each.refs()) <= seen
        seen.add(each.name)
    order = [made.layer_of[each.name] for each in made.nodes if each.name in made.layer_of]
    assert order == sorted(order)
    assert len({layer.id for layer in made.layers}) == len(made.layers)


@pytest.mark.parametrize("name", ["unet", "densenet_skips", "efficientnet_style", "vision_transformer"])
def test_layers_keep_their_ids_at_another_batch(name: str) -> None:
    one, many = CASES[name](), CASES[name]()
    [image] = one.args
    assert isinstance(image, torch.Tensor)
    wide = torch.cat([image, image, image])
    assert ids(capture(one.module, Example(args=(image,))).graph) == ids(
        capture(many.module, Example(args=(wide,))).graph
    )


def ids(made: Graph) -> list[tuple[str, str, str]]:
    return [(layer.id, layer.path, layer.kind) for layer in made.layers]


def test_peak_counts_what_is_alive_at_once() -> None:
    chain = [node("a", "x", shape=(100,)), node("b", "a", shape=(10,)), node("c", "b", shape=(50,))]
    assert peak(chain, [value("x", 4)], ["c"]) == 4 + 100 + 10
    skip = [*chain[:2], node("c", "b", "a", shape=(50,))]
    assert peak(skip, [value("x", 4)], ["c"]) == 4 + 100 + 10 + 50
    assert peak(chain, [value("x", 4)], ["a", "c"]) == 4 + 100 + 10 + 50


def test_a_view_takes_no_memory_and_keeps_its_storage() -> None:
    nodes = [node("a", "x", shape=(100,)), node("v", "a", shape=(100,), kind="view"), node("b", "v", shape=(100,))]
    assert peak(nodes, [value("x", 4)], ["b"]) == 204
    kept = [*nodes[:2], node("b", "x", shape=(7,)), node("c", "v", shape=(3,))]
    assert peak(kept, [value("x", 4)], ["b", "c"]) == 4 + 100 + 7 + 3


@pytest.mark.parametrize("name", ["unet", "densenet_skips", "vision_transformer", "googlenet_concat", "swin_windows"])
def test_peak_is_what_running_node_by_node_finds(name: str, packed_case: Callable[[str], Bundle]) -> None:
    made = packed_case(name).graph
    given = [each.value for each in made.inputs]
    found = peak_bytes(made.nodes, given, made.output_names, made.example_binding)
    assert found == simulated(made, made.nodes, given)


def simulated(made: Graph, nodes: Sequence[Node], given: Sequence[Value]) -> int:
    """The definition: after every node, the storages that somebody still reads, or that are given or wanted."""
    binding = made.example_binding
    held = {made.root(name) for name in (*made.output_names, *(each.name for each in given))}
    alive = {each.name for each in given}
    most = sum(made.values[name].nbytes(binding) for name in alive)
    for index, each in enumerate(nodes):
        if each.value is not None and made.root(each.name) == each.name:
            alive.add(each.name)
        most = max(most, sum(made.values[name].nbytes(binding) for name in alive))
        later = {made.root(ref) for after in nodes[index + 1 :] for ref in after.refs()}
        alive &= later | held
    return most


RSS = """
import json, sys, threading
import numpy as np, psutil
from partitioner.bundle import Bundle
from partitioner.runtimes.eager import open_engine
from partitioner.segments import Cuts

bundle = Bundle.open(sys.argv[1])
cuts = Cuts(bundle.graph, bundle.digest)
engine = open_engine(bundle, device="cpu")
head, _ = cuts.segments(cuts.find(sys.argv[2]))
segment = engine.segment(head)
[value] = segment.inputs
process = psutil.Process()
tiny = np.zeros(value.shape, np.float32)
before = process.memory_info().rss
most = before


def watch(index):
    global most
    most = max(most, process.memory_info().rss)


segment._run({value.name: tiny}, watch)
watch(0)
print(json.dumps(most - before))
"""


@pytest.fixture(scope="module")
def large_images(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    from tests import every_cut

    layers = []
    for inputs, outputs in ((3, 16), (16, 16), (16, 32), (32, 32), (32, 8)):
        layers += [torch.nn.Conv2d(inputs, outputs, 3, padding=1), torch.nn.ReLU()]
    module = torch.nn.Sequential(*layers, torch.nn.MaxPool2d(4))
    return every_cut.pack(module, tmp_path_factory.mktemp("rss") / "b", args=(torch.zeros(1, 3, 768, 768),))


@pytest.mark.parametrize("cut", ["after:0", "after:4", "local"])
def test_peak_is_near_what_a_process_takes(cut: str, large_images: Bundle) -> None:
    """Within 25 % and 30 MiB: kernels have scratch memory of their own, and the allocator keeps some."""
    from partitioner.segments import Cuts

    cuts = Cuts(large_images.graph, large_images.digest)
    stated = cuts.cost(cuts.find(cut)).edge_peak_bytes
    done = subprocess.run(
        [sys.executable, "-c", RSS, str(large_images.path), cut], check=True, capture_output=True, text=True, timeout=60
    )
    taken = json.loads(done.stdout)
    given = large_images.graph.inputs[0].value.nbytes({})
    assert abs(taken - (stated - given)) <= 0.25 * stated + 30 * MIB


def peak(nodes: Sequence[Node], given: Sequence[Value], wanted: Sequence[str]) -> int:
    """In elements."""
    return peak_bytes(nodes, given, wanted, {}) // FLOAT_BYTES
