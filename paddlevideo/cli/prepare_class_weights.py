"""How often every action of DATASET.train occurs, and weights for the loss that balance the actions.

    paddlevideo prepare class-weights -c CFG
    paddlevideo prepare class-weights -c CFG --power 1

Prints a table, and a line for MODEL.head.bbox_head: weights ~ 1 / count ** power, 1 in the mean over the actions there
are, 0 for those that never occur.  (``DATASET.train.sample_by_class`` is the other cure: it draws rare actions more
often.)
"""

from __future__ import annotations

import argparse

from paddlevideo.cli import options
from paddlevideo.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_config(parser, "YAML file with DATASET.train")
    parser.add_argument("--power", type=float, default=0.5, metavar="P", help="0: all alike; 1: rare as frequent (0.5)")


def run(args: argparse.Namespace) -> int:
    """Counts and prints."""
    from paddlevideo.loader.build import build_dataset
    from paddlevideo.loader.datasets.ava_persons import class_weights

    config = options.read_run_config(args)
    section, head = config.section("DATASET").get("train"), config.section("MODEL").get("head") or {}
    if not section:
        raise UserError(f"{args.config}: there is no DATASET.train to count in")
    dataset = build_dataset(section, "train", (head.get("bbox_head") or head).get("num_classes"))
    counts = dataset.class_counts()
    if counts is None:
        raise UserError(f"{args.config}: DATASET.train is no data set of key frames (AVADataset)")
    weights = class_weights(counts, args.power)
    names = dataset.class_names or [""] * len(counts)
    print(" class   persons  weight  name")
    for i in range(1, len(counts)):
        print(f"{i:6d} {counts[i]:9d} {weights[i]:7.3f}  {names[i]}".rstrip())
    print(f"\nclass_weights: [{', '.join(f'{weight:.4g}' for weight in weights)}]")
    return 0
