"""``cleft-edge``: run a model split, ask whether it pays, measure link and radio. Subcommands come on demand."""

from __future__ import annotations

import os
from collections.abc import Sequence

from partitioner.cli.shell import Program, run_program

PROGRAM = Program(
    name="cleft-edge",
    summary="Run neural networks on a device, the front here and the back on a worker.",
    commands={
        "run": "edge.cli.run",
        "serve": "edge.cli.serve",
        "status": "edge.cli.status",
        "advise": "edge.cli.advise",
        "link": "edge.cli.link",
        "calibrate-radio": "edge.cli.calibrate_radio",
        "fetch-profile": "edge.cli.fetch_profile",
        "simulate": "edge.cli.simulate",
        "trial": "edge.cli.trial",
    },
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``cleft-edge``; returns the exit code."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's core writes about every failed handshake
    return run_program(PROGRAM, argv)
