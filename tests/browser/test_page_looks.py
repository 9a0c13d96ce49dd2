"""Phones and wide screens, light and dark, paper, and readers of screens."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.chromium import Chromium

LEAST_CONTRAST = 4.5
"""WCAG 2.1, level AA, for text."""

TOKENS = ("ink", "quiet", "alarm", "device", "energy", "network-text")


@pytest.mark.parametrize("widths", [(320, 360, 619), (620, 979, 980, 2560)], ids=["phones", "desks"])
def test_it_fits_every_screen(widths: tuple[int, ...], browser: Chromium, path: Path) -> None:
    for width in widths:
        browser.show(width, 760, mobile=width < 620)
        if width == widths[0]:
            browser.open(path)
        browser.settle()
        assert_fits(browser)


def assert_fits(browser: Chromium) -> None:
    assert browser.evaluate("document.getElementById('cuts-chart').clientWidth > 0")
    fits = browser.evaluate(
        "(() => { document.querySelectorAll('details').forEach((each) => { each.open = true });"
        "const parts = 'section, form, .slider, .split, .plot, #rows li, #parties > div';"
        "const all = [...document.querySelectorAll(parts)];"
        "const over = all.filter((each) => each.getBoundingClientRect().right > innerWidth + 0.5);"
        "const isWithin = document.documentElement.scrollWidth <= innerWidth;"
        "return [isWithin, over.map((each) => each.id || each.className)] })()"
    )
    assert fits == [True, []]
    small = browser.evaluate(
        "[...document.querySelectorAll('button, input[type=range]:not(.reader), .chip, summary')]"
        ".filter((each) => each.getBoundingClientRect().height < 24).map((each) => each.textContent || each.id)"
    )
    assert small == []


def test_no_size_makes_the_page_complain_to_the_console(browser: Chromium, path: Path) -> None:
    watch = "window.told = []; addEventListener('error', (event) => told.push(event.message))"
    added = browser.send("Page.addScriptToEvaluateOnNewDocument", source=watch)
    try:
        browser.show(390, 760, mobile=True)
        browser.open(path)
        for width in (1300, 390):
            browser.show(width, 760)
            browser.settle()
        assert browser.evaluate("told") == []
    finally:
        browser.send("Page.removeScriptToEvaluateOnNewDocument", identifier=added["identifier"])


def test_on_a_phone_the_answer_stays_in_sight_while_sliders_are_moved(browser: Chromium, path: Path) -> None:
    browser.show(360, 760, mobile=True)
    browser.open(path)
    for name in ("up", "queue", "deadline"):
        seen = browser.call(
            "(id) => { document.getElementById(id).scrollIntoView({block: 'end'});"
            "const box = document.getElementById('best-ms').getBoundingClientRect();"
            "return box.top >= 0 && box.bottom <= innerHeight / 2 }",
            name,
        )
        assert seen is True, name


@pytest.mark.parametrize("dark", [False, True])
def test_its_text_can_be_read(dark: bool, browser: Chromium, path: Path) -> None:
    browser.show(1280, 900, dark=dark)
    browser.open(path)
    colours = browser.call(
        "(names) => { const style = getComputedStyle(document.documentElement);"
        "return names.map((name) => style.getPropertyValue(`--${name}`).trim()) }",
        ["ground", "panel", *TOKENS],
    )
    ground, panel, *texts = map(_luminance, colours)  # type: ignore[call-overload]
    assert (ground < 0.1) is dark
    for name, text in zip(TOKENS, texts, strict=True):
        assert min(_contrast(text, ground), _contrast(text, panel)) >= LEAST_CONTRAST, name


def test_readers_of_screens_are_told_everything(browser: Chromium, path: Path) -> None:
    browser.open(path)
    tree = list(_tree(browser))
    for role in ("slider", "spinbutton", "radio", "button", "checkbox", "radiogroup", "table", "form", "region"):
        names = [str(each["name"]) for each in tree if each["role"] == role]
        assert names, role
        assert all(names), role
    sliders = [str(each["name"]) for each in tree if each["role"] == "slider"]
    assert {"Uplink", "Downlink", "Round trip", "Deadline", "Look at a cut"} <= set(sliders)
    said = browser.call(
        "(ids) => ids.map((id) => document.getElementById(id).getAttribute('aria-valuetext'))",
        ["up", "deadline", "slowdown", "look"],
    )
    assert said[:3] == ["5.85 Mbit/s", "none", "1 ×"]  # type: ignore[index]
    assert said[3].endswith(" ms, the best")  # type: ignore[index]
    parts = next(str(each["name"]) for each in tree if each["role"] == "image")
    assert parts.startswith("Where the time goes: Device ")
    assert "Network" in parts
    assert {"status", "heading", "rowheader", "columnheader"} <= {str(each["role"]) for each in tree}


def test_what_rests_is_spoken_once(browser: Chromium, path: Path) -> None:
    browser.open(path)
    browser.evaluate(
        "window.spoken = []; new MutationObserver(() => spoken.push(document.getElementById('spoken').textContent))"
        ".observe(document.getElementById('spoken'), {childList: true, characterData: true, subtree: true});"
        "document.getElementById('up').focus()"
    )
    for _ in range(6):
        browser.press("PageDown", code=34)
    browser.settle()
    browser.evaluate(
        "new Promise((done) => { const look = () => spoken.length ? done(1) : requestAnimationFrame(look); look() })"
    )
    browser.settle()
    spoken = browser.evaluate("spoken")
    assert len(spoken) == 1  # type: ignore[arg-type]
    assert str(browser.evaluate("document.getElementById('best-ms').textContent")) in spoken[0]  # type: ignore[index]


def test_on_paper_it_is_light_without_sliders_and_says_the_situation(browser: Chromium, path: Path) -> None:
    browser.show(1280, 900, dark=True)
    browser.open(path, fragment="up=2&queue=30")
    dark = {"name": "prefers-color-scheme", "value": "dark"}
    browser.send("Emulation.setEmulatedMedia", media="print", features=[dark])
    browser.settle()
    seen = browser.evaluate(
        "[getComputedStyle(document.getElementById('controls')).display,"
        "document.getElementById('situation').innerText,"
        "getComputedStyle(document.body).backgroundColor]"
    )
    assert seen == [
        "none",
        "2.00 Mbit/s up, 4.70 Mbit/s down, round trip 40.0 ms, 30.0 ms of waiting for the worker; best by latency.",
        "rgb(255, 255, 255)",
    ]
    printed = base64.b64decode(str(browser.send("Page.printToPDF", printBackground=True)["data"]))
    assert printed.startswith(b"%PDF")


def _tree(browser: Chromium) -> Iterator[dict[str, object]]:
    for each in browser.send("Accessibility.getFullAXTree")["nodes"]:  # type: ignore[attr-defined]
        if not each.get("ignored"):
            yield {name: each.get(name, {}).get("value", "") for name in ("role", "name")}


def _luminance(colour: str) -> float:
    """Of a colour such as ``#1a1e23``; WCAG 2.1."""
    assert colour.startswith("#"), colour
    full = colour[1:] if len(colour) == 7 else "".join(2 * each for each in colour[1:])
    shares = [int(full[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (each / 12.92 if each <= 0.03928 else ((each + 0.055) / 1.055) ** 2.4 for each in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)
