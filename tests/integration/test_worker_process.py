"""``cleft-cloud`` as a process: a real model, signals, exits, and what it says when it cannot."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

sys.path.append(str(Path(__file__).parents[1] / "unit" / "cloud"))

from loopback import WAIT_S, FrameFailed, Talker, plan_message

from partitioner import preprocess
from partitioner.runtimes.eager import open_engine
from partitioner.segments import Cuts
from partitioner.zoo import resolve
from protos import messages as pb
from protos.channel import WorkerStub, dial
from protos.documents import unpack_document
from protos.tensors import join, pack

START_S = 60.0
SERVE = (sys.executable, "-m", "cloud", "serve", "--threads", "1", "--port", "0")
RNG = np.random.default_rng(5)
PICTURE = RNG.integers(0, 256, (8, 8), dtype=np.uint8)


@pytest.fixture(scope="module")
def bundle():
    return resolve("digits")


@contextmanager
def served(*models: str, flags: Sequence[str] = ()) -> Iterator[tuple[subprocess.Popen[str], dict[str, object]]]:
    named = [word for model in models for word in ("--model", model)]
    process = subprocess.Popen(
        [*SERVE, *named, "--json", *flags],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def worker(bundle):
    with served(str(bundle.path)) as (_, ready):
        yield f"127.0.0.1:{ready['port']}"


def cleft_cloud(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cloud", *argv], capture_output=True, text=True, timeout=START_S, check=False
    )


def test_the_ready_line_says_where_and_what(bundle):
    with served(str(bundle.path)) as (_, ready):
        assert ready["schema"] == "cleft.serve/1"
        assert ready["host"] == "127.0.0.1"
        assert ready["models"] == [{"digest": bundle.digest, "name": bundle.name}]


def test_every_cut_answers_like_the_whole_model(worker, bundle):
    cuts, engine = Cuts(bundle.graph, bundle.digest), open_engine(bundle, device="cpu")
    inputs = preprocess.apply(bundle.preprocess, PICTURE)
    whole = engine.segment(cuts.whole())(inputs)
    with Talker(worker) as session:
        session.hello()
        for frame_id, cut in enumerate(cuts.candidates, 1):
            if cut.is_local:
                continue
            plan = cuts.plan(cut)
            assert session.propose(plan).HasField("ready")
            crossing = engine.segment(plan.stages[0].segment)(inputs)
            headers, buffers, payload_bytes = pack({name: crossing[name] for name in plan.stages[1].segment.inputs})
            run = {"frame_id": frame_id, "plan_id": plan.plan_id, "stage": 1}
            session.say(run=pb.Run(**run, tensors=headers, payload_bytes=payload_bytes))
            session.send(frame_id, join(buffers))
            for name, output in session.answer(frame_id).items():
                assert np.abs(output - whole[name]).max() <= 1e-5 * np.abs(whole[name]).max(), cut.name


def test_the_original_bytes_are_preprocessed_there(worker, bundle):
    cuts, engine = Cuts(bundle.graph, bundle.digest), open_engine(bundle, device="cpu")
    whole = engine.segment(cuts.whole())(preprocess.apply(bundle.preprocess, PICTURE))
    plan = cuts.plan(cuts.find("cloud"), from_source=True)
    with Talker(worker) as session:
        session.hello()
        session.say(propose=pb.Propose(plan_id=plan.plan_id, plan=plan_message(plan)))
        assert session.hear("ready", "failed").HasField("ready")
        for frame_id, source in [(1, PICTURE), (2, np.frombuffer(b"no picture", np.uint8))]:
            headers, buffers, payload_bytes = pack({"source": source})
            run = {"frame_id": frame_id, "plan_id": plan.plan_id, "stage": 1}
            session.say(run=pb.Run(**run, tensors=headers, payload_bytes=payload_bytes))
            session.send(frame_id, join(buffers))
        for name, output in session.answer(1).items():
            assert np.abs(output - whole[name]).max() <= 1e-5 * np.abs(whole[name]).max()
        with pytest.raises(FrameFailed) as refusal:
            session.answer(2)
        assert refusal.value.code == "INVALID"


def test_the_worker_hands_over_its_own_profile(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("CLEFT_CACHE_DIR", str(tmp_path))
    from partitioner.profile import Profile

    with served(str(bundle.path)) as (_, ready), dial(f"127.0.0.1:{ready['port']}") as channel:
        request = pb.ProfileRequest(model_digest=bundle.digest, budget_s=1.0)
        updates = list(WorkerStub(channel).profile(request, timeout_s=START_S))
        profile = Profile.loads(unpack_document(b"".join(update.document for update in updates), max_bytes=1 << 20))
        assert profile.model_digest == bundle.digest
        assert any(update.HasField("progress") for update in updates)
    assert list(tmp_path.glob("profiles/*.json"))
    with served(str(bundle.path)) as (_, ready), dial(f"127.0.0.1:{ready['port']}") as channel:
        again = list(WorkerStub(channel).profile(request, timeout_s=START_S))
        assert b"".join(update.document for update in again) == b"".join(update.document for update in updates)
        assert not any(update.HasField("progress") for update in again)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_good_order(bundle, number):
    with served(str(bundle.path)) as (process, ready):
        with Talker(f"127.0.0.1:{ready['port']}") as session:
            session.hello()
            process.send_signal(number)
            assert session.hear("drain").drain.grace_s > 0
        stdout, stderr = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0
    assert (stdout, stderr) == ("", "")


def test_a_signal_while_models_are_loaded_ends_it_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("CLEFT_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "endless.py").write_text(
        "import os, threading\ndef make():\n    os.write(2, b'loading\\n')\n    threading.Event().wait()\n"
    )
    argv = [*SERVE, "--model", "endless:make", "--shape", "1x4"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr.readline() == "loading\n"
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=WAIT_S) == ("", "")
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    assert [*(tmp_path / "cache" / "bundles").iterdir()] == []


def test_no_frame_is_lost_when_it_is_told_to_stop(bundle):
    cuts, engine = Cuts(bundle.graph, bundle.digest), open_engine(bundle, device="cpu")
    plan = cuts.plan(next(cut for cut in cuts.candidates if not cut.is_local and cut.depth))
    inputs = preprocess.apply(bundle.preprocess, PICTURE)
    whole = engine.segment(cuts.whole())(inputs)
    crossing = engine.segment(plan.stages[0].segment)(inputs)
    headers, buffers, payload_bytes = pack({name: crossing[name] for name in plan.stages[1].segment.inputs})
    ids = range(1, 25)
    with served(str(bundle.path), flags=("--grace", "10s")) as (process, ready), ExitStack() as stack:
        sessions = [stack.enter_context(Talker(f"127.0.0.1:{ready['port']}")) for _ in range(4)]
        for session in sessions:
            session.hello()
            assert session.propose(plan).HasField("ready")
        for frame_id in ids:
            for session in sessions:
                run = {"frame_id": frame_id, "plan_id": plan.plan_id, "stage": 1}
                session.say(run=pb.Run(**run, tensors=headers, payload_bytes=payload_bytes))
                session.send(frame_id, join(buffers))
        (name,) = session.answer(1)
        process.send_signal(signal.SIGTERM)
        answered, codes = 0, set()
        for session in sessions:
            left = set(ids) - ({1} if session is sessions[-1] else set())
            while left:
                try:
                    answer = session.answer(min(left))
                except FrameFailed as failure:  # it came after the order to leave: another worker's
                    codes.add(failure.code)
                    left.remove(failure.failed.frame_id)
                else:
                    answered += 1
                    left.remove(min(left))
                    assert np.abs(answer[name] - whole[name]).max() <= 1e-5 * np.abs(whole[name]).max()
        assert process.wait(timeout=WAIT_S) == 0
        assert answered >= len(sessions)
        assert codes <= {"DRAINING"}


def test_a_bundle_that_cannot_be_read_is_listed_beside_those_that_can(bundle, tmp_path):
    broken = tmp_path / "brok\udce9n.bundle"
    shutil.copytree(bundle.path, broken)
    (broken / "graph.json").write_text("{")
    damaged = tmp_path / "damaged.bundle"
    shutil.copytree(bundle.path, damaged)
    with (damaged / "weights.safetensors").open("r+b") as file:
        file.truncate(1000)
    with served(str(bundle.path), str(broken), flags=("--name", "caf\udce9")) as (_, ready):
        status = cleft_cloud("status", f"127.0.0.1:{ready['port']}")
        assert "not ready: " in status.stdout
        assert "Traceback" not in status.stderr
        models = json.loads(cleft_cloud("status", f"127.0.0.1:{ready['port']}", "--json").stdout)["models"]
        assert [(each["name"], each["ready"]) for each in models] == [
            (bundle.name, True),
            (str(broken).replace("\udce9", "?"), False),
        ]
    alone = cleft_cloud("serve", "--port", "0", "--model", str(damaged), str(broken))
    assert alone.returncode != 0
    (line,) = alone.stderr.splitlines()
    assert str(damaged) in line
    assert "graph.json" in line


def test_it_leaves_when_its_parent_is_killed(bundle):
    parent_code = textwrap.dedent(
        """
        import subprocess, sys
        worker = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
        print(worker.pid, flush=True)
        worker.wait()
        """
    )
    argv = [*SERVE, "--model", str(bundle.path), "--json", "--exit-with-parent"]
    with subprocess.Popen(
        [sys.executable, "-c", parent_code, *argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as parent:
        worker = psutil.Process(int(parent.stdout.readline()))
        json.loads(parent.stdout.readline())
        parent.kill()
        gone, _ = psutil.wait_procs([worker], timeout=WAIT_S)
        assert gone


def test_status_tells_people_and_machines(worker, bundle):
    told = cleft_cloud("status", worker)
    assert told.returncode == 0
    assert bundle.name in told.stdout
    answer = json.loads(cleft_cloud("status", worker, "--json").stdout)
    assert answer["schema"] == "cleft.status/1"
    model = {"digest": bundle.digest, "name": bundle.name, "ready": True, "reason": "", "runtime": "eager"}
    assert answer["models"] == [model]
    assert answer.keys() >= {"uptime_s", "sessions", "queued_frames", "busy_ratio", "frames_answered", "draining"}


def refused(done: subprocess.CompletedProcess[str], pattern: str, *, code: int = 1) -> None:
    assert done.returncode == code
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert re.search(pattern, done.stderr), done.stderr


def test_what_cannot_be_done_is_said_in_one_line(bundle, tmp_path):
    model = str(bundle.path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused(cleft_cloud("serve", "--model", model, "--port", port), "cannot listen on")
    refused(cleft_cloud("status", f"127.0.0.1:{port}", "--timeout", "2s"), r"no worker at .*port is closed")
    refused(cleft_cloud("serve", "--model", model, "--host", "0.0.0.0"), "--insecure-bind")
    refused(cleft_cloud("serve", "--model", model, "--host", ""), "no host", code=2)
    refused(cleft_cloud("serve", "--model", model, "--grace", "1e15s"), "30 years", code=2)
    refused(cleft_cloud("serve", "--model", str(tmp_path / "none.bundle")), "none.bundle")
    refused(cleft_cloud("serve", "--model", model, "--port", "70000"), "no port", code=2)
    refused(cleft_cloud("serve"), "--model", code=2)
    (tmp_path / "broken").mkdir()
    for path in bundle.path.iterdir():
        (tmp_path / "broken" / path.name).write_bytes(path.read_bytes()[:100])
    refused(cleft_cloud("serve", "--model", str(tmp_path / "broken")), "broken")
    refused(cleft_cloud("serve", "--model", model, "--device", "cuda:99"), "cuda:99", code=2)


def test_a_web_server_is_told_from_a_worker():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = f"127.0.0.1:{listener.getsockname()[1]}"

        def reply() -> None:
            for _ in range(20):
                try:
                    accepted, _ = listener.accept()
                except OSError:
                    return
                with accepted:
                    accepted.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

        server = threading.Thread(target=reply)
        server.start()
        try:
            refused(
                cleft_cloud("status", target, "--timeout", "5s"), f"no worker at {target}: .*does not speak cleft's"
            )
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            server.join(START_S)


def test_a_port_that_is_no_worker_is_told_apart():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        target = f"127.0.0.1:{listener.getsockname()[1]}"
        refused(cleft_cloud("status", target, "--timeout", "1s"), re.escape(target))


def test_the_help_imports_nothing_heavy():
    code = (
        "import sys; from cloud.cli import main; main(['--help']); print(sorted({'torch', 'grpc'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=START_S, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert os.environ.get("OMP_WAIT_POLICY", "PASSIVE") == "PASSIVE"
