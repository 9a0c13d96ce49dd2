"""Our own commands as child processes: a worker for as long as a block lasts, a device's answers, profiles, a link.

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
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from partitioner.environment import for_children
from partitioner.errors import CleftError
from partitioner.link import Link

Record = Mapping[str, object]
Address = tuple[str, int]
Plans = Sequence[Mapping[str, object]]
"""Each with its ``cut``, ``codec`` and ``rounds``, as ``cleft-edge trial`` reads them."""

_PACKAGES = Path(__file__).parent.parent
_LONGEST_S = 180.0
_GRACE_S = 15.0
_SLACK_S = 60.0
"""A trial may take this much longer than its limit: plans are made ready, and its last runs end."""
_PLAN = "import sys; from partitioner.cli import main; sys.exit(main())"


@contextmanager
def worker(models: Sequence[str], *, options: Sequence[str] = ()) -> Iterator[Address]:
    """A worker that serves ``models``, with these options of ``cleft-cloud serve``; yields its host and port.

    Raises:
        CleftError: it did not start.
    """
    named = [part for model in models for part in ("--model", model)]
    command = [sys.executable, "-m", "cloud", "serve", *named, *options, "--port", "0", "--json", "--exit-with-parent"]
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


def device_profile(model: str, picture: Path | None, *, budget_s: float, options: Sequence[str] = ()) -> str:
    """A profile of a model on this machine, as text, with the preprocessing of a real picture where there is one.

    ``options`` are those of ``cleft-plan profile``.

    Raises:
        CleftError: it cannot be measured.
    """
    given = [] if picture is None else ["--input", str(picture)]
    arguments = ["-c", _PLAN, "profile", model, *given, *options, "--budget", f"{budget_s:g}s", "--json"]
    return "\n".join(_output(arguments, budget_s=budget_s))


def worker_profile(model: str, address: Address, *, budget_s: float) -> str:
    """The worker's own profile of a model, as text.

    Raises:
        CleftError: it cannot be fetched.
    """
    with tempfile.TemporaryDirectory(prefix="cleft-demo-") as folder:
        path = Path(folder) / "cloud.json"
        target = f"{address[0]}:{address[1]}"
        asked = ["--model", model, "--budget", f"{budget_s:g}s", "-o", str(path)]
        _output(["-m", "edge", "fetch-profile", target, *asked], budget_s=budget_s)
        return path.read_text("utf-8")


def link_to(address: str, *, budget_s: float) -> Link:
    """The link to a worker at ``host:port``, as a device measures it.

    Raises:
        CleftError: it cannot be measured.
    """
    asked = ["--budget", f"{budget_s:g}s", "--json"]
    record: Record = json.loads("\n".join(_output(["-m", "edge", "link", address, *asked], budget_s=budget_s)))
    return Link(
        name="measured",
        up_bytes_per_s=number(record, "up_bytes_per_s"),
        down_bytes_per_s=number(record, "down_bytes_per_s"),
        rtt_s=number(record, "rtt_s"),
    )


class Device:
    """``cleft-edge trial``, with these options, as a child process: opens a model once, for any number of trials."""

    def __init__(self, model: str, picture: Path | None, *, options: Sequence[str] = ()) -> None:
        given = [] if picture is None else ["--input", str(picture)]
        self._is_late = False
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - closed in close()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "edge", "trial", "--model", model, *given, *options, "--plans", "-", "--json"],
            cwd=_PACKAGES,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def __enter__(self) -> Device:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(is_abrupt=kind is not None)

    def trial(self, plans: Plans, *, address: str, slowdown: float, seed: int, time_limit_s: float) -> list[Record]:
        """Every answer of one trial, and last what time did not allow (``left_out``).

        Raises:
            CleftError: the device failed, lost the worker, or hangs.
        """
        asked = {"plans": list(plans), "cloud": address, "slowdown": slowdown, "seed": seed}
        late = threading.Timer(time_limit_s + _SLACK_S, self._end_late)
        late.start()
        try:
            return list(self._records({**asked, "time_limit_s": time_limit_s}))
        finally:
            late.cancel()

    def close(self, *, is_abrupt: bool = False) -> None:
        """End the process, in good order unless told otherwise."""
        process = self._process
        with contextlib.suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        try:
            process.wait(0.0 if is_abrupt else _GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        self._errors.close()

    def _records(self, asked: Record) -> Iterator[Record]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):  # one that is gone has left its reason
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
        while (line := self._process.stdout.readline()).endswith("\n"):  # one that is ended may leave half a line
            record: Record = json.loads(line)
            yield record
            if "left_out" in record:
                return
        code = self._process.wait()
        self._errors.seek(0)
        if self._is_late:
            raise CleftError("the device hung in a trial and was ended")
        what = f"was ended by signal {-code}" if code < 0 else "failed"
        raise CleftError(f"the device {what}: {_last_line(self._errors.read())}")

    def _end_late(self) -> None:
        self._is_late = True
        self._process.kill()


def number(record: Record, key: str) -> float:
    """A number in a record.

    Raises:
        CleftError: there is none.
    """
    value = record.get(key)
    if not isinstance(value, int | float):
        raise CleftError(f"the device's answer has no {key}")
    return float(value)


def _output(arguments: Sequence[str], *, budget_s: float = 0.0) -> list[str]:
    """The lines that a command of ours prints, run by this interpreter since it need not be on the path.

    ``budget_s``: what it was told to take.
    """
    limit_s = _LONGEST_S + 2 * budget_s
    told = " ".join(arguments[1 if arguments[0] == "-m" else 2 :])
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=_PACKAGES,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CleftError(f"{told} took over {limit_s:g} s") from error
    if done.returncode != 0:
        raise CleftError(f"{told} failed: {_last_line(done.stderr)}")
    return done.stdout.splitlines()


def _environment() -> dict[str, str]:
    return for_children(os.environ)


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")
