"""From counted joules to a profile's energy: what the meter saw comes back, and no more than that."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from partitioner.energy import EnergyProfile
from partitioner.measure.joules import Window, energy_profile
from partitioner.meters import MeterError, MeterInfo
from partitioner.profile import Profile, Timing
from tests.unit.partitioner.synthetic_profiles import cut, edge_profile

INFO = MeterInfo(kind="bench", source="a rail", scope="board", period_s=0.01)
REST_W = 2.0
LAYERS_MS = (1.0, 2.0, 3.0, 4.0, 5.0, 1.0, 2.0, 2.0)
LAYERS_W = (5.0, 5.0, 4.0, 6.0, 5.0, 3.0, 5.0, 5.0)
"""Of a chain of eight layers: how long each takes, and at what power."""

TOTALS_J = [0.0, *itertools.accumulate(ms * 1e-3 * w for ms, w in zip(LAYERS_MS, LAYERS_W, strict=True))]
TIMES_S = [0.0, *itertools.accumulate(ms * 1e-3 for ms in LAYERS_MS)]


def chain() -> Profile:
    """A cut after every layer; running none takes 20 microseconds."""
    layer = edge_profile().layers[0]
    count = len(LAYERS_MS)
    names = ["cloud", *(f"after:{index}" for index in range(1, count)), "local"]
    return replace(
        edge_profile(),
        layers=tuple(
            replace(layer, id=f"l{index}", forward=Timing(median_s=ms * 1e-3)) for index, ms in enumerate(LAYERS_MS)
        ),
        flows=(),
        cuts=tuple(
            replace(
                cut(4 if name == "local" else 2),
                id=f"id{depth}",
                name=name,
                depth=depth,
                prefix=Timing(median_s=TIMES_S[depth] or 2e-5),
            )
            for depth, name in enumerate(names)
        ),
    )


def window(run_s: float, run_j: float, *, runs: int = 100) -> Window:
    return Window(runs=runs, duration_s=runs * run_s, energy_j=runs * run_j)


def loops(*depths: int, noise: float = 0.0, seed: int = 0, rounds: int = 3) -> dict[str, list[Window]]:
    rng = np.random.default_rng(seed)
    return {
        f"id{depth}": [
            window(TIMES_S[depth], TOTALS_J[depth] * (1 + noise * rng.standard_normal())) for _ in range(rounds)
        ]
        for depth in depths
    }


def rest(noise: float = 0.0, seed: int = 0) -> list[Window]:
    rng = np.random.default_rng(seed + 1)
    return [window(2.0, 2.0 * REST_W * (1 + noise * rng.standard_normal()), runs=1) for _ in range(6)]


def measured(*depths: int, noise: float = 0.0, seed: int = 0, info: MeterInfo = INFO) -> EnergyProfile:
    return energy_profile(chain(), info, rest=rest(noise / 4, seed), loops=loops(*depths, noise=noise, seed=seed))


def test_what_a_perfect_meter_counted_comes_back():
    energy = measured(*range(1, 9))
    assert energy.idle_w.value == pytest.approx(REST_W)
    assert energy.whole_j.value == pytest.approx(TOTALS_J[-1])
    assert energy.active_w.value == pytest.approx(TOTALS_J[-1] / TIMES_S[-1])
    for depth, prefix in enumerate(energy.prefixes[1:], start=1):
        assert prefix.total_j.value == pytest.approx(TOTALS_J[depth])
        assert prefix.net_j.value == pytest.approx(TOTALS_J[depth] - REST_W * TIMES_S[depth])
        assert prefix.total_j.origin == prefix.net_j.origin == "measured"
    assert [each.value for each in energy.layers[1:]] == pytest.approx(
        [ms * 1e-3 * w for ms, w in zip(LAYERS_MS[1:], LAYERS_W[1:], strict=True)]
    )
    assert {each.origin for each in energy.layers} == {"modelled"}


def test_the_profile_reads_back():
    energy = measured(3, 8, noise=0.01)
    profile = replace(chain(), energy=energy)
    assert Profile.loads(profile.dumps()) == profile


def test_running_no_layer_is_modelled_by_its_time_and_never_takes_what_layers_do():
    nothing = measured(4, 8).prefixes[0]
    assert nothing.total_j.value == pytest.approx(TOTALS_J[4] * 2e-5 / (2e-5 + TIMES_S[4]))
    assert nothing.total_j.origin == nothing.net_j.origin == "modelled"
    twice_as_fast = {"id8": [window(TIMES_S[8] / 2, TOTALS_J[8] / 2)] * 3}
    warm = energy_profile(chain(), INFO, rest=rest(), loops=twice_as_fast).prefixes[0]
    assert warm.total_j.value == pytest.approx(TOTALS_J[8] / 2 * 1e-5 / (1e-5 + TIMES_S[8]))


def test_cuts_that_were_not_run_lie_between_their_neighbours_by_the_times_of_layers():
    energy = measured(2, 5, 8)
    total = {depth: energy.prefixes[depth].total_j for depth in range(9)}
    assert [depth for depth, each in total.items() if each.origin == "measured"] == [2, 5, 8]
    share = LAYERS_MS[2] / sum(LAYERS_MS[2:5])
    assert total[3].value == pytest.approx(TOTALS_J[2] + share * (TOTALS_J[5] - TOTALS_J[2]))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.12])
def test_more_layers_never_take_less_and_no_layer_gets_nothing(noise, seed):
    """Noise of 12 % puts neighbours into the wrong order again and again."""
    energy = measured(1, 2, 3, 5, 6, 7, 8, noise=noise, seed=seed)
    for which in ("total_j", "net_j"):
        values = [getattr(each, which).value for each in energy.prefixes]
        assert values == sorted(values)
        assert min(values) > 0
    assert all(each.net_j.value <= each.total_j.value for each in energy.prefixes)
    assert all(each.value > 0 for each in energy.layers)
    layers_j = sum(each.value for each in energy.layers)
    assert layers_j == pytest.approx(energy.whole_j.value - energy.prefixes[0].total_j.value)
    assert energy.whole_j == energy.prefixes[-1].total_j


energies = st.floats(1e-6, 1e3)


@given(
    loops_j=st.dictionaries(st.integers(1, 8), st.lists(energies, min_size=2, max_size=4), max_size=8),
    whole_j=st.lists(energies, min_size=2, max_size=4),
    layers_s=st.lists(st.sampled_from([0.0, 1e-6, 1e-3, 2.0]), min_size=8, max_size=8),
    first_s=st.sampled_from([0.0, 1e-5, 3.0]),
)
def test_whatever_a_meter_tells_energies_are_in_order_and_add_up(loops_j, whole_j, layers_s, first_s):
    profile = chain()
    layers = [
        replace(layer, forward=Timing(median_s=each)) for layer, each in zip(profile.layers, layers_s, strict=True)
    ]
    first = replace(profile.cuts[0], prefix=Timing(median_s=first_s))
    profile = replace(profile, layers=tuple(layers), cuts=(first, *profile.cuts[1:]))
    found = {f"id{depth}": [window(TIMES_S[depth], each) for each in every] for depth, every in loops_j.items()}
    found["id8"] = [window(TIMES_S[8], each) for each in whole_j]
    nearly_nothing = [window(2.0, 1e-9, runs=1)] * 6
    try:
        energy = energy_profile(profile, INFO, rest=nearly_nothing, loops=found)
    except MeterError:
        return
    for values in ([each.total_j.value for each in energy.prefixes], [each.net_j.value for each in energy.prefixes]):
        assert values == sorted(values)
        assert values[0] > 0 or first_s == 0.0
    layers_j = sum(each.value for each in energy.layers)
    assert layers_j == pytest.approx(energy.whole_j.value - energy.prefixes[0].total_j.value)
    assert len(energy.layers) == len(profile.layers)
    assert all(each.value > 0 or layer_s == 0 for each, layer_s in zip(energy.layers, layers_s, strict=True))


def test_stated_intervals_hold_the_truth():
    """Over 300 experiments: in 95 of 100 cases where a cut was run, and practically always where it was not."""
    held: dict[tuple[str, str], list[bool]] = {}
    for seed in range(300):
        energy = measured(2, 4, 6, 8, noise=0.03, seed=seed)
        for depth, prefix in enumerate(energy.prefixes[1:], start=1):
            truth = {"total_j": TOTALS_J[depth], "net_j": TOTALS_J[depth] - REST_W * TIMES_S[depth]}
            for which, wanted in truth.items():
                found = getattr(prefix, which)
                held.setdefault((which, found.origin), []).append(abs(found.value - wanted) <= found.interval)
    assert 0.93 < np.mean(held["total_j", "measured"]) < 0.98
    assert 0.93 < np.mean(held["net_j", "measured"]) < 0.99
    assert np.mean(held["total_j", "modelled"]) > 0.95
    assert np.mean(held["net_j", "modelled"]) > 0.95


def test_what_order_moves_beyond_its_interval_is_called_modelled():
    found = loops(6, 7, 8)
    found["id6"] = [window(TIMES_S[6], 1.5 * TOTALS_J[8])] * 3
    energy = energy_profile(chain(), INFO, rest=rest(), loops=found)
    assert energy.prefixes[6].total_j.origin == "modelled"


def test_a_step_of_the_meter_is_in_every_interval():
    """40 mW over 20 ms are 0.8 mJ, and half of that either way; a counter's step falls on all runs of a loop."""
    power = measured(4, 8, info=replace(INFO, step_w=0.04))
    assert power.resolution_j == pytest.approx(0.04 * TIMES_S[-1])
    assert power.whole_j.interval == pytest.approx(0.02 * TIMES_S[-1])
    assert power.idle_w.interval == pytest.approx(0.02)
    counter = measured(4, 8, info=replace(INFO, step_j=0.5))
    assert counter.resolution_j == pytest.approx(0.5 / 100)
    assert counter.whole_j.interval == pytest.approx(0.5 / 100)
    assert measured(4, 8).whole_j.interval == pytest.approx(0.0, abs=1e-12)


