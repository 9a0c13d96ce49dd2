"""The daemon's service as the unmodified ``tritonclient`` sees it, over sessions that the test bends."""

from __future__ import annotations

import re
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from daemon_rig import IMAGE, PICTURE, WAIT_S, Site, refusal, tensor
from tritonclient.utils import InferenceServerException

from edge.errors import DeadlineExceeded, DeviceBusy, Dropped, EdgeError, NoWorker, WorkerLost, WorkerRefused
from partitioner.bundle import Bundle
from partitioner.errors import InputError, SegmentError
from partitioner.runtimes import Array

triton = pytest.importorskip("tritonclient.grpc")


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


def test_many_threads_get_their_own_answers(site: Site) -> None:
    def ask(number: int) -> bool:
        image = np.full((1, 1, 8, 8), number, np.float32)
        result = site.client.infer("digits", [tensor("image", image)], request_id=str(number))
        return result.get_response().id == str(number) and bool((result.as_numpy("output") == 64.0 * number).all())

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(200)))
