"""One HTML file that needs nothing else: style, script and facts are written into it.

Its content security policy allows the one script and the one style by their hashes and forbids every request, so the
page can be mailed and opened from a disk, and no name in a profile can become code: the facts are JSON in which ``<``
is escaped, and the script writes them as text.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from functools import cache
from importlib import resources

from partitioner.cost import IDLE, Load
from partitioner.link import Link
from partitioner.planner import Planner
from partitioner.profile import Profile
from partitioner.report.page.facts import facts_of

_SCRIPTS = (
    "units.js",
    "model.js",
    "situation.js",
    "picture.js",
    "plans.js",
    "cutschart.js",
    "layerschart.js",
    "rateschart.js",
    "frontchart.js",
    "tables.js",
    "telling.js",
    "bars.js",
    "controls.js",
    "page.js",
)


def render(planner: Planner, edge: Profile, cloud: Profile | None, *, link: Link, title: str, load: Load = IDLE) -> str:
    """The page of a model on a pair of devices: sliders for link and load, and the plan that is best at them.

    Args:
        planner: its frozen candidates, constraints and objective are the page's.
        edge: the device's profile, whose layers are shown.
        cloud: the worker's.
        link: where the sliders stand at first; the planner's cuts through branches were looked for along its rates.
        load: of the worker, likewise.
        title: the page's heading.

    Raises:
        UsageError: the planner's objective is none that the page can compute.
    """
    style, script = _asset("page.css"), "\n".join(map(_asset, _SCRIPTS))
    facts = json.dumps(
        facts_of(planner, edge, cloud, link=link, load=load, title=title),
        allow_nan=False,
        ensure_ascii=True,
        separators=(",", ":"),
    )
    parts = {
        "policy": f"default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'",
        "title": html.escape(title),
        "style": style,
        "script": script,
        "facts": facts.replace("<", "\\u003c"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _asset("page.html"))


@cache
def _asset(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
