"""Builds a long-term feature bank: a trained detector's features of every person, for models with a long-term window.

    paddlevideo bank -c lfb_slowonly_r50_ava_infer -w AVA.pdparams --split train --out data/ava/lfb/lfb_train.bank
    python -m paddle.distributed.launch --gpus="0,1" $(which paddlevideo) bank -c ... -w ... --split val --out ...
    paddlevideo bank --mmaction2 lfb_train.pkl --out data/ava/lfb/lfb_train.bank [--half]

A run that was stopped goes on where it was: rerun the same command.  The file is the same then, and the same for
any number of ranks.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from paddlevideo.cli import options
from paddlevideo.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_config(parser, "YAML file of the detector", required=False)
    options.add_weights(parser, "its trained weights: a file")
    add = parser.add_argument
    add("--split", choices=("train", "val", "test"), default="train", help="the persons of this set (%(default)s)")
    add("--mmaction2", type=Path, metavar="PKL", help="convert MMAction2's lfb_*.pkl instead; needs no network")
    add("--out", type=Path, required=True, metavar="FILE", help="the bank")
    add("--half", action="store_true", help="float16 features: half the size")
    batch = "key frames per forward pass (DATASET.test_batch_size)"
    add("--batch-size", type=options.at_least(1), metavar="N", help=batch)
    options.add_device(parser)
    add("--amp", action="store_true", help="half precision on a GPU")


def run(args: argparse.Namespace) -> int:
    """Builds or converts."""
    if not args.mmaction2 and not (args.config and args.weights):
        raise UserError("give -c CFG and -w FILE, or --mmaction2 PKL")
    config = None if args.mmaction2 else options.read_run_config(args, ("test",))
    from paddlevideo.engine.bank import build_bank
    from paddlevideo.loader.feature_bank import convert_mmaction2
    from paddlevideo.settings import Options

    if config is None:
        frames, persons = convert_mmaction2(args.mmaction2, args.out, args.half)
        print(f"{args.out}: {frames} key frames, {persons} persons")
        return 0
    run_options = Options(weights=args.weights, device=args.device, amp=args.amp)
    print(build_bank(config, run_options, args.split, args.out, args.half, args.batch_size))
    return 0
