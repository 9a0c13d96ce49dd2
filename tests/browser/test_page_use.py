"""The page under real keys, a real mouse and real fingers: what it says is what the planner says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from partitioner.cost import Load
from partitioner.link import Link
from partitioner.optimize.constraints import Constraints
from partitioner.optimize.objectives import objective_of
from partitioner.planner import Decision, Planner
from partitioner.profile import Profile
from partitioner.units import joules, mbit, ms
from tests.browser.choices import LINK, RATIO
from tests.browser.chromium import Chromium
from tests.unit.partitioner.synthetic_profiles import cloud_profile, edge_profile, timing

Written = Callable[..., Path]

ENDS = {"local": "everything on the device", "cloud": "everything in the cloud"}
KEYS = {"ArrowRight": 39, "ArrowLeft": 37, "Home": 36, "End": 35, "PageUp": 33, "PageDown": 34, "Escape": 27}


@pytest.fixture
def planner(densenet: Profile, slow_densenet: Profile) -> Planner:
    return Planner.from_profiles(slow_densenet, densenet, codecs=None, down_per_up=RATIO)


@pytest.fixture
def path(planner: Planner, densenet: Profile, slow_densenet: Profile, written: Written) -> Path:
    return written(planner, slow_densenet, densenet)


def text(browser: Chromium, name: str) -> str:
    return str(browser.call("(id) => document.getElementById(id).innerText", name))


def link_of(browser: Chromium) -> tuple[Link, Load]:
    """The situation that the page's own numbers say."""
    names = ["up", "down", "rtt", "queue", "slowdown"]
    found = browser.call("(ids) => ids.map((id) => Number(document.getElementById(`${id}-number`).value))", names)
    up, down, rtt_ms, queue_ms, slowdown = found  # type: ignore[misc]
    return Link.from_mbit(up, down, rtt_ms), Load(queue_s=queue_ms * 1e-3, slowdown=slowdown)


def assert_shows(browser: Chromium, decision: Decision) -> None:
    name = decision.candidate.cut
    assert text(browser, "best-cut") == ENDS.get(name, decision.candidate.label)
    assert f"{text(browser, 'best-ms')} ms" == ms(decision.predicted_s)


def centre(browser: Chromium, selector: str) -> tuple[float, float, float, float]:
    box = browser.call(
        "(s) => { const each = document.querySelector(s); each.scrollIntoView({block: 'center'});"
        "const box = each.getBoundingClientRect(); return [box.left, box.top, box.width, box.height] }",
        selector,
    )
    left, top, width, height = box  # type: ignore[misc]
    return left, top + height / 2, width, height


def test_every_slider_moves_the_answer_by_keys(browser: Chromium, path: Path, planner: Planner) -> None:
    browser.open(path)
    assert_shows(browser, planner.at(LINK))
    seen = set()
    for name in ("up", "down", "rtt", "queue", "slowdown"):
        browser.call("(id) => document.getElementById(id).focus()", name)
        for key in ("PageUp", "ArrowRight", "Home", "PageUp", "PageUp", "End", "ArrowLeft"):
            browser.press(key, code=KEYS[key])
            browser.settle()
            link, load = link_of(browser)
            assert_shows(browser, planner.at(link, load))
            seen.add((link, load))
    assert len(seen) > 25


def test_a_slider_follows_the_mouse(browser: Chromium, path: Path, planner: Planner) -> None:
    browser.open(path)
    left, y, width, _ = centre(browser, "#up")
    cuts = set()
    browser.mouse("mousePressed", left + width / 2, y, is_down=True)
    for step in range(24):
        browser.mouse("mouseMoved", left + width * (step + 0.5) / 24, y, is_down=True)
        browser.settle()
        link, load = link_of(browser)
        assert_shows(browser, planner.at(link, load))
        assert link.down_bytes_per_s == pytest.approx(link.up_bytes_per_s * RATIO, rel=1e-3)
        cuts.add(text(browser, "best-cut"))
    browser.mouse("mouseReleased", left + width, y)
    assert len(cuts) > 1


def test_the_strip_of_rates_follows_a_finger_and_agrees_with_the_table(
    browser: Chromium, path: Path, planner: Planner
) -> None:
    browser.show(390, 800, mobile=True)
    browser.send("Emulation.setTouchEmulationEnabled", enabled=True)
    browser.open(path)
    left, y, width, _ = centre(browser, "#rates-plot")
    points = planner.table(down_per_up=RATIO, rtt_s=LINK.rtt_s)
    browser.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": left + 60, "y": y}])
    for step in range(8):
        where = [{"x": left + width * (0.2 + step * 0.1), "y": y}]
        browser.send("Input.dispatchTouchEvent", type="touchMove", touchPoints=where)
        browser.settle()
        link, load = link_of(browser)
        assert_shows(browser, planner.at(link, load))
        cut = planner.at(link, load).candidate.cut
        same = [each for each in points if each.candidate is not None and each.candidate.cut == cut]
        begin, end = min(each.from_up_bytes_per_s for each in same), max(each.to_up_bytes_per_s for each in same)
        said = text(browser, "span")
        assert mbit(begin) in said or begin == 0 or f"below {mbit(end)}" in said
        assert end > 125e6 or mbit(end) in said
    browser.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    browser.send("Emulation.setTouchEmulationEnabled", enabled=False)


