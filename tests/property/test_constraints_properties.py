"""Limits against their definition, row by row, and the advice of an infeasible set by following it."""

from __future__ import annotations

import shlex
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from partitioner.cli import arguments
from partitioner.cost import Candidate, CandidateTable, FixedEnergy, Row
from partitioner.errors import UsageError
from partitioner.leakage import CutLeakage, nothing
from partitioner.link import Link
from partitioner.optimize.constraints import Constraints, Infeasible
from partitioner.units import size_flag

LINK = Link(up_bytes_per_s=1e6, down_bytes_per_s=1e6, rtt_s=0.01)
LAYERS = ("stem", "block.0.conv", "block.0.relu", "block.1.conv", "head", "head#1")
FLAGS = {
    "--max-edge-memory": ("max_edge_bytes", arguments.size_bytes),
    "--max-cloud-memory": ("max_cloud_bytes", arguments.size_bytes),
    "--max-upload": ("max_up_bytes", arguments.size_bytes),
    "--max-deviation": ("max_deviation", float),
    "--min-accuracy": ("min_accuracy", float),
    "--min-depth": ("min_depth", int),
    "--deadline": ("deadline_s", arguments.duration_s),
    "--max-energy": ("max_energy_j", arguments.energy_j),
    "--max-leakage": ("max_leakage", float),
    "--min-inversion-error": ("min_inversion_error", float),
}

sizes = st.integers(0, 10**6)
shares = st.floats(0.001, 1).map(lambda share: round(share, 6))
energies = st.none() | st.builds(
    FixedEnergy,
    head_j=st.floats(1e-6, 1e3),
    codec_j=st.floats(0, 1),
    idle_w=st.floats(0, 10),
    origin=st.just("measured"),
)
leaks = st.none() | st.builds(
    CutLeakage, cut_id=st.just("id"), distance_correlation=shares, inversion_error=st.none() | shares
)


@st.composite
def candidates(draw):
    is_local = draw(st.booleans())
    edge_layers = frozenset(draw(st.sets(st.integers(0, 5)))) if draw(st.booleans()) else None
    return Candidate(
        cut="local" if is_local else "after:x",
        cut_id="id",
        codec="int8",
        depth=6 if is_local else draw(st.integers(0, 5)),
        edge_layers=None if is_local else edge_layers,
        up_bytes=draw(sizes),
        down_bytes=0,
        edge_bytes=draw(sizes),
        cloud_bytes=draw(sizes),
        deviation=draw(st.just(0.0) | shares),
        accuracy=draw(st.none() | shares),
        is_calibrated=False,
        leakage=nothing("id") if is_local else draw(leaks),
    )


rows = st.builds(Row, candidate=candidates(), head_s=st.floats(0.001, 1), tail_s=st.floats(0, 1), energy=energies)
tables = st.lists(rows, min_size=1, max_size=8).map(
    lambda found: CandidateTable.from_rows(found, model_name="m", model_digest="d", layers=LAYERS)
)
asked = st.builds(
    Constraints,
    max_energy_j=st.none() | st.floats(1e-6, 2e3),
    max_leakage=st.none() | shares,
    min_inversion_error=st.none() | shares,
    max_edge_bytes=st.none() | sizes,
    max_cloud_bytes=st.none() | sizes,
    deadline_s=st.none() | st.floats(0.001, 2),
    max_up_bytes=st.none() | sizes,
    max_deviation=st.none() | shares,
    min_accuracy=st.none() | shares,
    pinned=st.lists(st.sampled_from(["stem", "block", "block.1", "head"]), unique=True, max_size=2).map(tuple),
    min_depth=st.integers(0, 6),
)


def is_known(table: CandidateTable, constraints: Constraints) -> bool:
    """Whether somebody knows what is limited."""
    errors = [each.leakage and each.leakage.inversion_error for each in table.candidates if not each.is_local]
    return (
        (constraints.max_energy_j is None or table.has_energy)
        and (constraints.max_leakage is None or any(each.leakage for each in table.candidates))
        and (constraints.min_inversion_error is None or any(error is not None for error in errors))
    )


