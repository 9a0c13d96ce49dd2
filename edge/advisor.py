"""Which plan to run: measured on this device, on the worker and on the link, priced by ``partitioner.cost``.

The device's profile is measured on first use, or when asked to, and kept in the cache, by model, runtime, threads,
versions and sizes; a worker on the same machine with the same runtime finds it there too. The worker's comes by RPC,
the link is measured each time. An emulated slowdown multiplies the device's profile and is never kept.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace

import numpy as np

from edge.client import Client
from edge.evidence import SOURCES, Evidence
from edge.introductions import WorkerStatus
from partitioner.bundle import Bundle
from partitioner.codecmix import EXACTLY, Bound, is_exact, parse
from partitioner.cost import IDLE, Candidate, Load, load_of
from partitioner.errors import PlanError, ProfileError, UsageError
from partitioner.inputs import Sample
from partitioner.leakage import LeakageProfile
from partitioner.link import Link
from partitioner.measure import cache
from partitioner.optimize.constraints import ANYTHING, Constraints
from partitioner.optimize.scan import Priced
from partitioner.plan import SOURCE, Plan
from partitioner.planner import Planner
from partitioner.profile import Profile
from partitioner.runtimes import Engine
from partitioner.samples import NO_SAMPLES, SampleSet
from partitioner.segments import CLOUD, LOCAL, Cut, Cuts
from partitioner.units import size_flag
from protos.codecs import CODECS

AUTO = "auto"

OnProgress = Callable[[str, float], None]
"""Takes what is being measured and how far it is, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the user asked for. ``codecs``: those to choose among; None: every one within the bound.

    A lossy codec takes a bound, unless the user names it for a cut that he names.
    """

    cut: str = AUTO
    codec: str | None = None
    codecs: tuple[str, ...] | None = None
    bound: Bound = EXACTLY
    constraints: Constraints = ANYTHING

    def __post_init__(self) -> None:
        known = (AUTO, *CODECS, *SOURCES)
        named = parse(self.codec or AUTO)
        mixed = () if isinstance(named, str) else named.values()
        for codec in (named if isinstance(named, str) else AUTO, *mixed, *(self.codecs or ())):
            if codec not in known:
                raise UsageError(f"no codec {codec!r}; choose from {', '.join(known)}")
        lossy = [codec for codec in self.codecs or () if not is_exact(codec)]
        if self.cut == AUTO and self.codec not in (None, AUTO) and not is_exact(str(self.codec)):
            lossy.append(str(self.codec))
        if lossy:
            self.bound.check_given(", ".join(lossy))
        if self.cut != CLOUD and self.codec in SOURCES:
            raise UsageError("the original input can only be sent with --cut cloud")
        if any(codec not in CODECS for codec in mixed):
            raise UsageError(f"{self.codec}: a tensor's codec is one of {', '.join(CODECS)}")
        if mixed and self.cut in (AUTO, LOCAL):
            raise UsageError("codecs by tensor are for one cut: name it with --cut")

    @property
    def is_measured(self) -> bool:
        """Whether it takes measurements to grant it."""
        return (AUTO in (self.cut, self.codec) or self.constraints.bounds_leakage) and self.cut != LOCAL

    @property
    def needs_worker(self) -> bool:
        """Whether a worker has a part in it."""
        return self.cut != LOCAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """A plan to run; ``predicted`` is there where it was chosen by measurements."""

    plan: Plan
    cut: Cut
    codec: str
    predicted: Priced | None = None
    link: Link | None = None

    def predicted_s(self, sample: Sample) -> float | None:
        """Predicted time for an input of this size, where the plan was chosen by measurements."""
        if self.predicted is None or self.link is None:
            return None
        more_bytes = sample.nbytes_original - self.predicted.candidate.up_bytes if self.codec == SOURCE else 0
        return self.predicted.predicted_s + more_bytes / self.link.up_bytes_per_s


def select(cuts: Cuts, wish: Wish, sample: Sample, *, evidence: Callable[[], Evidence]) -> Selected:
    """The plan that grants a wish for inputs like ``sample``; asks for evidence only where it must be chosen.

    Raises:
        PlanError: there is no such cut, or no candidate that the wish allows.
        UsageError: the original bytes are wanted of a sample that has none.
    """
    has_source = sample.source is not None
    if wish.is_measured and len(cuts.candidates) > 1:
        found = evidence()
        planner = options(cuts, wish, sample, found)
        return selected_of(cuts, planner.at(found.link, found.load).priced, found.link)
    cut = cuts.find(LOCAL if wish.cut == AUTO else wish.cut)
    codec = wish.codec or (SOURCE if cut.name == CLOUD and has_source else "none")
    if cut.is_local:
        codec = "none"
    if codec in SOURCES and not has_source:
        raise UsageError(f"{sample.name} is a tensor: it has no original bytes to send; choose another codec")
    _check_kept(cuts, cut, wish.constraints)
    _check_sizes(cuts, cut, wish.constraints, up_bytes=sample.nbytes_original if codec == SOURCE else None, codec=codec)
    if cut.is_local:
        return Selected(plan=cuts.plan(cut), cut=cut, codec=codec)
    return Selected(plan=_plan(cuts, cut, codec), cut=cut, codec=codec)


def live_load(status: WorkerStatus) -> Load:
    """The load of a worker from what it says of itself; one that says nonsense is taken for idle."""
    try:
        return load_of(queued=status.queued_frames, busy_ratio=status.busy_ratio, job_s=status.job_s or None)
    except UsageError:
        return IDLE


def _check_kept(cuts: Cuts, cut: Cut, constraints: Constraints) -> None:
    """Check that a cut which the user names keeps on the device what he wants kept."""
    layers = tuple(layer.id for layer in cuts.graph.layers)
    kept = frozenset(range(min(constraints.min_depth, len(layers)))).union(*constraints.kept(layers).values())
    if leaving := sorted(kept - cut.edge_layers):
        raise PlanError(
            f"cut {cut.name} sends layer {layers[leaving[0]]} to the worker, which is to stay on the device"
        )


def _check_sizes(cuts: Cuts, cut: Cut, asked: Constraints, *, codec: str, up_bytes: int | None) -> None:
    """Check a cut that the user names against his limits on memory and bytes, as far as the graph tells.

    It does at the sizes that the model was captured with, and not how far a codec packs: what is packed or rounded is
    sent as it is wished. ``up_bytes``: those of the original input, where it is sent as it is.
    """
    if not asked.bounds_memory and asked.max_up_bytes is None:
        return
    cost = cuts.cost(cut)
    known = {
        "--max-edge-memory": (asked.max_edge_bytes, cost.edge_weight_bytes + cost.edge_peak_bytes),
        "--max-cloud-memory": (asked.max_cloud_bytes, cost.cloud_weight_bytes + cost.cloud_peak_bytes),
    }
    if up_bytes is not None or codec == "none":
        known["--max-upload"] = asked.max_up_bytes, cost.up_bytes if up_bytes is None else up_bytes
    if broken := [
        f"{flag} {size_flag(most)} (it takes {size_flag(taken, is_rounded=True)})"
        for flag, (most, taken) in known.items()
        if most is not None and taken > most
    ]:
        raise PlanError(f"cut {cut.name} does not keep {', '.join(broken)}")


def options(cuts: Cuts, wish: Wish, sample: Sample, evidence: Evidence) -> Planner:
    """The candidates that a wish allows for inputs like ``sample``, frozen: to be asked for any link and load.

    Raises:
        PlanError: there is none.
    """
    has_source = sample.source is not None
    fixed = wish.codec if wish.codec != AUTO else None
    wanted = None if wish.cut == AUTO else cuts.find(wish.cut)
    planner = evidence.planner(
        codecs=wish.codecs if fixed is None else (fixed,),
        bound=wish.bound,
        constraints=wish.constraints,
        source_bytes=sample.nbytes_original if has_source else None,
        closed_sets=() if wanted is None else (wanted.edge_layers,),
    )
    table = planner.everything
    rows = [
        row
        for row, candidate in enumerate(table.candidates)
        if (has_source or candidate.codec not in SOURCES)
        and (fixed is None or candidate.is_local or candidate.codec == fixed)
        and (wanted is None or candidate.cut_id == wanted.id)
    ]
    if not rows:
        raise PlanError("no candidate has this cut and codec; cleft-plan cut lists them")
    return Planner(table.take(np.array(rows)), constraints=planner.constraints)


def selected_of(cuts: Cuts, chosen: Candidate | Priced, link: Link | None) -> Selected:
    """The plan that runs a candidate; one that is priced, for a link, says what it is predicted to take."""
    priced = chosen if isinstance(chosen, Priced) else None
    candidate = chosen.candidate if isinstance(chosen, Priced) else chosen
    cut, codec = cuts.find(candidate.cut), candidate.codec
    return Selected(plan=_plan(cuts, cut, codec), cut=cut, codec=codec, predicted=priced, link=link)


def _plan(cuts: Cuts, cut: Cut, codec: str) -> Plan:
    if codec not in SOURCES:
        return cuts.plan(cut, codec=parse(codec))
    way = codec.removeprefix(SOURCE)
    return cuts.plan(cut, codec=way.removeprefix(":") if way.startswith(":") else f"none{way}", from_source=True)


class Advisor:
    """Gathers what a choice takes."""

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        *,
        slowdown: float,
        budget_s: float,
        samples: SampleSet = NO_SAMPLES,
        leakage: LeakageProfile | None = None,
        is_fresh: bool = False,
        on_progress: OnProgress = lambda what, share: None,
    ) -> None:
        self._bundle = bundle
        self._engine = engine
        self._slowdown = slowdown
        self._budget_s = budget_s
        self._samples = samples
        self._leakage = leakage
        self._is_fresh = is_fresh
        self._on_progress = on_progress

    def gather(self, client: Client, edge: Profile | None = None) -> Evidence:
        """Both profiles, the worker's load and the link; ``edge`` is the device's, where that is at hand.

        The load is asked for first, before we add to it; the link is measured last, when nothing else runs.

        Raises:
            EdgeError: the worker does not tell.
            ProfileError: its profile cannot be read, or is of another model.
        """
        load = live_load(client.status())
        edge, cloud = edge or self.edge_profile(), self.cloud_profile(client)
        return Evidence(edge=edge, cloud=cloud, link=client.measure_link(), load=load)

    def edge_profile(self) -> Profile:
        """The device's own profile, measured on first use, or again where it is to be fresh, with the leakage given."""
        digest = self._bundle.digest
        path = cache.kept_path(
            digest, self._engine.info, self._bundle.graph.example_binding, samples=self._samples.digest
        )
        profile = None if self._is_fresh else cache.recall(path, digest)
        if profile is None or not profile.samples:  # a worker here kept one, and judged no codecs
            profile = self._measure()
            cache.keep(path, profile.dumps())
        if self._leakage is not None:
            profile = replace(profile, leakage=self._leakage)
        return profile if self._slowdown == 1.0 else profile.slowed(self._slowdown)

    def cloud_profile(self, client: Client) -> Profile:
        """The worker's profile, measured there on first use, or again where it is to be fresh."""
        text = client.fetch_profile(
            self._bundle.digest,
            budget_s=self._budget_s,
            is_fresh=self._is_fresh,
            on_progress=lambda share: self._on_progress("profiling the worker", share),
        )
        profile = Profile.loads(text)
        if profile.model_digest != self._bundle.digest:
            raise ProfileError("the worker sent the profile of another model")
        return profile

    def _measure(self) -> Profile:
        from partitioner.measure import measure_steps
        from partitioner.measure.device import give_back_memory

        binding = self._bundle.graph.example_binding
        steps = measure_steps(
            self._bundle, self._engine, budget_s=self._budget_s, binding=binding, samples=self._samples
        )
        profile = _finish(steps, lambda share: self._on_progress("profiling this device", share))
        self._engine.pin(())  # every cut was made ready for it, and one will be run
        give_back_memory()
        return profile


def _finish(steps: Generator[float, None, Profile], on_progress: Callable[[float], None]) -> Profile:
    """Take every step of a measurement; returns what it returns."""

    def delegate() -> Generator[float, None, None]:
        found.append((yield from steps))

    found: list[Profile] = []
    for share in delegate():
        on_progress(share)
    return found[0]
