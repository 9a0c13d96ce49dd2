from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from lawful_device import conv, network, pool, profile_of, profiles

from partitioner.errors import ProfileError, UsageError
from partitioner.link import Link
from partitioner.planner import Planner
from partitioner.predict import Fit, architecture_of, fit, predicted
from partitioner.predict.codecs import fit_codecs
from partitioner.predict.features import operators_of
from partitioner.predict.model import RATES, Model
from partitioner.predict.training import training_of
from partitioner.profile import CodecCost, Profile, Timing


@cache
def fitted() -> Fit:
    return fit(profiles())


def unseen(seed: int = 100) -> Profile:
    return profile_of(network(seed, depth=11), f"net{seed}")


def error(found: float, wanted: float) -> float:
    return abs(found / wanted - 1)


def test_times_of_a_device_that_keeps_a_law_are_found_for_models_that_it_never_ran():
    assert fitted().median_error < 0.05
    for seed in range(100, 106):
        true = unseen(seed)
        guess = predicted(true, fitted())
        assert error(guess.whole.median_s, true.whole.median_s) < 0.15
        for mine, wanted in zip(guess.cuts[1:-1], true.cuts[1:-1], strict=True):
            assert error(mine.prefix.median_s, wanted.prefix.median_s) < 0.25
            assert error(mine.suffix.median_s, wanted.suffix.median_s) < 0.25


def test_nothing_but_structure_is_taken_from_the_profile_that_gives_it():
    true = unseen()
    elsewhere = replace(
        true.slowed(77.0),
        device=replace(true.device, cpu="another"),
        runtime=replace(true.runtime, name="eager"),
        peak_rss_bytes=7,
        created="2020-01-01T00:00:00Z",
    )
    assert predicted(elsewhere, fitted()) == predicted(true, fitted())


def test_a_predicted_profile_says_so_everywhere_and_survives_its_file():
    guess = predicted(unseen(), fitted())
    timings = [each for cut in guess.cuts for each in (cut.prefix, cut.suffix)]
    assert {each.how for each in (*timings, guess.whole, *(layer.forward for layer in guess.layers))} == {"predicted"}
    assert guess.source.preprocess is not None
    assert guess.source.preprocess.how == "predicted"
    assert guess.energy is None
    assert "left out of the fit" in guess.notes[0]
    assert Profile.loads(guess.dumps()) == guess


def test_the_stored_error_of_a_model_is_that_of_a_fit_made_without_it():
    everything = profiles()
    whole = fit(everything)
    for number in (0, 5):
        without = fit([each for each in everything if each is not everything[number]])
        guess = predicted(everything[number], without)
        true = everything[number]
        stored = whole.models[number]
        assert stored.whole_error == pytest.approx(guess.whole.median_s / true.whole.median_s - 1, abs=1e-6)
        assert stored.local_error == pytest.approx(
            guess.cuts[-1].prefix.median_s / true.cuts[-1].prefix.median_s - 1, abs=1e-6
        )


def test_a_twin_with_other_weights_is_left_out_together():
    steps = network(3)
    odd, twin = profile_of(steps, "odd", slower=3.0), profile_of(steps, "twin", weights_seed=1, slower=3.0)
    others = [each for each in profiles() if each.model_name != "net3"]
    found = {model.name: model for model in fit([*others, odd, twin]).models}
    assert architecture_of(odd) == architecture_of(twin)
    assert odd.model_digest != twin.model_digest
    assert found["odd"].whole_error < -0.6  # three times slower than all others: nothing tells of it
    assert found["odd"].whole_error == pytest.approx(found["twin"].whole_error)


def test_slopes_are_those_of_the_times():
    training = training_of(profiles(4))
    model = Model(training.operators)
    draw = np.random.default_rng(0)
    theta = model.start + draw.normal(0, 0.1, len(model.start))
    _, slopes = model._slopes(theta, training.segments)
    assert training.of(0, "whole")
    for index in (*range(len(RATES)), *draw.choice(len(theta), 25, replace=False)):
        step = np.zeros(len(theta))
        step[index] = 1e-6
        ahead, behind = (np.log(model.times_s(theta + sign * step, training.segments)) for sign in (1, -1))
        assert slopes[:, index] == pytest.approx((ahead - behind) / 2e-6, rel=1e-4, abs=1e-6)


