"""Whole pages: laid out whatever the profile, and the same bytes each time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from figured_profiles import WIFI, planned, profile
from synthetic_profiles import cloud_profile

from partitioner.assumed import assumed_energy
from partitioner.cli import main
from partitioner.cost import IDLE
from partitioner.link import Link
from partitioner.optimize.objectives import Upload
from partitioner.planner import Planner
from partitioner.profile import Profile, Timing
from partitioner.profiles import dump_profile
from partitioner.report.shown import Shown, plans_of

matplotlib = pytest.importorskip("matplotlib")

from partitioner.report.figures import draw, drawable, write  # noqa: E402
from partitioner.report.figures_axes import style  # noqa: E402


@pytest.fixture(autouse=True)
def styled() -> Iterator[None]:
    with style():
        yield


def test_figures_that_cannot_be_drawn_are_not_offered() -> None:
    assert drawable(Shown(edge=profile())) == ("layers",)
    assert drawable(Shown(edge=profile(), plans=planned()[1])) == ("layers", "cuts", "rates", "pareto")
    assert drawable(Shown(edge=profile(), plans=planned(objective=Upload())[1])) == ("layers", "cuts", "pareto")


def without_times(made: Profile) -> Profile:
    none = Timing(median_s=0.0)
    return replace(
        made,
        whole=none,
        layers=tuple(replace(layer, forward=none, output_bytes=0) for layer in made.layers),
        cuts=tuple(replace(cut, prefix=none, suffix=none) for cut in made.cuts),
    )


def without_layers(made: Profile) -> Profile:
    return replace(made, layers=())


def without_splits(made: Profile) -> Profile:
    return replace(made, cuts=(made.cuts[0], made.cuts[-1]))


@pytest.mark.parametrize(
    ("spoil", "link"),
    [
        (without_times, Link.from_mbit(1e9, 1e9, 0)),
        (without_layers, WIFI),
        (without_splits, Link.from_mbit(1e-6, 1e-6, 1e6)),
    ],
)
def test_odd_profiles_are_laid_out_without_a_warning(spoil: Callable[[Profile], Profile], link: Link) -> None:
    edge, cloud = spoil(profile(has_energy=False)), spoil(replace(cloud_profile(), layers=profile().layers))
    edge = replace(edge, energy=assumed_energy(edge, idle_w=2.0, active_w=5.0, source="a sheet"))
    shown = Shown(edge=edge, plans=plans_of(Planner.from_profiles(edge, cloud), link, IDLE))
    page = draw(shown, drawable(shown))
    assert page.get_size_inches()[0] == 7.16  # two columns
    assert len(page.subfigs) == 4


def test_one_drawing_is_the_same_bytes_whatever_the_settings(tmp_path: Path) -> None:
    small = profile(2, has_energy=False)
    shown = Shown(edge=small, plans=planned(edge=small)[1])
    for suffix, figure in (("svg", "pareto"), ("pdf", "layers"), ("png", "layers")):
        files = [tmp_path / f"{index}.{suffix}" for index in range(2)]
        write(shown, [figure], files[0])
        with matplotlib.rc_context({"lines.linewidth": 7, "font.size": 20, "svg.hashsalt": "other"}):
            write(shown, [figure], files[1])
        assert files[0].read_bytes() == files[1].read_bytes(), suffix
        assert files[0].stat().st_size > 5_000


def test_another_process_draws_the_same_bytes(tmp_path: Path) -> None:
    edge, cloud = profile(), replace(cloud_profile(), layers=profile().layers)
    dump_profile(edge, tmp_path / "edge.json")
    dump_profile(cloud, tmp_path / "cloud.json")
    (tmp_path / "matplotlibrc").write_text("axes.facecolor: red\nsvg.fonttype: none\n")
    words = ["show", str(tmp_path / "edge.json"), "--cloud", str(tmp_path / "cloud.json"), "--figure", "cuts"]
    here, there = tmp_path / "here.svg", tmp_path / "there.svg"
    assert main([*words, "-o", str(here)]) == 0
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from partitioner.cli import main; sys.exit(main())", *words, "-o", there],
        env={**os.environ, "PYTHONHASHSEED": "7", "TZ": "UTC+9", "MPLCONFIGDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert here.read_bytes() == there.read_bytes()


def test_drawing_leaves_the_users_settings_alone() -> None:
    with matplotlib.rc_context({"lines.linewidth": 7}):
        with style():
            assert matplotlib.rcParams["lines.linewidth"] != 7
        assert matplotlib.rcParams["lines.linewidth"] == 7
