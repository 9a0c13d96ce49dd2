from __future__ import annotations

import sys

import ml_dtypes
import numpy as np
import pytest

from edge.answer import assemble, max_rel_diff, top_labels, top_scores
from partitioner.graph import Graph, Output
from partitioner.runtimes import Array

FAR = sys.float_info.max


def test_other_names_do_not_compare() -> None:
    ones = np.ones(3, np.float32)
    assert max_rel_diff({"y": ones}, {"z": ones}) == FAR
    assert max_rel_diff({}, {}) == 0


def test_the_worst_output_counts() -> None:
    found: dict[str, Array] = {"a": np.ones(2), "b": np.array([1.0])}
    assert max_rel_diff(found, {"a": np.ones(2), "b": np.array([2.0])}) == 0.5


def test_labels_come_with_softmax_probabilities_best_first() -> None:
    scores = np.log(np.array([[0.1, 0.7, 0.2]], np.float32))
    top = top_labels({"y": scores}, ("cat", "dog", "eel"))
    assert top is not None
    assert [label for label, _ in top] == ["dog", "eel", "cat"]
    assert [p for _, p in top] == pytest.approx([0.7, 0.2, 0.1], abs=1e-6)


@pytest.mark.parametrize("scores", [np.ones((2, 3)), np.ones((1, 4)), np.full((1, 3), np.nan), np.ones(())])
def test_outputs_that_hold_no_score_per_label_get_no_labels(scores: Array) -> None:
    assert top_labels({"y": scores}, ("a", "b", "c")) is None
    assert top_labels({"y": np.ones((1, 3))}, None) is None
    assert top_labels({"y": np.ones((1, 3)), "z": scores}, ("a", "b", "c")) is None


def test_outputs_take_the_structure_and_order_of_the_model() -> None:
    outputs = (
        Output(path="boxes.0", name="b0"),
        Output(path="boxes.1", name="b1"),
        Output(path="count", constant=3),
        Output(path="again", name="b0"),
    )
    tree = {"dict": [["boxes", {"tuple": [0, 1]}], ["count", 2], ["again", {"list": [3]}]]}
    graph = Graph(symbols=(), inputs=(), weights=(), nodes=(), outputs=outputs, tree=tree, layers=())
    b0, b1 = np.zeros(1), np.ones(1)
    paths, value = assemble(graph, {"b1": b1, "b0": b0})
    assert list(paths) == ["boxes.0", "boxes.1", "again"]
    assert value == {"boxes": (b0, b1), "count": 3, "again": [b0]}


def test_scores_of_classes_are_ranked_by_their_index() -> None:
    scores = np.arange(20, dtype=np.float32)[None] % 7
    assert top_scores(scores) == [(6, 6.0), (13, 6.0), (5, 5.0), (12, 5.0), (19, 5.0)]
    assert top_scores(scores.ravel().astype(ml_dtypes.bfloat16)) == top_scores(scores)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(()),
        np.zeros((1, 5)),
        np.zeros((2, 20)),
        np.zeros((1, 20, 1)),
        np.zeros((1, 20), np.int64),
        np.zeros((1, 10_001)),
        np.full((1, 20), np.nan),
    ],
)
def test_what_looks_like_no_scores_of_classes_is_not_ranked(array: Array) -> None:
    assert top_scores(array) is None
