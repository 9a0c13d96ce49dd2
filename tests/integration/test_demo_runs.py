"""The demonstration runs end to end, at toy size: one small network, one link, two codecs."""

from __future__ import annotations

import json

import pytest

from partitioner.cli import main
from partitioner.demo import digits, networks
from partitioner.link import PRESETS


@pytest.mark.slow
def test_the_demonstration_answers_like_the_whole_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(digits, "CODECS", ("none", "int8"))
    monkeypatch.setattr(networks, "NETWORKS", ("torchvision:squeezenet1_1",))
    monkeypatch.setattr(networks, "PRESETS", {"wifi": PRESETS["wifi"]})
    monkeypatch.setattr(networks, "PHOTOGRAPHS", networks.PHOTOGRAPHS[:1])
    monkeypatch.setattr(networks, "SLOWDOWN", 2.0)
    monkeypatch.setattr(networks, "_BUDGET_S", 2.0)

    assert main(["demo", "--json"]) == 0
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    shown = json.loads(printed.out)

    accuracy = {(row["cut"], row["codec"]): row["accuracy"] for row in shown["digits"]["rows"]}
    whole = accuracy.pop(("local", "none"))
    assert whole >= 0.98
    assert accuracy[digits.CUT, "none"] == whole
    assert accuracy[digits.CUT, "int8"] == pytest.approx(whole, abs=0.005)

    ways = shown["networks"]["rows"]
    assert [row["role"] for row in ways] == ["all-local", "all-cloud", "split"]
    assert all(row["max_rel_diff"] <= (1e-5 if row["is_exact"] else 0.1) for row in ways)
    assert all(row["is_same_answer"] for row in ways if row["is_exact"])
    assert sum(row["is_chosen"] for row in ways) == 1
    assert ways[0]["up_bytes"] == 0
    cloud = ways[1]
    assert cloud["measured_s"] > cloud["up_bytes"] / PRESETS["wifi"].up_bytes_per_s
    assert len(shown["verdicts"]) == 1
