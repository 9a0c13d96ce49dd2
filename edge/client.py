"""One session with one worker: frames up, answers down, questions asked and answered.

Encoding and decoding run on the callers' threads, so the stream's reader is always free to acknowledge. The first
error that ends the session is given to everything in flight. Nothing is sent twice here: inference is stateless, so
``edge.crossing`` sends a frame again on a new session.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

from edge.bandwidth import IGNORED, LinkObserver
from edge.clock import DeviceClock
from edge.config import LIMITS, TIMEOUTS, Limits, Timeouts
from edge.echoes import Echoes
from edge.errors import DeadlineExceeded, EdgeError, FrameCancelled, NotSecured, WorkerLost
from edge.frames import Frame, Reply, Waiting
from edge.inflight import InFlight
from edge.introductions import WorkerInfo, WorkerStatus, hello_message, info_of, plan_message
from edge.linkmeter import Echo
from edge.parcel import packed
from edge.questions import Questions
from edge.reach import diagnose, ending, split_target
from edge.stream import Stream
from edge.telemetry import Counters
from partitioner.link import Link
from partitioner.plan import Plan
from partitioner.runtimes import Array
from protos import channel, status
from protos import messages as pb
from protos import tensors as packing
from protos.chunks import Pacer
from protos.secrets import SecurityError
from protos.security import PLAINTEXT, ClientSecurity


class Client:
    """A session with one worker. Thread-safe; close it, or use it as a context manager."""

    def __init__(
        self,
        target: str,
        *,
        clock: DeviceClock,
        timeouts: Timeouts = TIMEOUTS,
        limits: Limits = LIMITS,
        security: ClientSecurity = PLAINTEXT,
        observer: LinkObserver = IGNORED,
        counters: Counters | None = None,
        on_change: Callable[[], None] = lambda: None,
        rate_bytes_per_s: float | None = None,
    ) -> None:
        """Not connected yet: ``greet`` it, or let ``dial`` do both. Certificates and token are read here.

        Args:
            observer: is told what is seen of the link.
            on_change: called, on a thread of the session, when the session ended or the worker drains.
            rate_bytes_per_s: what the link is taken to carry until the first acknowledgement.

        Raises:
            UsageError: the address makes no sense.
            NotSecured: a file of keys or tokens cannot be used, or plain text would leave this machine.
        """
        split_target(target)
        self.target = target
        self.info: WorkerInfo | None = None
        self.drain_reason: str | None = None
        self._timeouts = timeouts
        self._limits = limits
        self._clock = clock
        self._ids = itertools.count(1)
        self._observer = observer
        self._counters = counters or Counters()
        self._on_change = on_change
        self._in_flight = InFlight(limits, observer=observer)
        self._welcome = Waiting()
        self._security = security
        try:
            metadata = security.metadata()
            self._channel = channel.dial(target, security=security)
        except SecurityError as error:
            raise NotSecured(error.detail) from error
        self._stub = channel.WorkerStub(self._channel, target=target, security=security)
        self._questions = Questions(
            self._stub, target=target, timeouts=timeouts, limits=limits, on_life=lambda: self._stream.note_life()
        )
        self._stream = Stream(
            lambda messages: self._stub.session(messages, metadata=metadata),
            target=target,
            on_message=self._handle,
            on_end=self._fail_all,
            explain=lambda error: ending(target, error, is_welcomed=self.info is not None, security=security),
            observer=observer,
            pacer=None if rate_bytes_per_s is None else Pacer(rate_bytes_per_s=rate_bytes_per_s),
        )
        self._echoes = Echoes(self._stream, self._in_flight, ids=self._ids, target=target)

    @classmethod
    def dial(
        cls,
        target: str,
        *,
        timeouts: Timeouts = TIMEOUTS,
        limits: Limits = LIMITS,
        clock: DeviceClock | None = None,
        security: ClientSecurity = PLAINTEXT,
    ) -> Client:
        """Open a session with the worker at ``host:port``.

        Raises:
            UsageError: the address makes no sense.
            EdgeError: as ``greet``, and ``NotSecured``.
        """
        client = cls(target, timeouts=timeouts, limits=limits, clock=clock or DeviceClock(), security=security)
        client.greet()
        return client

    def greet(self) -> None:
        """Say hello and wait for the welcome; without one, the client is closed.

        Raises:
            WorkerUnreachable: nobody answers there; ``NotAWorker`` where somebody else does, ``NotTrusted`` where
                it and we do not agree on TLS.
            WorkerRefused: the worker speaks another version, takes no sessions, or does not take our token.
            FrameCancelled: another thread closed the client meanwhile.
        """
        try:
            self._greet()
        except BaseException:
            self.close(is_abrupt=True)
            raise

    @property
    def failure(self) -> EdgeError | None:
        """What ended the session, once it has ended."""
        return self._stream.failure

    @property
    def frames_in_flight(self) -> int:
        """Frames sent and not yet answered."""
        return self._in_flight.frames

    @property
    def rate_bytes_per_s(self) -> float | None:
        """What the link carried up lately; None before anything was acknowledged."""
        return self._stream.outbox.rate_bytes_per_s

    @property
    def unacked_bytes(self) -> int:
        """Payload bytes sent and not yet acknowledged."""
        return self._stream.outbox.unacked_bytes

    def propose(self, plan: Plan, *, timeout_s: float | None = None) -> float:
        """Have the worker make a plan ready; returns its time for that in seconds. Free when it is ready already.

        Raises:
            WorkerRefused: it cannot serve the plan.
            WorkerLost: the session ended first.
            DeadlineExceeded: it took too long.
        """
        waiting = self.offer(plan)
        timeout_s = min(self._timeouts.propose_s, self._timeouts.propose_s if timeout_s is None else timeout_s)
        if not waiting.wait(timeout_s):
            raise DeadlineExceeded(timeout_s)
        return waiting.value

    def offer(self, plan: Plan) -> Waiting:
        """Propose a plan and do not wait; free when it is ready, under way, or was refused a moment ago.

        Raises:
            WorkerLost: the session has ended.
        """

        def send() -> None:
            self._stream.put(pb.ToWorker(propose=pb.Propose(plan_id=plan.plan_id, plan=plan_message(plan))))
            self._counters.add(proposals=1)

        waiting = self._in_flight.proposal(plan.plan_id, send)
        self._check(waiting)
        return waiting

    def is_ready(self, plan_id: str) -> bool:
        """Whether the worker said that it has this plan."""
        return self._in_flight.is_ready(plan_id)

    def note_drain(self, reason: str) -> None:
        """The worker is going away: it takes no new frames."""
        if self.drain_reason is None:
            self.drain_reason = status.one_line(reason) or "it is going away"
            self._on_change()

    def forget(self, plan: Plan) -> None:
        """Propose this plan again the next time it is asked for: the worker no longer has it."""
        self._in_flight.forget_proposal(plan.plan_id)

    def submit(
        self,
        plan_id: str,
        stage: int,
        tensors: Mapping[str, Array],
        chosen: Mapping[str, str],
        *,
        deadline_s: float | None = None,
        slot_s: float | None = None,
    ) -> Frame:
        """Encode tensors with their chosen codecs and queue them for a stage of a plan that is ready.

        The arrays must not change until the frame is answered. Waits while ``Limits.frames_in_flight`` are under way,
        for at most ``slot_s``.

        Raises:
            DeadlineExceeded: no slot came free in time.
            WorkerRefused: the frame is larger than the worker takes.
            WorkerLost: the session has ended.
        """
        deadline_s = self._timeouts.frame_s if deadline_s is None else deadline_s
        expires_s = time.monotonic() + deadline_s
        most_bytes = self.info.max_frame_bytes if self.info is not None else 0
        parcel = packed(tensors, chosen, clock=self._clock, most_bytes=most_bytes)
        left_s = expires_s - time.monotonic()
        if not self._in_flight.take_slot(left_s if slot_s is None else min(left_s, slot_s)):
            raise DeadlineExceeded(deadline_s)
        frame = Frame(
            frame_id=next(self._ids),
            plan_id=plan_id,
            deadline_s=deadline_s,
            expires_s=expires_s,
            encode_s=parcel.encode_s,
            up_bytes=parcel.up_bytes,
            payload_bytes=parcel.payload_bytes,
            clock=self._clock,
            withdraw=self._withdraw,
        )
        run = pb.Run(
            frame_id=frame.frame_id,
            plan_id=plan_id,
            stage=stage,
            deadline_left_s=max(0.001, expires_s - time.monotonic()),
            tensors=parcel.headers,
            payload_bytes=parcel.payload_bytes,
        )
        self._send(frame, run, parcel.payload)
        return frame

    def run(
        self,
        plan_id: str,
        stage: int,
        tensors: Mapping[str, Array],
        chosen: Mapping[str, str],
        *,
        deadline_s: float | None = None,
    ) -> Reply:
        """``submit``, and wait for the answer."""
        return self.submit(plan_id, stage, tensors, chosen, deadline_s=deadline_s).result()

    def probe(self, *, up_bytes: int, reply_bytes: int) -> Callable[[float], Echo | None]:
        """Send one probe; the result waits for its echo, and raises ``BadReply`` for one of another length."""
        return self._echoes.probe(up_bytes=up_bytes, reply_bytes=reply_bytes)

    def measure_link(self, *, budget_s: float = 2.0) -> Link:
        """Measure round trip and goodput each way, in about ``budget_s`` seconds and at most 8 MiB each way.

        Raises:
            WorkerLost: the session ended, or echoes stayed away.
            BadReply: the echoes are not what was asked.
        """
        return self._echoes.measure(budget_s=budget_s)

    def status(self) -> WorkerStatus:
        """What the worker serves and how it is doing.

        Raises:
            WorkerRefused, WorkerLost: it does not tell.
        """
        return self._questions.status()

    def fetch_profile(
        self,
        digest: str,
        *,
        budget_s: float = 0.0,
        binding: Mapping[str, int] | None = None,
        is_fresh: bool = False,
        on_progress: Callable[[float], None] | None = None,
    ) -> str:
        """The worker's own profile of a model as JSON text, measured there on first use.

        Raises:
            WorkerRefused: it has no such model.
            WorkerLost: the call broke off.
            BadReply: the document is longer than ``Limits.document_bytes``, or cannot be read.
        """
        return self._questions.profile(
            digest, budget_s=budget_s, binding=binding, is_fresh=is_fresh, on_progress=on_progress
        )

    def close(self, *, is_abrupt: bool = False) -> None:
        """End the session, in good order unless told otherwise; frames in flight are withdrawn. Safe to call twice.

        A frame that comes to a session that ended because its worker drains is told that the worker is lost.
        """
        reason: EdgeError = FrameCancelled("the session was closed")
        if self.drain_reason is not None:
            reason = WorkerLost(self.target, reason=self.drain_reason)
        self._stream.close(reason, wait_s=self._timeouts.close_s, is_abrupt=is_abrupt)
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _greet(self) -> None:
        self._stream.put(pb.ToWorker(hello=hello_message()))
        self._stream.start(self._timeouts.liveness_s)
        if not self._welcome.wait(self._timeouts.dial_s):
            raise diagnose(self.target, silent_s=self._timeouts.dial_s, security=self._security)
        assert self.info is not None
        self._stream.watch(self.info.liveness_s)

    def _handle(self, message: pb.ToEdge) -> None:
        """One message of the worker's; runs on the reader."""
        match message.WhichOneof("body"):
            case "welcome" if self.info is None:
                self.info = info_of(message.welcome, liveness_s=self._timeouts.liveness_s)
                self._welcome.finish()
            case "drain":
                self.note_drain(message.drain.reason)
            case _:
                self._in_flight.take(message, self._stream.outbox)

    def _send(self, frame: Frame, run: pb.Run, payload: Sequence[packing.Buffer]) -> None:
        """Put a frame in flight; one that comes while the session ends is settled here."""
        self._in_flight.add(frame)
        self._stream.outbox.put_frame(frame.frame_id, pb.ToWorker(run=run), payload)
        if self._stream.failure is not None:
            self._in_flight.settle(frame, self._stream.failure)
            raise self._stream.failure

    def _withdraw(self, frame: Frame, error: EdgeError) -> None:
        self._in_flight.withdraw(frame, error, self._stream.outbox)

    def _check(self, waiting: Waiting) -> None:
        """A question asked while the session was ending has no answer either."""
        if self._stream.failure is not None:
            waiting.finish(self._stream.failure)

    def _fail_all(self, error: EdgeError) -> None:
        self._in_flight.settle_all(error)
        self._welcome.finish(error)
        if isinstance(error, WorkerLost) and self.drain_reason is None:
            self._observer.lost(time.monotonic())
        self._on_change()
