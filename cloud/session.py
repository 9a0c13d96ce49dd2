"""One session: what a client may say, in which order, and what it gets back.

Two tasks share a session, for a worker holds thousands that are idle. The *reader* handles messages one by one and
never waits for a model; the *writer* sends what is in the outbox. Heartbeats are sent and silence is noticed by
``beat``, which the worker's one keeper calls; a third task exists only while the session is drained.

A frame's fault is answered with Failed and the session lives. What contradicts the protocol itself ends this session,
and no other, with a status. What one session may hold is bounded: frames, plans, proposals, bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable

from cloud import frames
from cloud.held import ReadyPlan
from cloud.inflight import InFlight
from cloud.jobs import Ticket
from cloud.outbox import Outbox
from cloud.plans import read_plan
from cloud.site import Site
from cloud.store import Model, Prepared, prepare, warm_up
from partitioner.plan import SOURCE, Plan
from protos import messages as pb
from protos.chunks import MAX_CHUNK_BYTES
from protos.codecs import CODECS
from protos.errors import (
    Draining,
    InvalidMessage,
    Overloaded,
    UnknownModel,
    Unreachable,
    Unsupported,
    WireError,
)
from protos.pictures import PICTURES, is_fitted
from protos.status import to_failed

BEATS = 3
CHECKS = 12
"""How often per liveness interval a session sends a heartbeat, and looks whether it still hears its client."""
_MAX_SESSION_ID_CHARS = 64
_RETRY_S = 0.05
_PLANS_RETRY_S = 5.0
_LAST_WRITE_S = 1.0

Write = Callable[[pb.ToEdge], Awaitable[None]]


class Session:
    """One session of one client. ``serve`` runs it; everything belongs to one event loop."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._config = site.config
        self._outbox = Outbox(clock=site.clock)
        self._frames = InFlight(site, self._outbox, self._note_idle)
        self._plans: dict[str, ReadyPlan] = {}
        self._proposals: dict[str, asyncio.Task[None]] = {}
        self._peer_codecs: frozenset[str] = frozenset()
        self._is_greeted = False
        self._is_draining = False
        self._is_listening = False
        self._heard_s = self._wrote_s = self._watched_s = site.clock()
        self._asked_s = 0.0
        self._beats = 0
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._leaver: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    async def serve(self, messages: AsyncIterable[pb.ToWorker | None], write: Write) -> None:
        """Run the session until the client has said all and been answered.

        Raises:
            WireError: what ended it otherwise.
        """
        writer = asyncio.create_task(self._write(write))
        tasks = [writer, asyncio.create_task(self._read(messages))]
        try:
            pending: set[asyncio.Future[None]] = {*tasks, self._ended}
            while writer in pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        except WireError:
            self._outbox.abandon()  # a status cannot be sent while a message is being written
            await asyncio.wait({writer}, timeout=_LAST_WRITE_S)
            raise
        finally:
            self._outbox.abandon()  # answers nobody takes must not wait for the garbage collector
            self._is_draining = True
            self._ended.cancel()
            tasks += [self._leaver] if self._leaver is not None else []
            tasks += self._frames.abandon()
            tasks += self._proposals.values()
            for task in tasks:
                task.cancel()
            try:
                await asyncio.gather(*tasks, self._ended, return_exceptions=True)
            finally:  # a client that ends its half and then cancels interrupts this
                while self._plans:
                    self._site.plans.release(self._plans.popitem()[0])

    def drain(self, *, reason: str, grace_s: float) -> None:
        """Tell the client to move on, take nothing new, and end when what is in flight is answered."""
        if not self._is_draining:
            self._is_draining = True
            self._outbox.put(pb.ToEdge(drain=pb.Drain(reason=reason, grace_s=grace_s)))
            self._leaver = asyncio.create_task(self._leave())

    def watch(self) -> None:
        """End a silent session, unless it was this process that was held up.

        To be called ``CHECKS`` times per liveness interval, so that an end is noticed within one.
        """
        before_s, self._watched_s = self._watched_s, self._site.clock()
        if self._watched_s - before_s > self._config.liveness_s / 2:
            self._heard_s = self._watched_s
        try:
            self._check_peer(self._watched_s)
        except WireError as error:
            self._end(error)

    def beat(self) -> None:
        """Send a heartbeat, unless something else was sent just now; to be called ``BEATS`` times per interval."""
        if self._is_greeted and self._site.clock() - self._wrote_s > self._config.liveness_s / BEATS / 2:
            self._beats += 1
            self._outbox.put(pb.ToEdge(heartbeat=pb.Heartbeat(sequence=self._beats)))

    async def _read(self, messages: AsyncIterable[pb.ToWorker | None]) -> None:
        self._is_listening = True
        async for message in messages:
            self._is_listening = False
            if message is None:
                raise InvalidMessage("a message cannot be read")
            self._handle(message)
            await self._outbox.until_room()
            self._heard_s = self._site.clock()
            self._is_listening = True
        self._is_listening = False
        self._frames.no_more()
        await self._idle.wait()
        self._outbox.finish()

    async def _write(self, write: Write) -> None:
        while (message := await self._outbox.get()) is not None:
            await write(message)
            self._wrote_s = self._site.clock()

    def _check_peer(self, now_s: float) -> None:
        """Raise where the client is gone, or takes nothing."""
        if self._is_listening and now_s - self._heard_s > self._config.liveness_s * (1 - 1 / CHECKS):
            raise Unreachable(f"nothing was heard for {self._config.liveness_s:g} s")
        stalled_s = now_s - max(self._heard_s, self._wrote_s)
        if not self._is_listening and self._outbox.is_full and stalled_s > self._config.stall_s:
            raise Unreachable(f"the client took nothing for {self._config.stall_s:g} s")
        if self._outbox.unacknowledged_s > self._config.stall_s:
            raise Unreachable(f"the client acknowledged nothing for {self._config.stall_s:g} s")

    async def _leave(self) -> None:
        """End once nothing was asked for a while: what was sent before the order to leave arrived is on its way."""
        left_s = self._config.linger_s
        while left_s > 0:
            await asyncio.sleep(left_s)
            await self._idle.wait()
            await self._outbox.until_quiet()  # a frame is over before the last of its answer is taken
            left_s = self._asked_s + self._config.linger_s - self._site.clock()
        self._end(Draining("the worker is going away"))

    def _end(self, error: WireError) -> None:
        if not self._ended.done():
            self._ended.set_exception(error)

    def _handle(self, message: pb.ToWorker) -> None:
        body = message.WhichOneof("body")
        if not self._is_greeted and body != "hello":
            raise InvalidMessage("a session begins with Hello")
        if body == "chunk":
            self._frames.chunk(message.chunk)
        elif body == "ack":
            self._outbox.acked(message.ack.frame_id, message.ack.received_bytes)
        elif body == "run":
            self._on_run(message.run)
        elif body == "propose":
            self._on_propose(message.propose)
        elif body == "cancel":
            self._frames.cancel(message.cancel.frame_id)
        elif body == "probe":
            self._on_probe(message.probe)
        elif body == "hello":
            self._on_hello(message.hello)
        elif body != "heartbeat":
            raise InvalidMessage("a message says nothing")

    def _on_hello(self, hello: pb.Hello) -> None:
        if self._is_greeted:
            raise InvalidMessage("Hello came twice")
        if hello.protocol_version < 1:
            raise Unsupported(f"the worker speaks version {pb.PROTOCOL_VERSION}, the client {hello.protocol_version}")
        if not 0 < len(hello.session_id) <= _MAX_SESSION_ID_CHARS:
            raise InvalidMessage(f"a session id has 1 to {_MAX_SESSION_ID_CHARS} characters")
        self._is_greeted = True
        self._frames.answers_inline = hello.takes_inline_results
        self._peer_codecs = frozenset(hello.codecs) & frozenset(CODECS) or frozenset(CODECS)
        welcome = pb.Welcome(
            protocol_version=min(hello.protocol_version, pb.PROTOCOL_VERSION),
            worker=self._config.name,
            codecs=CODECS,
            models=self._site.models(),
            max_frame_bytes=self._config.limits.max_frame_bytes,
            liveness_s=self._config.liveness_s,
        )
        self._outbox.put(pb.ToEdge(welcome=welcome))

    def _on_probe(self, probe: pb.Probe) -> None:
        if len(probe.data) > MAX_CHUNK_BYTES or probe.reply_bytes > MAX_CHUNK_BYTES:
            raise InvalidMessage(f"a probe is over {MAX_CHUNK_BYTES} bytes")
        reply = pb.Probe(probe_id=probe.probe_id, data=bytes(probe.reply_bytes), received_bytes=len(probe.data))
        self._outbox.put(pb.ToEdge(probe=reply))

    def _on_run(self, run: pb.Run) -> None:
        self._asked_s = self._site.clock()
        if self._is_draining:
            self._frames.refuse(run.frame_id, Draining("the worker is going away: send this to another"))
            return
        ready = self._plans.pop(run.plan_id, None)
        if ready is not None:
            self._plans[run.plan_id] = ready  # behind those that have not been run for longer
        self._frames.run(run, ready)
        self._note_idle()

    def _on_propose(self, proposal: pb.Propose) -> None:
        plan_id = proposal.plan_id[:64]
        ready = self._plans.get(plan_id)
        if ready is not None:
            self._outbox.put(pb.ToEdge(ready=pb.Ready(plan_id=plan_id, prepare_s=ready.prepare_s)))
            return
        if plan_id in self._proposals:
            return
        try:
            plan, model = self._read_proposal(proposal)
        except WireError as error:
            self._outbox.put(pb.ToEdge(failed=to_failed(error, plan_id=plan_id)))
            return
        if (held := self._site.plans.get(plan_id)) is not None:
            self._hold(held)
            return
        self._proposals[plan_id] = asyncio.create_task(self._prepare(plan, model))
        self._note_idle()

    def _read_proposal(self, proposal: pb.Propose) -> tuple[Plan, Model]:
        if self._is_draining:
            raise Draining("the worker is going away: propose this to another")
        if len(self._proposals) >= self._config.max_proposals:
            raise Overloaded(f"{self._config.max_proposals} proposals are under way", retry_after_s=_RETRY_S)
        plan = read_plan(proposal, self._config)
        if self._site.plans.is_full and self._site.plans.get(plan.plan_id) is None:
            raise Overloaded(f"the worker holds {self._site.plans.most} plans", retry_after_s=_PLANS_RETRY_S)
        model = self._site.store.get(plan.model_digest)
        if model is None:
            raise UnknownModel(f"no model of digest {plan.model_digest[:12]!r}... is served here")
        unread = {codec for stage in plan.stages for codec in stage.codecs.values()} - self._peer_codecs - set(PICTURES)
        if unread:
            raise Unsupported(f"the client cannot read {', '.join(sorted(unread))}")
        return plan, model

    async def _prepare(self, plan: Plan, model: Model) -> None:
        """Make a plan's stages ready on the compute thread, and say so."""
        start_s = self._site.clock()

        is_source_fitted = any(is_fitted(stage.codecs.get(SOURCE, "none")) for stage in plan.stages)

        def work(ticket: Ticket) -> tuple[Prepared | None, ...]:
            stages = tuple(
                prepare(model, stage.segment, is_fitted=is_source_fitted) if stage.place == "cloud" else None
                for stage in plan.stages
            )
            for prepared in stages:
                if prepared is not None:
                    warm_up(model, prepared, should_stop=ticket.should_stop)
            return stages

        try:
            stages = await self._site.worker.run(work, client=self._frames.client, is_chore=True)
        except Exception as error:
            self._outbox.put(pb.ToEdge(failed=to_failed(frames.to_wire(error), plan_id=plan.plan_id)))
        else:
            ready = ReadyPlan(
                plan=plan,
                stages=stages,
                batchers=tuple(None if each is None else self._site.batchers.of(model, each) for each in stages),
                prepare_s=self._site.clock() - start_s,
            )
            self._hold(ready)
        finally:
            self._proposals.pop(plan.plan_id, None)
            self._note_idle()

    def _hold(self, ready: ReadyPlan) -> None:
        """Keep a plan, and say that it is ready; a client that still wants what has to go for it proposes it again."""
        plan_id = ready.plan.plan_id
        self._plans[plan_id] = self._site.plans.hold(ready)
        if len(self._plans) > self._config.max_plans:
            oldest = next(iter(self._plans))
            del self._plans[oldest]
            self._site.plans.release(oldest)
            self._site.tally.counts["plans_evicted"] += 1
        self._outbox.put(pb.ToEdge(ready=pb.Ready(plan_id=plan_id, prepare_s=ready.prepare_s)))

    def _note_idle(self) -> None:
        if self._frames or self._proposals:
            self._idle.clear()
        else:
            self._idle.set()
