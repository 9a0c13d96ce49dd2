"""What a session has measured so far: once of both machines and the link, and of every kind of input as it comes."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable, Mapping

from edge.advisor import Advisor
from edge.client import Client
from edge.clock import DeviceClock
from edge.evidence import Evidence
from edge.runner import Runner
from edge.sample import sizes_of
from edge.steering import Steering
from edge.turnstile import LAST
from partitioner.bundle import Bundle
from partitioner.inputs import Sample
from partitioner.profile import CodecCost, Profile
from partitioner.runtimes import Array
from partitioner.segments import Cuts

_PREPARE_RUNS = 3


class Findings:
    """Measurements of one session. Thread-safe: the first who asks measures, the others wait.

    Args:
        client: a session with the worker that is measured; raises ``EdgeError`` where there is none.
        steering: is told of the link and the load that were found.
        notify: takes lines for people.
    """

    def __init__(
        self,
        bundle: Bundle,
        cuts: Cuts,
        runner: Runner,
        advisor: Advisor,
        *,
        clock: DeviceClock,
        client: Callable[[], Client],
        steering: Steering,
        notify: Callable[[str], None],
    ) -> None:
        self._bundle = bundle
        self._cuts = cuts
        self._runner = runner
        self._advisor = advisor
        self._clock = clock
        self._client = client
        self._steering = steering
        self._notify = notify
        self._lock = threading.RLock()
        self._edge: Profile | None = None
        self._evidence: Evidence | None = None

    def evidence(self) -> Evidence:
        """Both profiles and the link; measured once.

        Raises:
            EdgeError: no worker can be measured.
            ProfileError: its profile cannot be read, or is of another model.
        """
        with self._lock:
            if self._evidence is None:
                client = self._client()
                self._evidence = self._advisor.gather(client, self._measured_here())
                self._steering.prior(client.target, self._evidence.link)
                self._steering.note_load(client.target, self._evidence.load)
            return self._evidence

    def prepare(self, *, with_worker: bool) -> None:
        """Measure this device, and with a worker that, too, so that no request pays for it.

        Raises:
            CleftError: as ``evidence``.
        """
        with self._lock:
            self._measured_here()
            if with_worker and not self.is_complete and (warning := self.evidence().warning):
                self._notify(warning)

    @property
    def is_complete(self) -> bool:
        """Whether all was measured."""
        return self._evidence is not None

    def at(self, sample: Sample, sizes: Mapping[str, int]) -> Evidence:
        """The same, at the sizes and with the preparing of this very input."""
        times_s = [0.0]
        if sample.source is not None:
            times_s = [self._runner.preprocess(sample.source)[1] for _ in range(_PREPARE_RUNS)]
        with self._lock:
            if self._evidence is None and (warning := self.evidence().warning):
                self._notify(warning)
        reencoded = self._reencodings(sample.source) if sample.source is not None else ()
        return self.evidence().at(self._cuts, sizes).with_input(sample, statistics.median(times_s), reencoded)

    def sizes(self, sample: Sample) -> dict[str, int]:
        """The sizes that a sample gives the model's symbols; none where nothing varies."""
        if not self._bundle.graph.symbols:
            return {}
        return sizes_of(self._runner.tensors_of(sample), self._bundle.graph)

    def _measured_here(self) -> Profile:
        """The device's profile; while it is measured, the engine is taken."""
        if self._edge is None:
            with self._runner.turnstile.turn(LAST):
                self._edge = self._advisor.edge_profile()
        return self._edge

    def _reencodings(self, source: Array) -> tuple[CodecCost, ...]:
        """What it costs here to send this very input re-encoded without loss."""
        from partitioner.measure.sources import at_hand

        assert self._bundle.preprocess is not None
        costs = [each.to_record() for each in at_hand(self._bundle.preprocess, source.astype("uint8", copy=False))]
        return tuple(cost.slowed(self._clock.slowdown) for cost in costs)
