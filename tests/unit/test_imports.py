from __future__ import annotations

import json
import pathlib
import resource
import subprocess
import sys

import pytest

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
HEAVY = ("torch", "torchvision", "grpc", "google", "protos", "scipy", "psutil", "rich", "sklearn", "PIL")
LIMIT_S = 0.3
"""Of processor time: what else the machine does adds nothing to it."""

PLANNING = """
import sys
from partitioner.cli import main
code = main(sys.argv[1:])
heavy = [name for name in {heavy!r} if name in sys.modules]
print(*heavy, file=sys.stderr)
sys.exit(code)
"""


def plan(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PLANNING.format(heavy=HEAVY), *argv],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def processor_s() -> float:
    """What processes of ours that have ended took."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


@pytest.mark.parametrize(
    ("command", "schema"), [(("cut", "--link", "4g"), "cleft.cut/2"), (("table",), "cleft.table/1")]
)
def test_planning_imports_nothing_heavy_and_is_quick(command, schema):
    profiles = ("--edge", str(GOLDEN / "edge.json"), "--cloud", str(GOLDEN / "cloud.json"))
    flags = (*command, *profiles, "--json")
    times_s = []
    for _ in range(5):
        begun_s = processor_s()
        done = plan(*flags)
        times_s.append(processor_s() - begun_s)
        assert done.returncode == 0
        assert done.stderr.split() == []
        assert json.loads(done.stdout)["schema"] == schema
    print(f"cleft-plan {command[0]} as a whole process: {min(times_s) * 1e3:.0f} ms")
    assert min(times_s) < LIMIT_S


def test_planning_from_a_fit_imports_nothing_heavy():
    given = next((GOLDEN.parents[1] / "deploy" / "fits").glob("*.ort.json")), GOLDEN / "cloud.json"
    done = plan("cut", "--predict", str(given[0]), "--cloud", str(given[1]), "--link", "4g", "--json")
    assert json.loads(done.stdout)["chosen"]["predicted"]
    assert done.stderr.split() == []


def test_fitting_says_how_many_threads_it_wants_before_numpy_is_there_to_read_it():
    code = "import os, sys, partitioner.cli.fit; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["False"]


def test_help_imports_nothing_heavy():
    done = plan("--help")
    assert done.returncode == 0
    assert done.stderr.split() == []


def test_packages_are_empty_until_asked():
    code = "import sys, partitioner, edge, cloud, protos; print(*{'torch', 'grpc', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []
