"""The daemon's service as the unmodified ``tritonclient`` sees it, over sessions that the test bends."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from edge.answer import Answer, Times
from edge.cli import main
from edge.daemon import Daemon, DaemonConfig, Entry, ListenError, NothingToServe
from edge.errors import DeadlineExceeded, DeviceBusy, Dropped, EdgeError, NoWorker, WorkerLost, WorkerRefused
from edge.lanes import Pending
from partitioner.bundle import Bundle
from partitioner.errors import InputError, SegmentError, UsageError
from partitioner.inputs import Sample
from partitioner.runtimes import Array
from protos.security import OPEN, ServerSecurity
from tests.certificates import Authority, put

triton = pytest.importorskip("tritonclient.grpc")
from tritonclient.utils import InferenceServerException  # noqa: E402

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
        Entry(name=name, bundle=bundle, open_session=_opening(sessions[name])) for name, bundle in bundles.items()
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


def _opening(session: Session) -> Callable[[], Session]:
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


@pytest.fixture
def site(digits: Bundle, wording: Bundle, branching: Bundle) -> Iterator[Site]:
    with served({"digits": digits, "words": wording, "branches": branching}) as running:
        yield running


PICTURE = RNG.integers(0, 256, (8, 8), dtype=np.uint8)
IMAGE = RNG.standard_normal((1, 1, 8, 8)).astype(np.float32)


def test_probes_tell_servers_and_models_that_are_ready_from_others(site: Site) -> None:
    client = site.client
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("digits")
    assert client.is_model_ready("words", "1")
    assert not client.is_model_ready("words", "2")
    assert not client.is_model_ready("nobody")


def test_metadata_tells_tensors_by_datatype_with_varying_sizes(site: Site, digits: Bundle) -> None:
    assert site.client.get_server_metadata(as_json=True) == {
        "name": "cleft-edge",
        "version": "9",
        "extensions": ["source"],
    }
    words = site.client.get_model_metadata("words", as_json=True)
    assert words["inputs"] == [
        {"name": "ids", "datatype": "INT64", "shape": ["1", "-1"]},
        {"name": "is_padding", "datatype": "BOOL", "shape": ["1", "-1"]},
    ]
    assert [each["datatype"] for each in words["outputs"]] == ["FP32", "FP32"]
    branches = site.client.get_model_metadata("branches", as_json=True)
    assert [(each["name"], each["datatype"]) for each in branches["outputs"]] == [
        ("late", "FP32"),
        ("early", "FP32"),
        ("count", "INT64"),
    ]
    assert site.client.get_model_metadata("digits").versions == ["1"]
    with pytest.raises(InferenceServerException, match="there is no model 'nobody' here; there is digits, words"):
        site.client.get_model_metadata("nobody")


def test_an_answer_has_every_output_the_requests_id_and_how_it_was_made(site: Site) -> None:
    ids, padding = np.arange(4).reshape(1, 4), np.zeros((1, 4), bool)
    result = site.client.infer("words", [tensor("ids", ids), tensor("is_padding", padding)], request_id="left 7")
    response = result.get_response()
    assert (response.model_name, response.model_version, response.id) == ("words", "1", "left 7")
    assert {output.name for output in response.outputs} == {"0", "1"}
    assert np.array_equal(result.as_numpy("0"), np.full((1, 4), 6, np.float32))
    assert response.parameters["where"].string_param == "split"
    assert not response.parameters["fallback"].bool_param
    (sample,) = site.sessions["words"].samples
    assert sample.tensors is not None
    assert np.array_equal(sample.tensors["ids"], ids)
    assert site.client.infer("words", [tensor("ids", ids), tensor("is_padding", padding)]).get_response().id == ""


def test_the_outputs_that_are_asked_for_come_in_the_order_asked(site: Site, branching: Bundle) -> None:
    inputs = [
        tensor("x", np.ones((1, 3, 12, 12), np.float32)),
        tensor("bias", np.ones((1, 8, 1, 1), np.float32)),
    ]
    wanted = [triton.InferRequestedOutput(name) for name in ("count", "late")]
    result = site.client.infer("branches", inputs, outputs=wanted)
    assert [output.name for output in result.get_response().outputs] == ["count", "late"]
    assert result.as_numpy("count") == 440
    assert result.as_numpy("early") is None


@pytest.mark.parametrize(
    ("array", "datatype", "seen"),
    [
        (np.frombuffer(b"\x89PNG and so on", np.uint8), None, (14,)),
        (np.array([b"\x89PNG and so on"], np.object_), "BYTES", (14,)),
        (PICTURE[:, :, None], None, (8, 8, 1)),
    ],
)
def test_a_model_that_prepares_pictures_takes_the_picture_itself(
    site: Site, array: Array, datatype: str | None, seen: tuple[int, ...]
) -> None:
    site.client.infer("digits", [tensor("source", array, datatype)])
    (sample,) = site.sessions["digits"].samples
    assert sample.source is not None
    assert sample.source.shape == seen


@pytest.mark.parametrize(
    ("model", "inputs", "status", "line"),
    [
        ("nobody", [tensor("image", IMAGE)], "NOT_FOUND", "there is no model 'nobody'"),
        ("digits", [], "INVALID_ARGUMENT", "inputs are image, not none"),
        ("digits", [tensor("picture", IMAGE)], "INVALID_ARGUMENT", "inputs are image, not picture"),
        ("digits", [tensor("image", IMAGE[0])], "INVALID_ARGUMENT", r"image needs float32 \(1, 1, 8, 8\)"),
        ("digits", [tensor("image", IMAGE.astype(np.float64))], "INVALID_ARGUMENT", "got float64"),
        ("digits", [tensor("image", np.array([b"x"], np.object_))], "INVALID_ARGUMENT", "models take numbers"),
        ("digits", [tensor("source", np.array([b"x", b"y"], np.object_))], "INVALID_ARGUMENT", "holds 2 pictures"),
        ("digits", [tensor("source", IMAGE)], "INVALID_ARGUMENT", "source takes UINT8"),
        ("words", [tensor("source", PICTURE[0])], "INVALID_ARGUMENT", "inputs are ids, is_padding, not source"),
        (
            "words",
            [tensor("ids", np.zeros((1, 4), np.int64)), tensor("is_padding", np.zeros((1, 5), bool))],
            "INVALID_ARGUMENT",
            "is_padding needs bool",
        ),
    ],
)
def test_what_does_not_fit_the_model_is_refused_in_one_line(
    site: Site, model: str, inputs: list[object], status: str, line: str
) -> None:
    found = refusal(site, model, *inputs)
    assert found[0] == status
    assert re.search(line, found[1]), found[1]
    assert not any(session.samples for session in site.sessions.values())


def test_what_is_not_offered_is_said_to_be_unimplemented(site: Site) -> None:
    image = tensor("image", IMAGE)
    scores = triton.InferRequestedOutput("output", class_count=3)
    assert refusal(site, "digits", image, outputs=[scores])[0] == "UNIMPLEMENTED"
    assert refusal(site, "digits", image, sequence_id=5)[0] == "UNIMPLEMENTED"
    shared = triton.InferInput("image", [1, 1, 8, 8], "FP32")
    shared.set_shared_memory("region", 256)
    assert refusal(site, "digits", shared)[0] == "UNIMPLEMENTED"
    for call in (lambda: site.client.get_model_config("digits"), site.client.get_inference_statistics):
        with pytest.raises(InferenceServerException, match="UNIMPLEMENTED"):
            call()
    nothing, twice = triton.InferRequestedOutput("nothing"), triton.InferRequestedOutput("output")
    assert refusal(site, "digits", image, outputs=[nothing])[0] == "INVALID_ARGUMENT"
    assert refusal(site, "digits", image, outputs=[twice, twice])[0] == "INVALID_ARGUMENT"
    assert refusal(site, "digits", image, model_version="2") == (
        "NOT_FOUND",
        "digits has no version '2'; leave it empty",
    )


def test_bytes_that_are_no_message_are_refused(site: Site) -> None:
    for method in ("ModelInfer", "ModelMetadata", "ModelReady"):
        status, line = site.status(method, b"\xff\xff\xff")
        assert status is grpc.StatusCode.INVALID_ARGUMENT
        assert "cannot be read" in line


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("no picture"), "INVALID_ARGUMENT"),
        (DeadlineExceeded(0.1), "DEADLINE_EXCEEDED"),
        (WorkerLost("w:1", reason="gone"), "UNAVAILABLE"),
        (WorkerRefused("OVERLOADED", "full"), "RESOURCE_EXHAUSTED"),
        (WorkerRefused("DRAINING", "stopping"), "UNAVAILABLE"),
        (Dropped("a newer input took its place"), "RESOURCE_EXHAUSTED"),
        (DeviceBusy(256), "RESOURCE_EXHAUSTED"),
        (NoWorker(), "UNAVAILABLE"),
        (SegmentError("a kernel failed"), "INTERNAL"),
        (EdgeError("something of ours"), "INTERNAL"),
        (ValueError("secret of our own"), "INTERNAL"),
    ],
)
def test_what_a_session_raises_ends_the_call_with_its_status(site: Site, error: Exception, status: str) -> None:
    site.sessions["digits"].error = error
    found = refusal(site, "digits", tensor("image", IMAGE))
    assert found[0] == status
    assert ("its log says why" in found[1]) == isinstance(error, ValueError | SegmentError)
    assert site.daemon.traffic()["failed"] == int(status == "INTERNAL")


def test_the_calls_deadline_is_the_requests(site: Site) -> None:
    image = tensor("image", IMAGE)
    session = site.sessions["digits"]
    site.client.infer("digits", [image])
    site.client.infer("digits", [image], client_timeout=30.0)
    site.client.infer("digits", [image], timeout=2_000_000, client_timeout=30.0)
    unlimited, limited, own = session.deadlines_s
    assert unlimited is None
    assert limited is not None
    assert 25.0 < limited < 31.0
    assert own == 2.0


def test_a_call_past_its_deadline_ends_and_takes_its_request_back(site: Site) -> None:
    session = site.sessions["digits"]
    session.is_holding = True
    assert refusal(site, "digits", tensor("image", IMAGE), client_timeout=0.2)[0] == "DEADLINE_EXCEEDED"
    session.wait_for(1)
    with pytest.raises(CancelledError):
        session.futures[0].result(WAIT_S)


def test_a_client_that_cancels_takes_its_request_back(site: Site) -> None:
    session = site.sessions["digits"]
    session.is_holding = True
    came: list[object] = []
    done = threading.Event()

    def note(result: object, error: object) -> None:
        came.append(error)
        done.set()

    call = site.client.async_infer("digits", [tensor("image", IMAGE)], note)
    session.wait_for(1)
    call.cancel()
    assert done.wait(WAIT_S)
    with pytest.raises(CancelledError):
        session.futures[0].result(WAIT_S)
    assert "Locally cancelled" in str(came[0]) or "CANCELLED" in str(came[0])


def test_what_is_over_the_limit_is_refused_at_once_while_probes_answer(digits: Bundle) -> None:
    with served({"digits": digits}, max_requests=2) as site, ThreadPoolExecutor(2) as pool:
        session = site.sessions["digits"]
        session.is_holding = True
        held = [pool.submit(site.client.infer, "digits", [tensor("image", IMAGE)]) for _ in range(2)]
        session.wait_for(2)
        times_s = []
        for _ in range(20):
            begin_s = time.perf_counter()
            status, line = refusal(site, "digits", tensor("image", IMAGE))
            times_s.append(time.perf_counter() - begin_s)
            assert status == "RESOURCE_EXHAUSTED"
            assert "2 requests" in line
        assert sorted(times_s)[len(times_s) // 2] < 0.05
        assert site.client.is_server_ready()
        for future, sample in zip(session.futures, session.samples, strict=True):
            session.let_go(future, sample)
        assert all(each.result(WAIT_S).as_numpy("output").shape == (1, 10) for each in held)
        assert site.daemon.traffic()["refused_busy"] == 20
        assert site.daemon.traffic()["answered"] == 2


def test_many_threads_get_their_own_answers(site: Site) -> None:
    def ask(number: int) -> bool:
        image = np.full((1, 1, 8, 8), number, np.float32)
        result = site.client.infer("digits", [tensor("image", image)], request_id=str(number))
        return result.get_response().id == str(number) and bool((result.as_numpy("output") == 64.0 * number).all())

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(200)))


def test_messages_over_the_limit_are_refused_and_large_ones_pass(digits: Bundle, averaging: Bundle) -> None:
    with served({"averages": averaging}, max_message_bytes=1 << 20) as site:
        rows = np.ones((100, 1024), np.float32)
        assert site.client.infer("averages", [tensor("x", rows)]).as_numpy("output").shape == (100,)
        assert refusal(site, "averages", tensor("x", np.ones((400, 1024), np.float32)))[0] == "RESOURCE_EXHAUSTED"


def test_draining_answers_what_is_under_way_and_takes_nothing_new(digits: Bundle) -> None:
    with served({"digits": digits}) as site, ThreadPoolExecutor(2) as pool:
        session = site.sessions["digits"]
        session.is_holding = True
        held = pool.submit(site.client.infer, "digits", [tensor("image", IMAGE)])
        session.wait_for(1)
        stopping = pool.submit(site.daemon.stop, grace_s=WAIT_S)
        while site_is_ready(site):
            pass
        session.let_go(session.futures[0], session.samples[0])
        assert held.result(WAIT_S).as_numpy("output").shape == (1, 10)
        assert stopping.result(WAIT_S)
        assert session.is_closed


def site_is_ready(site: Site) -> bool:
    try:
        return bool(site.client.is_server_ready(client_timeout=1.0))
    except InferenceServerException:
        return False


def test_what_is_not_answered_within_the_grace_is_ended(digits: Bundle) -> None:
    with served({"digits": digits}) as site, ThreadPoolExecutor(1) as pool:
        session = site.sessions["digits"]
        session.is_holding = True
        held = pool.submit(refusal, site, "digits", tensor("image", IMAGE))
        session.wait_for(1)
        begin_s = time.monotonic()
        site.daemon.stop(grace_s=0.2)
        assert time.monotonic() - begin_s < 5.0
        assert held.result(WAIT_S)[0] in ("UNAVAILABLE", "CANCELLED")


def test_a_model_that_cannot_be_opened_is_not_ready_and_the_others_serve(
    digits: Bundle, wording: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> Session:
        raise UsageError("its weights are damaged")

    session = Session(digits)
    entries = [
        Entry(name="digits", bundle=digits, open_session=_opening(session)),
        Entry(name="words", bundle=wording, open_session=fail),
    ]
    daemon = Daemon(DaemonConfig(port=0))
    site = Site(daemon, daemon.start(entries), {"digits": session})
    try:
        assert daemon.reasons == {"words": "its weights are damaged"}
        assert not site.client.is_server_ready()
        assert not site.client.is_model_ready("words")
        models = site.client.get_model_repository_index(as_json=True)["models"]
        assert models == [
            {"name": "digits", "version": "1", "state": "READY"},
            {"name": "words", "version": "1", "state": "UNAVAILABLE", "reason": "its weights are damaged"},
        ]
        assert main(["status", f"127.0.0.1:{site.port}"]) == 0
        out = capsys.readouterr().out
        assert re.search(r"digits +1 +ready", out)
        assert re.search(r"words +1 +not ready: its weights are damaged", out)
        assert refusal(site, "words") == ("UNAVAILABLE", "words is not ready: its weights are damaged")
        assert site.client.infer("digits", [tensor("image", IMAGE)]).as_numpy("output").shape == (1, 10)
    finally:
        site.client.close()
        daemon.stop(grace_s=1.0)


def test_nothing_to_serve_two_of_a_name_and_a_port_in_use_are_told_apart(digits: Bundle) -> None:
    def fail() -> Session:
        raise UsageError("damaged")

    entry = Entry(name="digits", bundle=digits, open_session=_opening(Session(digits)))
    with pytest.raises(NothingToServe, match="digits: damaged"):
        Daemon(DaemonConfig(port=0)).start([Entry(name="digits", bundle=digits, open_session=fail)])
    with pytest.raises(UsageError, match="two models are called 'digits'"):
        Daemon(DaemonConfig(port=0)).start([entry, entry])
    with served({"digits": digits}) as site, pytest.raises(ListenError, match="cannot listen"):
        Daemon(DaemonConfig(port=site.port)).start([entry])


def test_what_was_counted_is_logged_once_at_the_end_and_not_twice(
    digits: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="edge.daemon"), served({"digits": digits}) as site:
        site.client.infer("digits", [tensor("image", IMAGE)])
        site.daemon.report()
        site.daemon.report()
    lines = [record for record in caplog.records if record.getMessage().startswith("so far")]
    assert [record.getMessage() for record in lines] == ["so far: requests 1, answered 1, session_answered 1"]
    assert lines[0].cleft["requests"] == 1  # type: ignore[attr-defined]


def test_health_is_told_per_model_while_it_serves(digits: Bundle, wording: Bundle) -> None:
    with served({"digits": digits}) as site, grpc.insecure_channel(f"127.0.0.1:{site.port}") as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        serving = health_pb2.HealthCheckResponse.SERVING
        for name in ("", "digits"):
            assert check(health_pb2.HealthCheckRequest(service=name), timeout=WAIT_S).status == serving
        with pytest.raises(grpc.RpcError):
            check(health_pb2.HealthCheckRequest(service="nobody"), timeout=WAIT_S)


def test_with_tls_and_a_token_only_those_who_show_both_are_answered(
    digits: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("daemon")
    token = put(tmp_path / "tokens", "an-open-secret-of-the-test\n")
    security = ServerSecurity(cert_file=pair.cert, key_file=pair.key, token_file=token)
    with served({"digits": digits}, security=security) as site:
        url, roots, image = f"localhost:{site.port}", str(authority.file), tensor("image", IMAGE)
        with triton.InferenceServerClient(url, ssl=True, root_certificates=roots) as client:
            right = {"authorization": "Bearer an-open-secret-of-the-test"}
            assert client.infer("digits", [image], headers=right).as_numpy("output").shape == (1, 10)
            for headers in (None, {"authorization": "Bearer wrong"}):
                with pytest.raises(InferenceServerException, match="UNAUTHENTICATED"):
                    client.infer("digits", [image], headers=headers)
        with pytest.raises(InferenceServerException, match="UNAVAILABLE"):
            site.client.infer("digits", [image], client_timeout=WAIT_S)
        assert main(["status", f"127.0.0.1:{site.port}"]) == 1
        assert "it speaks TLS: --tls" in capsys.readouterr().err
        assert site.daemon.traffic()["requests"] == 1


def test_status_tells_what_is_at_an_address_without_a_daemon(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "127.0.0.1:1", "--timeout", "2s"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "no daemon answers at 127.0.0.1:1" in err