def test_measured_prefixes_stand_and_calibrate_the_rest():
    true = profile_of(network(100, depth=11), "net100", slower=2.5)  # a device that has become hot
    guess = predicted(true, fitted())

    unknown = Timing(median_s=9.9, how="predicted")

    def partial(kept: set[int]) -> Profile:
        cuts = [
            cut if index in kept else replace(cut, prefix=unknown, suffix=unknown)
            for index, cut in enumerate(true.cuts)
        ]
        return replace(true, cuts=tuple(cuts))

    def median_error(found: Profile, kept: set[int]) -> float:
        pairs = zip(found.cuts[1:], true.cuts[1:], strict=True)
        return statistics.median(
            error(mine.prefix.median_s, wanted.prefix.median_s)
            for index, (mine, wanted) in enumerate(pairs, 1)
            if index not in kept
        )

    assert median_error(guess, set()) > 0.5
    for kept in ({6}, {3, 8}):
        calibrated = predicted(true, fitted(), measured=partial(kept))
        assert median_error(calibrated, kept) < 0.15
        for index in kept:
            assert calibrated.cuts[index].prefix == true.cuts[index].prefix
            assert calibrated.cuts[index].suffix == true.cuts[index].suffix
        assert calibrated.cuts[5].prefix.how == "predicted"
        assert calibrated.notes[-1] == f"calibrated by {2 * len(kept)} measured fronts and rests of this model"


def test_a_guess_of_the_profile_itself_counts_as_much_as_the_prediction():
    true = unseen()
    inferred = Timing(median_s=true.cuts[4].prefix.median_s * 1.3, samples=0, how="calibrated")
    cuts = [replace(cut, prefix=inferred) if index == 4 else cut for index, cut in enumerate(true.cuts)]
    alone = [replace(cut, prefix=replace(inferred, how="predicted")) if cut is cuts[4] else cut for cut in cuts]
    both, without = (predicted(true, fitted(), measured=replace(true, cuts=tuple(each))) for each in (cuts, alone))
    wanted_s = math.sqrt(inferred.median_s * without.cuts[4].prefix.median_s)
    assert both.cuts[4].prefix.median_s == pytest.approx(wanted_s)
    assert both.cuts[4].prefix.how == "predicted"


def test_a_profile_that_measured_nothing_calibrates_nothing():
    true, guess = unseen(), predicted(unseen(), fitted())
    nothing = replace(guess, cuts=(replace(guess.cuts[0], prefix=true.cuts[0].prefix), *guess.cuts[1:]))
    empty = predicted(true, fitted(), measured=nothing)
    assert empty.notes[-1].startswith("calibrated by 0 measured")
    assert [cut.prefix for cut in empty.cuts[1:]] == [cut.prefix for cut in guess.cuts[1:]]


def test_what_cannot_calibrate_is_refused():
    true = unseen()
    for wrong, why in (
        (replace(true, model_digest="0" * 64), "another model"),
        (replace(true, binding={"b": 2}), "other sizes"),
        (replace(true, runtime=replace(true.runtime, name="eager")), "another runtime .eager on cpu, .*, not ort"),
        (replace(true, device=replace(true.device, cpu="Z80")), "another device .Z80, not Lawful 9000"),
        (replace(true, device=replace(true.device, accelerator="H9")), "another device .H9, not Lawful 9000"),
        (true.slowed(2.0), "an emulated device"),
    ):
        with pytest.raises(ProfileError, match=why):
            predicted(true, fitted(), measured=wrong)


def test_sizes_and_operators_outside_what_was_fitted_are_told():
    assert len(predicted(unseen(), fitted()).notes) == 1
    large = predicted(profile_of(network(100, depth=11, scale=16.0), "large"), fitted())
    assert any("outside the sizes that were fitted" in note and "by a factor of" in note for note in large.notes)
    assert any("lies far outside those that were fitted" in note for note in large.notes)
    true = unseen()
    strange = replace(
        true,
        layers=tuple(replace(layer, kind=layer.kind.replace("conv2d", "deform_conv2d")) for layer in true.layers),
    )
    told = predicted(strange, fitted()).notes
    assert any("never seen: deform_conv2d" in note for note in told)


def test_an_operator_that_was_never_seen_is_predicted_as_its_family_is():
    true = unseen()
    renamed = replace(
        true, layers=tuple(replace(layer, kind=layer.kind.replace("conv2d", "conv3d")) for layer in true.layers)
    )
    assert error(predicted(renamed, fitted()).whole.median_s, true.whole.median_s) < 0.5


def test_a_model_that_was_fitted_is_known_again_with_other_weights_and_names():
    twin = profile_of(network(3), "renamed", weights_seed=9)
    wrapped = replace(twin, layers=tuple(replace(each, id=f"backbone.{each.id}") for each in twin.layers))
    assert fitted().has_seen(twin)
    assert fitted().has_seen(wrapped)
    assert not fitted().has_seen(unseen())
    assert any("was made of net3 too" in note for note in predicted(profiles()[3], fitted()).notes)


