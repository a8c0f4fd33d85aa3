"""Averages checkpoints of one network: the last epochs of a run, or runs from one start.

    python tools/average_checkpoints.py A.pdparams B.pdparams C.pdparams -o MEAN.pdparams
    python tools/average_checkpoints.py A.pdparams B.pdparams -o MEAN.pdparams --weights 1 3
    python tools/average_checkpoints.py A.pdparams B.pdparams -o MEAN.pdparams -c CFG.yaml --bn_batches 200

Floating numbers are averaged in float64, counters are those of the last file.  The running statistics of batch norms
do not belong to averaged weights until they are measured anew: that is what --bn_batches does, on DATASET.train.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

try:
    import paddlevideo  # noqa: F401
except ModuleNotFoundError:  # a checkout that was not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from paddlevideo.build import load_run_config
from paddlevideo.cli.command import run_command
from paddlevideo.environment import hide_paddle_remarks, set_cpu_environment


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("sources", nargs="+", metavar="FILE", help=".pdparams files of one network, two or more")
    add(
        "-o",
        "--output",
        required=True,
        metavar="OUT",
        help="file to write, .pdparams; OUT.json says what it is made of",
    )
    add("--weights", nargs="+", type=float, metavar="W", help="the share of each file (equal ones)")
    add("-c", "--config", metavar="CFG", help="YAML file of the network and its training clips, for --bn_batches")
    add("--override", action="append", default=[], metavar="KEY=VALUE", help="e.g. DATASET.batch_size=16")
    add("--bn_batches", type=int, default=0, metavar="N", help="training batches to renew batch norms with (0: none)")
    add("--device", default="auto", metavar="NAME", help="auto, cpu, gpu or gpu:N; for --bn_batches")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Averages, writes, and says what is left to do."""
    args = parse_args(argv)
    config = load_run_config(args.config, args.override) if args.config else None
    set_cpu_environment()
    hide_paddle_remarks()
    from paddlevideo.engine import distributed
    from paddlevideo.engine.averaging import average_files

    if args.bn_batches:
        distributed.set_up(args.device)
    renewed = average_files(args.sources, args.output, args.weights, config, args.bn_batches)
    print(f"the mean of {len(args.sources)} checkpoints: {args.output}")
    if args.bn_batches:
        print(f"batch norms renewed: {renewed}")
    else:
        print("a network with batch norms needs their statistics renewed: -c CFG.yaml --bn_batches 200")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
