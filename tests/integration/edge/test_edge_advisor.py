from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from edge_support import inputs_of

from edge.advisor import Advisor, Selected, Wish, select
from edge.evidence import Evidence
from edge.introductions import WorkerStatus
from edge.sample import sizes_of, to_sample
from partitioner import measure
from partitioner.bundle import Bundle, cache_dir
from partitioner.codecmix import EXACT, Bound
from partitioner.errors import PlanError, ProfileError, UsageError
from partitioner.leakage import CutLeakage, LeakageProfile
from partitioner.link import PRESETS, Link
from partitioner.optimize.constraints import Constraints
from partitioner.profile import Profile
from partitioner.runtimes import Array, Engine
from partitioner.runtimes.eager import open_engine
from partitioner.runtimes.opening import load
from partitioner.segments import Cuts
from partitioner.units import size_flag

IDLE_WORKER = WorkerStatus(
    name="fake",
    models=(),
    sessions=1,
    queued_frames=0,
    busy_ratio=0.0,
    job_s=0.0,
    frames_answered=0,
    frames_failed=0,
    uptime_s=1.0,
    is_draining=False,
)


class FakeClient:
    """A worker as fast as this machine, behind any link."""

    def __init__(self, text: str, link: Link) -> None:
        self.text, self.link = text, link
        self.asked_afresh: list[bool] = []
        self.state = IDLE_WORKER

    def fetch_profile(
        self, digest: str, *, budget_s: float, is_fresh: bool, on_progress: Callable[[float], None]
    ) -> str:
        self.asked_afresh.append(is_fresh)
        on_progress(1.0)
        return self.text

    def status(self) -> WorkerStatus:
        return self.state

    def measure_link(self) -> Link:
        return self.link


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLEFT_CACHE_DIR", str(tmp_path))
    return cache_dir() / "profiles"


@pytest.fixture
def engine(digits: Bundle) -> Engine:
    return open_engine(digits, device="cpu", threads=1)


@pytest.fixture
def advisor(digits: Bundle, engine: Engine, cache: Path) -> Callable[..., Advisor]:
    return lambda **more: Advisor(digits, engine, **{"slowdown": 1.0, "budget_s": 0.5, **more})


@pytest.fixture(scope="module")
def profile(digits: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Profile:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLEFT_CACHE_DIR", str(tmp_path_factory.mktemp("profile")))
        return Advisor(digits, open_engine(digits, threads=1), slowdown=1.0, budget_s=4.0).edge_profile()


def test_the_device_is_measured_once_and_the_profile_kept(
    advisor: Callable[..., Advisor], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, float]] = []
    first = advisor(on_progress=lambda what, share: seen.append((what, share))).edge_profile()
    assert [share for _, share in seen] == sorted(share for _, share in seen)
    monkeypatch.setattr(measure, "measure_steps", lambda *_args, **_more: pytest.fail("measured again"))
    assert advisor().edge_profile() == first
    assert [path.suffix for path in cache.iterdir()] == [".json"]


@pytest.mark.parametrize("runtime", ["eager", "ort"])
def test_what_measuring_took_is_given_back(runtime: str, digits: Bundle, cache: Path) -> None:
    engine = load(digits, runtime, device="cpu", threads=1, allow_ops=())
    Advisor(digits, engine, slowdown=1.0, budget_s=0.5).edge_profile()
    assert engine.weight_bytes_held == 0
    cuts = Cuts(digits.graph, digits.digest)
    inputs = {"image": np.zeros((1, 1, 8, 8), np.float32)}
    assert set(engine.segment(cuts.whole())(inputs)) == set(digits.graph.output_names)


def test_fresh_profiles_are_measured_on_both_sides_and_kept(
    advisor: Callable[..., Advisor], profile: Profile, cache: Path
) -> None:
    client = FakeClient(profile.dumps(), PRESETS["4g"])
    advisor().gather(client)  # type: ignore[arg-type]
    (path,) = cache.iterdir()
    path.write_text(replace(profile, created="long ago").dumps())
    assert advisor().gather(client).edge.created == "long ago"  # type: ignore[arg-type]
    found = advisor(is_fresh=True).gather(client)  # type: ignore[arg-type]
    assert found.edge.created != "long ago"
    assert Profile.loads(path.read_text()) == found.edge
    assert client.asked_afresh == [False, False, True]


