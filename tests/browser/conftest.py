"""One headless Chromium for all tests of the page, and a real DenseNet-121's profiles to show in it."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from partitioner.assumed import assumed_energy
from partitioner.cost import RadioUse
from partitioner.planner import Planner
from partitioner.profile import Profile
from partitioner.radio import RADIOS
from partitioner.report.page import render
from tests.browser.choices import LINK, RATIO
from tests.browser.chromium import Chromium, find_chromium

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="package")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    path = find_chromium()
    if path is None:
        pytest.skip("there is no Chromium: apt-get install chromium, or set CLEFT_CHROMIUM")
    browser = Chromium(path, tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture
def browser(chromium: Chromium) -> Iterator[Chromium]:
    """At desktop size, in light colours; whatever the page threw or logged as an error fails the test."""
    chromium.show(1280, 900)
    yield chromium
    faults = [each for each in chromium.events if each["method"] == "Runtime.exceptionThrown"]
    faults += [
        each
        for each in chromium.events
        if each["method"] == "Log.entryAdded" and each["params"]["entry"]["level"] == "error"  # type: ignore[index]
    ]
    assert not faults


@pytest.fixture(scope="session")
def densenet() -> Profile:
    """DenseNet-121 on ONNX Runtime, one thread of an EPYC: 188 layers, 189 cuts."""
    return Profile.loads(gzip.decompress((GOLDEN / "densenet121.json.gz").read_bytes()))


@pytest.fixture(scope="session")
def slow_densenet(densenet: Profile) -> Profile:
    """The same on a device that is eight times slower and takes 2 W at rest, 6 W at work."""
    slow = densenet.slowed(8)
    return replace(slow, energy=assumed_energy(slow, idle_w=2.0, active_w=6.0, source="a sheet"))


@pytest.fixture(scope="session")
def planner(densenet: Profile, slow_densenet: Profile) -> Planner:
    """Its plans between the slow device and a worker, over 4G."""
    return Planner.from_profiles(
        slow_densenet, densenet, codecs=None, down_per_up=RATIO, radio=RadioUse(model=RADIOS["4g"])
    )


@pytest.fixture(scope="session")
def path(planner: Planner, densenet: Profile, slow_densenet: Profile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of these plans."""
    made = tmp_path_factory.mktemp("page") / "densenet.html"
    title = "densenet121: where to cut"
    made.write_text(render(planner, slow_densenet, densenet, link=LINK, title=title), encoding="utf-8")
    return made


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Write the page of a planner and its profiles."""

    def write(planner: Planner, edge: Profile, cloud: Profile | None = None, *, title: str = "where to cut") -> Path:
        path = tmp_path / "page.html"
        path.write_text(render(planner, edge, cloud, link=LINK, title=title), encoding="utf-8")
        return path

    return write
