"""What ``edge.probing`` does on a thread, as events: a tiny probe, then trains, where the steering asks for them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from edge.bandwidth import Delivery
from edge.probing import EVERY_S, TRAIN, Budget, is_another, trains
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
        rate = self._rate()
        first, second = trains(rate)
        if self._budget.take(first, now_s):
            self._line.probe(0, lambda rtt_s: self._begin(rtt_s, first, second, rate))

    def _rate(self) -> float:
        return self._steering.estimate(self._target).link.up_bytes_per_s

    def _begin(self, rtt_s: float, first: int, second: int, rate: float) -> None:
        def go_on() -> None:
            if is_another(self._rate(), rate) and self._budget.take(second, self._events.now_s):
                self._train(second, lambda: None)

        self._observer.echoed(rtt_s, self._events.now_s)
        self._train(first, go_on)

    def _train(self, train_bytes: int, on_end: Callable[[], None]) -> None:
        begun_s = self._events.now_s
        for place in range(TRAIN):
            self._line.probe(train_bytes // TRAIN, partial(self._tell, place, train_bytes // TRAIN, begun_s, on_end))

    def _tell(self, place: int, size_bytes: int, begun_s: float, on_end: Callable[[], None], took_s: float) -> None:
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
        if place == TRAIN - 1:
            on_end()