def test_a_meter_that_cannot_tell_work_from_rest_is_refused():
    same = {"id8": [window(0.02, 0.02 * REST_W)] * 3}
    with pytest.raises(MeterError, match=r"tells 2 W while the model runs and 2 W at rest"):
        energy_profile(chain(), INFO, rest=rest(), loops=same)
    slightly_more = {"id8": [window(0.02, 0.02 * (REST_W + 0.03))] * 3}
    energy_profile(chain(), INFO, rest=rest(), loops=slightly_more)
    with pytest.raises(MeterError, match="other work drowns it"):
        energy_profile(chain(), replace(INFO, step_w=0.1), rest=rest(), loops=slightly_more)


def test_a_counter_that_does_not_move_while_a_cut_runs_is_refused():
    found = {**loops(8), "id1": [window(TIMES_S[1], 0.0)] * 3}
    with pytest.raises(MeterError, match=r"counted nothing in 0\.3 s of work"):
        energy_profile(chain(), INFO, rest=rest(), loops=found)


def test_work_that_varies_is_told_from_a_steady_rest_and_not_from_one_that_varies_as_much():
    """Working at 3, 5 and 9 W: three values alone have an interval of 7.6 W."""
    powers_w = (3.0, 5.0, 9.0)
    work = {"id8": [window(0.02, 0.02 * power_w) for power_w in powers_w]}
    energy = energy_profile(chain(), INFO, rest=rest(0.01), loops=work)
    assert energy.active_w.value == pytest.approx(17 / 3)
    assert energy.active_w.interval == pytest.approx(7.59, abs=0.01)
    restless = [window(2.0, 2.0 * power_w, runs=1) for power_w in (9.0, 1.0, 1.0, 1.0, 1.0, 1.0)]
    with pytest.raises(MeterError, match="other work drowns it"):
        energy_profile(chain(), INFO, rest=restless, loops=work)


def test_a_cut_at_the_power_of_rest_gets_what_the_whole_models_power_makes_of_its_time():
    found = {**loops(8), "id2": [window(TIMES_S[2], TIMES_S[2] * REST_W * 0.99)] * 3}
    net = energy_profile(chain(), INFO, rest=rest(), loops=found).prefixes[2].net_j
    assert net.origin == "modelled"
    assert 0 < net.value <= TIMES_S[2] * REST_W


def test_every_number_is_finite_with_two_rounds():
    energy = energy_profile(chain(), INFO, rest=rest(0.01), loops=loops(1, 8, noise=0.02, rounds=2))
    quantities = [energy.whole_j, energy.idle_w, energy.active_w, *energy.layers]
    quantities += [each for prefix in energy.prefixes for each in (prefix.total_j, prefix.net_j)]
    assert all(math.isfinite(each.value) and math.isfinite(each.interval) for each in quantities)
