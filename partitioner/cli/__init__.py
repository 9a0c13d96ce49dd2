"""``cleft-plan``: pack a model, list its cuts, profile it, choose a cut. Subcommands are imported on demand."""

from __future__ import annotations

from collections.abc import Sequence

from partitioner.cli.shell import Program, run_program

PROGRAM = Program(
    name="cleft-plan",
    summary="Decide where to split a neural network between a device and a worker in the cloud.",
    commands={
        "pack": "partitioner.cli.pack",
        "cuts": "partitioner.cli.cuts",
        "profile": "partitioner.cli.profile",
        "cut": "partitioner.cli.cut",
        "table": "partitioner.cli.table",
        "fit": "partitioner.cli.fit",
        "leakage": "partitioner.cli.leakage",
        "show": "partitioner.cli.show",
        "compare": "partitioner.cli.compare",
        "meters": "partitioner.cli.meters",
        "relay": "partitioner.cli.relay",
        "demo": "partitioner.cli.demo",
        "verify": "partitioner.cli.verify",
    },
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``cleft-plan``; returns the exit code."""
    return run_program(PROGRAM, argv)