def test_numbers_may_be_typed_and_nonsense_is_marked(browser: Chromium, path: Path, planner: Planner) -> None:
    browser.open(path)
    browser.evaluate("document.getElementById('up-number').select()")
    browser.send("Input.insertText", text="0.731")
    browser.settle()
    assert_shows(browser, planner.at(Link.from_mbit(0.731, 0.731 * RATIO, 40)))
    shown = text(browser, "best-ms")
    for nonsense in ("-5", "0", "1e400", ""):
        browser.evaluate("document.getElementById('up-number').select()")
        browser.send("Input.insertText" if nonsense else "Input.dispatchKeyEvent", **_typed(nonsense))
        browser.settle()
        assert browser.evaluate("document.getElementById('up-number').getAttribute('aria-invalid')") == "true"
        assert text(browser, "best-ms") == shown
    browser.evaluate("document.getElementById('up-number').blur()")
    browser.settle()
    assert browser.evaluate("document.getElementById('up-number').value") == "0.731"


def _typed(value: str) -> dict[str, object]:
    return {"text": value} if value else {"type": "rawKeyDown", "key": "Delete", "windowsVirtualKeyCode": 46}


def test_the_address_keeps_the_situation(browser: Chromium, path: Path, planner: Planner) -> None:
    browser.open(path, fragment="up=2.5&down=9&rtt=12&queue=30&slowdown=4&by=throughput")
    wanted = Planner(planner.everything, objective=objective_of("throughput"))
    assert_shows(browser, wanted.at(Link.from_mbit(2.5, 9, 12), Load(queue_s=0.03, slowdown=4)))
    browser.call("() => document.querySelector('#objectives input[value=latency]').click()")
    browser.settle()
    assert browser.evaluate("location.hash") == "#up=2.5&down=9&rtt=12&queue=30&slowdown=4"
    browser.evaluate("document.getElementById('reset').click()")
    browser.settle()
    assert browser.evaluate("location.hash") == ""
    assert_shows(browser, planner.at(LINK))


@pytest.mark.parametrize("fragment", ["up=&by=%%%", "up=-1&down=x&deadline", "energy=1&__proto__=3", "&&==&#"])
def test_a_broken_address_is_left_out(fragment: str, browser: Chromium, written: Written) -> None:
    planner = Planner.from_profiles(edge_profile(), cloud_profile())
    browser.open(written(planner, edge_profile(), cloud_profile()), fragment=fragment)
    assert_shows(browser, planner.at(LINK))


def test_limits_that_nothing_keeps_are_said(browser: Chromium, path: Path, planner: Planner) -> None:
    browser.open(path, fragment="deadline=1")
    fastest = planner.at(LINK)
    over, least = mbit(LINK.up_bytes_per_s), ms(fastest.predicted_s)
    assert text(browser, "verdict") == f"No plan over {over} keeps 1.00 ms (the fastest takes {least})"
    assert_shows(browser, fastest)
    assert text(browser, "best-title") == "No plan keeps the limits; without them"


def test_cuts_can_be_looked_at_by_keys_and_by_mouse(browser: Chromium, path: Path, planner: Planner) -> None:
    browser.open(path, fragment="up=1.1")
    browser.call("() => document.getElementById('look').focus()")
    for _ in range(3):
        browser.press("ArrowLeft", code=37)
    browser.settle()
    looked = text(browser, "looked")
    assert "more:" in looked
    assert looked == browser.evaluate("document.getElementById('look').getAttribute('aria-valuetext')")
    assert browser.evaluate("document.querySelector('#rows .looked').hidden") is False
    browser.press("Escape", code=27)
    browser.settle()
    assert text(browser, "looked").endswith("the best")
    left, y, width, _ = centre(browser, "#cuts-plot")
    browser.mouse("mouseMoved", left + width * 0.6, y)
    browser.settle()
    assert "more:" in text(browser, "looked")
    browser.mouse("mouseMoved", 2, 2)
    browser.settle()
    assert text(browser, "looked").endswith("the best")


