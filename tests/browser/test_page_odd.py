"""The page of profiles that nobody draws for: predicted, of hundreds of layers, of none, of hostile names."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from partitioner.planner import Planner
from partitioner.profile import Profile
from partitioner.units import ms
from tests.browser.choices import LINK
from tests.browser.chromium import Chromium
from tests.unit.partitioner.synthetic_profiles import cloud_profile, edge_profile, timing

Written = Callable[..., Path]


def test_what_was_never_measured_is_marked_wherever_it_stands(browser: Chromium, written: Written) -> None:
    edge = edge_profile()
    guessed = {"how": "predicted", "samples": 0}
    edge = replace(
        edge,
        created="",
        whole=replace(edge.whole, **guessed),  # type: ignore[arg-type]
        layers=tuple(replace(each, forward=replace(each.forward, **guessed)) for each in edge.layers),  # type: ignore[arg-type]
        cuts=tuple(replace(cut, prefix=replace(cut.prefix, **guessed)) for cut in edge.cuts),  # type: ignore[arg-type]
    )
    browser.open(written(Planner.from_profiles(edge, cloud_profile()), edge, cloud_profile()))
    browser.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true })")
    browser.settle()
    assert ", predicted) and " in browser.text("pair")
    assert ", predicted" in str(browser.evaluate("document.getElementById('layers-chart').textContent"))
    assert browser.text("made").startswith(f"Measured {cloud_profile().created[:10]}.")
    marked = "[...document.querySelectorAll('#best-unit, #rows li:not([hidden]) .value, #all-layers td:nth-child(3)')]"
    shown = browser.evaluate(f"{marked}.map((each) => each.textContent)")
    assert len(shown) >= 4  # type: ignore[arg-type]
    assert all(str(each).endswith("ms^") for each in shown)  # type: ignore[union-attr]


def test_of_more_layers_than_pixels_the_cheapest_are_drawn(browser: Chromium, written: Written) -> None:
    count = 700
    edge, cloud = _of_layers(edge_profile(), count), _of_layers(cloud_profile(), count)
    planner = Planner.from_profiles(edge, cloud)
    browser.show(360, 800, mobile=True)
    browser.open(written(planner, edge, cloud))
    assert browser.text("best-cut") == "after:layer350" == planner.at(LINK).candidate.label
    width = browser.evaluate("document.getElementById('cuts-plot').clientWidth")
    for path in ("path.area.head", "path.bars"):
        drawn = browser.call("(path) => document.querySelector(path).getAttribute('d').split('M').length - 1", path)
        assert 100 < int(drawn) < int(width), path  # type: ignore[call-overload]
    top, line = browser.evaluate(
        "(() => { const at = (path) => document.querySelector(path).getAttribute('d');"
        "const tops = at('path.area.tail').match(/V[\\d.]+H/g).map((each) => parseFloat(each.slice(1)));"
        "return [Math.max(...tops), parseFloat(at('#cuts-chart path.chosen').split('M')[2].split(' ')[1])] })()"
    )  # type: ignore[misc]
    assert top == line  # of the lowest column, and of the ring around the best plan


def _of_layers(profile: Profile, count: int) -> Profile:
    """The same of so many layers, with a cut after each; the one in the middle sends least."""
    layer, (first, *_, inner, last) = profile.layers[0], profile.cuts
    cuts = [
        replace(
            inner,
            id=f"id{depth}x",
            name=f"after:layer{depth}",
            depth=depth,
            prefix=timing(40.0 * depth / count),
            suffix=timing(40.0 * (count - depth) / count),
            codecs=tuple(replace(each, up_bytes=1000 + 10_000 * abs(depth - count // 2)) for each in inner.codecs),
        )
        for depth in range(1, count)
    ]
    layers = tuple(replace(layer, id=f"l{each}", name=f"layer{each}") for each in range(count))
    return replace(profile, layers=layers, flows=(), cuts=(first, *cuts, replace(last, depth=count)))


def _of_nothing(profile: Profile) -> Profile:
    none = timing(0)
    free = {"encode_s": 0.0, "decode_s": 0.0, "up_bytes": 0}
    cuts = tuple(
        replace(
            cut,
            prefix=none,
            suffix=none,
            codecs=tuple(replace(each, **free) for each in cut.codecs),  # type: ignore[arg-type]
            reply_cost=replace(cut.reply_cost, **free),  # type: ignore[arg-type]
        )
        for cut in profile.cuts
    )
    layers = tuple(replace(each, forward=none, output_bytes=0) for each in profile.layers)
    return replace(
        profile, cuts=cuts, layers=layers, whole=none, source=replace(profile.source, preprocess=None, nbytes=0)
    )


ODD = {
    "that takes no time": _of_nothing,
    "of two cuts": lambda profile: replace(profile, cuts=(profile.cuts[0], replace(profile.cuts[-1], depth=1))),
    "without layers": lambda profile: replace(profile, layers=(), flows=()),
    "that takes for ever": lambda profile: profile.slowed(1e9),
    "that takes a nanosecond": lambda profile: profile.slowed(1e-9),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_profile_is_drawn(name: str, browser: Chromium, written: Written) -> None:
    edge, cloud = ODD[name](edge_profile()), ODD[name](cloud_profile())
    planner = Planner.from_profiles(edge, cloud, codecs=None)
    browser.open(written(planner, edge, cloud))
    assert browser.text("best-ms") + " ms" == ms(planner.at(LINK).predicted_s)
    for address in ("up=1000&deadline=1&by=throughput", "up=0.000001&queue=5000&slowdown=50"):
        browser.call("(address) => { location.hash = address }", address)
        browser.settle()
        drawn = browser.evaluate(
            "[...document.querySelectorAll('path')].map((each) => each.getAttribute('d')).join()"
            "+ document.body.innerText"
        )
        assert not re.search("NaN|Infinity|undefined|null", str(drawn)), address


def test_names_of_a_hostile_profile_are_shown_and_not_run(browser: Chromium, written: Written) -> None:
    name = "</script><img src=x onerror='window.hacked=1'>\"&amp;"
    edge = edge_profile()
    edge = replace(
        edge,
        model_name=name,
        layers=tuple(replace(each, name=name, kind=name) for each in edge.layers),
        cuts=tuple(
            replace(cut, name=cut.name if cut.name in ("cloud", "local") else cut.name + name) for cut in edge.cuts
        ),
    )
    cloud = replace(cloud_profile(), model_name=name, cuts=tuple(cut.slowed(0.1) for cut in edge.cuts))
    browser.open(written(Planner.from_profiles(edge, cloud), edge, cloud, title=name))
    browser.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true })")
    browser.settle()
    assert browser.evaluate("document.title") == name
    assert browser.text("title") == name
    assert browser.evaluate("[window.hacked === undefined, document.images.length]") == [True, 0]
