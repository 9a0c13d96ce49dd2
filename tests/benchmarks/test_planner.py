"""What planning costs, and how far the frozen candidates are from the optimum where they are not proven to hold it."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from partitioner.cost import Candidate, CandidateTable, Load, RadioUse, Row
from partitioner.link import Link
from partitioner.optimize.additive import AdditiveModel, Line
from partitioner.optimize.constraints import Constraints, Infeasible
from partitioner.optimize.exhaustive import closed_sets
from partitioner.optimize.objectives import Energy, Latency, Objective, Throughput
from partitioner.optimize.problem import Wiring
from partitioner.planner import Planner
from partitioner.radio import RADIOS
from tests.property.test_envelope_properties import random_model
from tests.split_problems import chain_wiring, inception_wiring, random_wiring, skipping_wiring, towers_wiring

FULL = os.environ.get("CLEFT_BENCH") == "full"
INSTANCES = 120 if FULL else 12
SIZES = (10, 100, 300, 1000) if FULL else (10, 1000)
FEWEST_SETS, MOST_SETS = 40, 1500
LINK = Link(up_bytes_per_s=7e5, down_bytes_per_s=1.7e6, rtt_s=0.04)

pytestmark = pytest.mark.benchmark


def median_s(work: Callable[[], object], *, runs: int, clock: Callable[[], float] = time.perf_counter) -> float:
    times_s = []
    for _ in range(runs):
        begin_s = clock()
        work()
        times_s.append(clock() - begin_s)
    return statistics.median(times_s)


def random_table(generator: np.random.Generator, count: int) -> CandidateTable:
    """Candidates of which none beats another: more work on the device, fewer bytes."""
    heads_s, sizes = np.sort(generator.uniform(0, 1, count)), np.sort(generator.uniform(1e3, 1e6, count))[::-1]
    rows = [
        Row(
            candidate=Candidate(
                cut="local" if index == count - 1 else f"after:{index}" if index else "cloud",
                cut_id=str(index),
                codec="none",
                depth=index,
                up_bytes=float(sizes[index]) if index < count - 1 else 0,
                down_bytes=4000 if index < count - 1 else 0,
                is_calibrated=False,
            ),
            head_s=float(heads_s[index]),
            tail_s=float(0.1 * (1 - heads_s[index])) if index < count - 1 else 0.0,
        )
        for index in range(count)
    ]
    return CandidateTable.from_rows(rows, model_name="random", model_digest="")


def test_choosing_takes_microseconds():
    generator = np.random.default_rng(1)
    print("\ncandidates   Planner.at, median of 2000")
    medians_s = {}
    for count in (10, 100, 1000):
        planner = Planner(random_table(generator, count))
        assert len(planner.frozen) == count
        medians_s[count] = min(median_s(lambda: planner.at(LINK), runs=2000) for _ in range(3))  # noqa: B023
        print(f"{count:10d}   {medians_s[count] * 1e6:6.1f} us")
        assert planner.at(LINK).predicted_s == planner.everything.price(LINK).min()
    assert medians_s[100] < 50e-6
    assert medians_s[1000] < 20 * medians_s[10]


def test_choosing_by_energy_takes_microseconds_too():
    generator = np.random.default_rng(2)
    print("\ncandidates   Planner.at by energy, median of 2000; at an interval of frames")
    for count in (10, 100, 1000):
        table = random_table(generator, count)
        metered = replace(table, head_j=5 * table.edge_s, codec_j=0 * table.edge_s, idle_w=0 * table.edge_s + 2)
        medians_s = []
        for use in (RadioUse(model=RADIOS["4g"]), RadioUse(model=RADIOS["4g"], frame_interval_s=1.0)):
            planner = Planner(metered.over(use), objective=Energy())
            medians_s.append(min(median_s(lambda: planner.at(LINK), runs=2000) for _ in range(3)))  # noqa: B023
            assert planner.at(LINK).score == planner.everything.energy(LINK).min()
        print(f"{count:10d}   {medians_s[0] * 1e6:6.1f} us; {medians_s[1] * 1e6:6.1f} us")
        assert max(medians_s) < 1e-3


def skips(layers: int) -> Wiring:
    return skipping_wiring(np.random.default_rng(layers), layers)


def test_the_whole_table_takes_a_fraction_of_a_second():
    print("\nwhole table, candidates included, ms   " + "".join(f"{size:>16d}" for size in SIZES) + "   layers")
    for name, wire in {
        "chain": chain_wiring,
        "inception": inception_wiring,
        "towers": towers_wiring,
        "skips": skips,
    }.items():
        cells, row_s = [], {}
        for layers in SIZES:
            model = random_model(np.random.default_rng(layers), wire(layers))
            model = replace(model, pinned=np.zeros(model.wiring.layers, dtype=bool))

            def whole(model: AdditiveModel = model) -> int:
                fresh = replace(model, wiring=replace(model.wiring))
                return len(Planner.from_additive(fresh, down_per_up=2.0).table(down_per_up=2.0, rtt_s=0.02))

            row_s[layers] = min(median_s(whole, runs=1, clock=time.thread_time) for _ in range(2))
            cells.append(f"{row_s[layers] * 1e3:9.1f} ({whole():4d})")
        print(f"{name:<39}" + "".join(cells))
        assert row_s[1000] < 0.5


def exact(model: AdditiveModel, wiring_sets: list[frozenset[int]]) -> CandidateTable:
    """Every closed set of a model whose flows have one codec each, as candidates."""
    rows = []
    for edge in wiring_sets:
        kept = model.wiring.mask(edge)
        if np.any(model.pinned & ~kept):
            continue
        line: Line = model.line(edge, up_s_per_byte=0.0, down_per_up=1.0)
        is_local = model.wiring.is_local(kept)
        far = ~model.wiring.is_near(kept)
        down = [model.replies[flow] for flow in np.flatnonzero(far).tolist() if flow in model.replies]
        down_bytes = 0.0 if is_local else sum(option.nbytes for option in down)
        sent = [model.options[flow][0] for flow in line.codecs]
        rows.append(
            Row(
                candidate=Candidate(
                    cut="local" if is_local else str(sorted(edge)),
                    cut_id="",
                    codec="none",
                    depth=len(edge),
                    edge_layers=edge,
                    up_bytes=sum(option.nbytes for option in sent),
                    down_bytes=down_bytes,
                    is_calibrated=False,
                ),
                head_s=float(model.edge_s[kept].sum()),
                encode_s=sum(option.work_s for option in sent),
                decode_s=0.0 if is_local else model.fixed_s,
                tail_s=0.0 if is_local else float(model.cloud_s[~kept].sum()),
                encode_reply_s=0.0 if is_local else sum(option.work_s for option in down),
            )
        )
    return CandidateTable.from_rows(rows, model_name="exact", model_digest="")


def gap(
    model: AdditiveModel,
    everything: CandidateTable,
    generator: np.random.Generator,
    *,
    objective: Objective,
    off_axis: bool,
    constraints: Constraints,
) -> float | None:
    """How much worse the planner's plan is than the best closed set; None where neither has one."""
    ratio = float(generator.uniform(0.5, 4))
    up_bytes_per_s = float(10.0 ** generator.uniform(4.5, 7.5))
    link = Link(
        up_bytes_per_s=up_bytes_per_s,
        down_bytes_per_s=up_bytes_per_s * (ratio if not off_axis else float(10.0 ** generator.uniform(-1, 1))),
        rtt_s=0.02,
    )
    load = Load(queue_s=0.01, slowdown=float(generator.uniform(1, 8)) if off_axis else 1.0)
    wanted = Planner(everything, objective=objective)
    try:
        best = Planner(everything, objective=objective, constraints=constraints).at(link, load).score
    except Infeasible:
        return None
    assert best >= wanted.at(link, load).score
    try:
        planner = Planner.from_additive(model, objective=objective, constraints=constraints, down_per_up=ratio)
        found = planner.at(link, load).score
    except Infeasible:
        return float("inf")
    assert found >= best * (1 - 1e-9)
    return found / best - 1 if best > 0 else 0.0