def test_the_tables_list_every_cut_and_layer(
    browser: Chromium, path: Path, planner: Planner, slow_densenet: Profile
) -> None:
    browser.open(path)
    rows = browser.evaluate(
        "document.querySelectorAll('details').forEach((each) => { each.open = true });"
        "new Promise((done) => setTimeout(() => done([...document.querySelectorAll('details table')]"
        ".map((each) => each.tBodies[0].rows.length)), 100))"
    )
    assert rows == [len({each.cut_id for each in planner.everything.candidates}), 188]
    first_layer = browser.evaluate("document.querySelector('#all-layers tbody tr').innerText.split('\\t')[3]")
    assert slow_densenet.energy is not None
    assert str(first_layer).strip() == f"{joules(slow_densenet.energy.layers[0].value)}?"
    best = planner.at(LINK)
    first = browser.evaluate("document.querySelector('#all-cuts tbody tr').innerText.split('\\t')")
    prices_s = planner.everything.price(LINK)
    of_cloud = [s for s, each in zip(prices_s, planner.everything.candidates, strict=True) if each.is_all_cloud]
    assert first[0].strip() == "cloud"  # type: ignore[index]
    assert first[2].strip().rstrip("*") == ms(min(of_cloud))  # type: ignore[index]
    assert min(of_cloud) >= best.predicted_s


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
    assert ", predicted) and " in text(browser, "pair")
    assert ", predicted" in str(browser.evaluate("document.getElementById('layers-chart').textContent"))
    assert text(browser, "made").startswith(f"Measured {cloud_profile().created[:10]}.")
    marked = "[...document.querySelectorAll('#best-unit, #rows li:not([hidden]) .value, #all-layers td:nth-child(3)')]"
    shown = browser.evaluate(f"{marked}.map((each) => each.textContent)")
    assert len(shown) >= 4  # type: ignore[arg-type]
    assert all(str(each).endswith("ms^") for each in shown)  # type: ignore[union-attr]


def test_cuts_that_are_not_allowed_are_greyed_and_never_chosen(
    browser: Chromium, written: Written, densenet: Profile, slow_densenet: Profile
) -> None:
    planner = Planner.from_profiles(slow_densenet, densenet, constraints=Constraints(min_depth=40))
    browser.open(written(planner, slow_densenet, densenet), fragment="up=500")
    assert_shows(browser, planner.at(Link.from_mbit(500, 500 * RATIO, 40)))
    assert str(browser.evaluate("document.querySelector('path.refused').getAttribute('d')")).startswith("M")


def test_of_more_layers_than_pixels_the_cheapest_are_drawn(browser: Chromium, written: Written) -> None:
    count = 700
    edge, cloud = _of_layers(edge_profile(), count), _of_layers(cloud_profile(), count)
    planner = Planner.from_profiles(edge, cloud)
    browser.show(360, 800, mobile=True)
    browser.open(written(planner, edge, cloud))
    assert text(browser, "best-cut") == "after:layer350" == planner.at(LINK).candidate.label
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
@pytest.mark.parametrize("fragment", ["", "up=1000&deadline=1&by=throughput", "up=0.000001&queue=5000&slowdown=50"])
def test_an_odd_profile_is_drawn(name: str, fragment: str, browser: Chromium, written: Written) -> None:
    edge, cloud = ODD[name](edge_profile()), ODD[name](cloud_profile())
    planner = Planner.from_profiles(edge, cloud, codecs=None)
    browser.open(written(planner, edge, cloud), fragment=fragment)
    if not fragment:
        assert_shows(browser, planner.at(LINK))
    drawn = browser.evaluate(
        "[...document.querySelectorAll('path')].map((each) => each.getAttribute('d')).join() + document.body.innerText"
    )
    assert not re.search("NaN|Infinity|undefined|null", str(drawn))


def test_names_of_a_hostile_profile_are_shown_and_not_run(browser: Chromium, written: Written) -> None:
    name = "</script><img src=x onerror='window.hacked=1'>\"&amp;"
    edge = edge_profile()
    edge = replace(
        edge,
        model_name=name,
        layers=tuple(replace(each, name=name, kind=name) for each in edge.layers),
        cuts=tuple(replace(cut, name=cut.name if cut.name in ENDS else cut.name + name) for cut in edge.cuts),
    )
    cloud = replace(cloud_profile(), model_name=name, cuts=tuple(cut.slowed(0.1) for cut in edge.cuts))
    browser.open(written(Planner.from_profiles(edge, cloud), edge, cloud, title=name))
    browser.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true })")
    browser.settle()
    assert browser.evaluate("document.title") == name
    assert text(browser, "title") == name
    assert browser.evaluate("[window.hacked === undefined, document.images.length]") == [True, 0]


def test_nothing_is_asked_of_the_network(browser: Chromium, path: Path) -> None:
    browser.send("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
    browser.open(path)
    browser.evaluate("document.getElementById('up').focus()")
    browser.press("PageUp", code=33)
    browser.settle()
    asked = [each["params"]["request"]["url"] for each in browser.events if "requestWillBeSent" in str(each["method"])]  # type: ignore[index]
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    browser.send(
        "Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1
    )
    assert json.loads(str(browser.evaluate("document.getElementById('facts').textContent")))["schema"] == "cleft.page/1"
