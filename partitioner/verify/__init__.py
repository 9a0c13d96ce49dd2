"""Does the planner choose well? Plans are predicted, then measured end to end through a shaped link, and compared.

Worker and device are child processes that run the commands a user types (``partitioner.children``); between them a
relay shapes rate and delay. For each model both sides are profiled as they always are and the link is measured as a
device would; nothing is tuned on what is to be predicted. Then every candidate, or a sample of them (``sampling``), is
run in one session, interleaved, and the fastest once more (``findings``). With a fit the device is not profiled: its
times are predicted (``predict``), and the plans that come of that are judged.

Source: Kang et al., "Neurosurgeon", ASPLOS 2017, judge their planner in the same way: 44 of 48 configurations within
10 % of the best.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from partitioner.children import Address, Device, Record, device_profile, link_to, number, worker, worker_profile
from partitioner.errors import CleftError, ProfileError
from partitioner.link import Link
from partitioner.optimize.constraints import Constraints
from partitioner.optimize.scan import Priced, choose
from partitioner.planner import Planner
from partitioner.predict import Fit, differences, predicted
from partitioner.profile import Profile
from partitioner.relay import Relay, Shape
from partitioner.verify.findings import Finding, Tried, counted, finalists
from partitioner.verify.sampling import sample

FIRST_SHARE = 0.6
"""Of the time for a configuration: the first runs of all plans. The rest is the finalists'."""
LAST_RUNS = (4, 12)
_LEAST_S, _LEAST_FACTOR = 2.0, 3.0
"""Time that a plan which is always measured gets, whatever was asked for: seconds, and times its prediction."""
STEPS_PER_MODEL = 3
_LINK_BUDGET_S = 1.5
_SEED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model to verify: a spec or a bundle's path for the commands, its name, and what it answers."""

    spec: str
    name: str
    input: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How thoroughly. ``codecs``: admitted ones, None for all within ``max_deviation``; ``runtime`` runs both sides.

    ``fit``: predicts the device's profile, which is then not measured; it is for the caller to see that it was made
    without the subjects.
    """

    links: tuple[Link, ...]
    slowdowns: tuple[float, ...]
    codecs: Collection[str] | None
    max_deviation: float | None
    runtime: str
    profile_budget_s: float
    time_per_config_s: float
    fit: Fit | None = None


def steps(subjects: int, settings: Settings, *, done: int = 0) -> int:
    """How often ``verify`` calls ``advance``, at most."""
    return subjects * (STEPS_PER_MODEL + len(settings.links) * len(settings.slowdowns)) - done


def verify(
    subjects: Sequence[Subject],
    settings: Settings,
    *,
    done: Collection[tuple[str, str, float]] = (),
    advance: Callable[[str], None] = lambda what: None,
) -> Iterator[Finding]:
    """Every configuration that is not ``done``, as soon as it is found.

    Raises:
        CleftError: a child process failed.
    """
    for subject in subjects:
        wanted = {
            link.name: [factor for factor in settings.slowdowns if (subject.name, link.name, factor) not in done]
            for link in settings.links
        }
        if any(wanted.values()):
            yield from _verify_model(subject, settings, wanted, advance)


def _verify_model(
    subject: Subject, settings: Settings, wanted: Mapping[str, Sequence[float]], advance: Callable[[str], None]
) -> Iterator[Finding]:
    options = ["--runtime", settings.runtime, "--threads", "1"]
    with ExitStack() as running:
        advance(f"{subject.name}: starting a worker")
        address = running.enter_context(worker((subject.spec,), options=options))
        edge, cloud = _profiles(subject, settings, address, options, advance)
        options = ["--runtime", edge.runtime.name, "--threads", "1"]  # what was profiled, however it was chosen
        device = running.enter_context(Device(subject.spec, subject.input, options=options))
        for shape in settings.links:
            if not wanted[shape.name]:
                continue
            with _relay(address, shape) as relay:
                link = replace(link_to(relay.address, budget_s=_LINK_BUDGET_S), name=shape.name)
                for slowdown in wanted[shape.name]:
                    advance(f"{subject.name} over {shape.name}, device {slowdown:g}x slower")
                    planner = Planner.from_profiles(
                        edge.slowed(slowdown),
                        cloud,
                        codecs=settings.codecs,
                        source_bytes=edge.source.nbytes if settings.fit is not None else None,
                        constraints=Constraints(max_deviation=settings.max_deviation),
                    )
                    ranked = _ranked(planner, link, has_source=subject.input is not None)
                    configuration = _Configuration(
                        subject=subject,
                        weights=edge.weights,
                        runtime=edge.runtime.name,
                        is_predicted=settings.fit is not None,
                        max_deviation=settings.max_deviation,
                        link=link,
                        slowdown=slowdown,
                        ranked=ranked,
                    )
                    yield configuration.find(device, relay.address, time_s=settings.time_per_config_s)


def _profiles(
    subject: Subject, settings: Settings, address: Address, options: Sequence[str], advance: Callable[[str], None]
) -> tuple[Profile, Profile]:
    """The device's profile, measured or predicted, and the worker's."""
    budget_s = settings.profile_budget_s

    def of_worker() -> Profile:
        advance(f"{subject.name}: profiling the worker")
        return Profile.loads(worker_profile(subject.name, address, budget_s=budget_s))

    if settings.fit is not None:
        cloud = of_worker()
        advance(f"{subject.name}: predicting the device")
        return _predicted(subject, cloud, settings.fit), cloud
    advance(f"{subject.name}: profiling the device")
    edge = Profile.loads(device_profile(subject.spec, subject.input, budget_s=budget_s, options=options))
    return edge, of_worker()


def _predicted(subject: Subject, cloud: Profile, fit: Fit) -> Profile:
    """The device's profile, as one who never ran the model there would have it.

    Raises:
        ProfileError: the fit is not of this machine as it runs here, so measuring would not judge it.
    """
    if others := differences(cloud, fit.device, fit.runtime):
        raise ProfileError(f"what runs here is {' and '.join(others)}: give verify a fit of this machine")
    source = cloud.source
    if subject.input is not None and subject.input.suffix != ".npy":
        source = replace(source, kind="file", nbytes=subject.input.stat().st_size)
    return predicted(replace(cloud, source=source), fit)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Configuration:
    subject: Subject
    weights: str
    runtime: str
    is_predicted: bool
    max_deviation: float | None
    link: Link
    slowdown: float
    ranked: Sequence[Priced]

    def find(self, device: Device, address: str, *, time_s: float) -> Finding:
        begun_s = time.monotonic()
        predicted_s = [priced.predicted_s for priced in self.ranked]
        always = self._always()
        runs = sample(predicted_s, always=always, limit_s=FIRST_SHARE * time_s)
        in_order = {rank: runs[rank] for rank in (*always, *runs)}
        least_s = sum(_LEAST_S + _LEAST_FACTOR * predicted_s[rank] for rank in always)
        first = self._run(device, address, in_order, seed=_SEED, time_limit_s=max(2 * time_s, least_s))
        if missing := [self.ranked[rank].candidate.cut for rank in always if rank not in first]:
            raise CleftError(f"{', '.join(missing)} could not be run once within {least_s:.1f} s")
        plans = [self._tried(rank, counted(first[rank], is_first=not rank)) for rank in sorted(first)]
        last = finalists(plans)
        round_s = sum(plans[index].measured_s for index in last)
        left_s = max(0.0, time_s - (time.monotonic() - begun_s))
        last_runs = int(min(max(left_s / round_s, LAST_RUNS[0]), LAST_RUNS[1]))
        again = {plans[index].rank: last_runs for index in last}
        last_s = self._run(device, address, again, seed=_SEED + 1, time_limit_s=10 * time_s)
        found = tuple(replace(plan, last_s=tuple(last_s.get(plan.rank, ()))) for plan in plans)
        return Finding(
            model=self.subject.name,
            weights=self.weights,
            runtime=self.runtime,
            is_predicted=self.is_predicted,
            max_deviation=self.max_deviation,
            link=self.link,
            slowdown=self.slowdown,
            plans=found,
            left_out=len(self.ranked) - len(found),
            took_s=time.monotonic() - begun_s,
        )

    def _always(self) -> list[int]:
        """Ranks of the chosen plan, of the device alone, and of the best ways to send the original input."""
        candidates = [priced.candidate for priced in self.ranked]
        local = next(rank for rank, each in enumerate(candidates) if each.is_local)
        cloud = [rank for rank, each in enumerate(candidates) if each.is_all_cloud]
        as_it_is = [rank for rank in cloud if ":" not in candidates[rank].codec]
        return list(dict.fromkeys([0, local, *cloud[:1], *as_it_is[:1]]))

    def _run(
        self, device: Device, address: str, runs: Mapping[int, int], *, seed: int, time_limit_s: float
    ) -> dict[int, list[float]]:
        """Seconds of every run of these ranks."""
        ranks = list(runs)
        asked = [
            {
                "cut": self.ranked[rank].candidate.cut,
                "codec": self.ranked[rank].candidate.codec,
                "rounds": runs[rank] - 1,
            }
            for rank in ranks
        ]
        records = device.trial(asked, address=address, slowdown=self.slowdown, seed=seed, time_limit_s=time_limit_s)
        found: dict[int, list[float]] = {}
        for record in records:
            if "total_s" in record:
                found.setdefault(ranks[int(number(record, "plan"))], []).append(_seconds(record))
        return found

    def _tried(self, rank: int, times_s: tuple[float, ...]) -> Tried:
        priced = self.ranked[rank]
        return Tried(
            rank=rank,
            cut=priced.candidate.cut,
            codec=priced.candidate.codec,
            predicted_s=priced.predicted_s,
            first_s=times_s,
            up_bytes=round(priced.candidate.up_bytes),
        )


def _ranked(planner: Planner, link: Link, *, has_source: bool) -> list[Priced]:
    """Every plan that can be run, the chosen one first, then the fastest."""
    chosen = planner.at(link).candidate
    plans = [
        priced
        for priced in choose(planner.everything, link).ranked
        if has_source or not priced.candidate.codec.startswith("source")
    ]
    return sorted(plans, key=lambda priced: priced.candidate != chosen)


def _seconds(record: Record) -> float:
    return number(record, "total_s")


def _relay(address: Address, link: Link) -> Relay:
    shape = Shape(up_bytes_per_s=link.up_bytes_per_s, down_bytes_per_s=link.down_bytes_per_s, delay_s=link.rtt_s / 2)
    return Relay(address, shape)
