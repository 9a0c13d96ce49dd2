"""``--runtime``, shared by every command that runs a model."""

from __future__ import annotations

import argparse

from partitioner.runtimes import RUNTIMES

AUTO = "auto"


def add_runtime_argument(parser: argparse._ActionsContainer) -> None:
    """Declare ``--runtime``."""
    parser.add_argument(
        "--runtime",
        choices=(AUTO, *RUNTIMES),
        default=AUTO,
        help="what runs the model: eager (torch), ort (ONNX Runtime), or auto for the faster of those that "
        "answer like the bundle says (default: auto)",
    )
