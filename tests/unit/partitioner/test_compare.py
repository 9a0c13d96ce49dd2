from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from synthetic_profiles import edge_profile, timing

from partitioner.assumed import assumed_energy
from partitioner.cli import main
from partitioner.compare import compare, energies, times
from partitioner.energy import Quantity
from partitioner.errors import ProfileError
from partitioner.profile import DeviceInfo, Profile, Timing
from partitioner.profiles import dump_profile

QUIET = (0.0, 0.0)


def measured(ms: float, *, spread_ms: float = 0.0, runs: int = 25) -> Timing:
    return Timing(median_s=ms / 1e3, spread_s=spread_ms / 1e3, samples=runs)


def test_a_profile_is_no_different_from_itself() -> None:
    found = compare(edge_profile(), edge_profile())
    assert found.is_same_model
    assert found.differences == ()
    assert found.notes == ()
    pairs = [found.whole, *(each.forward for each in found.layers), *(each.prefix for each in found.cuts)]
    assert {each.verdict for each in pairs} == {"same"}
    assert {each.ratio for each in pairs if each.a.median_s} == {1.0}


@pytest.mark.parametrize(("b_ms", "verdict"), [(10.6, "same"), (10.7, "more"), (9.4, "same"), (9.3, "less")])
def test_medians_differ_where_their_notches_do_not_overlap(b_ms: float, verdict: str) -> None:
    """1.57 * 1 ms / sqrt(25) is 0.314 ms on either side: 0.628 ms together."""
    found = times(measured(10, spread_ms=1), measured(b_ms, spread_ms=1), QUIET)
    assert found.verdict == verdict
    assert found.ratio == pytest.approx(b_ms / 10)


def test_more_runs_tell_smaller_differences_apart() -> None:
    assert times(measured(10, spread_ms=1), measured(10.5, spread_ms=1), QUIET).verdict == "same"
    many = times(measured(10, spread_ms=1, runs=100), measured(10.5, spread_ms=1, runs=100), QUIET)
    assert many.verdict == "more"


def test_a_noisy_machine_tells_less_apart() -> None:
    """Whole runs that varied by 10 % widen a notch to half of that: 0.5 ms and 0.55 ms here."""
    a, b = measured(10), measured(11)
    assert times(a, b, (0.1, 0.0)).verdict == "more"
    assert times(a, b, (0.1, 0.1)).verdict == "same"


@pytest.mark.parametrize("how", ["calibrated", "predicted"])
def test_what_was_not_measured_gets_no_verdict(how: str) -> None:
    found = times(timing(10), timing(20, how=how), QUIET)
    assert found.verdict == "unknown"
    assert found.ratio == pytest.approx(2)


def test_runs_too_few_to_vary_get_no_verdict() -> None:
    assert times(measured(10, runs=2), measured(20, runs=25), QUIET).verdict == "unknown"


def test_a_time_of_zero_has_no_ratio() -> None:
    assert times(timing(0), timing(3), QUIET).ratio is None


def test_energies_differ_beyond_their_intervals_unless_assumed() -> None:
    a = Quantity(value=1.0, interval=0.3, origin="measured")
    near, far = replace(a, value=1.4), replace(a, value=1.5)  # hypot(0.3, 0.3) is 0.424
    assert [energies(a, each).verdict for each in (near, far)] == ["same", "more"]  # type: ignore[union-attr]
    assert energies(a, replace(far, origin="assumed")).verdict == "unknown"  # type: ignore[union-attr]
    assert energies(a, replace(far, interval=0.0)).verdict == "unknown"  # type: ignore[union-attr]
    assert energies(a, None) is None


def test_everything_that_is_not_the_same_is_named() -> None:
    a = edge_profile()
    b = replace(
        a,
        device=DeviceInfo(name="edge", machine="x86_64", cpu="EPYC", cores=4),
        runtime=replace(a.runtime, name="ort", threads=2, versions={"onnxruntime": "1.2", "torch": "2.14"}),
        binding={"b": 4},
        created="2026-02-02",
    )
    named = {each.what: (each.a, each.b) for each in compare(a, b).differences}
    assert named == {
        "machine": ("aarch64", "x86_64"),
        "cpu": ("Cortex-A76", "EPYC"),
        "runtime name": ("eager", "ort"),
        "runtime threads": ("1", "2"),
        "onnxruntime": ("", "1.2"),
        "torch": ("2.13.0", "2.14"),
        "sizes": ("b=1", "b=4"),
        "made": (a.created, "2026-02-02"),
    }
    assert any("different sizes" in note for note in compare(a, b).notes)


