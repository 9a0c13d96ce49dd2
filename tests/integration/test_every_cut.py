"""Every cut answers like the whole model, and the whole bundle like torch's own export of it, to the bit.

What crosses goes through the bytes of a frame and the tail runs in an engine of its own.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable

import numpy as np
import pytest
import torch

from partitioner import zoo
from partitioner.bundle import Bundle
from partitioner.dims import shape_of
from partitioner.graph import Graph
from partitioner.runtimes import Array
from partitioner.runtimes.eager import open_engine
from partitioner.segments import Cuts
from partitioner.zoo import torchvision_models
from partitioner.zoo.packing import SEED
from tests import every_cut
from tests.models import CASES, TORCHVISION, Case
from tests.models_more import MORE

ALL = {**CASES, **MORE}
DYNAMIC = sorted(name for name, build in ALL.items() if build().dynamic)
NAMED = ("alexnet", "vgg11", "resnet18", "mobilenet_v2", "googlenet", "densenet121", "efficientnet_b0")
CUTS = 12
PackedCase = Callable[[str], Bundle]
BIT_EQUAL = ("alexnet", "resnet18")


@pytest.mark.parametrize("name", ALL)
def test_every_cut_answers_like_the_whole_model(name: str, packed_case: PackedCase) -> None:
    twin, bundle = ALL[name](), packed_case(name)
    inputs = every_cut.feed(bundle, twin.args, twin.kwargs)
    whole = every_cut.exported(twin.module, twin.args, twin.kwargs)
    truth = answer(bundle, whole, twin)
    assert every_cut.faults(bundle, inputs, truth) == []


@pytest.mark.parametrize("name", DYNAMIC)
def test_every_cut_answers_at_every_size(name: str, packed_case: PackedCase) -> None:
    twin, bundle = ALL[name](), packed_case(name)
    generator = np.random.default_rng(5)
    for binding in bindings(bundle.graph):
        inputs = draw(bundle.graph, binding, generator)
        leaves = iter([torch.from_numpy(array.copy()) for array in inputs.values()])
        args, kwargs = torch.utils._pytree.tree_map(
            lambda leaf, leaves=leaves: next(leaves) if isinstance(leaf, torch.Tensor) else leaf,
            (twin.args, dict(twin.kwargs)),
        )
        truth = answer(bundle, twin.module, Case(module=twin.module, args=args, kwargs=kwargs))
        found = every_cut.faults(bundle, inputs, truth)
        assert [fault for fault in found if "not bit-equal" not in fault] == [], binding


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_answers_like_the_whole_model(name: str) -> None:
    if name not in NAMED and os.environ.get("CLEFT_BENCH") != "full":
        pytest.skip("CLEFT_BENCH=full runs it")
    spec, shape = f"torchvision:{name}", TORCHVISION[name]
    bundle = zoo.resolve(spec, shapes=[shape])
    torch.manual_seed(SEED)
    source = torchvision_models.load(spec, [shape])
    module: torch.nn.Module = source.module
    if name in BIT_EQUAL:
        module = every_cut.exported(module, source.example.args)
    truth = answer(bundle, module, Case(module=source.module, args=source.example.args))
    inputs = every_cut.feed(bundle, source.example.args)
    found = every_cut.faults(bundle, inputs, truth, count=CUTS)
    assert [fault for fault in found if name in BIT_EQUAL or "not bit-equal" not in fault] == []


@pytest.mark.parametrize("name", ["unet", "detector_three_scales", "text_encoder", "two_inputs_dict_output"])
def test_cuts_lie_where_their_names_say(name: str, packed_case: PackedCase) -> None:
    bundle = packed_case(name)
    cuts = Cuts(bundle.graph, bundle.digest)
    names = [each for cut in cuts.candidates for each in (cut.name, cut.id, *cut.aliases)]
    assert len(set(names)) == len(names)
    assert (cuts.candidates[0].name, cuts.candidates[-1].name) == ("cloud", "local")
    assert [cut.depth for cut in cuts.candidates] == sorted({cut.depth for cut in cuts.candidates})
    assert all(cuts.find(each) is cut for cut in cuts.candidates for each in (cut.id, cut.name, *cut.aliases))


def test_nothing_a_cut_was_given_changes(packed_case: PackedCase) -> None:
    for name in ("writes_in_place", "writes_to_its_input", "unet"):
        bundle = packed_case(name)
        near, far = open_engine(bundle, device="cpu"), open_engine(bundle, device="cpu")
        cuts = Cuts(bundle.graph, bundle.digest)
        inputs = draw(bundle.graph, bundle.graph.example_binding, np.random.default_rng(1))
        before = {key: array.tobytes() for key, array in inputs.items()}
        for cut in cuts.candidates[:-1]:
            head, tail = cuts.segments(cut)
            assert tail is not None
            sent = near.segment(head)(inputs)
            bytes_sent = {key: array.tobytes() for key, array in sent.items()}
            far.segment(tail)({value.name: sent[value.name] for value in cut.crossing})
            assert {key: array.tobytes() for key, array in sent.items()} == bytes_sent
            assert {key: array.tobytes() for key, array in inputs.items()} == before


def answer(bundle: Bundle, module: torch.nn.Module, case: Case) -> dict[str, Array]:
    """What a module returns, by the bundle's names; its inputs are kept from it."""
    args, kwargs = copy.deepcopy((case.args, dict(case.kwargs)))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            return every_cut.as_arrays(every_cut.by_output(bundle, module(*args, **kwargs)))
    finally:
        torch.set_num_threads(threads)


def bindings(graph: Graph) -> list[dict[str, int]]:
    """The least sizes, the largest, and some in between; sizes that data decide are left out."""
    symbols = [symbol for symbol in graph.symbols if not symbol.from_data]
    least = {symbol.name: symbol.low for symbol in symbols}
    largest = {symbol.name: symbol.high or 9 for symbol in symbols}
    between = {
        symbol.name: min(symbol.low + 4 + 3 * index, largest[symbol.name]) for index, symbol in enumerate(symbols)
    }
    return [least, largest, between, {**largest, symbols[0].name: least[symbols[0].name]}]


def draw(graph: Graph, binding: dict[str, int], generator: np.random.Generator) -> dict[str, Array]:
    """Inputs of these sizes, as the model would meet them."""
    found: dict[str, Array] = {}
    for each in graph.inputs:
        shape = shape_of(each.value.shape, binding)
        if each.value.dtype == "bool":
            found[each.name] = np.ones(shape, np.bool_)
        elif each.value.dtype.startswith(("int", "uint")):
            found[each.name] = generator.integers(each.low, each.high + 1, shape).astype(each.value.dtype)
        else:
            found[each.name] = generator.standard_normal(shape).astype(each.value.dtype)
    return found
