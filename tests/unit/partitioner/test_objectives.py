from __future__ import annotations

import numpy as np
import pytest
from synthetic_profiles import cloud_profile, edge_profile

from partitioner.cost import CandidateTable, FloatArray, Load
from partitioner.errors import UsageError
from partitioner.link import PRESETS
from partitioner.optimize.objectives import (
    OBJECTIVES,
    Latency,
    Lexicographic,
    Throughput,
    Upload,
    Weighted,
    objective_of,
)
from partitioner.planner import Planner

LINK = PRESETS["4g"]


@pytest.fixture
def table() -> CandidateTable:
    return CandidateTable.from_profiles(edge_profile(), cloud_profile(), codecs=None)


def test_throughput_is_that_of_the_slowest_stage(table):
    load = Load(slowdown=3.0, queue_s=9.0)
    for row, (breakdown, stage_s) in enumerate(
        zip(table.breakdowns(LINK, load), Throughput().scores(table, LINK, load), strict=True)
    ):
        stages_s = (
            breakdown.head_s + breakdown.encode_s,
            breakdown.up_s,
            breakdown.decode_s + breakdown.tail_s + breakdown.encode_reply_s,
            breakdown.down_s,
        )
        assert stage_s == pytest.approx(max(stages_s)), table.candidates[row]


def test_a_weighted_sum_is_a_sum(table):
    mixed = Weighted(((Latency(), 2.0), (Upload(), 1e-6)))
    expected = 2.0 * table.price(LINK) + 1e-6 * table.up_bytes
    assert mixed.scores(table, LINK) == pytest.approx(expected)


def test_a_weighted_sum_is_a_number_whatever_the_weights(table):
    scores = Weighted(((Latency(), 1e308), (Upload(), 1e308))).scores(table, LINK)
    assert np.isfinite(scores).all()
    assert scores[int(table.price(LINK).argmax())] == scores.max()


def test_the_second_objective_decides_among_those_close_to_the_first(table):
    latency_s = table.price(LINK)
    for tolerance in (0.0, 0.1, 0.5, 5.0):
        best = int(Lexicographic((Latency(), Upload()), tolerance).scores(table, LINK).argmin())
        near = latency_s <= latency_s.min() * (1 + tolerance)
        assert near[best]
        assert table.up_bytes[best] == table.up_bytes[near].min()


def test_what_is_not_allowed_sets_no_standard(table):
    allowed = table.up_bytes > 20_000
    found = Lexicographic((Latency(), Upload()), 0.0).scores(table, LINK, among=allowed)
    best = int(np.where(allowed, found, np.inf).argmin())
    assert table.price(LINK)[best] == table.price(LINK)[allowed].min()


@pytest.mark.parametrize(
    "text", [*OBJECTIVES, "weighted:latency=1,throughput=0.5", "lexicographic:latency,upload,tolerance=0.1"]
)
def test_a_name_gives_the_objective_of_that_name(text):
    assert objective_of(text).name == text
    assert objective_of(text) == objective_of(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("speed", "no objective 'speed'"),
        ("weighted:", "at least one weight"),
        ("weighted:latency=0", "at least one weight"),
        ("weighted:latency=1,upload=-1", "upload is -1"),
        ("weighted:latency=1,upload=inf", "upload is inf"),
        ("weighted:latency=nan", "latency is nan"),
        ("weighted:latency", "no weight"),
        ("lexicographic:", "at least one objective"),
        ("weighted:latency=1,upload=1,latency=2", "latency is named twice"),
        ("lexicographic:latency,upload,latency", "latency is named twice"),
        ("lexicographic:latency,tolerance=-1", "tolerance is -1"),
        ("lexicographic:latency,weighted:upload=1", "no objective"),
    ],
)
def test_what_is_no_objective_is_told(text, says):
    with pytest.raises(UsageError, match=says):
        objective_of(text)


class Money:
    """An objective of a user's own."""

    name = "money"

    def scores(self, table, link, load=None, *, among=None) -> FloatArray:
        return table.up_bytes * 1e-9 + table.tail_s * 1e-4


def test_an_objective_of_ones_own_fits_everywhere(table):
    planner = Planner(table, objective=Money())
    found = planner.at(LINK)
    assert found.candidate.is_local
    trades = planner.front([Latency(), Money()], LINK)
    assert trades[0].scores[0] == table.price(LINK).min()
    assert trades[-1].scores[1] == 0
    with pytest.raises(UsageError, match="latency or energy, not of money"):
        planner.table()
