"""``cleft-cloud``: serve models to devices, and ask a worker how it is. Subcommands are imported on demand."""

from __future__ import annotations

import os
from collections.abc import Sequence

from partitioner.cli.shell import Program, run_program

PROGRAM = Program(
    name="cleft-cloud",
    summary="The worker: runs the segments of models that devices send it.",
    commands={"serve": "cloud.cli.serve", "status": "cloud.cli.status"},
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``cleft-cloud``; returns the exit code."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch loads OpenMP: waiting threads must not spin
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's core writes about every broken client
    return run_program(PROGRAM, argv)
