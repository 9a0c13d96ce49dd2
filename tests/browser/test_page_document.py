"""The file itself, without a browser: one piece, the same every time, no name in it can become code."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from partitioner.cost import TERMS
from partitioner.errors import UsageError
from partitioner.link import PRESETS
from partitioner.optimize.objectives import Latency
from partitioner.planner import Planner
from partitioner.report.page import SCHEMA, render
from tests.unit.partitioner.synthetic_profiles import cloud_profile, edge_profile

LINK = PRESETS["4g"]


class _Parsed(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self._open, []).append(data)

    def handle_endtag(self, tag: str) -> None:
        self._open = ""


def page(**changes: object) -> str:
    edge = replace(edge_profile(), **changes)  # type: ignore[arg-type]
    planner = Planner.from_profiles(edge, cloud_profile())
    return render(planner, edge, cloud_profile(), link=LINK, title="toy: where to cut")


def facts(text: str) -> dict[str, object]:
    found = next(each for each in _Parsed(text).texts["script"] if each.startswith("{"))
    return json.loads(found)  # type: ignore[no-any-return]


def test_it_is_one_piece_and_the_same_every_time() -> None:
    text = page()
    assert text == page()
    assert re.search(r"\{\{\w+\}\}", text) is None
    for tag, attributes in _Parsed(text).tags:
        assert "src" not in attributes
        assert attributes.get("href") in (None, "data:,"), tag
        assert not any(name.startswith("on") or name == "style" for name in attributes), tag
    assert not re.findall(r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[\w-]+\.\w+", text)
    assert not re.search(r"@import|url\((?!#)|\bfetch\(|XMLHttpRequest|WebSocket|sendBeacon|import\(", text)


def test_its_policy_allows_its_own_script_and_style_alone() -> None:
    parsed = _Parsed(page())
    policy = next(each["content"] for tag, each in parsed.tags if tag == "meta" and "http-equiv" in each)
    assert policy is not None
    for tag in ("script", "style"):
        text = parsed.texts[tag][-1]
        allowed = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{allowed}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_its_numbers_are_the_planners_to_the_last_bit() -> None:
    edge, cloud = edge_profile().slowed(1 / 3), cloud_profile().slowed(0.1)
    planner = Planner.from_profiles(edge, cloud, codecs=None)
    told = facts(render(planner, edge, cloud, link=LINK, title="toy"))
    assert told["schema"] == SCHEMA
    columns, frozen = told["columns"], np.array(told["frozen"])
    names = ("compute_s", "edge_s", "cloud_s", "tail_s", "remote", "up_bytes", "down_bytes", "deviation")
    for name in names:
        assert np.array_equal(np.array(columns[name])[frozen], getattr(planner.frozen, name))  # type: ignore[index]
    for place, term in enumerate(TERMS):
        if term in columns:  # type: ignore[operator]
            assert np.array_equal(np.array(columns[term])[frozen], planner.frozen.fixed_s[:, place])  # type: ignore[index]
    listed = [told["candidates"][row]["cut_id"] for row in told["frozen"]]  # type: ignore[index,attr-defined]
    assert listed == [each.cut_id for each in planner.frozen.candidates]


def test_every_cut_is_there_though_the_planner_dropped_it() -> None:
    edge, cloud = edge_profile(), cloud_profile()
    planner = Planner.from_profiles(edge, cloud)
    told = facts(render(planner, edge, cloud, link=LINK, title="toy"))
    assert {each["cut"] for each in told["candidates"]} == {cut.name for cut in edge.cuts}  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["</script><script>alert(1)</script>", "<!--<script>", "a&lt;b\u2028\"'`${x}"])
def test_names_stay_text(name: str) -> None:
    text = page(model_name=name, layers=tuple(replace(each, name=name) for each in edge_profile().layers))
    parsed = _Parsed(text)
    assert sum(tag == "script" for tag, _ in parsed.tags) == 2
    told = facts(text)
    assert told["model"]["name"] == name  # type: ignore[index]
    assert told["layers"]["name"] == [name]  # type: ignore[index]
    titled = render(Planner.from_profiles(edge_profile(), cloud_profile()), edge_profile(), None, link=LINK, title=name)
    assert sum(tag == "script" for tag, _ in _Parsed(titled).tags) == 2


def test_an_objective_that_it_cannot_compute_is_refused() -> None:
    class Money(Latency):
        @property
        def name(self) -> str:
            return "money"

    planner = Planner.from_profiles(edge_profile(), cloud_profile(), objective=Money())
    with pytest.raises(UsageError, match="cannot plan by money"):
        render(planner, edge_profile(), cloud_profile(), link=LINK, title="toy")


def test_an_objective_of_nothing_known_is_not_offered() -> None:
    told = facts(page())
    assert [each["name"] for each in told["objectives"]] == ["latency", "throughput", "upload"]  # type: ignore[attr-defined]
    assert told["has_energy"] is False
    assert told["columns"]["head_j"] == [None] * len(told["candidates"])  # type: ignore[index,arg-type]
