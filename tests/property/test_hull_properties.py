from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from partitioner.optimize.hull import lower_envelope

lines = st.lists(
    st.tuples(st.floats(0, 10) | st.integers(0, 5).map(float), st.floats(0, 10) | st.integers(0, 5).map(float)),
    min_size=1,
    max_size=30,
)


@given(lines, st.floats(0, 50))
def test_the_envelope_is_the_lowest_line_everywhere(found, x):
    offsets, slopes = np.array(found).T
    pieces = lower_envelope(offsets, slopes)
    piece = next(each for each in pieces if each.begin <= x <= each.end)
    assert offsets[piece.row] + slopes[piece.row] * x == pytest.approx((offsets + slopes * x).min(), rel=1e-9)


@given(lines)
def test_pieces_follow_each_other_from_zero_to_infinity_ever_flatter(found):
    offsets, slopes = np.array(found).T
    pieces = lower_envelope(offsets, slopes)
    assert pieces[0].begin == 0
    assert pieces[-1].end == np.inf
    for piece, following in pairwise(pieces):
        assert piece.begin < piece.end == following.begin
        assert slopes[piece.row] > slopes[following.row]
