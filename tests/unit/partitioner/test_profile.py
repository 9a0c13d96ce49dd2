from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from synthetic_profiles import cloud_profile, edge_profile

from partitioner.difference import INCOMPARABLE
from partitioner.errors import ProfileError
from partitioner.profile import MAX_TEXT_CHARS, Profile
from partitioner.profiles import dump_profile, load_profile

Json = dict


def edited(edit: Callable[[Json], object]) -> str:
    value = copy.deepcopy(json.loads(edge_profile().dumps()))
    edit(value)
    return json.dumps(value)


def refusal(text: str | bytes) -> str:
    with pytest.raises(ProfileError) as caught:
        Profile.loads(text)
    message = str(caught.value)
    assert "\n" not in message
    assert "cleft-plan profile" in message
    return message


@pytest.mark.parametrize("profile", [edge_profile(), cloud_profile(), edge_profile().slowed(3.7)])
def test_what_was_written_reads_back_equal(profile):
    assert Profile.loads(profile.dumps()) == profile
    assert Profile.loads(profile.dumps()).dumps() == profile.dumps()
    assert Profile.from_json(profile.to_json()) == profile


def test_a_codec_that_changes_the_answer_beyond_all_bounds_can_be_told():
    cuts = edge_profile().cuts
    codecs = tuple(replace(cost, deviation=INCOMPARABLE) for cost in cuts[1].codecs)
    profile = replace(edge_profile(), cuts=(cuts[0], replace(cuts[1], codecs=codecs), *cuts[2:]))
    assert Profile.loads(profile.dumps()) == profile


def test_unknown_keys_are_ignored_within_a_version():
    text = edited(lambda value: value.update(new_field=1) or value["cuts"][0].update(newer=[]))
    assert Profile.loads(text) == edge_profile()


@pytest.mark.parametrize(
    ("edit", "names"),
    [
        (lambda p: p["cuts"][1]["prefix"].update(median_s=-1), "cuts[1].prefix.median_s is -1"),
        (lambda p: p["cuts"][1]["codecs"][0].update(encode_s=-0.5), "cuts[1].codecs[0].encode_s is -0.5"),
        (lambda p: p["cuts"][1]["codecs"][0].update(up_bytes=1.5), "cuts[1].codecs[0].up_bytes is 1.5"),
        (lambda p: p["cuts"][0].update(depth=True), "cuts[0].depth is true"),
        (lambda p: p["cuts"][0].update(reply_cost=None), "cuts[0].reply_cost is null, not an object"),
        (lambda p: p["cuts"][0].pop("suffix"), "cuts[0].suffix is missing"),
        (lambda p: p.pop("cuts"), "cuts is missing"),
        (lambda p: p.update(cuts={}), "cuts is an object, not a list"),
        (lambda p: p.update(cuts=[7]), "cuts[0] is 7, not an object"),
        (lambda p: p["cuts"].pop(0), "cuts lack the one named 'cloud'"),
        (lambda p: p["cuts"].pop(-1), "cuts lack the one named 'local'"),
        (lambda p: p["cuts"].reverse(), "cuts are not in the order of their depth"),
        (
            lambda p: p["cuts"][1]["codecs"][0].update(deviation=-1),
            "deviation is -1, not null or a number of 0 or more;",
        ),
        (lambda p: p["cuts"][2].update(id="id1"), "cuts have the id 'id1' twice"),
        (lambda p: p["cuts"][1].update(codecs=[]), "cuts[1].codecs is empty"),
        (lambda p: p["cuts"][1]["codecs"][1].update(codec="none"), "cuts[1].codecs have one codec twice"),
        (lambda p: p["cuts"][1]["codecs"][1].update(deviation=-0.1), "cuts[1].codecs[1].deviation is -0.1"),
        (lambda p: p["cuts"][1]["codecs"][1].update(accuracy=1.5), "cuts[1].codecs[1].accuracy is 1.5"),
        (lambda p: p.update(accuracy="good"), 'accuracy is "good", not null or a number of 0 or more and at most 1'),
        (lambda p: p.update(samples=-1), "samples is -1"),
        (lambda p: p.pop("samples"), "samples is missing"),
        (lambda p: p["cuts"][1].pop("tensor_codecs"), "cuts[1].tensor_codecs is missing"),
        (
            lambda p: p["cuts"][1].update(tensor_codecs=[{"name": "other", "codecs": []}]),
            "cuts[1].tensor_codecs are not of the tensors that cross",
        ),
        (lambda p: p["flows"][0].update(producer=-2), "flows[0].producer is -2"),
        (lambda p: p["flows"][0].update(consumers=[1]), "flows[0].consumers are not layers after the producer"),
        (lambda p: p["flows"][0].update(nbytes=-4), "flows[0].nbytes is -4"),
        (lambda p: p["flows"][0].pop("is_output"), "flows[0].is_output is missing"),
        (lambda p: p["whole"].update(how="guessed"), 'whole.how is "guessed", not one of measured, calibrated'),
        (lambda p: p["whole"].update(median_s="1"), 'whole.median_s is "1"'),
        (lambda p: p["whole"].update(median_s=10**400), "whole.median_s is 1000"),
        (lambda p: p.update(weights="magic"), "weights is"),
        (lambda p: p.update(model_name="a\x1b[2Jb"), "model_name holds control characters"),
        (lambda p: p["cuts"][1].update(name="after:\x07"), "cuts holds control characters"),
        (lambda p: p["device"].update(cpu="x\r\n"), "device holds control characters"),
        (lambda p: p.update(slowdown=0), "slowdown is 0, not a number over 0"),
        (lambda p: p.update(binding={"t": "x"}), "binding is an object, not an object of whole numbers"),
        (lambda p: p.update(noisy=1), "noisy is 1, not true or false"),
    ],
)
def test_a_faulty_field_is_named_with_its_path(edit, names):
    assert names in refusal(edited(edit))


