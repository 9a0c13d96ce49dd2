"""``cleft-edge serve`` as a process, with real workers that are killed, asked by the unmodified ``tritonclient``."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest
from daemons import Served, daemon, free_port, worker
from PIL import Image

from partitioner import preprocess
from partitioner.bundle import Bundle
from partitioner.runtimes import Array
from partitioner.runtimes.eager import open_engine
from partitioner.segments import Cuts
from partitioner.zoo import resolve

triton = pytest.importorskip("tritonclient.grpc")
from tritonclient.utils import InferenceServerException  # noqa: E402

WAIT_S = 60.0
ROUNDS = 20 if os.environ.get("CLEFT_CHAOS") == "full" else 1
RNG = np.random.default_rng(4)
Whole = Callable[[dict[str, Array]], dict[str, Array]]


def whole_of(bundle: Bundle) -> Whole:
    """The whole model in this process: what every answer is compared with."""
    segment = open_engine(bundle, device="cpu").segment(Cuts(bundle.graph, bundle.digest).whole())
    (output,) = [each for each in bundle.graph.outputs if each.name is not None]
    return lambda tensors: {output.path: segment(tensors)[output.name or ""]}


def ask(client: object, model: str, name: str, array: Array, **more: object) -> object:
    tensor = triton.InferInput(name, list(array.shape), triton.np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array)
    return client.infer(model, [tensor], **more)  # type: ignore[attr-defined]


@pytest.fixture
def client_of() -> Iterator[Callable[[Served], object]]:
    with ExitStack() as clients:

        def connect(served: Served) -> object:
            client = triton.InferenceServerClient(served.target)
            clients.callback(client.close)
            return client

        yield connect


def test_answers_are_the_whole_models_while_the_worker_is_killed_and_restarted(
    digits: Bundle, client_of: Callable[[Served], object]
) -> None:
    whole, port = whole_of(digits), free_port()
    wrong: list[str] = []
    wheres: list[str] = []
    is_over = threading.Event()
    told = threading.Condition()

    def ask_on(client: object, seed: int) -> None:
        rng = np.random.default_rng(seed)
        while not is_over.is_set():
            image = rng.standard_normal((1, 1, 8, 8)).astype(np.float32)
            result = ask(client, "digits", "image", image, client_timeout=WAIT_S, request_id=str(seed))
            found, wanted = result.as_numpy("output"), whole({"image": image})["output"]  # type: ignore[attr-defined]
            with told:
                wheres.append(result.get_response().parameters["where"].string_param)  # type: ignore[attr-defined]
                if np.abs(found - wanted).max() > 1e-5 * np.abs(wanted).max():
                    wrong.append(f"{found} is not {wanted}")
                told.notify_all()

    def wait_for_more(where: str) -> None:
        with told:
            wanted = wheres.count(where) + 5
            came = told.wait_for(lambda: wheres.count(where) >= wanted, timeout=WAIT_S)
        assert came, f"no answers from {where}: {served.said()}"

    with ExitStack() as processes, ThreadPoolExecutor(3) as pool:
        running = processes.enter_context(worker([digits.path], port=port))
        served = processes.enter_context(
            daemon("--model", digits.path, "--cloud", f"127.0.0.1:{port}", "--cut", "after:stage2", "--deadline", "20s")
        )
        client = client_of(served)
        asking = [pool.submit(ask_on, client, seed) for seed in range(3)]
        try:
            for _ in range(ROUNDS):
                wait_for_more("split")
                running.process.kill()
                running.process.wait(WAIT_S)
                wait_for_more("edge")
                running = processes.enter_context(worker([digits.path], port=port))
            wait_for_more("split")
        finally:
            is_over.set()
        for each in asking:
            each.result(WAIT_S)
        assert not wrong
        assert served.stop() == 0


def test_two_models_from_a_config_file_and_the_picture_itself(
    digits: Bundle, averaging: Bundle, tmp_path: Path, client_of: Callable[[Served], object]
) -> None:
    config = tmp_path / "edge.toml"
    config.write_text(f'model = ["{digits.path}", "{averaging.path}"]\nmax-requests = 8\n[edge]\ngrace = "5s"\n')
    with daemon("--config", config) as served:
        names = [model["name"] for model in served.ready["models"]]  # type: ignore[attr-defined]
        assert names == [digits.name, averaging.name]
        client = client_of(served)
        pixels, png = RNG.integers(0, 256, (8, 8), dtype=np.uint8), io.BytesIO()
        Image.fromarray(pixels).save(png, "PNG")
        encoded = np.frombuffer(png.getvalue(), np.uint8)
        record = digits.preprocess
        assert record is not None
        wanted = whole_of(digits)(dict(preprocess.apply(record, encoded)))["output"]
        found = ask(client, digits.name, "source", encoded).as_numpy("output")  # type: ignore[attr-defined]
        assert np.array_equal(found, wanted)
        rows = RNG.standard_normal((100, 1024)).astype(np.float32)
        found = ask(client, averaging.name, "x", rows).as_numpy("output")  # type: ignore[attr-defined]
        assert np.array_equal(found, whole_of(averaging)({"x": rows})["output"])
        garbage = np.frombuffer(b"no picture at all", np.uint8)
        with pytest.raises(InferenceServerException, match=r"INVALID_ARGUMENT.*no readable picture"):
            ask(client, digits.name, "source", garbage)
        assert served.stop() == 0


def test_settings_that_are_wrong_are_told_at_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from edge.cli import main

    config = tmp_path / "edge.toml"
    config.write_text('modle = "digits"\nport = 99999\nmax-requests = 0\n')
    assert main(["serve", "--config", str(config)]) == 2
    line = capfd.readouterr().err
    for fault in ("modle", "99999", "max-requests", "model is not set"):
        assert fault in line
    assert "Traceback" not in line


@pytest.mark.parametrize(
    ("flags", "code", "line"),
    [
        (("--model", "no.such.bundle"), 1, "no model can be served"),
        (("--model", "digits", "--host", "0.0.0.0"), 1, "nothing is encrypted"),
        (("--model", "digits", "--cut", "cloud"), 2, "--cut cloud takes a worker"),
        (("--model", "digits", "digits"), 2, "two models are called 'digits'"),
    ],
)
def test_a_daemon_that_cannot_serve_says_why_in_one_line(
    flags: tuple[str, ...], code: int, line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    from edge.cli import main

    assert main(["serve", "--port", "0", *flags]) == code
    err = capfd.readouterr().err
    assert line in err
    assert "Traceback" not in err


def test_an_interrupt_that_loading_swallows_is_still_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    from edge.cli import main
    from edge.daemon import Daemon

    def start(self: Daemon, entries: object) -> int:
        with suppress(KeyboardInterrupt):  # as what is called back from C does
            signal.raise_signal(signal.SIGINT)
        return 1

    monkeypatch.setattr(Daemon, "start", start)
    at_last = threading.Timer(5.0, os.kill, (os.getpid(), signal.SIGTERM))
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    at_last.start()
    try:
        assert main(["serve", "--port", "0", "--model", "no.such.bundle"]) == 0
        assert at_last.is_alive()
    finally:
        at_last.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def test_requests_under_way_are_answered_when_the_daemon_is_told_to_stop(
    digits: Bundle, client_of: Callable[[Served], object]
) -> None:
    with daemon("--model", digits.path, "--slowdown", "200", "--log-level", "info") as served:
        client, came = client_of(served), []
        image = RNG.standard_normal((1, 1, 8, 8)).astype(np.float32)
        tensor = triton.InferInput("image", [1, 1, 8, 8], "FP32")
        tensor.set_data_from_numpy(image)
        done = threading.Semaphore(0)

        def note(result: object, error: object) -> None:
            came.append((result, error))
            done.release()

        ask(client, "digits", "image", image)
        for _ in range(4):
            client.async_infer("digits", [tensor], note)  # type: ignore[attr-defined]
        while served.process.poll() is None and not is_busy(client):
            pass
        assert served.stop() == 0
        assert all(done.acquire(timeout=WAIT_S) for _ in range(4))
        answered = [result for result, error in came if error is None]
        refused = [str(error) for _, error in came if error is not None]
        assert all("UNAVAILABLE" in each for each in refused)
        wanted = whole_of(digits)({"image": image})["output"]
        assert all(np.array_equal(result.as_numpy("output"), wanted) for result in answered)
        assert answered
        assert "so far: requests" in served.said()


def is_busy(client: object) -> bool:
    """Whether the daemon has taken requests; it has once it answers a probe that was sent after them."""
    return bool(client.is_server_live())  # type: ignore[attr-defined]


def test_a_daemon_starts_without_its_worker_and_splits_once_it_is_there(
    client_of: Callable[[Served], object],
) -> None:
    """With ``auto`` the worker is measured while requests go on; it is far faster than this emulated device."""
    bundle, port = resolve("daemons:convolving"), free_port()
    flags = ("--cloud", f"127.0.0.1:{port}", "--slowdown", 50, "--budget", "1s")
    with daemon("--model", bundle.path, *flags) as served:
        assert "answers alone until a worker is there" in served.said()
        client = client_of(served)
        assert client.is_server_ready()  # type: ignore[attr-defined]
        (name,) = bundle.graph.input_names
        given = np.random.default_rng(5).standard_normal((1, 16, 48, 48)).astype(np.float32)

        def where() -> str:
            result = ask(client, bundle.name, name, given, client_timeout=WAIT_S)
            return str(result.get_response().parameters["where"].string_param)  # type: ignore[attr-defined]

        assert where() == "edge"
        with worker([bundle.path], port=port):
            ends_s = time.monotonic() + WAIT_S
            while (found := where()) == "edge":
                assert time.monotonic() < ends_s, served.said()
            assert found in ("cloud", "split")
        assert where() == "edge"
