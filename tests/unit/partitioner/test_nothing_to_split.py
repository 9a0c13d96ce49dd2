"""A model whose outputs are its inputs or weights runs locally, and says so where a cut is asked for."""

import numpy as np
import pytest
import torch

from edge import Session
from partitioner.errors import PlanError
from partitioner.measure import measure_steps
from partitioner.runtimes.eager import open_engine
from partitioner.segments import Cuts
from tests import every_cut


class Through(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, self.weight


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return every_cut.pack(Through(), tmp_path_factory.mktemp("through") / "bundle", args=(torch.zeros(1, 3),))


def test_its_only_candidate_is_local(bundle):
    assert [cut.name for cut in Cuts(bundle.graph, bundle.digest).candidates] == ["local"]


def test_it_is_not_profiled(bundle):
    with pytest.raises(PlanError, match="nothing to split"):
        measure_steps(bundle, open_engine(bundle, device="cpu"))


def test_a_session_answers_without_measuring(bundle):
    x = np.arange(3, dtype=np.float32).reshape(1, 3)
    with Session(bundle) as session:
        answer = session(x)
    assert answer.where == "edge"
    given, weight = answer.value
    assert np.array_equal(given, x)
    assert np.array_equal(weight, np.ones(2, np.float32))
