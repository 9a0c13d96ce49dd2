"""The live link: rate and round trip from the acknowledgements of what is sent anyway, with how sure that is.

A chunk of s bytes that left at t is acknowledged at a = max(t + rtt, a') + s * pace, where a' is when the chunk before
it was acknowledged and pace is 1/rate: behind another chunk it takes its own time on the wire, alone a round trip as
well. Both unknowns are linear in what is seen, so a Kalman filter of two states holds them, and a plan's price is
linear in them too. The gain does the rest: a chunk whose time on the wire is small against the noise says nothing of
the rate unless it is far too late, large ones say all of it, and the round trip is never taken for a slow link.

What is seen more than ``_SURPRISE`` standard deviations away is no noise: the state is widened until it can be
believed at once, and the noise with it, so that jitter is not taken for steps for long. If the next one says that
things are as before, what was known before comes back: one late acknowledgement costs nothing that lasts. Silence is
evidence too: bytes not acknowledged for w seconds say that pace is at least (w - rtt) / bytes. With time the band
widens, and an expired estimate falls back to what was measured at the start.

The way down is held as its ratio to the way up: answers are mostly too small to tell, and one that is not moves it.
Its chunks may have waited for acknowledgements for up to a round trip, so each bounds it from both sides.

Costs about 10 microseconds a chunk. Source: Kalman 1960; Mehra, "Approaches to adaptive filtering", IEEE TAC 1972;
Cardwell et al., "BBR", ACM Queue 2016, for what a sample of the rate is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

from partitioner.link import Link
from protos.chunks import Delivery

__all__ = ["DEFAULT_LINK", "IGNORED", "Delivery", "Estimate", "Estimator", "LinkObserver"]

DEFAULT_LINK = Link.from_mbit(10.0, 20.0, 50.0, name="assumed")
"""What is expected of a link that nobody measured."""
EXPIRES_S = 60.0
"""After this time without news of the rate an estimate begins to fall back to the prior, and takes as long again."""

_SURPRISE = 3.0
_BAND = 1.5
"""Standard deviations from the estimate to each end of the band."""
_DRIFT = 0.1
"""How much rate and round trip are expected to change, as a share of them per square root of a second."""
_LEARN = 1 / 8
_TELLS = 4.0
"""A chunk whose time on the wire is this many times the noise tells how much the rate itself varies."""
_LEAST_NOISE_S = 0.0003
_MOST_NOISE_S = 1.0
_FIRST_NOISE_S = 0.001
_RATE_NOISE = (0.03, 0.15, 0.5)
_LEAST_PACE = 2.5e-10
_MOST_PACE = 1e-2
_LEAST_RTT_S = 5e-5
_INFORMS = 0.02
"""An acknowledgement is news of the rate when the rate would move by this share of its surprise."""
_MEMORY = 2
"""For how many acknowledgements after a surprise what was known before is kept."""


class LinkObserver(Protocol):
    """What a session with a worker tells of its link; times are monotonic. Called from any of its threads."""

    def delivered(self, delivery: Delivery) -> None:
        """Bytes that went up were acknowledged."""

    def received(self, size_bytes: int, interval_s: float, at_s: float) -> None:
        """A chunk of an answer came so long after the chunk before it of the same answer."""

    def echoed(self, rtt_s: float, at_s: float) -> None:
        """A message without payload was answered at once, while no payload was under way."""

    def waiting(self, unacked_bytes: int, waited_s: float, at_s: float) -> None:
        """So many bytes are out, and for so long none was acknowledged, nor did any leave on an idle link."""

    def lost(self, at_s: float) -> None:
        """The worker was lost."""


class _Ignored:
    """Listens to nothing."""

    def delivered(self, delivery: Delivery) -> None:
        """Ignored."""

    def received(self, size_bytes: int, interval_s: float, at_s: float) -> None:
        """Ignored."""

    def echoed(self, rtt_s: float, at_s: float) -> None:
        """Ignored."""

    def waiting(self, unacked_bytes: int, waited_s: float, at_s: float) -> None:
        """Ignored."""

    def lost(self, at_s: float) -> None:
        """Ignored."""


IGNORED: LinkObserver = _Ignored()


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The link as it is thought to be now; it is likely to lie between ``low`` (slow) and ``high`` (fast).

    ``age_s``: since there was news of the rate. ``is_expired``: so long ago that it no longer counts for much.
    """

    link: Link
    low: Link
    high: Link
    age_s: float
    is_expired: bool


