"""Sample inputs on the command line: what codecs are judged on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from partitioner.errors import UsageError

if TYPE_CHECKING:
    from partitioner.bundle import Bundle
    from partitioner.samples import SampleSet


def add_sample_arguments(parser: argparse.ArgumentParser, *, has_input: bool = True) -> None:
    """Declare the arguments that ``samples_of`` reads; ``has_input`` adds ``--input`` for a single one."""
    group = parser.add_argument_group("samples", "inputs to measure with, and to judge lossy codecs on")
    if has_input:
        group.add_argument("--input", type=Path, metavar="FILE", help="a single sample (default: a random one)")
    group.add_argument(
        "--samples", type=Path, nargs="+", default=[], metavar="DIR|FILE", help="pictures, .npy or .npz files"
    )
    group.add_argument(
        "--sample-labels",
        type=Path,
        metavar="FILE",
        help="their classes: lines of 'file name,label', or one label a line in the samples' order",
    )


def samples_of(args: argparse.Namespace, bundle: Bundle, *, has_input: bool = True) -> SampleSet:
    """The samples asked for; empty where there are none.

    Raises:
        UsageError: labels without samples, or samples beside an input.
        InputError: a sample or the labels cannot be read.
    """
    from partitioner.samples import NO_SAMPLES, read_samples

    single = [args.input] if has_input and args.input is not None else []
    if single and args.samples:
        raise UsageError("--input is a single sample: give it, or --samples")
    paths = single or args.samples
    if not paths:
        if args.sample_labels is not None:
            raise UsageError("--sample-labels are of samples: give --samples DIR")
        return NO_SAMPLES
    return read_samples(
        paths,
        labels=args.sample_labels,
        bundle_inputs=[each.value for each in bundle.graph.inputs],
        preprocess=bundle.preprocess,
        classes=bundle.labels,
    )
