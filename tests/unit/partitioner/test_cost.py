from __future__ import annotations

from dataclasses import replace

import pytest
from synthetic_profiles import cloud_profile, edge_profile, timing

from partitioner.cost import CandidateTable, Load
from partitioner.errors import ProfileError, UsageError
from partitioner.link import PRESETS, Link
from partitioner.optimize.gains import gains
from partitioner.optimize.scan import choose
from partitioner.profile import SourceProfile

FAST = Link.from_mbit(1e6, 1e6, 0)


def table(**options) -> CandidateTable:
    return CandidateTable.from_profiles(edge_profile(), cloud_profile(), **options)


def pairs(candidates: CandidateTable) -> set[tuple[str, str]]:
    return {(candidate.cut, candidate.codec) for candidate in candidates.candidates}


def test_only_exact_codecs_are_admitted_unasked():
    assert {codec for _, codec in pairs(table())} == {"none", "source"}
    assert ("after:block2", "int8") in pairs(table(codecs=None))


def test_both_extremes_are_candidates_whatever_codecs_are_admitted():
    for options in ({"codecs": ("int8",)}, {"codecs": None, "max_deviation": 0.0}, {"codecs": ("none",)}):
        assert {("local", "none"), ("cloud", "source")} <= pairs(table(**options))


def test_an_error_bound_admits_a_codec_exactly_up_to_its_measured_error():
    assert ("after:block1", "int8") in pairs(table(codecs=None, max_deviation=0.01))
    assert ("after:block1", "int8") not in pairs(table(codecs=None, max_deviation=0.0099))


def test_a_codec_that_was_never_measured_is_refused():
    with pytest.raises(UsageError, match=r"codec int3.*measured are none, int8, source"):
        table(codecs=("int3",))


def test_the_original_input_has_the_size_that_the_user_gives():
    sizes = {c.codec: c.up_bytes for c in table(source_bytes=1234).candidates if c.cut == "cloud"}
    assert sizes["source"] == 1234
    assert sizes["none"] == 4 * 150_528


def test_the_original_input_is_prepared_in_the_cloud_and_tensors_on_the_device():
    breakdowns = dict(
        zip(((c.cut, c.codec) for c in table().candidates), table().breakdowns(PRESETS["4g"]), strict=True)
    )
    assert breakdowns["cloud", "source"].head_s == 0
    assert breakdowns["cloud", "source"].tail_s == pytest.approx(0.006 + 0.001)
    assert breakdowns["cloud", "none"].head_s == pytest.approx(0.008)
    assert breakdowns["cloud", "none"].tail_s == pytest.approx(0.006)
    assert breakdowns["local", "none"].total_s == pytest.approx(0.168)


def test_unmeasured_preparation_in_the_cloud_is_scaled_and_said():
    cloud = replace(cloud_profile(), source=SourceProfile(kind="tensor", nbytes=1, how="measured"))
    found = CandidateTable.from_profiles(edge_profile(), cloud)
    index = [c.codec for c in found.candidates].index("source")
    assert found.breakdowns(FAST)[index].tail_s == pytest.approx(0.006 + 0.008 * 6 / 160)
    assert any("not measured" in note for note in found.notes)


def test_load_slows_the_tail_and_queues_but_spares_the_device():
    breakdowns = table().breakdowns(PRESETS["4g"], Load(queue_s=0.5, slowdown=3.0))
    for candidate, loaded, idle in zip(table().candidates, breakdowns, table().breakdowns(PRESETS["4g"]), strict=True):
        assert loaded.tail_s == pytest.approx(3 * idle.tail_s)
        assert loaded.queue_s == (0 if candidate.is_local else 0.5)
        assert loaded.head_s == idle.head_s


