"""``cleft-plan cuts``: where a model can be cut, and what would cross."""

from __future__ import annotations

import argparse

from partitioner.cli.models import add_bind_argument, add_model_arguments, binding_of, open_model, shape_text
from partitioner.cli.output import print_json, print_table
from partitioner.dims import shape_of
from partitioner.units import digits, size

HELP = "list the candidate cuts of a model: what crosses, FLOPs and weights on each side"
SCHEMA = "cleft.cuts/1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model_arguments(parser)
    add_bind_argument(parser)
    parser.add_argument("--json", action="store_true", help=f"print JSON of schema {SCHEMA}")


def run(args: argparse.Namespace) -> int:
    """List the cuts."""
    from partitioner.segments import Cuts

    bundle = open_model(args)
    binding = binding_of(args, bundle.graph)
    cuts = Cuts(bundle.graph, bundle.digest, binding=binding)
    priced = [(cut, cuts.cost(cut)) for cut in cuts.candidates]
    if args.json:
        print_json(
            {
                "schema": SCHEMA,
                "model": {"name": bundle.name, "digest": bundle.digest},
                "binding": binding,
                "layers": len(bundle.graph.layers),
                "cuts": [
                    {
                        "id": cut.id,
                        "name": cut.name,
                        "aliases": list(cut.aliases),
                        "depth": cut.depth,
                        "crossing": [
                            {
                                "name": value.name,
                                "dtype": value.dtype,
                                "shape": list(shape_of(value.shape, binding)),
                                "bytes": value.nbytes(binding),
                            }
                            for value in cut.crossing
                        ],
                        "up_bytes": cost.up_bytes,
                        "down_bytes": cost.down_bytes,
                        "reply": list(cut.reply),
                        "edge_outputs": list(cut.edge_outputs),
                        "edge_flops": cost.edge_flops,
                        "cloud_flops": cost.cloud_flops,
                        "edge_weight_bytes": cost.edge_weight_bytes,
                        "cloud_weight_bytes": cost.cloud_weight_bytes,
                        "edge_peak_bytes": cost.edge_peak_bytes,
                        "cloud_peak_bytes": cost.cloud_peak_bytes,
                    }
                    for cut, cost in priced
                ],
            }
        )
        return 0
    rows = [
        (
            cut.name,
            cut.id,
            ", ".join(f"{value.name} {shape_text(value.shape, binding)}" for value in cut.crossing) or "-",
            size(cost.up_bytes) if cut.crossing else "-",
            f"{digits(cost.edge_flops / 1e9)} / {digits(cost.cloud_flops / 1e9)}",
            f"{size(cost.edge_weight_bytes)} / {size(cost.cloud_weight_bytes)}",
        )
        for cut, cost in priced
    ]
    print_table(
        ("cut", "id", "crosses", "bytes", "GFLOP edge / cloud", "weights edge / cloud"),
        rows,
        left=(0, 1, 2),
        optional=(2, 4, 5),
    )
    return 0
