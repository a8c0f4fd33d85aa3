"""Train or test a video model from one YAML file.

python main.py -c CFG --validate
python -m paddle.distributed.launch --nproc_per_node 2 main.py -c CFG --validate
python main.py -c CFG --test -w output/TSM/TSM_best.pdparams
python main.py -c CFG --check
"""

from __future__ import annotations

import argparse
import sys

from paddlevideo.cli import check, options, test, train
from paddlevideo.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_config(parser)
    parser.add_argument("--check", action="store_true", help="check the configuration, print it resolved, and stop")
    parser.add_argument(
        "--train_dali", action="store_true", help="accepted for old scripts; frames are decoded on the CPU"
    )
    parser.add_argument("--test", action="store_true", help="evaluate the weights of -w on DATASET.test")
    options.add_weights(parser, "weights to test, or to begin training from: a file")
    train.add_training(parser)
    test.add_testing(parser)
    train.add_run(parser)


def run(args: argparse.Namespace) -> int:
    if args.out and not args.test:
        raise UserError("--out needs --test")
    if args.report_clips is not None and not args.test:
        raise UserError("--report_clips needs --test")
    if args.train_dali:
        line = "--train_dali: the loader of DATASET.train decodes frames on the CPU; DALI_LOADER is not read"
        print(f"warning: {line}", file=sys.stderr)
    if args.check:
        return check.run(args)
    if args.test:
        return test.run(args)
    return train.run(args)
