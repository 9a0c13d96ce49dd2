"""What ``edge.probing`` does on a thread, as events: a tiny probe, then a train, where the steering asks for one."""

from __future__ import annotations

from functools import partial

from edge.bandwidth import Delivery
from edge.probing import EVERY_S, LEAST_BYTES, MOST_BYTES, SHARE_S, TRAIN, Budget
from edge.simulate.line import Line
from edge.simulate.world import Events
from edge.steering import Steering


class Probes:
    """Probes the link of a line once a second, where that is wanted; from its making on."""

    def __init__(self, events: Events, line: Line, steering: Steering, target: str) -> None:
        self._events = events
        self._line = line
        self._steering = steering
        self._target = target
        self._observer = steering.observer(target)
        self._budget = Budget(now_s=events.now_s)
        self._events.at(events.now_s + EVERY_S, self._look)

    def _look(self) -> None:
        now_s = self._events.now_s
        self._events.at(now_s + EVERY_S, self._look)
        if not self._line.is_up or not self._steering.wants_probe(self._target):
            return
        rate = self._steering.estimate(self._target).link.up_bytes_per_s
        train_bytes = int(min(max(SHARE_S * rate, LEAST_BYTES), MOST_BYTES))
        if self._budget.take(train_bytes, now_s):
            self._line.probe(0, lambda rtt_s: self._train(rtt_s, train_bytes // TRAIN))

    def _train(self, rtt_s: float, size_bytes: int) -> None:
        begun_s = self._events.now_s
        self._observer.echoed(rtt_s, begun_s)
        for place in range(TRAIN):
            self._line.probe(size_bytes, partial(self._tell, place, size_bytes, begun_s))

    def _tell(self, place: int, size_bytes: int, begun_s: float, took_s: float) -> None:
        self._observer.delivered(
            Delivery(
                size_bytes=size_bytes,
                rate_bytes_per_s=size_bytes / max(took_s, 1e-6),
                rtt_s=took_s,
                is_alone=place == 0,
                begun_s=begun_s,
                at_s=self._events.now_s,
            )
        )
