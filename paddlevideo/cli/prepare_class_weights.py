"""How often every class of DATASET.train occurs, and weights for the loss that balance the classes.

    paddlevideo prepare class-weights -c CFG
    paddlevideo prepare class-weights -c CFG --power 1 --out weights.yml

Prints a table, and a line for the loss (MODEL.head.loss_cfg, of a detector MODEL.head.bbox_head).  Weights are ~ 1 /
count ** power.  ``class_weights: auto`` computes the same when training begins; ``class_weights: weights.yml`` reads
the file.  (``DATASET.train.sample_by_class`` is the other cure: it draws rare classes more often.)
"""

from __future__ import annotations

import argparse

from paddlevideo.cli import options
from paddlevideo.cli.outputs import check_outputs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_config(parser, "YAML file with DATASET.train")
    parser.add_argument(
        "--power", type=options.not_negative, default=0.5, metavar="P", help="0: all alike; 1: rare as frequent (0.5)"
    )
    parser.add_argument("--out", metavar="FILE", help="write them to FILE, which class_weights of a loss may name")


def run(args: argparse.Namespace) -> int:
    """Counts and prints."""
    from paddlevideo.build import training_counts
    from paddlevideo.classes import classes_of_config
    from paddlevideo.config.finding import find_config
    from paddlevideo.loader.class_balance import class_weights, write_class_weights

    config = options.read_run_config(args)
    if args.out:
        check_outputs([("--out", args.out)], [("-c", str(find_config(args.config)))])
    classes = classes_of_config(config)
    counts, of_boxes = training_counts(config, classes)
    weights = class_weights(counts, args.power, of_boxes)
    names = classes.names or [""] * len(counts)
    print(f" class   {'persons' if of_boxes else 'samples'}  weight  name")
    for i in range(int(of_boxes), len(counts)):
        print(f"{i:6d} {counts[i]:9d} {weights[i]:7.3f}  {names[i]}".rstrip())
    print(f"\nclass_weights: [{', '.join(f'{weight:.4g}' for weight in weights)}]")
    if args.out:
        write_class_weights(args.out, weights, counts, args.power)
    return 0