def test_codecs_and_preparing_cost_what_they_do_on_the_device():
    true = unseen()
    guess = predicted(replace(true, cuts=tuple(cut.slowed(50.0) for cut in true.cuts)), fitted())
    for mine, wanted in zip(guess.cuts[:-1], true.cuts[:-1], strict=True):
        assert [cost.codec for cost in mine.codecs] == ["none", "none+zstd"]
        for cost, right in zip(mine.codecs, wanted.codecs, strict=True):
            assert cost.up_bytes == right.up_bytes
            assert error(cost.encode_s, right.encode_s) < 1e-3
            assert error(cost.decode_s, right.decode_s) < 1e-3
        assert error(mine.reply_cost.decode_s, wanted.reply_cost.decode_s) < 1e-3
    assert guess.source.preprocess is not None
    assert true.source.preprocess is not None
    assert error(guess.source.preprocess.median_s, true.source.preprocess.median_s) < 1e-3


def test_plans_of_predictions_cost_little_more_than_the_best():
    regrets = []
    for seed in range(100, 106):
        true = unseen(seed)
        near, cloud = true.slowed(8.0), true
        best = Planner.from_profiles(near, cloud)
        guessed = Planner.from_profiles(predicted(true, fitted()).slowed(8.0), cloud)
        for mbit in (1.0, 10.0, 100.0, 1000.0):
            link = Link(up_bytes_per_s=mbit * 125e3, down_bytes_per_s=mbit * 250e3, rtt_s=0.005)
            chosen = guessed.at(link).candidate
            prices_s = best.everything.price(link)
            row = next(
                row
                for row, each in enumerate(best.everything.candidates)
                if (each.cut_id, each.codec) == (chosen.cut_id, chosen.codec)
            )
            regrets.append(prices_s[row] / prices_s.min() - 1)
    assert statistics.median(regrets) <= 0.01
    assert max(regrets) < 0.2


def test_operators_are_described_by_their_sizes():
    steps = network(1)
    wide, narrow, pooled = (
        operators_of(profile_of([step], "one"))[0] for step in (steps[0], conv(32, 32, 14, 3, groups=32), pool(16, 28))
    )
    sizes = {name: 3 * value for name, value in wide.sizes.items()}
    assert (wide.family, wide.key) == ("window", "window:conv2d")
    assert sizes["rows"] == pytest.approx(math.log(56 * 56 / 784), abs=0.2)  # its weights hold a normalisation's too
    assert sizes["inner"] == pytest.approx(math.log(27 / 256))
    assert sizes["columns"] == pytest.approx(math.log(16 / 128), abs=0.2)
    assert wide.features["window"] == wide.features["window:conv2d"] == 1.0
    assert wide.features["window rows"] == wide.features["window:conv2d rows"] == wide.sizes["rows"]
    assert wide.features["window rows*inner"] == pytest.approx(wide.sizes["rows"] * wide.sizes["inner"])
    assert (narrow.family, 3 * narrow.sizes["groups"]) == ("grouped", pytest.approx(math.log(32 / 64)))
    assert (pooled.family, pooled.work, pooled.weight_bytes) == ("pass", 4 * 16 * 28 * 28, 0)
    kinds = [operator.key for operator in operators_of(profile_of(steps[:1], "one"))]
    assert kinds == ["window:conv2d", "fused:batch_norm", "fused:relu"]


def test_layer_times_are_learned_from_where_they_add_up_alone():
    plain = profiles(1)[0]
    fused = replace(plain, whole=replace(plain.whole, median_s=plain.whole.median_s / 1.5))
    assert len(training_of([plain]).of(0, "layer")) == len(plain.layers)
    assert not training_of([fused]).of(0, "layer")
    weights = training_of(profiles(3)).weights
    of = training_of(profiles(3)).model
    totals = [sum(weight for weight, each in zip(weights, of, strict=True) if each == model) for model in range(3)]
    assert totals == pytest.approx([totals[0]] * 3)


def test_networks_of_other_operators_are_other_architectures():
    true = unseen()
    other = replace(true, layers=tuple(replace(each, kind=each.kind.replace("relu", "gelu")) for each in true.layers))
    assert architecture_of(true) != architecture_of(other)


