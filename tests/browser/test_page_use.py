"""The page under real keys, a real mouse and real fingers: what it says is what the planner says."""

from __future__ import annotations

import json
from collections.abc import Callable
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
from tests.unit.partitioner.synthetic_profiles import cloud_profile, edge_profile

Written = Callable[..., Path]

ENDS = {"local": "everything on the device", "cloud": "everything in the cloud"}
KEYS = {"ArrowRight": 39, "ArrowLeft": 37, "Home": 36, "End": 35, "PageUp": 33, "PageDown": 34, "Escape": 27}


def link_of(browser: Chromium) -> tuple[Link, Load]:
    """The situation that the page's own numbers say."""
    names = ["up", "down", "rtt", "queue", "slowdown"]
    found = browser.call("(ids) => ids.map((id) => Number(document.getElementById(`${id}-number`).value))", names)
    up, down, rtt_ms, queue_ms, slowdown = found  # type: ignore[misc]
    return Link.from_mbit(up, down, rtt_ms), Load(queue_s=queue_ms * 1e-3, slowdown=slowdown)


def assert_shows(browser: Chromium, decision: Decision) -> None:
    name = decision.candidate.cut
    assert browser.text("best-cut") == ENDS.get(name, decision.candidate.label)
    assert f"{browser.text('best-ms')} ms" == ms(decision.predicted_s)


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
        for key in ("PageUp", "Home", "ArrowRight", "End"):
            browser.press(key, code=KEYS[key])
            browser.settle()
            link, load = link_of(browser)
            assert_shows(browser, planner.at(link, load))
            seen.add((link, load))
    assert len(seen) > 12


def test_a_slider_follows_the_mouse(browser: Chromium, path: Path, planner: Planner) -> None:
    browser.open(path)
    left, y, width, _ = centre(browser, "#up")
    cuts = set()
    browser.mouse("mousePressed", left + width / 2, y, is_down=True)
    for step in range(10):
        browser.mouse("mouseMoved", left + width * (step + 0.5) / 10, y, is_down=True)
        browser.settle()
        link, load = link_of(browser)
        assert_shows(browser, planner.at(link, load))
        assert link.down_bytes_per_s == pytest.approx(link.up_bytes_per_s * RATIO, rel=1e-3)
        cuts.add(browser.text("best-cut"))
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
    for step in range(5):
        where = [{"x": left + width * (0.2 + step * 0.15), "y": y}]
        browser.send("Input.dispatchTouchEvent", type="touchMove", touchPoints=where)
        browser.settle()
        link, load = link_of(browser)
        assert_shows(browser, planner.at(link, load))
        cut = planner.at(link, load).candidate.cut
        same = [each for each in points if each.candidate is not None and each.candidate.cut == cut]
        begin, end = min(each.from_up_bytes_per_s for each in same), max(each.to_up_bytes_per_s for each in same)
        said = browser.text("span")
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
    shown = browser.text("best-ms")
    for nonsense in ("-5", "0", "1e400", ""):
        browser.evaluate("document.getElementById('up-number').select()")
        browser.send("Input.insertText" if nonsense else "Input.dispatchKeyEvent", **_typed(nonsense))
        browser.settle()
        assert browser.evaluate("document.getElementById('up-number').getAttribute('aria-invalid')") == "true"
        assert browser.text("best-ms") == shown
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


def test_a_broken_address_is_left_out(browser: Chromium, written: Written) -> None:
    planner = Planner.from_profiles(edge_profile(), cloud_profile())
    broken = ["up=&by=%%%", "up=-1&down=x&deadline", "energy=1&__proto__=3", "&&==&#"]
    browser.open(written(planner, edge_profile(), cloud_profile()), fragment=broken[0])
    for address in broken:
        browser.call("(address) => { location.hash = address }", address)
        browser.settle()
        assert_shows(browser, planner.at(LINK))


def test_limits_that_nothing_keeps_are_said(browser: Chromium, path: Path, planner: Planner) -> None:
    browser.open(path, fragment="deadline=1")
    fastest = planner.at(LINK)
    over, least = mbit(LINK.up_bytes_per_s), ms(fastest.predicted_s)
    assert browser.text("verdict") == f"No plan over {over} keeps 1.00 ms (the fastest takes {least})"
    assert_shows(browser, fastest)
    assert browser.text("best-title") == "No plan keeps the limits; without them"


def test_cuts_can_be_looked_at_by_keys_and_by_mouse(browser: Chromium, path: Path, planner: Planner) -> None:
    browser.open(path, fragment="up=1.1")
    browser.call("() => document.getElementById('look').focus()")
    for _ in range(3):
        browser.press("ArrowLeft", code=37)
    browser.settle()
    looked = browser.text("looked")
    assert "more:" in looked
    assert looked == browser.evaluate("document.getElementById('look').getAttribute('aria-valuetext')")
    assert browser.evaluate("document.querySelector('#rows .looked').hidden") is False
    browser.press("Escape", code=27)
    browser.settle()
    assert browser.text("looked").endswith("the best")
    left, y, width, _ = centre(browser, "#cuts-plot")
    browser.mouse("mouseMoved", left + width * 0.6, y)
    browser.settle()
    assert "more:" in browser.text("looked")
    browser.mouse("mouseMoved", 2, 2)
    browser.settle()
    assert browser.text("looked").endswith("the best")


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


def test_cuts_that_are_not_allowed_are_greyed_and_never_chosen(
    browser: Chromium, written: Written, densenet: Profile, slow_densenet: Profile
) -> None:
    planner = Planner.from_profiles(slow_densenet, densenet, constraints=Constraints(min_depth=40))
    browser.open(written(planner, slow_densenet, densenet), fragment="up=500")
    assert_shows(browser, planner.at(Link.from_mbit(500, 500 * RATIO, 40)))
    assert str(browser.evaluate("document.querySelector('path.refused').getAttribute('d')")).startswith("M")


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
