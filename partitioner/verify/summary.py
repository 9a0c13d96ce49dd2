"""What many findings say together, in figures and in words."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from partitioner.verify.findings import WITHIN, Finding

EMULATION = (
    "the device is emulated by the machine at hand: after preparing an input, each segment, encoding and decoding, it "
    "waits (factor - 1) times as long as that took. So its ratio of computing to sending is a slower device's, but "
    "nothing else of one: caches, memory bandwidth, vector units and heat are the fast machine's, every step is slower "
    "by the same factor, and the messages' own handling is not slowed. The waits let caches cool, which the profile "
    "imitates with pauses"
)
FAIRNESS = (
    "regret is taken from runs made after the finalists were named: the chosen plan and up to four of the fastest "
    "others, equally often and interleaved"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Over all configurations; errors are shares of the measured time."""

    configurations: int
    within_10_percent: int
    best_chosen: int
    median_regret: float
    worst_regret: float
    median_error: float
    median_chosen_error: float
    worst_chosen_error: float
    median_over_cloud: float
    median_over_local: float
    plans_measured: int
    plans_left_out: int
    took_s: float

    def to_json(self) -> dict[str, object]:
        """The summary as JSON values."""
        return asdict(self)


def summarise(findings: Sequence[Finding]) -> Summary:
    """Count and average; there is at least one finding."""
    regrets = [finding.regret for finding in findings]
    chosen_errors = [abs(finding.chosen.error) for finding in findings]
    return Summary(
        configurations=len(findings),
        within_10_percent=sum(regret <= WITHIN for regret in regrets),
        best_chosen=sum(finding.is_best_chosen for finding in findings),
        median_regret=statistics.median(regrets),
        worst_regret=max(regrets),
        median_error=statistics.median(error for finding in findings for error in finding.errors),
        median_chosen_error=statistics.median(chosen_errors),
        worst_chosen_error=max(chosen_errors),
        median_over_cloud=statistics.median(finding.over_cloud for finding in findings),
        median_over_local=statistics.median(finding.over_local for finding in findings),
        plans_measured=sum(len(finding.plans) for finding in findings),
        plans_left_out=sum(finding.left_out for finding in findings),
        took_s=sum(finding.took_s for finding in findings),
    )


def verdict(summary: Summary) -> tuple[str, ...]:
    """The summary in sentences."""
    return (
        f"the chosen plan was within {WITHIN:.0%} of the best measured one in {summary.within_10_percent} of "
        f"{summary.configurations} configurations, and the best itself in {summary.best_chosen}",
        f"regret: median {summary.median_regret:.1%}, worst {summary.worst_regret:.1%}",
        f"prediction error: median {summary.median_error:.1%} over {summary.plans_measured} plans; of the chosen plans "
        f"median {summary.median_chosen_error:.1%}, worst {summary.worst_chosen_error:.1%}",
        f"the chosen plan is {summary.median_over_cloud:.2f}x as fast as all-cloud and "
        f"{summary.median_over_local:.2f}x as fast as all-local, in the median",
    )
