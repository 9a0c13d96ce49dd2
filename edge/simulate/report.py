"""A contest for people and for machines: who took how long, how much more than whom, and when the policy switched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from edge.simulate.contest import Contest, Run, Switch
from partitioner.units import digits, ms

HEADINGS = ("who", "codec", "total s", "mean ms", "p95 ms", "late", "at home", "switches", "policy is")


def rows(contest: Contest, *, top: int | None = None) -> Iterator[tuple[str, ...]]:
    """The rows of a table: policy, oracle, the ``top`` best fixed cuts, and always the best all-local and all-cloud."""
    yield _row(contest.policy, contest)
    yield _row(contest.oracle, contest)
    has_end = {"local": False, "cloud": False}
    for rank, run in enumerate(sorted(contest.fixed, key=lambda run: run.total_s)):
        cut = "" if run.candidate is None else run.candidate.cut
        is_end = not has_end.get(cut, True)
        if top is None or rank < top or is_end:
            yield _row(run, contest)
        has_end[cut] = True


def summary(contest: Contest) -> str:
    """What came out, in a line."""
    best = contest.best_fixed
    return (
        f"{contest.trace.name}: the policy was {_more(contest.policy.regret(contest.oracle))} than the oracle, and "
        f"{_more(contest.policy.regret(best))} than the best fixed cut, which is always {best.name}"
    )


def lines(contest: Contest) -> Iterator[str]:
    """Each decision of the policy with its time and reason."""
    for each in contest.policy.decisions:
        plan = f"{each.candidate.label} ({each.candidate.codec})"
        yield f"{contest.trace.name} {each.at_s:9.3f} s  frame {each.frame:5d}  {plan}: {each.reason}"


def record(contest: Contest) -> dict[str, object]:
    """The contest as an item of ``cleft.simulate/1``."""
    best = contest.best_fixed
    return {
        "trace": contest.trace.name,
        "trace_s": contest.trace.length_s,
        "frames": contest.course.frames,
        "period_s": contest.course.period_s,
        "deadline_s": contest.course.deadline_s,
        "regret_oracle": contest.policy.regret(contest.oracle),
        "regret_best_fixed": contest.policy.regret(best),
        "best_fixed": best.name,
        "policy": _run_record(contest.policy, contest),
        "oracle": _run_record(contest.oracle, contest),
        "fixed": [_run_record(run, contest) for run in contest.fixed],
        "decisions": [_decision(each) for each in contest.policy.decisions],
    }


def _row(run: Run, contest: Contest) -> tuple[str, ...]:
    candidate = run.candidate
    codec = "-" if candidate is None or candidate.is_local else candidate.codec
    name = run.name if candidate is None else f"always {run.name}"
    return (
        name,
        codec,
        digits(run.total_s),
        digits(run.mean_s * 1e3),
        digits(run.quantile_s(0.95) * 1e3),
        "-" if run.deadline_s is None else str(run.misses),
        str(run.finished_home),
        str(run.switches),
        "" if run is contest.policy else _more(contest.policy.regret(run)),
    )


def _more(regret: float) -> str:
    return f"{abs(regret):.1%} {'slower' if regret > 0 else 'faster'}"


def _run_record(run: Run, contest: Contest) -> dict[str, object]:
    candidate = run.candidate
    plans = Counter((each.candidate.cut, each.candidate.codec) for each in run.answers)
    return {
        "name": run.name,
        "cut": None if candidate is None else candidate.cut,
        "cut_id": None if candidate is None else candidate.cut_id,
        "codec": None if candidate is None else candidate.codec,
        "total_s": run.total_s,
        "mean_s": run.mean_s,
        "p95_s": run.quantile_s(0.95),
        "deadline_misses": run.misses,
        "finished_home": run.finished_home,
        "switches": run.switches,
        "regret": contest.policy.regret(run),
        "plans": [{"cut": cut, "codec": codec, "frames": frames} for (cut, codec), frames in plans.most_common()],
    }


def _decision(switch: Switch) -> dict[str, object]:
    return {
        "at_s": switch.at_s,
        "frame": switch.frame,
        "cut": switch.candidate.cut,
        "cut_id": switch.candidate.cut_id,
        "codec": switch.candidate.codec,
        "reason": switch.reason,
    }


def title(contest: Contest) -> str:
    """What was asked."""
    course = contest.course
    pace = f"one every {ms(course.period_s)}" if course.period_s else "back to back"
    limit = "" if course.deadline_s is None else f", each within {ms(course.deadline_s)}"
    return f"{contest.trace.name}: {course.frames} requests, {pace}{limit}"
