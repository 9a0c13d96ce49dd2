"""Every cut answers like the eager runtime when ONNX Runtime computes one side of it or both.

What crosses goes through the bytes of a frame, from one runtime's head into the other's tail. A model that has no file
for ONNX Runtime, or is refused, is named here with its reason: none is skipped in silence.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from partitioner import zoo
from partitioner.bundle import Bundle
from partitioner.graph import Graph
from partitioner.runtimes import Array, Engine, check
from partitioner.runtimes.eager import open_engine as open_eager
from partitioner.runtimes.ort import open_engine as open_ort
from partitioner.runtimes.ort.blocks import bounds
from partitioner.segments import Cut, Cuts
from partitioner.zoo.runtime_files import add_runtime_files
from tests import every_cut
from tests.integration.test_every_cut import bindings, draw
from tests.models import CASES, TORCHVISION
from tests.models_more import MORE

ALL = {**CASES, **MORE}
WITHOUT = {
    "mixed_dtypes": "bfloat16",
    "waveform_spectrum": "complex64",
    "bfloat16_in_between": "bfloat16",
    "autocast_in_between": "bfloat16",
    "complex_numbers_cross": "complex64",
}
"""Models that get no file, and a word of the reason."""
REFUSED = {"booleans_and_bytes": "NOT_IMPLEMENTED"}
"""Models that ONNX Runtime is not admitted to, and a word of the reason."""
QUICK = (
    "two_inputs_dict_output", "passes_inputs_and_constants_out", "numbers_and_none_out", "branches_on_data",
    "sizes_in_arithmetic", "vision_transformer_fused", "text_encoder", "recurrent", "densenet_skips",
    "detector_three_scales", "channel_shuffle", "early_exit", "views_of_one_storage", "strides_over_a_view",
    "weights_as_outputs", "tensors_of_no_elements", "integers_out", "half_precision_in_between",
    "as_many_rows_as_the_data_say", "a_loop", "channels_last", "a_size_that_does_not_cross",
    "two_batches_of_their_own_sizes", "sides_that_are_multiples",
)  # fmt: skip
"""The cases that run without ``CLEFT_BENCH=full``: one per way in which an export may go wrong."""
NAMED = ("mobilenet_v2",)
CUTS = 4
IS_FULL = os.environ.get("CLEFT_BENCH") == "full"
PackedCase = Callable[[str], Bundle]


@pytest.fixture(scope="module")
def exported(packed_case: PackedCase) -> Callable[[str], Bundle]:
    """The bundle of a case with its runtime files, made once."""
    made: dict[str, Bundle] = {}

    def export(name: str) -> Bundle:
        if name not in made:
            made[name] = add_runtime_files(packed_case(name))
        return made[name]

    return export


@pytest.mark.parametrize("name", ALL if IS_FULL else (*QUICK, *WITHOUT, *REFUSED))
def test_every_cut_answers_like_eager(name: str, exported: PackedCase) -> None:
    bundle = exported(name)
    if name in WITHOUT:
        assert WITHOUT[name] in bundle.manifest.without["ort"]
        assert bundle.runtimes == ("eager",)
        return
    assert bundle.manifest.without == {}
    ort = open_ort(bundle, device="cpu", settled_runs=None)
    fault = check.fault(bundle, ort)
    if name in REFUSED:
        assert fault is not None
        assert REFUSED[name] in fault
        return
    assert fault is None
    assert faults(bundle, check.read_inputs(bundle)) == []


@pytest.mark.parametrize("name", sorted(name for name in (ALL if IS_FULL else QUICK) if ALL[name]().dynamic))
def test_every_cut_answers_like_eager_at_every_size(name: str, exported: PackedCase) -> None:
    bundle = exported(name)
    generator = np.random.default_rng(5)
    for binding in bindings(bundle.graph):
        assert faults(bundle, draw(bundle.graph, binding, generator), count=CUTS) == [], binding


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_answers_like_eager(name: str) -> None:
    if name not in NAMED and not IS_FULL:
        pytest.skip("CLEFT_BENCH=full runs it")
    bundle = zoo.resolve(f"torchvision:{name}", shapes=[TORCHVISION[name]])
    assert "ort" in bundle.runtimes, bundle.manifest.without
    assert bundle.runtime_file("ort").stat().st_size < 0.1 * bundle.weights_path.stat().st_size + 2**18
    assert check.fault(bundle, open_ort(bundle, device="cpu")) is None
    assert faults(bundle, check.read_inputs(bundle), count=CUTS) == []


def test_nothing_a_segment_was_given_changes_and_answers_outlive_it(exported: PackedCase) -> None:
    for name in ("writes_in_place", "passes_inputs_and_constants_out", "outputs_that_alias_each_other"):
        bundle = exported(name)
        inputs = check.read_inputs(bundle)
        before = {key: array.tobytes() for key, array in inputs.items()}
        engine = open_ort(bundle, device="cpu")
        answers = engine.segment(Cuts(bundle.graph, bundle.digest).whole())(inputs)
        kept = {key: array.tobytes() for key, array in answers.items()}
        other = {key: np.zeros_like(array) for key, array in inputs.items()}
        engine.segment(Cuts(bundle.graph, bundle.digest).whole())(other)
        del engine
        assert {key: array.tobytes() for key, array in answers.items()} == kept
        assert {key: array.tobytes() for key, array in inputs.items()} == before


def faults(bundle: Bundle, inputs: Mapping[str, Array], *, count: int | None = None) -> list[str]:
    """One line per cut and output where eager and ONNX Runtime, on either side, do not answer like eager alone."""
    eager = open_eager(bundle, device="cpu")
    ort = open_ort(bundle, device="cpu", settled_runs=None)
    ort.bounds = bounds(ort.cuts, most_cost=math.inf)  # so small a model would be one block
    cuts = Cuts(bundle.graph, bundle.digest)
    truth = eager.segment(cuts.whole())(inputs)
    tolerance = tolerance_of(bundle.graph)
    found: list[str] = []
    for cut in every_cut.sample(cuts.candidates, count):
        for near, far in ((ort, eager), (eager, ort), (ort, ort)):
            for name, array in answers_of(cuts, near, far, cut, inputs).items():
                difference = every_cut.max_rel_diff(array, truth[name])
                if not difference <= tolerance:
                    found.append(f"{cut.name}, {near.info.name} then {far.info.name}: {name} differs by {difference}")
    return found


def answers_of(cuts: Cuts, near: Engine, far: Engine, cut: Cut, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Every output, the head's and the tail's."""
    head, tail = cuts.segments(cut)
    made = near.segment(head)(inputs)
    answers = {name: made[name] for name in cut.edge_outputs}
    if tail is not None:
        sent = every_cut.over_the_wire({value.name: made[value.name] for value in cut.crossing})
        answers |= every_cut.over_the_wire(far.segment(tail)(sent))
    return answers


def tolerance_of(graph: Graph) -> float:
    """What rounding may do in the coarsest dtype of the model."""
    dtypes = {value.dtype for value in graph.values.values()}
    return check.HALF_TOLERANCE if "float16" in dtypes else check.TOLERANCE
