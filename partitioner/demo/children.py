"""Our own commands as child processes: a worker for as long as a block lasts, a device's answers, profiles.

The planner never imports the runtimes; it starts them like a user would and reads their ``--json``. They run in the
folder that holds our packages, since ``python -m`` looks there first.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from partitioner.errors import CleftError

Record = Mapping[str, object]
Address = tuple[str, int]

_PACKAGES = Path(__file__).parent.parent.parent
_LONGEST_S = 180.0
_GRACE_S = 15.0
_PLAN = "import sys; from partitioner.cli import main; sys.exit(main())"


@contextmanager
def worker(models: Sequence[str]) -> Iterator[Address]:
    """A worker that serves ``models``; yields its host and port.

    Raises:
        CleftError: it did not start.
    """
    named = [part for model in models for part in ("--model", model)]
    command = [sys.executable, "-m", "cloud", "serve", *named, "--port", "0", "--json", "--exit-with-parent"]
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            command, cwd=_PACKAGES, env=_environment(), stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                process.wait()
                errors.seek(0)
                raise CleftError(f"the worker did not start: {_last_line(errors.read())}")
            ready = json.loads(line)
            yield str(ready["host"]), int(ready["port"])
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_S)
            process.kill()


def device(arguments: Sequence[str]) -> list[Record]:
    """What ``cleft-edge run --check`` with these arguments says, one record per answer.

    Raises:
        CleftError: it failed, or an answer came from the device although the worker was to give it.
    """
    records: list[Record] = [
        json.loads(line) for line in _output(["-m", "edge", "run", *arguments, "--json", "--check"])
    ]
    if not records:
        raise CleftError("the device answered nothing")
    if fallen := sum(record["fallback"] is True for record in records):
        raise CleftError(f"the worker was lost for {fallen} of {len(records)} answers")
    return records


def device_profile(model: str, picture: Path, *, budget: str) -> str:
    """A profile of a model on this machine, as text, with the preprocessing of a real picture.

    Raises:
        CleftError: it cannot be measured.
    """
    asked = [model, "--input", str(picture), "--budget", budget, "--json"]
    return "\n".join(_output(["-c", _PLAN, "profile", *asked]))


def worker_profile(model: str, address: Address, *, budget: str) -> str:
    """The worker's own profile of a model, as text.

    Raises:
        CleftError: it cannot be fetched.
    """
    with tempfile.TemporaryDirectory(prefix="cleft-demo-") as folder:
        path = Path(folder) / "cloud.json"
        target = f"{address[0]}:{address[1]}"
        _output(["-m", "edge", "fetch-profile", target, "--model", model, "--budget", budget, "-o", str(path)])
        return path.read_text("utf-8")


def number(record: Record, key: str) -> float:
    """A number in a record.

    Raises:
        CleftError: there is none.
    """
    value = record.get(key)
    if not isinstance(value, int | float):
        raise CleftError(f"the device's answer has no {key}")
    return float(value)


def _output(arguments: Sequence[str]) -> list[str]:
    """The lines that a command of ours prints, run by this interpreter since it need not be on the path."""
    told = " ".join(arguments[1 if arguments[0] == "-m" else 2 :])
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=_PACKAGES,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_LONGEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CleftError(f"{told} took over {_LONGEST_S:g} s") from error
    if done.returncode != 0:
        raise CleftError(f"{told} failed: {_last_line(done.stderr)}")
    return done.stdout.splitlines()


def _environment() -> dict[str, str]:
    return {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")
