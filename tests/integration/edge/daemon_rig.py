"""A daemon in this process, over sessions that a test bends, and the unmodified ``tritonclient``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from edge.answer import Answer, Times
from edge.daemon import Daemon, DaemonConfig, Entry
from edge.lanes import Pending
from partitioner.bundle import Bundle
from partitioner.inputs import Sample
from partitioner.runtimes import Array
from protos.security import OPEN, ServerSecurity

WAIT_S = 20.0


RNG = np.random.default_rng(1)


class Session:
    """Answers with what ``make`` says, or holds requests until they are let go."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.samples: list[Sample] = []
        self.deadlines_s: list[float | None] = []
        self.futures: list[Pending] = []
        self.error: Exception | None = None
        self.is_holding = False
        self.is_closed = False
        self.came = threading.Condition()

    def submit(self, given: object, *, deadline_s: float | None = None) -> Pending:
        assert isinstance(given, Sample)
        future = Pending()
        with self.came:
            self.samples.append(given)
            self.deadlines_s.append(deadline_s)
            self.futures.append(future)
            self.came.notify_all()
        if self.error is not None:
            future.set_exception(self.error)
        elif not self.is_holding:
            self.let_go(future, given)
        return future

    def wait_for(self, count: int) -> None:
        with self.came:
            assert self.came.wait_for(lambda: len(self.futures) >= count, timeout=WAIT_S)

    def let_go(self, future: Pending, sample: Sample) -> None:
        outputs = self.make(sample)
        future.set_result(
            Answer(
                outputs=outputs,
                value=outputs,
                cut="after:stem",
                cut_id="0",
                codec="none",
                where="split",
                is_fallback=False,
                times=Times(total_s=0.1),
                up_bytes=1,
                down_bytes=1,
                slowdown=1.0,
            )
        )

    def make(self, sample: Sample) -> dict[str, Array]:
        """Every output filled with the sum of what came, so that answers can be told apart."""
        arrays = [sample.source] if sample.source is not None else list((sample.tensors or {}).values())
        total = sum(float(np.asarray(array, np.float64).sum()) for array in arrays)
        graph = self.bundle.graph
        found: dict[str, Array] = {}
        for output in graph.outputs:
            value = graph.value_of(output.name or "")
            found[output.path] = np.full([dim if isinstance(dim, int) else 2 for dim in value.shape], total).astype(
                value.dtype
            )
        return found

    def counters(self) -> dict[str, int]:
        return {"answered": len(self.futures)}

    def close(self) -> None:
        self.is_closed = True


class Site:
    """A daemon in this process, its sessions and a client."""

    def __init__(self, daemon: Daemon, port: int, sessions: dict[str, Session]) -> None:
        self.daemon, self.port, self.sessions = daemon, port, sessions
        self.client = triton.InferenceServerClient(f"127.0.0.1:{port}")

    def status(self, method: str, data: bytes = b"") -> tuple[grpc.StatusCode, str]:
        """How a raw call ends."""
        with grpc.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            call = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
            with pytest.raises(grpc.RpcError) as caught:
                call(data, timeout=WAIT_S)
            return caught.value.code(), caught.value.details()  # type: ignore[attr-defined]


@contextmanager
def served(bundles: Mapping[str, Bundle], *, security: ServerSecurity = OPEN, **config: object) -> Iterator[Site]:
    sessions = {name: Session(bundle) for name, bundle in bundles.items()}
    entries = [
        Entry(name=name, bundle=bundle, open_session=opening(sessions[name])) for name, bundle in bundles.items()
    ]
    daemon = Daemon(DaemonConfig(port=0, **config), version="9", security=security)  # type: ignore[arg-type]
    site = Site(daemon, daemon.start(entries), sessions)
    try:
        yield site
    finally:
        site.client.close()
        for session in sessions.values():
            session.is_holding = False
        daemon.stop(grace_s=1.0)


def opening(session: Session) -> Callable[[], Session]:
    return lambda: session


def tensor(name: str, array: Array, datatype: str | None = None) -> object:
    made = triton.InferInput(name, list(array.shape), datatype or triton.np_to_triton_dtype(array.dtype))
    made.set_data_from_numpy(array)
    return made


def refusal(site: Site, model: str, *inputs: object, **more: object) -> tuple[str, str]:
    """Status and line of a request that is refused."""
    with pytest.raises(InferenceServerException) as caught:
        site.client.infer(model, list(inputs), **more)
    line = caught.value.message()
    assert "\n" not in line
    assert "Traceback" not in line
    return caught.value.status().removeprefix("StatusCode."), line


PICTURE = RNG.integers(0, 256, (8, 8), dtype=np.uint8)


IMAGE = RNG.standard_normal((1, 1, 8, 8)).astype(np.float32)
