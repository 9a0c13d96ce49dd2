"""Full-size networks on photographs over each link: all-local, all-cloud at its best, and the best split.

The planner predicts all three from two profiles and the measured link, then all three are measured, so that the table
shows what its choice was worth wherever it fell. Codecs are admitted that are exact, or that change the answers by
``MAX_ERROR`` at most; every answer is compared with the whole model's.
"""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from partitioner.children import Address, Record, device, device_profile, link_to, number, worker_profile
from partitioner.cost import CandidateTable
from partitioner.errors import CleftError
from partitioner.link import PRESETS, Link
from partitioner.optimize.scan import Choice, Priced, choose
from partitioner.profile import Profile, noise_of
from partitioner.relay import Relay, Shape

NETWORKS = ("torchvision:alexnet", "torchvision:resnet18")
PHOTOGRAPHS = (
    ("sklearn", "datasets/images/flower.jpg"),
    ("sklearn", "datasets/images/china.jpg"),
    ("skimage", "data/rocket.jpg"),
)
"""Which package brings which; the first, of middling size, is profiled with."""
SLOWDOWN = 8.0
WORTHWHILE_RATIO = 1.1
MAX_ERROR = 0.02
"""max|a-b| / max|a| of the answers, up to which a codec that rounds is admitted."""
EXACT_DIFF = 1e-5
_BUDGET_S = 6.0
_LINK_BUDGET_S = 1.5
_SAMPLING_S = 3.0

