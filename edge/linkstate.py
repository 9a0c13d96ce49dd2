"""What is known of a link, and by how much acknowledgements vary: the numbers behind ``edge.bandwidth``.

Round trip and pace (seconds per byte) with their covariance, moved by one observation after the other; and the noise of
round trips, of gaps between acknowledgements, and of the rate itself, learnt from what observations miss.

Source: Kalman, "A new approach to linear filtering and prediction problems", 1960; Mehra, "Approaches to adaptive
filtering", IEEE TAC 1972.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from partitioner.link import Link

TELLS = 4.0
"""A chunk whose time on the wire is this many times the noise tells how much the rate itself varies."""
MOST_MISSED = 3.0
"""No miss counts for noise as more than so many standard deviations."""
LEAST_PACE = 2.5e-10
_MOST_PACE = 1e-2
_LEAST_RTT_S = 5e-5
_DRIFT = 0.1
"""How much rate and round trip are expected to change, as a share of them per square root of a second."""
_LEARN = 1 / 8
_LEAST_NOISE_S = 0.0003
_MOST_NOISE_S = 1.0
_FIRST_NOISE_S = 0.001
_RATE_NOISE = (0.03, 0.15, 0.5)
"""Least, first and most noise of the rate, as a share of it."""
_LIKELY = 20.0
"""A rate so many times slower is as likely as a round trip twice as long."""
_FALL = 0.1
"""Round trip and pace fall to this share at most in one step, so neither is ever explained away."""


@dataclass(frozen=True, slots=True)
class LinkState:
    """Round trip and seconds per byte, and their covariance."""

    rtt_s: float
    pace: float
    rtt_var: float
    both_cov: float
    pace_var: float

    def aged(self, passed_s: float) -> LinkState:
        """The same a while later: less sure."""
        grown = _DRIFT * _DRIFT * passed_s
        return _sound(
            replace(
                self,
                rtt_var=self.rtt_var + grown * (self.rtt_s * self.rtt_s + _LEAST_NOISE_S * _LEAST_NOISE_S),
                pace_var=min(self.pace_var + grown * self.pace * self.pace, 4.0 * self.pace * self.pace),
            )
        )

    def moved(self, has_rtt: float, size_bytes: float, missed_s: float, noise_var: float) -> tuple[LinkState, float]:
        """After an observation of ``has_rtt * rtt + size * pace``, and how much of the miss the pace takes."""
        with_rtt = has_rtt * self.rtt_var + size_bytes * self.both_cov
        with_pace = has_rtt * self.both_cov + size_bytes * self.pace_var
        total = has_rtt * with_rtt + size_bytes * with_pace + noise_var
        rtt_gain, pace_gain = with_rtt / total, with_pace / total
        rtt_s, pace = self.rtt_s + rtt_gain * missed_s, self.pace + pace_gain * missed_s
        least_rtt_s, least_pace = max(_FALL * self.rtt_s, _LEAST_RTT_S), max(_FALL * self.pace, LEAST_PACE)
        state = LinkState(
            rtt_s=max(rtt_s, least_rtt_s),
            pace=min(max(pace, least_pace), _MOST_PACE),
            rtt_var=max(self.rtt_var - rtt_gain * with_rtt, 1e-12 if rtt_s > least_rtt_s else least_rtt_s**2),
            both_cov=self.both_cov - rtt_gain * with_pace,
            pace_var=max(self.pace_var - pace_gain * with_pace, (0.001 if pace > least_pace else 1.0) * least_pace**2),
        )
        return _sound(state), pace_gain * size_bytes

    def variance(self, has_rtt: float, size_bytes: float) -> float:
        """Of what would be seen, without noise."""
        return has_rtt * (self.rtt_var + 2 * size_bytes * self.both_cov) + size_bytes * size_bytes * self.pace_var


class Noise:
    """How much acknowledgements vary: round trips, gaps between two of a train, and the rate itself.

    Learnt from what is missed. A round trip that drifts leaves gaps alone; messages that are delayed each for itself
    do not.
    """

    __slots__ = ("_seen", "gap_s", "of_rate", "rtt_s")

    def __init__(self, prior: Link) -> None:
        self.rtt_s = self.gap_s = max(_FIRST_NOISE_S, max(prior.rtt_spread, 0.1) * prior.rtt_s)
        self.of_rate = _RATE_NOISE[1]
        self._seen = 2

    def delay_s(self, has_rtt: float) -> float:
        """Standard deviation of a round trip, or of a gap."""
        return self.rtt_s if has_rtt else self.gap_s

    def variance(self, has_rtt: float, wire_s: float) -> float:
        """Of an observation that is so long on the wire."""
        return self.delay_s(has_rtt) ** 2 + (self.of_rate * wire_s) ** 2

    def learn(self, has_rtt: float, wire_s: float, missed_s: float, known_var: float, *, is_surprise: bool) -> None:
        """Adapt to what was missed beyond what is known."""
        seen = max(missed_s * missed_s - known_var, 0.0)
        self._seen += 1
        share = max(_LEARN, 1.0 / self._seen)
        before_s = self.delay_s(has_rtt)
        if wire_s > TELLS * before_s:
            noise = self.of_rate**2
            seen = min(seen / (wire_s * wire_s), MOST_MISSED**2 * noise)
            noise += (share / 2 if is_surprise else share) * (seen - noise)
            self.of_rate = min(max(math.sqrt(noise), _RATE_NOISE[0]), _RATE_NOISE[2])
            return
        noise = before_s**2
        noise += share * (min(seen, MOST_MISSED**2 * noise) - noise)
        after_s = min(max(math.sqrt(noise), _LEAST_NOISE_S), _MOST_NOISE_S)
        if has_rtt:
            self.rtt_s = after_s
        else:
            self.gap_s = after_s


def _sound(state: LinkState) -> LinkState:
    """The same, correlated by less than one, whatever bounds did to the variances."""
    most = 0.99 * math.sqrt(state.rtt_var * state.pace_var)
    return state if abs(state.both_cov) <= most else replace(state, both_cov=math.copysign(most, state.both_cov))


def first_state(prior: Link, *, is_measured: bool) -> LinkState:
    """What is known before the first observation: as much as a measurement says, or next to nothing."""
    pace = 1.0 / prior.up_bytes_per_s
    spread = max(prior.up_spread, 0.2) if is_measured else 2.0
    rtt_spread = max(prior.rtt_spread, 0.25) if is_measured else 1.0
    return LinkState(
        rtt_s=max(prior.rtt_s, _LEAST_RTT_S),
        pace=pace,
        rtt_var=(rtt_spread * prior.rtt_s) ** 2 + _LEAST_NOISE_S**2,
        both_cov=0.0,
        pace_var=(spread * pace) ** 2,
    )


def widened(state: LinkState, has_rtt: float, size_bytes: float, missed_s: float) -> LinkState:
    """So unsure that what was seen can be believed; of rate and round trip the likelier takes more of it.

    A small chunk that is far too late would take a rate many times slower, which is less likely than that a round trip
    was long.
    """
    is_late = missed_s > 0
    of_rtt_s = has_rtt * min(abs(missed_s), state.rtt_s + (0.005 if is_late else 0.0))
    of_rate_s = min(abs(missed_s), (_LIKELY if is_late else 1.0) * size_bytes * state.pace)
    known_s = math.hypot(of_rtt_s, of_rate_s)
    factor = max(1.0, abs(missed_s) / known_s) if known_s else 1.0
    pace_spread = factor * of_rate_s / size_bytes if size_bytes else 0.0
    return _sound(
        replace(
            state,
            rtt_var=state.rtt_var + (factor * of_rtt_s) ** 2,
            pace_var=state.pace_var + pace_spread * pace_spread,
        )
    )
