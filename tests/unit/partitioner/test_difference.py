from __future__ import annotations

import sys

import ml_dtypes
import numpy as np
import pytest

from partitioner.difference import INCOMPARABLE, relative_difference

NAN, INF = np.nan, np.inf
FAR = INCOMPARABLE


def diff(found: object, wanted: object, dtype: str = "float32") -> float:
    return relative_difference(np.asarray(found, dtype), np.asarray(wanted, dtype))


@pytest.mark.parametrize(
    ("found", "wanted", "expected"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 2.0], [1.0, 4.0], 0.5),
        ([0.0, -3.0], [0.0, -2.0], 0.5),
        ([], [], 0.0),
        ([NAN, 1.0], [NAN, 1.0], 0.0),
        ([NAN, 3.0], [NAN, 2.0], 0.5),
        ([INF, 2.0], [INF, 2.0], 0.0),
        ([INF, 3.0], [INF, 2.0], 0.5),
        ([NAN, INF], [NAN, INF], 0.0),
        ([INF, 1.0], [-INF, 1.0], FAR),
        ([NAN, 1.0], [INF, 1.0], FAR),
        ([NAN, 1.0], [1.0, 1.0], FAR),
        ([INF, 1.0], [1.0, 1.0], FAR),
        ([1.0, 1.0], [NAN, 1.0], FAR),
        ([1.0, 1.0], [INF, 1.0], FAR),
        ([0.0], [0.0], 0.0),
        ([-0.0], [0.0], 0.0),
        ([1e-9], [0.0], FAR),
        ([INF, 1e-9], [INF, 0.0], FAR),
        ([[1.0, 2.0]], [[1.0, 4.0]], 0.5),
        (1.0, 2.0, 0.5),
    ],
)
def test_the_difference_is_relative_to_the_largest_wanted_number(
    found: list[float], wanted: list[float], expected: float
) -> None:
    assert diff(found, wanted) == pytest.approx(expected)


def test_whole_numbers_booleans_complex_and_small_floats_compare_too() -> None:
    assert diff([1, 2, 3], [1, 2, 3], "int64") == 0
    assert diff([1, 2, 3], [1, 2, 4], "int64") == 0.25
    assert diff([0, 255], [255, 255], "uint8") == 1
    assert diff([True, False], [True, True], "bool") == 1
    assert diff([1j, 2], [1j, 4], "complex64") == 0.5
    assert diff([complex(INF, 0), 2], [complex(INF, 0), 4], "complex64") == 0.5
    assert diff([complex(NAN, 0), 2], [4j, 4], "complex64") == FAR
    small = np.ones(3, ml_dtypes.bfloat16)
    assert relative_difference(small, small * 2) == 0.5


def test_the_largest_numbers_are_no_further_apart_than_json_can_say() -> None:
    most = sys.float_info.max
    assert 1 <= diff([most], [-most], "float64") <= INCOMPARABLE


def test_other_shapes_and_types_do_not_compare() -> None:
    ones = np.ones(3, np.float32)
    assert relative_difference(ones, np.ones(4, np.float32)) == FAR
    assert relative_difference(ones, np.ones((3, 1), np.float32)) == FAR
    assert relative_difference(ones, np.ones(3, np.float64)) == FAR
