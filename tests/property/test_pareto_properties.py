from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from partitioner.optimize.pareto import front

few = st.integers(0, 4).map(float) | st.floats(0, 1) | st.just(float("inf"))
shapes = st.tuples(st.integers(1, 40), st.integers(1, 4))


def dominates(one, other) -> bool:
    return bool((one <= other).all() and (one < other).any())


@given(arrays.arrays(np.float64, shapes, elements=few))
def test_the_front_is_what_nothing_dominates_each_row_once(scores):
    found = front(scores).tolist()
    assert len(set(found)) == len(found)
    for row, values in enumerate(scores):
        beaten = any(dominates(other, values) for other in scores)
        first = next(index for index, other in enumerate(scores) if (other == values).all())
        assert (row in found) == (not beaten and row == first)
    assert scores[found, 0].tolist() == sorted(scores[found, 0].tolist())
