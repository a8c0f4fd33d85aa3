"""Averages checkpoints of one network: the last epochs of a run, or runs from one start.

    paddlevideo average A.pdparams B.pdparams C.pdparams --output MEAN.pdparams
    paddlevideo average A.pdparams B.pdparams --output MEAN.pdparams --weights 1 3
    paddlevideo average A.pdparams B.pdparams --output MEAN.pdparams -c CFG --bn_batches 200

Floating-point arrays are averaged in float64, counters are those of the last file.  The running statistics of batch
norms do not belong to averaged weights until they are measured anew: --bn_batches does that, on DATASET.train.
"""

from __future__ import annotations

import argparse

from paddlevideo.cli import options
from paddlevideo.errors import UserError


def add_arguments(parser: argparse.ArgumentParser, variant: str = "") -> None:
    """
    Args:
        variant: ``script`` where -o is the file to write and overrides have no short form.
    """
    script = variant == "script"
    add = parser.add_argument
    add("sources", nargs="+", metavar="FILE", help=".pdparams files of one network, two or more")
    output = ("-o", "--output") if script else ("--output", "--out")
    add(
        *output,
        dest="output",
        required=True,
        metavar="OUT",
        help="file to write, .pdparams; OUT.json lists its sources",
    )
    add("--weights", nargs="+", type=float, metavar="W", help="the share of each file (equal ones)")
    config = "YAML file of the network and its training clips, for --bn_batches"
    override = ("--override",) if script else ("-o", "--override")
    options.add_config(parser, config, required=False, override=override)
    add("--bn_batches", type=int, default=0, metavar="N", help="training batches to renew batch norms with (0: none)")
    options.add_device(parser, "auto, cpu, gpu or gpu:N; for --bn_batches")


def run(args: argparse.Namespace) -> int:
    """Averages, writes, and prints what is left to do."""
    if not args.bn_batches and (args.config or args.override):
        raise UserError("-c, -o: of --bn_batches N, which renews batch norms; the mean of the weights needs neither")
    config = options.read_run_config(args) if args.config else None
    from paddlevideo.engine import distributed
    from paddlevideo.engine.file_averages import average_files

    if args.bn_batches:
        distributed.set_up(args.device)
    renewed = average_files(args.sources, args.output, args.weights, config, args.bn_batches)
    print(f"the mean of {len(args.sources)} checkpoints: {args.output}")
    if args.bn_batches:
        print(f"batch norms renewed: {renewed}")
    else:
        print("a network with batch norms needs their statistics renewed: -c CFG.yaml --bn_batches 200")
    return 0