def test_all_faults_are_named_at_once_and_many_are_counted():
    def spoil(p: Json) -> None:
        p["cuts"][0]["prefix"]["median_s"] = -1
        p["source"]["nbytes"] = "many"
        del p["created"]

    message = refusal(edited(spoil))
    assert all(part in message for part in ("cuts[0].prefix.median_s", "source.nbytes", "created is missing"))
    many = refusal(
        edited(lambda p: [cut.pop("prefix") for cut in p["cuts"]] and [cut.pop("depth") for cut in p["cuts"]])
    )
    assert "and 4 more" in many
    assert len(many) < 1000


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ("cleft.profile/1", "older"),
        ("cleft.profile/3", "newer"),
        ("cleft.cut/1", "not 'cleft.profile/2'"),
        ("", "no schema"),
    ],
)
def test_another_version_is_refused_for_that_alone(schema, says):
    message = refusal(json.dumps({"schema": schema}))
    assert says in message
    assert "missing" not in message


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_time_that_is_not_finite_is_refused(number):
    text = edge_profile().dumps().replace('"noise_ratio": 0.02', f'"noise_ratio": {number}')
    assert number in text
    refusal(text)


def test_every_truncation_is_refused_in_one_line():
    text = edge_profile().dumps().rstrip()
    for end in range(0, len(text), 7):
        message = refusal(text[:end])
        assert "truncated" in message or "empty" in message


@pytest.mark.parametrize(
    "text",
    ["[" * 200_000, '{"a":' * 200_000, "null", "[]", "7", "profile", b"\xff\xfe\x00", b"\x80abc", "1" * 5000, " " * 10],
)
def test_what_is_no_profile_is_refused(text):
    refusal(text)


def test_a_huge_text_is_refused_unread():
    assert "longer than" in refusal(" " * (MAX_TEXT_CHARS + 1))


def test_a_slowed_profile_scales_every_time_and_no_size():
    slow, fast = edge_profile().slowed(4.0), edge_profile()
    assert slow.slowdown == 4.0
    assert slow.slowed(2.0).slowdown == 8.0
    assert slow.whole.median_s == pytest.approx(4 * fast.whole.median_s)
    assert slow.source.preprocess.median_s == pytest.approx(4 * fast.source.preprocess.median_s)
    for slow_cut, fast_cut in zip(slow.cuts, fast.cuts, strict=True):
        assert slow_cut.suffix.median_s == pytest.approx(4 * fast_cut.suffix.median_s)
        assert slow_cut.reply_cost.decode_s == pytest.approx(4 * fast_cut.reply_cost.decode_s)
        assert [cost.up_bytes for cost in slow_cut.codecs] == [cost.up_bytes for cost in fast_cut.codecs]
        assert [cost.encode_s for cost in slow_cut.codecs] == pytest.approx([4 * c.encode_s for c in fast_cut.codecs])


def test_a_profile_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "edge.json"
    dump_profile(edge_profile(), path)
    dump_profile(cloud_profile(), path)
    assert load_profile(path) == cloud_profile()
    assert [entry.name for entry in tmp_path.iterdir()] == ["edge.json"]


@pytest.mark.parametrize("name", ["missing.json", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name):
    with pytest.raises(ProfileError, match="cleft-plan profile"):
        load_profile(tmp_path / name)