def limits(everything: CandidateTable, generator: np.random.Generator, kind: str) -> Constraints:
    if kind == "upload":
        return Constraints(max_up_bytes=int(np.quantile(everything.up_bytes, generator.uniform(0.05, 0.5))))
    if kind == "depth":
        depths = [len(candidate.edge_layers or ()) for candidate in everything.candidates]
        return Constraints(min_depth=int(generator.integers(1, max(2, max(depths) // 2))))
    return Constraints()


@pytest.mark.parametrize(
    ("name", "objective", "off_axis", "kind"),
    [
        ("latency, on the axis", Latency(), False, ""),
        ("latency, another ratio and load", Latency(), True, ""),
        ("throughput", Throughput(), False, ""),
        ("throughput, another ratio and load", Throughput(), True, ""),
        ("latency, bounded upload", Latency(), False, "upload"),
        ("latency, minimum depth", Latency(), False, "depth"),
        ("throughput, bounded upload", Throughput(), True, "upload"),
    ],
)
def test_the_gap_to_the_optimum_is_small(name, objective, off_axis, kind):
    generator = np.random.default_rng(3)
    gaps: list[float] = []
    while len(gaps) < INSTANCES:
        wiring = random_wiring(generator, int(generator.integers(8, 17)), reach=5)
        sets = list(closed_sets(wiring))
        if not FEWEST_SETS < len(sets) < MOST_SETS:
            continue
        model = replace(random_model(generator, wiring), pinned=np.zeros(wiring.layers, dtype=bool))
        everything = exact(model, sets)
        found = gap(
            model,
            everything,
            generator,
            objective=objective,
            off_axis=off_axis,
            constraints=limits(everything, generator, kind),
        )
        if found is not None:
            gaps.append(found)
    missed = sum(each > 1e-9 for each in gaps)
    print(
        f"\n{name}: {len(gaps)} random graphs, mean gap {statistics.fmean(gaps):.2%}, largest {max(gaps):.1%}, "
        f"optimum missed in {missed}"
    )
    assert statistics.fmean(gaps) < 0.01
    if name.endswith("on the axis"):
        assert missed == 0
