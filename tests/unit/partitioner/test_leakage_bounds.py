"""Cuts whose leakage nobody measured: what stands in for it, against a search over all pairs of closed sets."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from partitioner import leakage
from partitioner.leakage import CutLeakage, Kept, LeakageProfile, bounded, composed, everything, nothing
from partitioner.records import RecordError, read_value, to_json


def measured(cut_id: str, correlation: float, error: float | None) -> CutLeakage:
    return CutLeakage(cut_id=cut_id, distance_correlation=correlation, interval=0.01, inversion_error=error)


def of(*cuts: CutLeakage) -> LeakageProfile:
    return LeakageProfile(samples=100, inverter="a small one", cuts=cuts)


def drawn(seed: int) -> tuple[dict[str, frozenset[int]], dict[str, Kept], LeakageProfile]:
    """Closed sets of a random graph of twelve layers, some as a depth, some of them measured."""
    draw = random.Random(seed)
    needs = {layer: {each for each in range(layer) if draw.random() < 0.25} for layer in range(12)}
    sets = {frozenset(range(depth)) for depth in range(13)}
    for _ in range(12):
        closed = {draw.randrange(12)}
        while more := {each for layer in closed for each in needs[layer]} - closed:
            closed |= more
        sets.add(frozenset(closed))
    by_id = {f"cut{index}": each for index, each in enumerate(sorted(sets, key=sorted))}
    kept: dict[str, Kept] = {
        name: len(each) if each == frozenset(range(len(each))) and draw.random() < 0.7 else each
        for name, each in by_id.items()
    }
    known = [
        measured(name, draw.random(), draw.random() if draw.random() < 0.6 else None)
        for name in by_id
        if draw.random() < 0.5
    ]
    return by_id, kept, of(*known)


@pytest.mark.parametrize("seed", range(60))
def test_a_cut_without_figures_gets_those_of_the_measured_ones_around_it(seed: int) -> None:
    sets, kept, known = drawn(seed)
    found = bounded(known, kept)
    assert found.keys() == kept.keys()
    for name, each in found.items():
        before = [one for one in known.cuts if sets[one.cut_id] <= sets[name]]
        after = [one for one in known.cuts if sets[one.cut_id] >= sets[name]]
        own = known.of(name)
        if own is None:
            most = max((len(sets[one.cut_id]) for one in before), default=0)
            fewest = min((len(sets[one.cut_id]) for one in after), default=0)
            near = [one.distance_correlation for one in before if len(sets[one.cut_id]) == most]
            far = [one.distance_correlation for one in after if len(sets[one.cut_id]) == fewest]
            assert each.how == "bounded"
            allowed = {max(a, b) for a in near or [1.0] for b in far or [0.0]}
            assert each.distance_correlation in allowed
        else:
            assert each.distance_correlation == own.distance_correlation
        if own is not None and own.inversion_error is not None:
            assert each.inversion_error == own.inversion_error
        elif any(one.inversion_error is not None for one in known.cuts):
            tried = [one for one in before if one.inversion_error is not None]
            most = max((len(sets[one.cut_id]) for one in tried), default=0)
            errors = {one.inversion_error for one in tried if len(sets[one.cut_id]) == most} or {0.0}
            assert each.inversion_error in errors
            assert each.inversion_how == "bounded"


@pytest.mark.parametrize("seed", range(60))
def test_no_cut_is_harder_to_invert_than_one_after_it(seed: int) -> None:
    sets, kept, known = drawn(seed)
    lower = composed(known, kept)
    for each, raw in zip(lower.cuts, known.cuts, strict=True):
        after = [one.inversion_error for one in known.cuts if sets[one.cut_id] >= sets[each.cut_id]]
        errors = [error for error in after if error is not None]
        assert each.inversion_error == (None if raw.inversion_error is None else min(errors))
        assert each.distance_correlation == raw.distance_correlation


def test_a_bound_on_inversion_never_exceeds_the_figure_of_a_cut_after_it() -> None:
    for seed in range(60):
        sets, kept, known = drawn(seed)
        prefixes = {name for name, each in sets.items() if each == frozenset(range(len(each)))}
        known = composed(replace(known, cuts=tuple(each for each in known.cuts if each.cut_id in prefixes)), kept)
        found = bounded(known, kept)
        for name in prefixes:
            for other in prefixes:
                first, second = found[name].inversion_error, found[other].inversion_error
                if sets[name] <= sets[other] and first is not None and second is not None:
                    assert first <= second


def test_the_ends_are_defined_and_bound_what_is_between() -> None:
    ends = of(everything("cloud"), nothing("local"))
    found = bounded(ends, {"cloud": 0, "middle": 3, "local": 5})
    assert found["cloud"].distance_correlation == 1.0
    assert found["cloud"].inversion_error == 0.0
    assert found["local"].distance_correlation == 0.0
    assert found["local"].inversion_error == 1.0
    assert found["middle"].distance_correlation == 1.0
    assert found["middle"].inversion_error is None, "nobody trained an inverter"


def test_with_nothing_measured_a_cut_gives_everything_away() -> None:
    [found] = bounded(of(), {"middle": frozenset({0, 2})}).values()
    assert (found.distance_correlation, found.how) == (1.0, "bounded")


def test_a_record_is_read_as_it_was_written() -> None:
    known = of(everything("cloud"), measured("a", 0.5, 0.25), measured("b", 0.125, None), nothing("local"))
    assert read_value(to_json(known), leakage.read_leakage) == known


@pytest.mark.parametrize("correlation", [None, 1.5, -0.1])
def test_a_correlation_that_is_none_is_refused_and_not_taken_for_a_copy(correlation: float | None) -> None:
    record = to_json(of(measured("a", 0.5, None)))
    record["cuts"][0]["distance_correlation"] = correlation
    with pytest.raises(RecordError, match=r"cuts\[0\]\.distance_correlation"):
        read_value(record, leakage.read_leakage)
