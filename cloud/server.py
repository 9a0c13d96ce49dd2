"""A worker from start to end: listen, open and warm up the models, serve, drain, stop.

It listens before the models are ready, so that probes and ``Status`` tell how far it is; sessions are let in after. A
model that cannot be opened is listed with the reason, and the others are served.

Stopping is orderly: new work is refused, clients are told to move on, frames in flight are answered, and only what is
still there after the grace is cut off.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from cloud.batching import Batchers
from cloud.config import Config, address
from cloud.errors import ListenError, NoModelError
from cloud.held import HeldPlans
from cloud.profiling import Measure, Profiler, measure_bundle
from cloud.servicer import Servicer
from cloud.site import Site, Tally
from cloud.store import LOADING, Broken, Model, OpenEngine, ServedBundle, Store, open_model
from cloud.worker import Worker
from protos.channel import SERVER_OPTIONS, worker_handlers
from protos.security import OPEN, ServerSecurity

_LOG = logging.getLogger(__name__)
_CLOSE_S = 0.5


class Server:
    """A listening worker. Everything but the models' work belongs to the event loop that called ``start``."""

    def __init__(
        self,
        config: Config,
        *,
        open_engine: OpenEngine,
        measure: Measure = measure_bundle,
        security: ServerSecurity = OPEN,
    ) -> None:
        self._config = config
        self._security = security
        self._open_engine = open_engine
        self._measure = measure
        self._worker = Worker(
            max_queued=config.max_queued_frames,
            max_per_client=config.max_frames_in_flight,
            batch_wait_s=config.batch_wait_s,
        )
        self._servicer: Servicer | None = None
        self._server: grpc.aio.Server | None = None
        self._health: health.aio.HealthServicer | None = None
        self.port = 0

    async def start(self, bundles: Sequence[ServedBundle], *, broken: Sequence[Broken] = ()) -> int:
        """Listen, then open the models; returns the port once they are ready.

        Args:
            broken: what was to be served too, and why it cannot be.

        Raises:
            NoModelError: none of the models can be served.
            ListenError: the address cannot be listened on.
        """
        self._worker.start()
        try:
            store = Store([Model(bundle=bundle, engine=None, reason=LOADING) for bundle in bundles], broken=broken)
            self.port = await self._listen(store)
            await self._open(store)
            return self.port
        except BaseException:
            await self.stop(grace_s=0.0)
            raise

    async def stop(self, *, grace_s: float | None = None, reason: str = "the worker is stopping") -> None:
        """Drain, then stop; takes at most about ``grace_s``. Safe to call at any point."""
        end_s = time.monotonic() + (self._config.grace_s if grace_s is None else grace_s)
        if self._health is not None:
            await self._health.enter_graceful_shutdown()
        if self._servicer is not None:
            await self._servicer.drain(reason=reason, grace_s=max(0.0, end_s - time.monotonic()))
        if self._servicer is not None:
            await self._servicer.close()
        if self._server is not None:
            await self._server.stop(min(_CLOSE_S, max(0.0, end_s - time.monotonic())))
        left_s = max(_CLOSE_S, end_s - time.monotonic())
        if not await asyncio.to_thread(self._worker.close, timeout_s=left_s):
            _LOG.warning("a job did not stop within the grace; leaving it behind")

    async def _open(self, store: Store) -> None:
        for each in store.models:
            model = await self._open_one(each.bundle)
            store.put(model)
            if model.engine is not None:
                await self._tell(model.digest, is_serving=True)
        faults = [*((each.name, each.reason) for each in store.broken), *_unready(store.models)]
        if not any(model.engine is not None for model in store.models):
            reasons = "; ".join(f"{name}: {reason}" for name, reason in faults)
            raise NoModelError(f"no model can be served: {reasons or 'none was named'}")
        for name, reason in faults:
            _LOG.warning("%s is not ready: %s", name, reason)
        store.is_loading = False
        await self._tell("", is_serving=True)

    async def _open_one(self, bundle: ServedBundle) -> Model:
        return await self._worker.run(
            lambda ticket: open_model(bundle, self._open_engine, should_stop=ticket.should_stop), is_chore=True
        )

    async def _tell(self, service: str, *, is_serving: bool) -> None:
        states = health_pb2.HealthCheckResponse
        if self._health is not None:
            await self._health.set(service, states.SERVING if is_serving else states.NOT_SERVING)

    async def _listen(self, store: Store) -> int:
        config = self._config
        tally = Tally()
        site = Site(
            config=config,
            store=store,
            worker=self._worker,
            batchers=Batchers(most=config.max_batch),
            plans=HeldPlans(most=config.max_worker_plans),
            tally=tally,
            clock=time.monotonic,
        )
        self._servicer = Servicer(site, Profiler(site, measure=self._measure))
        self._health = health.aio.HealthServicer()
        gate = self._security.aio_interceptor(on_refused=tally.note_refused_call)
        self._server = grpc.aio.server(options=SERVER_OPTIONS, interceptors=(gate,))
        self._server.add_generic_rpc_handlers((worker_handlers(self._servicer),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        listens_on = address(config.host, config.port)
        port = self._security.listen(self._server, listens_on)
        if not port:
            raise ListenError(f"cannot listen on {listens_on}: it is in use, or not an address of ours")
        for service in ("", *(model.digest for model in store.models)):
            await self._tell(service, is_serving=False)
        await self._server.start()
        return port


def _unready(models: Sequence[Model]) -> list[tuple[str, str]]:
    return [(model.bundle.name, model.reason) for model in models if model.engine is None]
