"""Is splitting worth it? The chosen cut against running all of it on one side.

A predicted gain under 1.1 is within the noise of most machines and links: the advice is then not to split.
"""

from __future__ import annotations

from dataclasses import dataclass

from partitioner.cost import IDLE, BoolArray, CandidateTable, Load
from partitioner.link import Link
from partitioner.optimize.scan import Choice, Priced, choose
from partitioner.plan import SOURCE

WORTHWHILE_RATIO = 1.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Gains:
    """What the chosen cut gains on one link over all-local and over all-cloud at its best.

    ``alternatives`` are those of the two that keep what is asked.
    """

    link: Link
    chosen: Priced
    all_local: Priced
    all_cloud: Priced
    alternatives: tuple[Priced, ...]

    @property
    def is_split(self) -> bool:
        """Whether both sides compute in the chosen cut."""
        return not (self.chosen.candidate.is_local or self.chosen.candidate.is_all_cloud)

    @property
    def over_local(self) -> float:
        """Speed-up over all-local."""
        return _ratio(self.all_local.predicted_s, self.chosen.predicted_s)

    @property
    def over_cloud(self) -> float:
        """Speed-up over all-cloud at its best."""
        return _ratio(self.all_cloud.predicted_s, self.chosen.predicted_s)

    @property
    def best_alternative(self) -> Priced | None:
        """The faster of all-local and all-cloud; None where neither keeps what is asked."""
        return min(self.alternatives, key=lambda priced: priced.predicted_s, default=None)

    @property
    def gain(self) -> float:
        """Speed-up over the better of all-local and all-cloud; 1 where one of them was chosen, or neither may be."""
        best = self.best_alternative
        return 1.0 if best is None else _ratio(best.predicted_s, self.chosen.predicted_s)

    @property
    def is_worthwhile(self) -> bool:
        """Whether to split."""
        return self.is_split and (self.best_alternative is None or self.gain >= WORTHWHILE_RATIO)

    @property
    def verdict(self) -> str:
        """The advice in one sentence."""
        if self.best_alternative is None:
            return f"splitting at {self.chosen.candidate.label}: neither side alone keeps what is asked"
        if self.is_worthwhile:
            return f"splitting at {self.chosen.candidate.label} gains {_text(self.gain)} over {self._alternative()}"
        if self.is_split:
            return (
                f"do not split: {self._alternative()} is as good "
                f"({self.chosen.candidate.label} would gain only {_text(self.gain)})"
            )
        return f"do not split: {self._alternative()} is best"

    def to_json(self) -> dict[str, object]:
        """The summary as JSON values."""
        return {
            "link": self.link.to_json(),
            "all_local_s": self.all_local.predicted_s,
            "all_cloud_s": self.all_cloud.predicted_s,
            "all_cloud_codec": self.all_cloud.candidate.codec,
            "chosen_s": self.chosen.predicted_s,
            "cut": self.chosen.candidate.cut,
            "cut_id": self.chosen.candidate.cut_id,
            "codec": self.chosen.candidate.codec,
            "over_local": self.over_local,
            "over_cloud": self.over_cloud,
            "all_local_j": self.all_local.energy_j,
            "all_cloud_j": self.all_cloud.energy_j,
            "chosen_j": self.chosen.energy_j,
            "energy_origin": None if self.chosen.energy is None else self.chosen.energy.origin,
            "gain": self.gain,
            "split": self.is_worthwhile,
            "verdict": self.verdict,
        }

    def _alternative(self) -> str:
        best = self.best_alternative
        assert best is not None
        candidate = best.candidate
        if candidate.is_local:
            return "the device alone"
        if candidate.codec.startswith(SOURCE):
            return "all-cloud with the original bytes"
        return f"all-cloud with the input tensors ({candidate.codec})"


def gains(table: CandidateTable, link: Link, load: Load = IDLE, *, allowed: BoolArray | None = None) -> Gains:
    """Compare the best candidate that is allowed with running everything on one side."""
    return gains_of(choose(table, link, load, allowed=allowed))


def gains_of(choice: Choice) -> Gains:
    """Compare what was chosen with running everything on one side."""
    return Gains(
        link=choice.link,
        chosen=choice.chosen,
        all_local=choice.all_local,
        all_cloud=choice.all_cloud,
        alternatives=choice.alternatives,
    )


def _ratio(slower_s: float, faster_s: float) -> float:
    return slower_s / faster_s if faster_s > 0 else 1.0


def _text(ratio: float) -> str:
    return f"{ratio:.2f}x" if ratio < 2 else f"{ratio:.1f}x"