Role = Literal["all-local", "all-cloud", "split"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRow:
    """One way to answer the photographs over one link; times and bytes are medians over them.

    ``answers`` are the winning classes; ``is_chosen`` marks what the planner would run, ``is_exact`` a codec that
    changes nothing.
    """

    model: str
    link: str
    role: Role
    cut: str
    codec: str
    is_chosen: bool
    is_exact: bool
    predicted_s: float
    measured_s: float
    up_bytes: int
    answers: tuple[str, ...]
    is_same_answer: bool
    max_rel_diff: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """By measured times: the split's ``gain`` over the faster extreme, and the ``regret`` of the planner's choice."""

    model: str
    link: str
    gain: float
    regret: float
    text: str


def steps() -> int:
    """How often ``answers`` calls ``advance``, over all networks."""
    return len(NETWORKS) * (3 + 3 * len(PRESETS))


def answers(
    spec: str, address: Address, advance: Callable[[str], None], note: Callable[[str], None]
) -> Iterator[NetworkRow]:
    """Three rows per link; what a link cannot change is measured once. ``note`` takes what makes predictions doubtful.

    Raises:
        CleftError: a child process failed, or a photograph is missing.
    """
    name = spec.rpartition(":")[2]
    photographs = [_photograph(*place) for place in PHOTOGRAPHS]
    advance(f"{name}: profiling the device")
    edge = Profile.loads(device_profile(spec, photographs[0], budget_s=_BUDGET_S)).slowed(SLOWDOWN)
    advance(f"{name}: profiling the worker")
    cloud = Profile.loads(worker_profile(name, address, budget_s=_BUDGET_S))
    if doubt := noise_of({"the device": edge, "the worker": cloud}):
        note(f"{name}: {doubt}; try again when this machine is idle")
    table = CandidateTable.from_profiles(
        edge, cloud, codecs=None, max_deviation=MAX_ERROR, source_bytes=int(statistics.median(map(_size, photographs)))
    )
    common = ["--model", spec, "--runtime", edge.runtime.name, "--slowdown", f"{SLOWDOWN:g}"]
    common += ["--post", "partitioner.demo:top1"]
    common += ["--input", *map(str, (photographs[-1], *photographs))]
    advance(f"{name}: all on the device")
    alone = _warm([*common, "--cut", "local"], repeats=2)
    whole = _answers(alone)
    for link in PRESETS.values():
        with Relay(address, _shape(link)) as relay:
            advance(f"{name} over {link.name}: measuring the link")
            choice = choose(table, link_to(relay.address, budget_s=_LINK_BUDGET_S))
            yield _row(name, link, "all-local", choice.all_local, choice, alone, whole)
            over = [*common, "--cloud", relay.address]
            ways: dict[Role, Priced] = {"all-cloud": choice.all_cloud, "split": best_split(choice)}
            for role, priced in ways.items():
                where = priced.candidate
                advance(f"{name} over {link.name}: {where.cut}, {where.codec}")
                words = [*over, "--cut", where.cut, "--codec", where.codec]
                records = _warm(words, repeats=_repeats(link, photographs))
                yield _row(name, link, role, priced, choice, records, whole)


def _warm(words: Sequence[str], *, repeats: int) -> list[Record]:
    """What a device answers, but for the first photograph: caches are cold and the link's rate unknown until then."""
    return device([*words, "--repeat", str(repeats)])[repeats:]


def best_split(choice: Choice) -> Priced:
    """The fastest candidate with work on both sides.

    Raises:
        CleftError: the model has only one layer.
    """
    for priced in choice.ranked:
        if not (priced.candidate.is_local or priced.candidate.is_all_cloud):
            return priced
    raise CleftError("the model cannot be split")


def verdicts(rows: Sequence[NetworkRow]) -> Iterator[Verdict]:
    """One verdict per model and link, from its three rows, which stand together."""
    for (model, link), group in groupby(rows, key=lambda row: (row.model, row.link)):
        by_role = {row.role: row for row in group}
        split = by_role["split"]
        extreme = min(by_role["all-local"], by_role["all-cloud"], key=lambda row: row.measured_s)
        fastest = min(by_role.values(), key=lambda row: row.measured_s)
        chosen = next(row for row in by_role.values() if row.is_chosen)
        gain = extreme.measured_s / split.measured_s
        regret = chosen.measured_s / fastest.measured_s - 1
        if gain >= WORTHWHILE_RATIO:
            text = f"splitting {split.cut} wins: {gain:.2f}x as fast as {extreme.role}"
        elif gain > 1:
            text = f"splitting {split.cut} is hardly faster than {extreme.role} ({gain:.2f}x): not worth it"
        else:
            text = f"splitting does not win: {extreme.role} is {1 / gain:.2f}x as fast as the best split ({split.cut})"
        text += f"; the planner chose {'the split' if chosen is split else chosen.role}"
        text += ", the fastest" if chosen is fastest else f", {regret:.0%} slower than the fastest"
        yield Verdict(model=model, link=link, gain=gain, regret=regret, text=text)


def _row(
    model: str,
    link: Link,
    role: Role,
    priced: Priced,
    choice: Choice,
    records: Sequence[Record],
    whole: Mapping[str, str],
) -> NetworkRow:
    found = _answers(records)
    return NetworkRow(
        model=model,
        link=link.name,
        role=role,
        cut=priced.candidate.cut,
        codec=priced.candidate.codec,
        is_chosen=priced.candidate == choice.chosen.candidate,
        is_exact=priced.candidate.deviation == 0.0,
        predicted_s=priced.predicted_s,
        measured_s=statistics.median(number(record, "total_s") for record in records),
        up_bytes=int(statistics.median(number(record, "up_bytes") for record in records)),
        answers=tuple(found.values()),
        is_same_answer=found == whole,
        max_rel_diff=max(number(record, "max_rel_diff") for record in records),
    )


def _answers(records: Sequence[Record]) -> dict[str, str]:
    return {str(record["input"]): str(record["post"]) for record in records}


def _shape(link: Link) -> Shape:
    return Shape(up_bytes_per_s=link.up_bytes_per_s, down_bytes_per_s=link.down_bytes_per_s, delay_s=link.rtt_s / 2)


def _repeats(link: Link, photographs: Sequence[Path]) -> int:
    """How often each photograph is answered: as often as sending all takes a few seconds, three times at most."""
    round_s = sum(map(_size, photographs)) / link.up_bytes_per_s
    return max(1, min(3, int(_SAMPLING_S / round_s)))


def _photograph(package: str, path: str) -> Path:
    found = importlib.util.find_spec(package)
    for place in (found.submodule_search_locations or []) if found else []:
        if (photograph := Path(place) / path).is_file():
            return photograph
    raise CleftError(f"{Path(path).name} comes with {package}, which is not installed: pip install 'cleft[demo]'")


def _size(path: Path) -> int:
    return path.stat().st_size
