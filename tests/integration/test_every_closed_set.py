"""Cuts through branches answer like the whole model, over the bytes of a frame and a second engine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from partitioner import zoo
from partitioner.bundle import Bundle
from partitioner.runtimes import Array
from partitioner.runtimes.eager import open_engine
from partitioner.segments import Cuts
from partitioner.zoo import torchvision_models
from partitioner.zoo.packing import SEED
from tests import every_cut
from tests.closed_sets import sideways_sets
from tests.models import CASES
from tests.models_more import MORE

PackedCase = Callable[[str], Bundle]
BRANCHED = (
    "googlenet_concat",
    "detector_three_scales",
    "early_exit",
    "two_inputs_dict_output",
    "one_and_three_dimensions",
    "several_results_per_operator",
    "a_size_from_a_tensor",
    "two_batches_of_their_own_sizes",
    "views_of_one_storage",
)
COUNT = 8


def faults(bundle: Bundle, inputs: dict[str, Array], *, count: int) -> tuple[int, list[str]]:
    """How many cuts ran, and one line per answer that is not the whole model's."""
    near, far = open_engine(bundle, device="cpu"), open_engine(bundle, device="cpu")
    truth = every_cut.whole(near, inputs)
    cuts = Cuts(bundle.graph, bundle.digest)
    found: list[str] = []
    chosen = sideways_sets(cuts.layer_graph, np.random.default_rng(3), count=count)
    for edge in chosen:
        cut = cuts.from_layers(cuts.layer_graph.layers[index] for index in edge)
        answers = every_cut.run_cut(near, far, cut, inputs)
        assert set(answers) == set(truth)
        found += [
            f"{cut.name}: {name} differs by {every_cut.max_rel_diff(array, truth[name])}"
            for name, array in answers.items()
            if every_cut.max_rel_diff(array, truth[name]) > every_cut.TOLERANCE
        ]
    return len(chosen), found


@pytest.mark.parametrize("name", BRANCHED)
def test_a_cut_through_branches_answers_like_the_whole_model(name: str, packed_case: PackedCase) -> None:
    case, bundle = {**CASES, **MORE}[name](), packed_case(name)
    ran, found = faults(bundle, every_cut.feed(bundle, case.args, case.kwargs), count=COUNT)
    assert found == []
    assert ran, "the model has no branches"


def test_googlenet_is_cut_through_its_inceptions() -> None:
    spec, shape = "torchvision:googlenet", "1x3x64x64"
    bundle = zoo.resolve(spec, shapes=[shape])
    torch.manual_seed(SEED)
    inputs = every_cut.feed(bundle, torchvision_models.load(spec, [shape]).example.args)
    ran, found = faults(bundle, inputs, count=6)
    assert (ran, found) == (6, [])