def test_a_tie_goes_to_the_earliest_cut_then_to_fewer_bytes():
    def flat(profile):
        cuts = tuple(
            replace(
                cut,
                prefix=timing(1.0),
                suffix=timing(0.0),
                codecs=tuple(
                    replace(c, encode_s=0.0, decode_s=0.0, up_bytes=100 + (c.codec == "none")) for c in cut.codecs
                ),
                reply_cost=replace(cut.reply_cost, up_bytes=0, encode_s=0.0, decode_s=0.0),
            )
            for cut in reversed(profile.cuts)
        )
        return replace(profile, cuts=cuts, source=replace(profile.source, preprocess=None))

    candidates = CandidateTable.from_profiles(flat(edge_profile()), flat(cloud_profile()), codecs=None)
    depths = [candidate.depth for candidate in candidates.candidates]
    assert depths == sorted(depths)
    stems = [candidate.codec for candidate in candidates.candidates if candidate.cut == "after:stem"]
    assert stems == ["int8", "none"]
    best = choose(candidates, Link(up_bytes_per_s=1e300, down_bytes_per_s=1e300, rtt_s=0.0)).chosen.candidate
    assert (best.cut, best.codec) == ("cloud", "source")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model_digest": "00" * 32, "model_name": "other"}, "the cloud's of other"),
        ({"binding": {"b": 2}}, "b=1 and b=2"),
        ({"cuts": cloud_profile().cuts[:2] + cloud_profile().cuts[3:]}, "1 are in one of them only"),
        ({"layers": (), "flows": ()}, "they list different layers"),
    ],
)
def test_profiles_that_do_not_belong_together_are_refused(change, says):
    with pytest.raises(ProfileError, match="do not belong together") as caught:
        CandidateTable.from_profiles(edge_profile(), replace(cloud_profile(), **change))
    assert says in str(caught.value)


def test_profiles_of_one_side_are_of_one_model():
    other = replace(edge_profile(), model_digest="00" * 32, model_name="other")
    with pytest.raises(ProfileError, match=r"the edge's profiles are of different models: toy \(5f.*other \(00"):
        CandidateTable.from_profiles([edge_profile(), other], cloud_profile())


def test_runtimes_of_differently_named_devices_are_noted():
    edge, cloud = edge_profile(), cloud_profile()
    ort = replace(edge, runtime=replace(edge.runtime, name="ort"))
    assert CandidateTable.from_profiles([edge, ort], cloud).notes == ()
    elsewhere = replace(ort, device=replace(edge.device, name="kitchen"))
    (note,) = CandidateTable.from_profiles([edge, elsewhere], cloud).notes
    assert note == "the edge profiles are of edge and kitchen: plans take them for runtimes of one machine"


def test_what_makes_the_prediction_doubtful_is_noted():
    edge = replace(edge_profile().slowed(8), noisy=True, noise_ratio=0.4)
    edge = replace(edge, source=replace(edge.source, how="assumed"))
    notes = CandidateTable.from_profiles(edge, cloud_profile()).notes
    assert len(notes) == 3
    assert [any(word in note for note in notes) for word in ("assumed", "noisy: spread 40.0 %", "by 8")] == [True] * 3
    assert len(CandidateTable.from_profiles(edge, cloud_profile(), source_bytes=5).notes) == 2


def test_each_loser_is_told_its_costliest_term():
    choice = choose(table(codecs=None), PRESETS["4g"])
    assert choice.chosen.candidate.cut == "after:block2"
    assert choice.chosen.why == "chosen"
    whys = {(p.candidate.cut, p.candidate.codec): p.why for p in choice.ranked}
    assert "on the device than after:block2" in whys["local", "none"]
    assert "sends 799 kB more than after:block2" in whys["after:stem", "none"]
    assert "sends 12.3 kB more than after:block2 (int8)" in whys["after:block2", "none"]
    for priced in choice.ranked[1:]:
        assert priced.why.startswith("+")


def test_the_ranking_is_by_predicted_latency():
    times = [priced.predicted_s for priced in choose(table(codecs=None), PRESETS["wifi"]).ranked]
    assert times == sorted(times)
    assert len(times) == len(table(codecs=None).candidates)


@pytest.mark.parametrize(
    ("link", "options", "verdict"),
    [
        (PRESETS["4g"], {}, "splitting at after:block2 gains 1.40x over all-cloud with the original bytes"),
        (PRESETS["wifi"], {"source_bytes": 2000}, "do not split: all-cloud with the original bytes is best"),
        (Link.from_mbit(0.01, 0.01, 500), {}, "do not split: the device alone is best"),
        (PRESETS["4g"], {"source_bytes": 38_000}, "do not split: all-cloud with the original bytes is as good"),
    ],
)
def test_the_verdict_follows_the_gain(link, options, verdict):
    summary = gains(table(**options), link)
    assert summary.verdict.startswith(verdict)
    assert summary.is_worthwhile == verdict.startswith("splitting")
    assert summary.gain >= 1.0
    assert summary.to_json()["verdict"] == summary.verdict