def test_a_noisy_profile_is_warned_of_by_the_side_it_is_of(profile: Profile) -> None:
    calm, noisy = replace(profile, noisy=False), replace(profile, noisy=True, noise_ratio=0.5)

    def warning(edge: Profile, cloud: Profile) -> str:
        return Evidence(edge=edge, cloud=cloud, link=PRESETS["4g"]).warning

    assert warning(calm, calm) == ""
    assert "this device's (50.0 %)" in warning(noisy, calm)
    assert "worker" not in warning(noisy, calm)
    assert "the worker's (50.0 %)" in warning(calm, noisy)


def test_a_slowdown_multiplies_what_was_measured_and_is_not_kept(advisor: Callable[..., Advisor]) -> None:
    plain = advisor().edge_profile()
    assert advisor(slowdown=8.0).edge_profile().whole.median_s == pytest.approx(8 * plain.whole.median_s)
    assert advisor().edge_profile() == plain


@pytest.mark.parametrize("damage", [lambda text: text[:100], lambda text: "", lambda text: text.replace("/1", "/9", 1)])
def test_a_damaged_profile_in_the_cache_is_measured_again(
    damage: Callable[[str], str], advisor: Callable[..., Advisor], cache: Path
) -> None:
    advisor().edge_profile()
    (path,) = cache.iterdir()
    path.write_text(damage(path.read_text()))
    assert advisor().edge_profile().cuts
    assert Profile.loads(path.read_text()).cuts


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(
    advisor: Callable[..., Advisor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CLEFT_CACHE_DIR", str(tmp_path / "file"))
    assert advisor().edge_profile().cuts


def test_the_profile_of_another_model_is_refused(advisor: Callable[..., Advisor], profile: Profile) -> None:
    other = replace(profile, model_digest="0" * 64)
    with pytest.raises(ProfileError, match="another model"):
        advisor().cloud_profile(FakeClient(other.dumps(), PRESETS["4g"]))  # type: ignore[arg-type]


def choose(
    digits: Bundle, profile: Profile, wish: Wish, given: object, link: Link, *, slowdown: float = 1.0
) -> Selected:
    cuts = Cuts(digits.graph, digits.digest)
    evidence = Evidence(edge=profile.slowed(slowdown), cloud=profile, link=link)
    return select(cuts, wish, to_sample(given, digits), evidence=lambda: evidence)


FAST = Link(up_bytes_per_s=1e10, down_bytes_per_s=1e10, rtt_s=0.0)
LOOSE = Bound(max_deviation=0.1)


def test_a_slow_device_on_a_fast_link_sends_all_and_a_fast_one_on_a_slow_link_nothing(
    digits: Bundle, profile: Profile
) -> None:
    pixels = np.zeros((8, 8, 1), np.uint8)
    assert choose(digits, profile, Wish(), pixels, FAST, slowdown=100).codec == "source"
    assert choose(digits, profile, Wish(), pixels, PRESETS["3g"]).plan.is_local


def test_a_busy_worker_is_left_alone(advisor: Callable[..., Advisor], digits: Bundle, profile: Profile) -> None:
    client = FakeClient(profile.dumps(), FAST)
    busy = replace(IDLE_WORKER, queued_frames=1000, busy_ratio=1.0, job_s=profile.whole.median_s)
    cuts = Cuts(digits.graph, digits.digest)
    found: list[Selected] = []
    for state in (IDLE_WORKER, busy, replace(busy, queued_frames=0, busy_ratio=float("nan"))):
        client.state = state
        evidence = replace(advisor().gather(client), edge=profile.slowed(100))  # type: ignore[arg-type]
        sample = to_sample(np.zeros((8, 8, 1), np.uint8), digits)
        found.append(select(cuts, Wish(), sample, evidence=lambda known=evidence: known))  # type: ignore[misc]
    assert [each.plan.is_local for each in found] == [False, True, False]


def test_layers_that_are_to_stay_stay(digits: Bundle, profile: Profile) -> None:
    given = np.zeros((8, 8, 1), np.uint8)
    kept = Constraints(pinned=("stage1",))
    *cuts, local = profile.cuts
    tiring = replace(profile, cuts=(*cuts, replace(local, prefix=local.prefix.slowed(10))))
    selected = choose(digits, tiring, Wish(constraints=kept), given, FAST, slowdown=100)
    pinned = {index for index, layer in enumerate(digits.graph.layers) if layer.id.startswith("stage1")}
    assert pinned
    assert pinned <= selected.cut.edge_layers
    assert not selected.plan.is_local
    with pytest.raises(PlanError, match=r"sends layer stage1.* which is to stay"):
        choose(digits, profile, Wish(cut="cloud", codec="none", constraints=kept), given, FAST)
    with pytest.raises(PlanError, match="no plan keeps --max-upload 0"):
        choose(
            digits,
            profile,
            Wish(cut="after:stage2", codec="auto", constraints=Constraints(max_up_bytes=0)),
            given,
            FAST,
        )


def test_a_named_cut_keeps_the_limits_that_the_graph_can_tell(digits: Bundle, profile: Profile) -> None:
    given = np.zeros((8, 8, 1), np.uint8)
    cuts = Cuts(digits.graph, digits.digest)
    cost = cuts.cost(cuts.find("after:stage1"))
    edge_bytes = cost.edge_weight_bytes + cost.edge_peak_bytes
    just = Constraints(max_edge_bytes=edge_bytes, max_up_bytes=cost.up_bytes)
    selected = choose(digits, profile, Wish(cut="after:stage1", codec="none", constraints=just), given, FAST)
    assert selected.cut.name == "after:stage1"
    for asked, says in (
        (
            Constraints(max_edge_bytes=edge_bytes - 1),
            f"--max-edge-memory {size_flag(edge_bytes - 1)} (it takes {size_flag(edge_bytes, is_rounded=True)})",
        ),
        (Constraints(max_up_bytes=cost.up_bytes - 1), f"--max-upload {size_flag(cost.up_bytes - 1)} (it takes "),
    ):
        with pytest.raises(PlanError, match=re.escape(says)):
            choose(digits, profile, Wish(cut="after:stage1", codec="none", constraints=asked), given, FAST)
    with pytest.raises(PlanError, match=r"--max-upload 63 \(it takes 64"):
        choose(digits, profile, Wish(cut="cloud", constraints=Constraints(max_up_bytes=63)), given, FAST)
    with pytest.raises(PlanError, match="cut local does not keep --max-edge-memory 9"):
        choose(digits, profile, Wish(cut="local", constraints=Constraints(max_edge_bytes=9)), given, FAST)


def test_what_is_measured_here_gets_the_leakage_that_is_given_and_keeps_its_limits(
    advisor: Callable[..., Advisor], digits: Bundle, profile: Profile, cache: Path
) -> None:
    """After the second stage the input is hidden well enough, and what comes last takes this device too long."""
    depths = {name: cut.depth for cut in profile.cuts for name in (cut.id, cut.name)}
    leaks = {"after:stage1": 0.9, "after:stage2": 0.3}
    cuts = tuple(
        CutLeakage(cut_id=cut.id, distance_correlation=leaks[cut.name], inversion_error=1 - leaks[cut.name])
        for cut in profile.cuts
        if cut.name in leaks
    )
    leakage = LeakageProfile(samples=100, inverter="small", cuts=cuts)
    measured = advisor(leakage=leakage).gather(FakeClient(profile.dumps(), FAST)).edge  # type: ignore[arg-type]
    assert measured.leakage == leakage
    assert [Profile.loads(path.read_text()).leakage for path in cache.iterdir()] == [None]
    *rest, local = profile.cuts
    tiring = (*rest, replace(local, prefix=local.prefix.slowed(10)))
    known, given = replace(profile, leakage=leakage, cuts=tiring), np.zeros((8, 8, 1), np.uint8)
    for asked in (Constraints(max_leakage=0.5), Constraints(min_inversion_error=0.6)):
        selected = choose(digits, known, Wish(constraints=asked), given, FAST, slowdown=100)
        assert depths[selected.cut.id] >= depths["after:stage2"]
        assert not selected.plan.is_local
        named = Wish(cut="after:stage2", codec="none", constraints=asked)
        assert choose(digits, known, named, given, FAST).cut.name == "after:stage2"
        assert choose(digits, profile, Wish(cut="local", constraints=asked), given, FAST).plan.is_local
        for cut in ("cloud", "after:stage1"):
            with pytest.raises(PlanError, match="no plan keeps --m"):
                choose(digits, known, Wish(cut=cut, codec="none", constraints=asked), given, FAST)
        with pytest.raises(UsageError, match="no profile says what a cut gives away"):
            choose(digits, profile, Wish(cut="cloud", constraints=asked), given, FAST)


def test_original_bytes_are_never_chosen_for_a_tensor(digits: Bundle, profile: Profile) -> None:
    selected = choose(digits, profile, Wish(), inputs_of(digits), FAST, slowdown=100)
    assert selected.codec in EXACT
    assert not selected.codec.startswith("source")
    with pytest.raises(UsageError, match="no original bytes"):
        choose(digits, profile, Wish(cut="cloud", codec="source"), inputs_of(digits), FAST)


def test_a_named_cut_or_codec_binds_the_choice(digits: Bundle, profile: Profile) -> None:
    given = inputs_of(digits)
    for wish in (
        Wish(cut="after:stage2", codec="auto", bound=LOOSE),
        Wish(cut="after:stage2", codec="auto", constraints=Constraints(max_deviation=0.1)),
    ):
        selected = choose(digits, profile, wish, given, PRESETS["3g"])
        assert selected.cut.name == "after:stage2"
        assert selected.codec not in ("none", "none+zstd")
    selected = choose(digits, profile, Wish(codec="int8", bound=LOOSE), given, FAST, slowdown=100)
    assert selected.codec == "int8"
    assert choose(digits, profile, Wish(codec="int8", bound=LOOSE), given, PRESETS["3g"]).plan.is_local


def test_a_cut_with_a_codec_that_was_not_measured_there_is_refused(digits: Bundle, profile: Profile) -> None:
    bare = replace(profile, cuts=tuple(replace(cut, codecs=cut.codecs[:1]) for cut in profile.cuts))
    wish = Wish(cut="after:stage2", codec="auto", codecs=("int8",), bound=LOOSE)
    with pytest.raises((PlanError, UsageError)):
        choose(digits, bare, wish, inputs_of(digits), FAST)


def test_lossy_codecs_are_chosen_only_where_they_were_admitted(digits: Bundle, profile: Profile) -> None:
    slow = Link(up_bytes_per_s=1e4, down_bytes_per_s=1e6, rtt_s=0.0)
    for codecs in (EXACT, ("none",)):
        wish = Wish(cut="after:stage1", codec="auto", codecs=codecs)
        assert choose(digits, profile, wish, inputs_of(digits), slow).codec in codecs
    wish = Wish(cut="after:stage1", codec="auto", bound=LOOSE)
    assert choose(digits, profile, wish, inputs_of(digits), slow).codec.startswith(("int8", "int4"))


@pytest.mark.parametrize(
    "wish",
    [
        {"codec": "int8"},
        {"codecs": ("none", "int8")},
        {"cut": "after:stage1", "codec": "auto", "codecs": ("int8",)},
        {"cut": "cloud", "codec": "auto", "codecs": ("source:jpeg90",)},
    ],
)
def test_what_changes_answers_takes_a_bound(wish: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="--max-deviation"):
        Wish(**wish)  # type: ignore[arg-type]
    Wish(**wish, bound=LOOSE)  # type: ignore[arg-type]


def test_predictions_follow_the_size_of_each_picture(digits: Bundle, profile: Profile) -> None:
    selected = choose(digits, profile, Wish(cut="cloud", codec="auto"), np.zeros((8, 8, 1), np.uint8), PRESETS["3g"])
    small, large = (to_sample(np.zeros((side, side, 1), np.uint8), digits) for side in (8, 80))
    difference_s = selected.predicted_s(large) - selected.predicted_s(small)
    assert difference_s == pytest.approx((6400 - 64) / PRESETS["3g"].up_bytes_per_s)


def test_the_length_of_a_text_decides_where_it_is_worked_on(wording: Bundle) -> None:
    profile = Advisor(wording, open_engine(wording, threads=1), slowdown=1.0, budget_s=0.5).edge_profile()
    cuts = Cuts(wording.graph, wording.digest)
    evidence = Evidence(edge=profile.slowed(1000), cloud=profile, link=FAST)

    def local_s(length: int) -> float:
        table = evidence.at(cuts, sizes_of(words(length), wording.graph)).table(codecs=EXACT)
        priced = zip(table.candidates, table.price(FAST), strict=True)
        return next(float(seconds) for candidate, seconds in priced if candidate.is_local)

    def words(length: int) -> dict[str, Array]:
        return {"ids": np.ones((1, length), np.int64), "is_padding": np.zeros((1, length), bool)}

    assert local_s(2) < local_s(7) < local_s(64)
    rtt_s = (local_s(2) * local_s(64)) ** 0.5
    found = replace(evidence, link=replace(FAST, rtt_s=rtt_s))

    def chosen(length: int) -> Selected:
        sample = to_sample(words(length), wording)
        sizes = sizes_of(words(length), wording.graph)
        return select(cuts, Wish(), sample, evidence=lambda: found.at(cuts, sizes))

    assert chosen(2).plan.is_local
    assert not chosen(64).plan.is_local


def test_sizes_outside_of_what_was_captured_are_taken_as_the_nearest(wording: Bundle) -> None:
    for length, size in ((1, 2), (9, 9), (1000, 64)):
        tensors: dict[str, Array] = {"ids": np.ones((1, length), np.int64), "is_padding": np.zeros((1, length), bool)}
        assert set(sizes_of(tensors, wording.graph).values()) == {size}
    assert sizes_of({"ids": np.ones(3)}, wording.graph) == wording.graph.example_binding
