"""A slider that is dragged over DenseNet-121's 189 cuts: what a frame takes, in the browser.

``CLEFT_BENCH=full`` drags longer and prints the figures; the median of what the page itself does must stay far within
the 16.7 ms of a frame at 60 Hz.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest

from partitioner.cost import RadioUse
from partitioner.planner import Planner
from partitioner.profile import Profile
from partitioner.radio import RADIOS
from tests.browser.choices import RATIO
from tests.browser.chromium import Chromium

pytestmark = pytest.mark.benchmark

IS_FULL = os.environ.get("CLEFT_BENCH") == "full"
STEPS = 300 if IS_FULL else 60
FRAME_MS = 1000 / 60

WATCH = """
window.watched = {work: [], frames: [], forced: 0};
const ask = window.requestAnimationFrame.bind(window);
window.requestAnimationFrame = (call) => ask((now) => {
  const begin = performance.now();
  call(now);
  watched.work.push(performance.now() - begin);
});
let last = 0;
const tick = (now) => { if (last) watched.frames.push(now - last); last = now; ask(tick); };
ask(tick);
"""


@pytest.mark.parametrize(("width", "slider"), [(1440, "up"), (1440, "rtt"), (360, "up"), (360, "rtt")])
def test_a_dragged_slider_is_fluid(
    width: int,
    slider: str,
    browser: Chromium,
    written: Callable[..., Path],
    densenet: Profile,
    slow_densenet: Profile,
) -> None:
    planner = Planner.from_profiles(
        slow_densenet, densenet, codecs=None, down_per_up=RATIO, radio=RadioUse(model=RADIOS["4g"])
    )
    browser.show(width, 900, mobile=width < 700)
    script = browser.send("Page.addScriptToEvaluateOnNewDocument", source=WATCH)["identifier"]
    browser.open(written(planner, slow_densenet, densenet))
    browser.send("Page.removeScriptToEvaluateOnNewDocument", identifier=script)
    browser.send("Performance.enable")
    box = browser.call(
        "(id) => { const each = document.getElementById(id); each.scrollIntoView({block: 'center'});"
        "const box = each.getBoundingClientRect(); return [box.left + 10, box.top + box.height / 2, box.width - 20] }",
        slider,
    )
    left, y, room = box  # type: ignore[misc]
    browser.mouse("mousePressed", left, y, is_down=True)
    browser.settle()
    browser.evaluate("watched.work.length = 0; watched.frames.length = 0")
    before = _layout(browser)
    for step in range(STEPS):
        browser.mouse("mouseMoved", left + room * (step + 1) / STEPS, y, is_down=True)
    browser.settle()
    spent = {name: value - before[name] for name, value in _layout(browser).items()}
    browser.mouse("mouseReleased", left + room, y)
    found = browser.evaluate("watched")
    work = sorted(each for each in found["work"] if each > 0.2)  # type: ignore[index,call-overload]
    frames = sorted(found["frames"])  # type: ignore[index,call-overload]
    late = sum(each > 1.5 * FRAME_MS for each in frames) / len(frames)
    styled_ms = (spent["LayoutDuration"] + spent["RecalcStyleDuration"]) * 1e3 / len(work)
    print(
        f"{width} px, {slider}: script {median(work):.1f} ms a frame (95 %: {work[int(len(work) * 0.95)]:.1f}), "
        f"style and layout {styled_ms:.1f} ms; frames {median(frames):.1f} ms apart, {late:.0%} late, of {len(frames)}"
    )
    assert len(work) >= 10
    assert median(work) + styled_ms < FRAME_MS
    assert spent["LayoutCount"] <= 2.5 * len(work)


def _layout(browser: Chromium) -> dict[str, float]:
    names = ("LayoutDuration", "RecalcStyleDuration", "LayoutCount")
    metrics = browser.send("Performance.getMetrics")["metrics"]
    return {each["name"]: each["value"] for each in metrics if each["name"] in names}  # type: ignore[attr-defined]