def keeps(constraints: Constraints, candidate: Candidate, latency_s: float, energy_j: float) -> bool:
    on_edge = set(range(6)) if candidate.is_local else candidate.edge_layers
    on_edge = set(range(candidate.depth)) if on_edge is None else on_edge
    pins = {index for index, layer in enumerate(LAYERS) if any(layer.startswith(pin) for pin in constraints.pinned)}
    least, leaks = constraints.min_accuracy, candidate.leakage
    error = None if leaks is None else float("inf") if candidate.is_local else leaks.inversion_error
    checks = [
        constraints.max_energy_j is None or energy_j <= constraints.max_energy_j,
        constraints.max_leakage is None
        or (leaks is not None and leaks.distance_correlation <= constraints.max_leakage),
        constraints.min_inversion_error is None or (error is not None and error >= constraints.min_inversion_error),
        constraints.max_edge_bytes is None or candidate.edge_bytes <= constraints.max_edge_bytes,
        constraints.max_cloud_bytes is None or candidate.cloud_bytes <= constraints.max_cloud_bytes,
        constraints.max_up_bytes is None or candidate.up_bytes <= constraints.max_up_bytes,
        constraints.deadline_s is None or latency_s <= constraints.deadline_s,
        constraints.max_deviation is None or candidate.deviation <= constraints.max_deviation,
        least is None or candidate.deviation == 0 or (candidate.accuracy is not None and candidate.accuracy >= least),
        set(range(constraints.min_depth)) <= on_edge,
        pins <= on_edge,
    ]
    return all(checks)


@given(tables, asked)
@settings(max_examples=150)
def test_what_is_feasible_keeps_every_limit(table, constraints):
    costs = zip(table.candidates, table.price(LINK).tolist(), table.energy(LINK).tolist(), strict=True)
    wanted = [keeps(constraints, *each) for each in costs]
    if not is_known(table, constraints):
        with pytest.raises(UsageError, match="--m"):
            constraints.check(table, LINK)
    elif any(wanted):
        assert constraints.check(table, LINK).tolist() == wanted
    else:
        with pytest.raises(Infeasible):
            constraints.check(table, LINK)


@given(tables, asked)
@settings(max_examples=150)
def test_the_advice_of_an_infeasible_set_works(table, constraints):
    assume(is_known(table, constraints))
    try:
        constraints.check(table, LINK)
    except Infeasible as error:
        refusal = error
    else:
        assume(False)
    assert refusal.conflicts
    text = str(refusal)
    assert "\n" not in text
    for conflict in refusal.conflicts:
        flag = shlex.split(conflict.name)[0]
        if conflict.nearest is None:
            continue
        if flag == "--pin":
            pin = conflict.name.removeprefix("--pin ")
            changed = replace(constraints, pinned=tuple(each for each in constraints.pinned if each != pin))
        else:
            field, read = FLAGS[flag]
            changed = replace(constraints, **{field: conflict.nearest})
            said = text.partition("kept: ")[2].partition(f"{flag} ")[2].partition(",")[0]
            replace_with_said = replace(constraints, **{field: read(said)})
            assert replace_with_said.check(table, LINK).any()
        assert changed.check(table, LINK).any()
    if refusal.nearest is not None:
        assert refusal.nearest.cut in text


@given(st.integers(0, 2**45))
def test_a_size_is_read_back_as_it_was_said_or_a_little_more(nbytes):
    assert arguments.size_bytes(size_flag(nbytes)) == nbytes
    assert nbytes <= arguments.size_bytes(size_flag(nbytes, is_rounded=True)) <= nbytes * 1.001


@pytest.mark.parametrize(
    ("nbytes", "exact", "rounded"),
    [
        (0, "0", "0"),
        (63, "63", "63"),
        (1000, "1kB", "1kB"),
        (65536, "64KiB", "65.54kB"),
        (11852448, "11852448", "11.86MB"),
        (2**30, "1GiB", "1074MB"),
    ],
)
def test_a_size_is_said_in_the_units_of_flags(nbytes, exact, rounded):
    assert (size_flag(nbytes), size_flag(nbytes, is_rounded=True)) == (exact, rounded)


@given(tables, st.integers(1, 9999), st.integers(1, 6))
def test_what_was_asked_is_said_as_it_was_asked(table, number, places):
    text = f"{number / 10**places:.{places}f}".rstrip("0").rstrip(".")
    try:
        Constraints(deadline_s=arguments.duration_s(f"{text}ms")).check(table, LINK)
    except Infeasible as error:
        said = str(error).removeprefix("no plan keeps --deadline ").partition("ms;")[0]
        assert float(said) == float(text)


@given(tables, asked)
def test_the_named_limits_contradict_and_none_of_them_is_idle(table, constraints):
    assume(is_known(table, constraints))
    try:
        constraints.check(table, LINK)
    except Infeasible as error:
        names = {conflict.name for conflict in error.conflicts}
    else:
        assume(False)
    limits = (*constraints.limits(table), *constraints.on_link(table, LINK))
    core = [limit for limit in limits if limit.name in names]
    assert not np.logical_and.reduce([limit.kept for limit in core]).any()
    for left_out in core:
        rest = [limit.kept for limit in core if limit is not left_out]
        assert not rest or np.logical_and.reduce(rest).any()