def test_codecs_through_the_origin_have_no_negative_constant():
    costs = [
        CodecCost(codec="none", up_bytes=size, encode_s=size * 1e-9 * bend, decode_s=3e-4)
        for size, bend in ((10**3, 0.5), (10**5, 1.0), (10**6, 1.5))
    ]
    found = profiles(1)[0]
    cuts = [
        replace(cut, crossing=(replace(found.cuts[0].crossing[0], nbytes=cost.up_bytes),), codecs=(cost,))
        for cut, cost in zip(found.cuts, costs, strict=False)
    ]
    (codec,) = fit_codecs([replace(found, cuts=tuple(cuts))])
    assert codec.encode_constant_s >= 0
    assert 0.5e-9 < codec.encode_s_per_byte < 1.5e-9
    assert (codec.decode_constant_s, codec.decode_s_per_byte) == pytest.approx((3e-4, 0.0), abs=1e-12)


def test_layers_without_operations_bytes_or_weights_take_a_finite_time():
    true = unseen()
    empty = replace(
        true,
        layers=tuple(
            replace(layer, flops=0, weight_bytes=0, output_bytes=0, window=1, groups=1) for layer in true.layers
        ),
        flows=(),
    )
    guess = predicted(empty, fitted())
    assert all(0 < layer.forward.median_s < 1 for layer in guess.layers)
    vast = replace(true, layers=tuple(replace(layer, flops=10**18, weight_bytes=10**15) for layer in true.layers))
    assert math.isfinite(predicted(vast, fitted()).whole.median_s)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"device": "cpu"}, "of another device"),
        ({"runtime": "threads"}, "of another runtime"),
        ({"slowdown": 2.0}, "of an emulated device"),
        ({"whole": Timing(median_s=1.0, how="predicted")}, "predicted itself"),
        ({"whole": Timing(median_s=0.0)}, "without a time"),
        ({"whole": Timing(median_s=1e-6)}, "without a time"),
        ({"device": "accelerator"}, "of another device"),
    ],
)
def test_profiles_that_do_not_go_together_are_refused(change, why):
    first, *rest = profiles(5)
    if "device" in change:
        change = {"device": replace(first.device, **{change["device"]: "another"})}
    if "runtime" in change:
        change = {"runtime": replace(first.runtime, threads=2)}
    with pytest.raises(ProfileError, match=why):
        fit([*rest, replace(first, **change)])


def test_an_error_that_nobody_measured_is_not_called_zero():
    unknown = Timing(median_s=1.0, how="calibrated")
    whole = [replace(each, cuts=tuple(replace(cut, prefix=unknown) for cut in each.cuts)) for each in profiles(4)]
    found = fit(whole)
    assert {(model.local_error, model.prefix_error) for model in found.models} == {(None, None)}
    assert all(model.whole_error for model in found.models)
    assert "no profile has measured it" in found.local_verdict
    assert Fit.loads(found.dumps()) == found


def test_preparing_an_input_that_no_fitted_model_prepared_is_a_guess_and_says_so():
    plain = fit([replace(each, source=replace(each.source, preprocess=None)) for each in profiles(4)])
    guess = predicted(unseen(), plain)
    assert guess.source.preprocess is not None
    assert guess.source.preprocess.how == "predicted"
    assert any("preparing an input from pixels was not measured" in note for note in guess.notes)


def test_too_few_models_or_too_old_profiles_are_refused():
    with pytest.raises(UsageError, match="3 different models at least"):
        fit([*profiles(2), *profiles(2)])
    old = replace(profiles(1)[0], layers=tuple(replace(each, window=None) for each in profiles(1)[0].layers))
    with pytest.raises(ProfileError, match="older version"):
        fit([*profiles(4), old])


def test_a_fit_survives_its_file_and_spoilt_ones_are_refused():
    text = fitted().dumps()
    assert Fit.loads(text) == fitted()
    values = json.loads(text)
    assert values["median_error"] == fitted().median_error
    for key, value, why in (
        ("schema", "cleft.fit/9", "schema"),
        ("models", [], "models is empty"),
        ("parameters", {"dense": 1e9}, "parameters"),
        ("parameters", {"dense": "x"}, "parameters"),
        ("parameters", {"dense": 1.0}, "no s per operation"),
        ("prepare_s_per_byte", {"pixels": -0.5}, "prepare_s_per_byte"),
        ("ranges", None, "ranges is missing"),
        ("ranges", {"dense rows": [True, 2.0]}, "ranges"),
        ("ranges", {"dense rows": [2.0, 1.0]}, "ranges"),
        ("codecs", [{}], "codecs"),
        ("device", None, "device"),
    ):
        with pytest.raises(ProfileError, match=why):
            Fit.loads(json.dumps({**values, key: value}))
    with pytest.raises(ProfileError, match="truncated"):
        Fit.loads(text[: len(text) // 2])