@dataclass(frozen=True, slots=True)
class _State:
    """Round trip and seconds per byte, and their covariance."""

    rtt_s: float
    pace: float
    rtt_var: float
    both_cov: float
    pace_var: float

    def aged(self, passed_s: float) -> _State:
        """The same a while later: less sure."""
        grown = _DRIFT * _DRIFT * passed_s
        return replace(
            self,
            rtt_var=self.rtt_var + grown * (self.rtt_s * self.rtt_s + _LEAST_NOISE_S * _LEAST_NOISE_S),
            pace_var=min(self.pace_var + grown * self.pace * self.pace, 4.0 * self.pace * self.pace),
        )

    def moved(self, has_rtt: float, size_bytes: float, missed_s: float, noise_var: float) -> tuple[_State, float]:
        """After an observation of ``has_rtt * rtt + size * pace``, and the gain of the pace per byte's share of it."""
        with_rtt = has_rtt * self.rtt_var + size_bytes * self.both_cov
        with_pace = has_rtt * self.both_cov + size_bytes * self.pace_var
        total = has_rtt * with_rtt + size_bytes * with_pace + noise_var
        rtt_gain, pace_gain = with_rtt / total, with_pace / total
        state = _State(
            rtt_s=max(self.rtt_s + rtt_gain * missed_s, _LEAST_RTT_S),
            pace=min(max(self.pace + pace_gain * missed_s, _LEAST_PACE), _MOST_PACE),
            rtt_var=max(self.rtt_var - rtt_gain * with_rtt, 1e-12),
            both_cov=self.both_cov - rtt_gain * with_pace,
            pace_var=max(self.pace_var - pace_gain * with_pace, 1e-6 * self.pace * self.pace),
        )
        return state, pace_gain * size_bytes

    def variance(self, has_rtt: float, size_bytes: float) -> float:
        """Of what would be seen, without noise."""
        return has_rtt * (self.rtt_var + 2 * size_bytes * self.both_cov) + size_bytes * size_bytes * self.pace_var


