from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from figured_profiles import WIFI, planned, profile
from synthetic_profiles import cloud_profile

from partitioner.cost import IDLE, Load
from partitioner.energy import Origin
from partitioner.leakage import CutLeakage, LeakageProfile
from partitioner.link import BYTES_PER_MBIT, Link
from partitioner.optimize.constraints import Constraints
from partitioner.optimize.objectives import Energy, Latency, Objective, Upload
from partitioner.planner import Planner
from partitioner.profile import Profile
from partitioner.report.shown import Plans, plans_of

pytest.importorskip("matplotlib")

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from partitioner.report.figures import FIGURES
from partitioner.report.figures_axes import HATCHES, shortened, spans_of, style
from partitioner.report.figures_cuts import draw_cuts
from partitioner.report.figures_layers import draw_layers
from partitioner.report.figures_pareto import draw_pareto
from partitioner.report.figures_rates import draw_rates


@pytest.fixture(autouse=True)
def styled() -> Iterator[None]:
    with style():
        yield


def axes_of(edge: Profile, plans: Plans | None, name: str) -> list[Axes]:
    """One figure's diagrams, not laid out: that takes most of the time, and moves no number."""
    figure = Figure()
    if name == "layers":
        draw_layers(figure, edge, plans)
    else:
        assert plans is not None
        {"cuts": draw_cuts, "rates": draw_rates, "pareto": draw_pareto}[name](figure, edge.model_name, plans)
    return list(figure.axes)


def by_gid(axes: Axes, start: str) -> dict[str, object]:
    found = [*axes.patches, *axes.lines, *axes.collections]
    return {str(each.get_gid()): each for each in found if str(each.get_gid()).startswith(start)}


def heights(axes: Axes, what: str) -> list[float]:
    bars = by_gid(axes, f"{what}-")
    return [bars[f"{what}-{index}"].get_height() for index in range(len(bars))]  # type: ignore[attr-defined]