def test_the_same_layers_with_other_weights_are_compared_with_a_note() -> None:
    found = compare(edge_profile(), replace(edge_profile().slowed(2), model_digest="77" * 32))
    assert not found.is_same_model
    assert [each.forward.ratio for each in found.layers] == [pytest.approx(2)]
    assert "different bundles" in found.notes[0]


def test_different_models_are_refused() -> None:
    other = edge_profile()
    other = replace(other, model_digest="77" * 32, layers=(replace(other.layers[0], id="head"),))
    with pytest.raises(ProfileError, match=r"different models, toy \(5f5f.*\) and toy \(7777.*\(0 of 1 and 1"):
        compare(edge_profile(), other)


def test_cuts_of_one_profile_only_are_counted() -> None:
    a = edge_profile()
    found = compare(a, replace(a, cuts=tuple(cut for cut in a.cuts if cut.name != "after:block1")))
    assert [each.a.name for each in found.cuts] == ["cloud", "after:stem", "after:block2", "local"]
    assert found.notes == ("1 cuts are in one of them only",)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Profile, Profile]:
    a = edge_profile()
    a = replace(a, energy=assumed_energy(a, idle_w=2, active_w=5, source="a sheet"))
    b = a.slowed(3)
    paths = tmp_path / "a.json", tmp_path / "b.json"
    dump_profile(a, paths[0])
    dump_profile(b, paths[1])
    return *paths, a, b


def test_the_command_gives_the_profiles_numbers(
    files: tuple[Path, Path, Profile, Profile], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(files[0]), str(files[1]), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "cleft.compare/1"
    assert found["whole"]["ratio"] == pytest.approx(3)
    assert found["whole"]["verdict"] == "more"
    assert found["whole_energy"]["a"] == {"value": pytest.approx(0.8), "interval": 0.0, "origin": "assumed"}
    assert [each["prefix"]["b"]["median_s"] for each in found["cuts"]] == [cut.prefix.median_s for cut in files[3].cuts]
    assert [each["what"] for each in found["differences"]] == ["emulated slow-down"]


def test_the_command_prints_both_sides(
    files: tuple[Path, Path, Profile, Profile], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(files[0]), str(files[1])]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "toy: B takes 3.00 times as long as A for the whole"
    row = next(line.split() for line in lines if line.startswith("after:block2"))
    assert row == ["after:block2", "20.0", "ms", "60.0", "ms", "3.00", "100", "mJ?", "300", "mJ?"]
    assert "? assumed" in lines[-1] or any("assumed" in line for line in lines)


def test_the_command_says_what_is_wrong(files: tuple[Path, Path, Profile, Profile], tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text(files[0].read_text()[:500])
    assert main(["compare", str(files[0]), str(broken)]) == 1
    assert main(["compare", str(files[0]), str(tmp_path / "none.json")]) == 1
    assert main(["compare", str(files[0]), str(files[1]), "-o", str(tmp_path / "x.html")]) == 2


def test_a_picture_of_two_profiles_shows_their_ratios(files: tuple[Path, Path, Profile, Profile]) -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    from partitioner.report.figures_axes import style
    from partitioner.report.figures_compare import draw_comparison

    found = compare(files[2], files[3])
    with style():
        figure = Figure(layout="constrained")
        draw_comparison(figure, found)
    times_axes, ratio_axes = figure.axes
    heights = [bar.get_height() for bar in times_axes.patches]
    assert heights == pytest.approx([4.0, 12.0])  # ms, of the one layer on both
    points = [line for line in ratio_axes.lines if str(line.get_gid()).startswith("ratio-")]
    assert [line.get_gid() for line in points] == ["ratio-more"]
    assert math.isclose(float(points[0].get_ydata()[0]), 3.0)


@pytest.mark.parametrize(("shares", "unit"), [((0.5, 2.0), 2.0), ((0.001, 2.0), 10.0)])
def test_ratios_stand_on_doublings_or_on_powers_of_ten(shares: tuple[float, ...], unit: float) -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    from partitioner.report.figures_compare import draw_comparison

    a = edge_profile()
    layers = tuple(replace(a.layers[0], id=f"l{index}", forward=timing(4.0)) for index in range(len(shares)))
    a = replace(a, layers=layers)
    b = replace(
        a, layers=tuple(replace(each, forward=timing(4.0 * share)) for each, share in zip(layers, shares, strict=True))
    )
    figure = Figure()
    draw_comparison(figure, compare(a, b))
    ticks = [tick for tick in figure.axes[1].get_yticks() if 0.9 * shares[0] < tick < 1.1 * shares[1]]
    assert 1.0 in ticks
    assert {round(high / low, 6) for low, high in pairwise(ticks)} == {unit}