class Estimator:
    """What is known of one link. Not thread-safe; times are of any one monotonic clock.

    Args:
        prior: the link as it was measured as a whole, such as at the start of a session.
        at_s: when that was.
    """

    def __init__(self, prior: Link | None = None, *, at_s: float | None = None) -> None:
        self._prior = prior or DEFAULT_LINK
        self._down_per_up = self._prior.down_bytes_per_s / self._prior.up_bytes_per_s
        self._is_measured = prior is not None
        self._state = _first(self._prior, is_measured=self._is_measured)
        self._noise_s = max(_FIRST_NOISE_S, self._prior.rtt_spread * self._prior.rtt_s)
        self._rate_noise = _RATE_NOISE[1]
        self._seen_s = at_s
        self._news_s = at_s if self._is_measured else None
        self._acked_s = -math.inf
        self._before: _State | None = None
        self._before_left = 0

    def delivered(self, delivery: Delivery) -> None:
        """Bytes that went up were acknowledged."""
        self._pass(delivery.at_s)
        is_behind = not delivery.is_alone and self._acked_s > delivery.begun_s + self._state.rtt_s
        since_s = self._acked_s if is_behind else delivery.begun_s
        self._acked_s = delivery.at_s
        self._see(0.0 if is_behind else 1.0, float(delivery.size_bytes), max(0.0, delivery.at_s - since_s))

    def received(self, size_bytes: int, interval_s: float, at_s: float) -> None:
        """A chunk of an answer came so long after the chunk before it of the same answer."""
        if size_bytes <= 0:
            return
        self._pass(at_s)
        pace = self._state.pace / self._down_per_up
        noise_s = 2.0 * self._noise_s
        most = (interval_s + noise_s) / size_bytes
        least = (interval_s - self._state.rtt_s - noise_s) / size_bytes
        bounded = min(max(pace, least), most)
        if bounded != pace:
            pace = max(pace + 0.5 * (bounded - pace), _LEAST_PACE)
            self._down_per_up = self._state.pace / pace

    def echoed(self, rtt_s: float, at_s: float) -> None:
        """A message without payload was answered at once, while no payload was under way."""
        self._pass(at_s)
        self._see(1.0, 0.0, max(0.0, rtt_s))

    def waiting(self, unacked_bytes: int, waited_s: float, at_s: float) -> None:
        """So many bytes are out, and for so long none was acknowledged, nor did any leave on an idle link."""
        if unacked_bytes <= 0:
            return
        self._pass(at_s)
        state = self._state
        least = (waited_s - state.rtt_s - _SURPRISE * self._noise_s) / unacked_bytes
        if least <= state.pace * (1.0 + _SURPRISE * self._rate_noise) or least <= state.pace + _SURPRISE * math.sqrt(
            state.pace_var
        ):
            return
        if self._before_left == 0:
            self._remember()
        least = min(least, _MOST_PACE)
        self._state = replace(state, pace=least, pace_var=0.25 * least * least, both_cov=0.0)
        self._news_s = at_s

    def lost(self, at_s: float) -> None:
        """The worker was lost: what comes back may be another network."""
        self._pass(at_s)
        state = self._state
        self._state = replace(
            state, pace_var=state.pace * state.pace, rtt_var=state.rtt_var + 0.25 * state.rtt_s**2, both_cov=0.0
        )
        self._acked_s = -math.inf
        self._before_left = 0

    @property
    def noise_s(self) -> float:
        """Standard deviation of when an acknowledgement comes, apart from what the rate makes of it."""
        return self._noise_s

    def at(self, now_s: float) -> Estimate:
        """The link as it is thought to be now."""
        state = self._state
        if self._seen_s is not None:
            state = state.aged(max(0.0, now_s - self._seen_s))
        age_s = math.inf if self._news_s is None else max(0.0, now_s - self._news_s)
        if self._is_measured and self._news_s is None:
            age_s = 0.0
        rtt_s, pace, spread = state.rtt_s, state.pace, _BAND * math.sqrt(state.pace_var)
        slow, fast = pace + spread, max(pace - spread, pace / 4)
        is_expired = age_s > EXPIRES_S
        if is_expired:
            weight = min((age_s - EXPIRES_S) / EXPIRES_S, 1.0)
            was = 1.0 / self._prior.up_bytes_per_s
            slow, fast = max(slow, 2 * was), min(fast, was / 2)
            pace = pace ** (1 - weight) * was**weight
            rtt_s += weight * (self._prior.rtt_s - rtt_s)
        rtt_spread_s = _BAND * math.sqrt(state.rtt_var)
        return Estimate(
            link=self._link(pace, rtt_s),
            low=self._link(slow, rtt_s + rtt_spread_s),
            high=self._link(fast, max(rtt_s - rtt_spread_s, 0.0)),
            age_s=age_s,
            is_expired=is_expired,
        )

    def _link(self, pace: float, rtt_s: float) -> Link:
        up_bytes_per_s = 1.0 / pace
        return Link(up_bytes_per_s=up_bytes_per_s, down_bytes_per_s=up_bytes_per_s * self._down_per_up, rtt_s=rtt_s)

    def _pass(self, at_s: float) -> None:
        if self._seen_s is None:
            self._seen_s = at_s
        passed_s = at_s - self._seen_s
        if passed_s > 0:
            self._state = self._state.aged(passed_s)
            self._seen_s = at_s

    def _see(self, has_rtt: float, size_bytes: float, took_s: float) -> None:
        """Take one observation of ``has_rtt * rtt + size * pace``."""
        state = self._state
        missed_s, expected_var, noise_var = self._surprise(state, has_rtt, size_bytes, took_s)
        is_surprise = missed_s * missed_s > _SURPRISE**2 * (expected_var + noise_var)
        self._learn(size_bytes * state.pace, missed_s * missed_s - expected_var, is_surprise=is_surprise)
        if is_surprise and (before := self._before) is not None and self._before_left:
            missed_before_s, var_before, noise_before = self._surprise(before, has_rtt, size_bytes, took_s)
            if missed_before_s**2 <= _SURPRISE**2 * (var_before + noise_before):
                state, missed_s, noise_var = before, missed_before_s, noise_before
                is_surprise, self._before_left = False, 0
        if is_surprise:
            if not self._before_left:
                self._remember()
            state = _widened(state, has_rtt, size_bytes, missed_s)
        elif self._before_left:
            self._before_left -= 1
        self._state, share = state.moved(has_rtt, size_bytes, missed_s, noise_var)
        if share >= _INFORMS:
            self._news_s = self._seen_s
            self._is_measured = True

    def _surprise(self, state: _State, has_rtt: float, size_bytes: float, took_s: float) -> tuple[float, float, float]:
        """By how much a state misses what is seen, and the variance of that from the state and from noise."""
        wire_s = size_bytes * state.pace
        noise_var = self._noise_s**2 + (self._rate_noise * wire_s) ** 2
        return took_s - has_rtt * state.rtt_s - wire_s, state.variance(has_rtt, size_bytes), noise_var

    def _learn(self, wire_s: float, excess_var: float, *, is_surprise: bool) -> None:
        """Adapt the noise to what is seen beyond what is known."""
        seen = max(excess_var, 0.0)
        if wire_s > _TELLS * self._noise_s:
            noise = self._rate_noise**2
            seen = min(seen / (wire_s * wire_s), _SURPRISE**2 * noise)
            noise += (_LEARN / 2 if is_surprise else _LEARN) * (seen - noise)
            self._rate_noise = min(max(math.sqrt(noise), _RATE_NOISE[0]), _RATE_NOISE[2])
        else:
            noise = self._noise_s**2
            noise += _LEARN * (min(seen, _SURPRISE**2 * noise) - noise)
            self._noise_s = min(max(math.sqrt(noise), _LEAST_NOISE_S), _MOST_NOISE_S)

    def _remember(self) -> None:
        self._before, self._before_left = self._state, _MEMORY


def _first(prior: Link, *, is_measured: bool) -> _State:
    pace = 1.0 / prior.up_bytes_per_s
    spread = max(prior.up_spread, 0.2) if is_measured else 2.0
    rtt_spread = max(prior.rtt_spread, 0.25) if is_measured else 1.0
    return _State(
        rtt_s=max(prior.rtt_s, _LEAST_RTT_S),
        pace=pace,
        rtt_var=(rtt_spread * prior.rtt_s) ** 2 + _LEAST_NOISE_S**2,
        both_cov=0.0,
        pace_var=(spread * pace) ** 2,
    )


def _widened(state: _State, has_rtt: float, size_bytes: float, missed_s: float) -> _State:
    """So unsure that what was seen can be believed: most of it of the rate, where bytes had a part in it."""
    if not size_bytes:
        return replace(state, rtt_var=state.rtt_var + missed_s * missed_s)
    share = missed_s / size_bytes
    return replace(
        state,
        rtt_var=state.rtt_var + has_rtt * 0.1 * missed_s * missed_s,
        pace_var=state.pace_var + share * share,
    )
