"""The live link: rate and round trip from the acknowledgements of what is sent anyway, with how sure that is.

A chunk of s bytes that left at t is acknowledged at a = max(t + rtt, a') + s * pace, where a' is when the chunk before
it was acknowledged and pace is 1/rate: behind another chunk it takes its own time on the wire, alone a round trip as
well. Both unknowns are linear in what is seen, and a plan's price is linear in them, so a Kalman filter of two states
holds them (``edge.linkstate``). A chunk whose time on the wire is small against the noise then says nothing of the rate
unless it is far too late, and the round trip is never taken for a slow link. Chunks one behind the other are taken
together, so that the noise of all but the ends cancels out.

What is no noise any more, by one miss or by several of one sign, widens the state until it can be believed at once. If
the next one says that things are as before, what was known before comes back: one late acknowledgement costs nothing
that lasts. Silence is taken like an acknowledgement that comes now. With time the band widens, and an expired estimate
falls back to what was measured as a whole.

The way down is held as its ratio to the way up: answers are mostly too small to tell, and one that is not moves it.
Its chunks may have waited for acknowledgements for up to a round trip, so each bounds it from both sides.

In simulated time (``tests/unit/edge/test_edge_bandwidth.py``): a step from 50 to 2 Mbit/s is seen within the frame of
40 to 600 kB that meets it, or 0.25 s after the acknowledgements stop; a step up within three frames, or two probes of
16 KiB. Where each message is delayed by 20 +- 20 ms on its own, probes take 3 to 9 s, or miss a return that lasts less.
Some 40 microseconds an acknowledgement.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from edge.linkstate import LEAST_PACE, TELLS, LinkState, Noise, first_state, widened
from partitioner.link import Link
from protos.chunks import Delivery

__all__ = ["DEFAULT_LINK", "IGNORED", "Delivery", "Estimate", "Estimator", "LinkObserver", "Listener"]

DEFAULT_LINK = Link.from_mbit(10.0, 20.0, 50.0, name="assumed")
"""What is expected of a link that nobody measured."""
EXPIRES_S = 60.0
"""After this time without news of the rate an estimate begins to fall back to the prior, and takes as long again."""

SURPRISE, SURPRISE_OF_SMALL = 3.0, 6.0
"""How many standard deviations are no noise: of a chunk that is long on the wire, and of one that is not."""
KEEPS, LEANS = 0.6, 4.5
"""Misses of one sign are no noise either: their sum, of which each time this share is kept, is at most so large."""
LEARNS_WITHIN = 3.0
"""While their sum is larger it may be a step, and noise is not learnt from them."""
BAND = 1.5
"""Standard deviations from the estimate to each end of the band."""
TELLS_S = 0.01
"""A chunk that is on the wire for less is small, whatever the noise."""
TRAIN_S = 0.1
"""Chunks one behind the other are taken together for so long, and for some times the noise."""
MEMORY = 2
"""For how many acknowledgements after a surprise what was known before is kept."""
INFORMS = 0.02
"""An acknowledgement is news of the rate when the rate would move by this share of its surprise."""
_IS_EXPECTED, _IS_SURPRISE, _IS_AS_BEFORE = range(3)


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
    rtt_var: float = 0.0
    both_cov: float = 0.0
    pace_var: float = 0.0

    def doubt_s(self, round_trips: float, up_bytes: float, down_bytes: float) -> float:
        """How far a time that is made of these may be from what ``link`` makes of it, within the band.

        Less than between ``low`` and ``high``: frames of one size tell their own time well, and not what of it is rate
        and what round trip.
        """
        size_bytes = up_bytes + down_bytes * self.link.up_bytes_per_s / self.link.down_bytes_per_s
        var = round_trips * round_trips * self.rtt_var + size_bytes * size_bytes * self.pace_var
        return BAND * math.sqrt(max(0.0, var + 2 * round_trips * size_bytes * self.both_cov))


@dataclass(slots=True)
class _Train:
    """A chunk alone, or those acknowledged behind it: of these the last counts, so noise within cancels out."""

    has_rtt: float
    begun_s: float
    size_bytes: int = 0
    took_s: float = 0.0


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
        self._base = self._state = first_state(self._prior, is_measured=self._is_measured)
        self._noise = Noise(self._prior)
        self._seen_s = at_s
        self._news_s = at_s if self._is_measured else None
        self._acked_s = -math.inf
        self._train: _Train | None = None
        self._stalled_s: float | None = None
        self._before: LinkState | None = None
        self._doubts = 0
        self._leaning = [0.0, 0.0]

    def delivered(self, delivery: Delivery) -> None:
        """Bytes that went up were acknowledged."""
        self._pass(delivery.at_s)
        if self._stalled_s is not None and delivery.begun_s > self._stalled_s:
            self._believe_stall()
        self._stalled_s = None
        train = self._train
        is_behind = not delivery.is_alone and self._acked_s > delivery.begun_s + self._base.rtt_s
        if not is_behind or train is None:
            self._settle()
            train = self._train = _Train(1.0, delivery.begun_s)
        elif train.has_rtt or train.took_s >= TRAIN_S + TELLS * self._noise.gap_s:
            self._settle()
            train = self._train = _Train(0.0, self._acked_s)
        train.size_bytes += delivery.size_bytes
        train.took_s = max(0.0, delivery.at_s - train.begun_s)
        self._acked_s = delivery.at_s
        self._state = self._after(train.has_rtt, float(train.size_bytes), train.took_s)[0]

    def received(self, size_bytes: int, interval_s: float, at_s: float) -> None:
        """A chunk of an answer came so long after the chunk before it of the same answer."""
        if size_bytes <= 0:
            return
        self._pass(at_s)
        pace = self._state.pace / self._down_per_up
        noise_s = 2.0 * self._noise.gap_s
        most = (interval_s + noise_s) / size_bytes
        least = (interval_s - self._state.rtt_s - noise_s) / size_bytes
        bounded = min(max(pace, least), most)
        if bounded != pace:
            pace = max(pace + 0.5 * (bounded - pace), LEAST_PACE)
            self._down_per_up = self._state.pace / pace

    def echoed(self, rtt_s: float, at_s: float) -> None:
        """A message without payload was answered at once, while no payload was under way."""
        self._pass(at_s)
        if self._stalled_s is not None:
            self._believe_stall()
        self._settle()
        self._take(1.0, 0.0, max(0.0, rtt_s))

    def waiting(self, unacked_bytes: int, waited_s: float, at_s: float) -> None:
        """So many bytes are out, and for so long none was acknowledged, nor did any leave on an idle link."""
        self._pass(at_s)
        if unacked_bytes <= 0:
            return
        size = float(unacked_bytes)
        known = self._base
        if (train := self._train) is not None:
            known = self._after(train.has_rtt, float(train.size_bytes), train.took_s)[0]
        missed_s, known_var, noise_var = self._missed(known, 1.0, size, waited_s)
        if missed_s <= 0 or missed_s**2 <= SURPRISE**2 * (known_var + noise_var):
            return
        self._state = widened(known, 1.0, size, missed_s).moved(1.0, size, missed_s, noise_var)[0]
        self._news_s = self._stalled_s = at_s

    def lost(self, at_s: float) -> None:
        """The worker was lost: what comes back may be another network."""
        self._pass(at_s)
        self._settle()
        state = self._state
        self._base = self._state = replace(
            state, pace_var=state.pace * state.pace, rtt_var=state.rtt_var + 0.25 * state.rtt_s**2, both_cov=0.0
        )
        self._acked_s, self._stalled_s, self._doubts = -math.inf, None, 0

    def at(self, now_s: float) -> Estimate:
        """The link as it is thought to be now."""
        state = self._state
        if self._seen_s is not None:
            state = state.aged(max(0.0, now_s - self._seen_s))
        age_s = math.inf if self._news_s is None else max(0.0, now_s - self._news_s)
        if self._is_measured and self._news_s is None:
            age_s = 0.0
        rtt_s, pace, spread = state.rtt_s, state.pace, BAND * math.sqrt(state.pace_var)
        slow, fast = pace + spread, max(pace - spread, pace / 4)
        is_expired = age_s > EXPIRES_S
        if is_expired:
            weight = min((age_s - EXPIRES_S) / EXPIRES_S, 1.0)
            was = 1.0 / self._prior.up_bytes_per_s
            slow, fast = max(slow, 2 * was), min(fast, was / 2)
            pace = pace ** (1 - weight) * was**weight
            rtt_s += weight * (self._prior.rtt_s - rtt_s)
            state = replace(state, pace_var=max(state.pace_var, (slow - pace) ** 2 / BAND**2))
        rtt_spread_s = BAND * math.sqrt(state.rtt_var)
        return Estimate(
            link=self._link(pace, rtt_s),
            low=self._link(slow, rtt_s + rtt_spread_s),
            high=self._link(fast, max(rtt_s - rtt_spread_s, 0.0)),
            age_s=age_s,
            is_expired=is_expired,
            rtt_var=state.rtt_var,
            both_cov=state.both_cov,
            pace_var=state.pace_var,
        )

    def _link(self, pace: float, rtt_s: float) -> Link:
        up_bytes_per_s = 1.0 / pace
        return Link(up_bytes_per_s=up_bytes_per_s, down_bytes_per_s=up_bytes_per_s * self._down_per_up, rtt_s=rtt_s)

    def _pass(self, at_s: float) -> None:
        """Let time go on."""
        if self._seen_s is None:
            self._seen_s = at_s
        passed_s = at_s - self._seen_s
        if passed_s > 0:
            self._base, self._state = self._base.aged(passed_s), self._state.aged(passed_s)
            self._seen_s = at_s

    def _settle(self) -> None:
        """The train is over, if there is one: what it says is known from now on."""
        train, self._train = self._train, None
        if train is not None:
            self._take(train.has_rtt, float(train.size_bytes), train.took_s)

    def _take(self, has_rtt: float, size_bytes: float, took_s: float) -> None:
        """Know from now on what one observation of ``has_rtt * rtt + size * pace`` says."""
        base = self._base
        missed_s, known_var, noise_var = self._missed(base, has_rtt, size_bytes, took_s)
        self._state, share, verdict = self._after(has_rtt, size_bytes, took_s)
        leaned = self._leaned(size_bytes, missed_s / math.sqrt(known_var + noise_var))
        self._leaning[size_bytes > 0] = leaned if verdict == _IS_EXPECTED else 0.0
        if verdict != _IS_EXPECTED or abs(leaned) < LEARNS_WITHIN:
            self._noise.learn(has_rtt, size_bytes * base.pace, missed_s, known_var, is_surprise=verdict == _IS_SURPRISE)
        if verdict == _IS_AS_BEFORE:
            self._doubts = 0
        elif verdict == _IS_SURPRISE and not self._doubts:
            self._before, self._doubts = base, MEMORY
        elif self._doubts:
            self._doubts -= 1
        self._base = self._state
        if share >= INFORMS:
            self._news_s = self._seen_s
            self._is_measured = True

    def _after(self, has_rtt: float, size_bytes: float, took_s: float) -> tuple[LinkState, float, int]:
        """What would be known after an observation, its share in the rate, and what it was."""
        state = self._base
        missed_s, known_var, noise_var = self._missed(state, has_rtt, size_bytes, took_s)
        verdict = _IS_EXPECTED
        misses = missed_s / math.sqrt(known_var + noise_var)
        wire_s, delay_s = size_bytes * state.pace, self._noise.delay_s(has_rtt)
        tells = wire_s > max(TELLS * delay_s, TELLS_S) or (has_rtt > 0 and missed_s < 0)
        most = SURPRISE if tells else SURPRISE_OF_SMALL
        if abs(misses) > most or abs(self._leaned(size_bytes, misses)) > LEANS:
            verdict = _IS_SURPRISE
            if self._doubts and (before := self._before) is not None:
                missed_before_s, known_before, noise_before = self._missed(before, has_rtt, size_bytes, took_s)
                if missed_before_s**2 <= SURPRISE**2 * (known_before + noise_before):
                    return *before.moved(has_rtt, size_bytes, missed_before_s, noise_before), _IS_AS_BEFORE
            state = widened(state, has_rtt, size_bytes, missed_s)
        return *state.moved(has_rtt, size_bytes, missed_s, noise_var), verdict

    def _leaned(self, size_bytes: float, misses: float) -> float:
        """The sum of recent misses, in standard deviations, with one more."""
        return KEEPS * self._leaning[size_bytes > 0] + min(max(misses, -SURPRISE), SURPRISE)

    def _believe_stall(self) -> None:
        """What was out never came to be acknowledged: its frame was given up, the link is as slow as it seemed."""
        if not self._doubts:
            self._before, self._doubts = self._base, MEMORY
        self._train, self._stalled_s = None, None
        state = self._state
        self._base = self._state = replace(state, pace_var=max(state.pace_var, (0.5 * state.pace) ** 2))

    def _missed(self, state: LinkState, has_rtt: float, size_bytes: float, took_s: float) -> tuple[float, float, float]:
        """By how much a state misses what is seen, and the variance of that from the state and from noise."""
        wire_s = size_bytes * state.pace
        seen_s = took_s - has_rtt * state.rtt_s
        missed_s = seen_s - wire_s
        if missed_s < 0:  # many times too fast is as far off as many times too slow
            wire_s = math.sqrt(wire_s * max(seen_s, 0.0))
        return missed_s, state.variance(has_rtt, size_bytes), self._noise.variance(has_rtt, wire_s)


class Listener:
    """An observer for an estimator that others hold, under a lock of theirs."""

    def __init__(self, tell: Callable[[Callable[[Estimator], None]], None]) -> None:
        """``tell`` calls what it is given with the estimator."""
        self._tell = tell

    def delivered(self, delivery: Delivery) -> None:
        """Bytes that went up were acknowledged."""
        self._tell(lambda link: link.delivered(delivery))

    def received(self, size_bytes: int, interval_s: float, at_s: float) -> None:
        """A chunk of an answer came so long after the chunk before it of the same answer."""
        self._tell(lambda link: link.received(size_bytes, interval_s, at_s))

    def echoed(self, rtt_s: float, at_s: float) -> None:
        """A message without payload was answered at once, while no payload was under way."""
        self._tell(lambda link: link.echoed(rtt_s, at_s))

    def waiting(self, unacked_bytes: int, waited_s: float, at_s: float) -> None:
        """So many bytes are out, and for so long none was acknowledged, nor did any leave on an idle link."""
        self._tell(lambda link: link.waiting(unacked_bytes, waited_s, at_s))

    def lost(self, at_s: float) -> None:
        """The worker was lost."""
        self._tell(lambda link: link.lost(at_s))


IGNORED: LinkObserver = Listener(lambda note: None)
"""Observes nothing."""