def labels(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    return [text.get_text() for text in legend.get_texts()] if legend else []


@pytest.mark.parametrize("layers", [8, 100])
def test_bars_and_line_are_the_profiles_numbers(layers: int) -> None:
    edge = profile(layers)
    assert edge.energy is not None
    drawn = axes_of(edge, None, "layers")
    times, energies = drawn[0], next(axes for axes in drawn if axes.get_ylabel().startswith("energy"))
    assert heights(times, "latency") == pytest.approx([layer.forward.median_s * 1e3 for layer in edge.layers])
    assert heights(energies, "energy") == pytest.approx([each.value * 1e3 for each in edge.energy.layers])
    lines = [line for axes in drawn for line in by_gid(axes, "activation-bytes").values()]
    assert len(lines) == 1
    assert list(lines[0].get_ydata()) == [layer.output_bytes for layer in edge.layers]  # type: ignore[attr-defined]


def every_axes(edge: Profile, plans: Plans) -> list[Axes]:
    return [axes for name in FIGURES for axes in axes_of(edge, plans, name)]


def test_axes_have_names_with_units() -> None:
    every = every_axes(profile(), planned()[1])
    assert [axes.get_ylabel() for axes in every] == [
        "latency, ms",
        "energy, mJ",
        "activation bytes",
        "latency, ms",
        "energy, J",
        "latency, ms",
        "best",
        "energy, J (assumed)",
        "bytes sent up",
    ]
    names = {axes.get_xlabel() for axes in every}
    assert any(name.startswith("uplink rate, Mbit/s (down 2.91 times as fast") for name in names)
    assert {"latency, ms", "layer, in the order of running"} <= names


@pytest.mark.parametrize("origin", ["measured", "modelled", "assumed"])
def test_what_energy_rests_on_is_drawn_and_named(origin: Origin) -> None:
    edge = profile()
    assert edge.energy is not None
    layers = tuple(replace(each, origin=origin) for each in edge.energy.layers)
    axes = axes_of(replace(edge, energy=replace(edge.energy, layers=layers)), None, "layers")[1]
    assert labels(axes) == [f"energy, {origin}"]
    bars = by_gid(axes, "energy-").values()
    assert {bar.get_alpha() for bar in bars} == {HATCHES[origin][1]}  # type: ignore[attr-defined]


def test_a_time_that_was_not_measured_is_drawn_apart() -> None:
    axes = axes_of(profile(), None, "layers")[0]
    assert labels(axes)[:2] == ["latency, measured", "latency, calibrated"]
    bars = by_gid(axes, "latency-")
    assert [bars[f"latency-{index}"].get_alpha() for index in (4, 5)] == [1.0, 0.75]  # type: ignore[attr-defined]


def test_without_energy_no_axis_speaks_of_it() -> None:
    edge = profile(has_energy=False)
    _, plans = planned(edge=edge)
    assert not any("energy" in axes.get_ylabel() for axes in every_axes(edge, plans))


def test_layers_that_stay_on_the_device_are_shaded() -> None:
    edge = profile()
    _, plans = planned(edge=edge)
    assert plans.chosen.cut == "after:block2"  # after 6 layers
    assert spans(axes_of(edge, plans, "layers")[0]) == [(-0.5, 5.5)]


def test_a_cut_through_branches_is_shaded_in_pieces() -> None:
    edge = profile()
    _, plans = planned(edge=edge)
    best = plans.choice.ranked[0]
    through = replace(best, candidate=replace(best.candidate, edge_layers=frozenset({0, 1, 4, 6, 7})))
    plans = replace(plans, choice=replace(plans.choice, ranked=(through, *plans.choice.ranked[1:])))
    assert spans(axes_of(edge, plans, "layers")[0]) == [(-0.5, 1.5), (3.5, 4.5), (5.5, 7.5)]


def spans(axes: Axes) -> list[tuple[float, float]]:
    found = [each for each in axes.patches if each.get_gid() is None]
    return [(each.get_x(), each.get_x() + each.get_width()) for each in found]  # type: ignore[attr-defined]


def test_stacks_add_up_to_what_the_planner_predicts() -> None:
    load = Load(queue_s=0.003, slowdown=2.0)
    planner, plans = planned(load=load)
    table = planner.everything
    both = axes_of(profile(), plans, "cuts")
    assert [axes.get_ylabel() for axes in both] == ["latency, ms", "energy, J"]
    for axes, prices, factor in zip(both, (table.price(WIFI, load), table.energy(WIFI, load)), (1e3, 1), strict=True):
        sums = np.zeros(len(plans.cuts))
        for gid, bar in by_gid(axes, "").items():
            if gid[-2:-1] == "-" and hasattr(bar, "get_height"):
                sums[int(gid[-1])] += bar.get_height()
        latencies = table.price(WIFI, load)
        best = [
            min(
                (row for row, each in enumerate(table.candidates) if each.cut_id == shown.candidate.cut_id),
                key=lambda row: latencies[row],
            )
            for shown in plans.cuts
        ]
        assert sums == pytest.approx([prices[row] * factor for row in best])


def test_the_mark_stands_on_the_planners_choice() -> None:
    for mbit in (3.0, 500.0):
        link = Link.from_mbit(mbit, 2 * mbit, 10)
        planner, plans = planned(link)
        decision = planner.at(link)
        (mark,) = by_gid(axes_of(profile(), plans, "cuts")[0], "chosen").values()
        where, height = float(mark.get_xdata()[0]), float(mark.get_ydata()[0])  # type: ignore[attr-defined]
        assert plans.cuts[int(where)].candidate == decision.candidate
        assert height in (pytest.approx(decision.predicted_s * 1e3), pytest.approx(decision.predicted_s * 1e6))


def test_leakage_is_drawn_as_it_is_known() -> None:
    """The stem's and the last block's were measured; between them they are bounds."""
    figures = (("id1", 0.9, 0.1), ("id3", 0.6, 0.7))
    cuts = tuple(CutLeakage(cut_id=name, distance_correlation=d, inversion_error=e) for name, d, e in figures)
    edge = replace(profile(), leakage=LeakageProfile(samples=100, inverter="ridge", cuts=cuts))
    _, plans = planned(edge=edge)
    axes = axes_of(edge, plans, "cuts")[-1]
    assert axes.get_ylabel() == "leakage"
    correlation, error = (by_gid(axes, name) for name in ("distance correlation", "inversion error"))
    assert list(next(iter(correlation.values())).get_ydata()) == [1.0, 0.9, 0.9, 0.6, 0.0]  # type: ignore[attr-defined]
    assert list(next(iter(error.values())).get_ydata()) == [0.0, 0.1, 0.1, 0.7, 1.0]  # type: ignore[attr-defined]
    hollow = [list(line.get_xdata()) for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert hollow == [[2], [2], []]  # and the one in the legend


def test_cuts_that_are_not_allowed_are_not_drawn() -> None:
    _, plans = planned(constraints=Constraints(max_up_bytes=10_000))
    assert [each.candidate.cut for each in plans.cuts] == ["after:block2", "local"]
    assert plans.refused == 3


@pytest.mark.parametrize("objective", [Latency(), Energy()])
def test_breakpoints_and_envelope_are_the_planners(objective: Objective) -> None:
    planner, plans = planned(objective=objective)
    ratio = WIFI.down_bytes_per_s / WIFI.up_bytes_per_s
    points = planner.table(down_per_up=ratio, rtt_s=WIFI.rtt_s)
    assert len(points) > 2
    axes = axes_of(profile(), plans, "rates")[0]
    found = sorted(float(line.get_xdata()[0]) for line in by_gid(axes, "breakpoint-").values())  # type: ignore[attr-defined]
    assert found == pytest.approx([point.from_up_bytes_per_s / BYTES_PER_MBIT for point in points[1:]])
    pieces = [line for line in axes.lines if line.get_linewidth() == 2.4]
    assert len(pieces) == len(points)
    assert axes.get_ylabel() == ("energy, mJ (assumed)" if isinstance(objective, Energy) else "latency, ms")
    for line in pieces:
        for mbit, drawn in zip(line.get_xdata(), line.get_ydata(), strict=True):
            link = Link.from_mbit(float(mbit), float(mbit) * ratio, WIFI.rtt_s * 1e3)
            best = objective.scores(planner.everything, link).min()
            assert float(drawn) == pytest.approx(best * 1e3, rel=1e-9)


def test_where_no_plan_is_in_time_nothing_is_drawn() -> None:
    constraints = Constraints(deadline_s=0.02)
    planner = Planner.from_profiles(
        profile(), replace(cloud_profile(), layers=profile().layers), constraints=constraints
    )
    fast = Link.from_mbit(2000, 4000, 1)
    plans = plans_of(planner, fast, IDLE)
    assert plans.rates is not None
    assert plans.rates.points[0].candidate is None
    axes = axes_of(profile(), plans, "rates")[0]
    assert min(float(line.get_xdata()[0]) for line in axes.lines if line.get_linewidth() == 2.4) == pytest.approx(
        plans.rates.points[1].from_up_bytes_per_s / BYTES_PER_MBIT
    )


def test_the_front_is_the_planners_and_nothing_beats_it() -> None:
    planner, plans = planned()
    by: list[Objective] = [Latency(), Energy(), Upload()]
    wanted = sorted(trade.scores for trade in planner.front(by, WIFI))
    energy, upload = axes_of(profile(), plans, "pareto")
    filled = [
        next(iter(by_gid(axes, f"unbeaten-{name}").values())).get_xydata()  # type: ignore[attr-defined]
        for axes, name in ((energy, "energy"), (upload, "upload"))
    ]
    units = [1e3, 1.0 if energy.get_ylabel().startswith("energy, J") else 1e3, 1.0]
    drawn = sorted(zip(filled[0][:, 0], filled[0][:, 1], filled[1][:, 1], strict=True))
    assert np.array(drawn) == pytest.approx(np.array(wanted) * units)
    table = planner.everything
    scores = np.stack([each.scores(table, WIFI) for each in by], axis=1)
    for kept in wanted:
        assert not ((scores <= kept).all(axis=1) & (scores < kept).any(axis=1)).any()


def test_odd_names_are_drawn_as_they_are() -> None:
    names = ["$x^2$", "_private", "a" * 300, "слой", "层", "<&>", "", "layer.7"]
    edge = profile()
    edge = replace(edge, layers=tuple(replace(layer, id=name) for layer, name in zip(edge.layers, names, strict=True)))
    axes = axes_of(edge, None, "layers")[1]
    shown = {text.get_text() for text in axes.get_xticklabels()}
    assert {"$x^2$", "_private", "слой", "<&>"} <= shown
    assert all(len(name) <= 26 for name in shown)


def test_names_of_hundreds_of_layers_never_run_into_each_other() -> None:
    names = [f"features.block{index // 37}.layer{index % 37}.conv" for index in range(430)]
    assert [span.name for span in spans_of(names)] == [f"features.block{index}" for index in range(12)]
    edge = profile(430)
    edge = replace(edge, layers=tuple(replace(layer, id=name) for layer, name in zip(edge.layers, names, strict=True)))
    ticks = axes_of(edge, None, "layers")[-1].get_xticks()
    assert 8 <= len(ticks) <= 40
    assert np.diff(np.sort(ticks)).min() >= 430 / 44


def test_long_names_lose_whole_modules_first() -> None:
    assert shortened("encoder.layers.encoder_layer_0") == "…layers.encoder_layer_0"
    assert shortened("a.b") == "a.b"
    assert len(shortened("x" * 90)) == 26
