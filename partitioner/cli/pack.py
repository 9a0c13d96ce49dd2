"""``cleft-plan pack``: capture a model once, as a bundle that both sides load."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from partitioner.cli.models import add_model_arguments, print_notes, request_of, without_lines
from partitioner.cli.output import print_json
from partitioner.errors import UsageError
from partitioner.units import size

HELP = "capture a model as a bundle: graph, weights, preprocess and label records"
EXAMPLES = """\
examples:
  cleft-plan pack torchvision:resnet18 -o resnet18.bundle
  cleft-plan pack mypackage.models:build --shape 1x3x320x320 --dynamic x=b,_,_,_ -o mine.bundle
"""
SCHEMA = "cleft.pack/1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model_arguments(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="where to write the bundle")
    parser.add_argument("--force", action="store_true", help="replace a bundle that is there")
    parser.add_argument("--json", action="store_true", help=f"print JSON of schema {SCHEMA}")


def run(args: argparse.Namespace) -> int:
    """Pack, and say what was packed."""
    from partitioner.manifest import MANIFEST
    from partitioner.zoo import kind_of
    from partitioner.zoo.packing import pack

    if kind_of(args.model) == "bundle":
        if not (Path(args.model) / MANIFEST).is_file():
            raise UsageError(f"{args.model} is no bundle: it holds no {MANIFEST}")
        raise UsageError(f"{args.model} is a bundle already: copy its directory")
    bundle = pack(request_of(args), args.output, overwrite=args.force)
    graph = bundle.graph
    nbytes = sum(each.nbytes for each in (*bundle.manifest.files, *bundle.manifest.optional))
    inputs = [{"name": each.name, "dtype": each.value.dtype, "shape": list(each.value.shape)} for each in graph.inputs]
    outputs = [each.path for each in graph.outputs]
    if args.json:
        print_json(
            {
                "schema": SCHEMA,
                "path": str(bundle.path),
                "name": bundle.name,
                "digest": bundle.digest,
                "weights": bundle.manifest.weights,
                "notes": list(bundle.manifest.notes),
                "inputs": inputs,
                "outputs": outputs,
                "layers": len(graph.layers),
                "nodes": len(graph.nodes),
                "bytes": nbytes,
                "runtimes": list(bundle.runtimes),
                "without": dict(bundle.manifest.without),
            }
        )
        return 0
    print_notes(bundle)
    for line in without_lines(bundle):
        print(line, file=sys.stderr)
    print(f"packed {bundle.name} into {bundle.path}: {len(graph.layers)} layers, {size(nbytes)}")
    print(f"digest {bundle.digest}")
    print(f"runs in {', '.join(bundle.runtimes)}")
    for each in graph.inputs:
        print(f"input  {each.name}: {each.value.dtype} {'x'.join(map(str, each.value.shape)) or 'scalar'}")
    print(f"output {', '.join(outputs)}")
    return 0
