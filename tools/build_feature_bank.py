"""Long-term feature banks: what a trained detector saw of every person, for the models that look minutes around.

    python tools/build_feature_bank.py -c configs/detection/lfb/lfb_slowonly_r50_ava_infer.yaml -w AVA.pdparams \\
           --split train --out data/ava/lfb/lfb_train.bank [--half]
    python -m paddle.distributed.launch --gpus="0,1" tools/build_feature_bank.py -c ... -w ... --split val --out ...
    python tools/build_feature_bank.py --mmaction2 lfb_train.pkl --out data/ava/lfb/lfb_train.bank

A run that was stopped goes on where it was: give the same command again.  The file is the same then, and the same for
any number of ranks.
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
from paddlevideo.errors import UserError


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("-c", "--config", metavar="CFG", help="YAML file of the detector")
    add("-w", "--weights", metavar="FILE", help="its trained weights, .pdparams")
    add("-o", "--override", action="append", default=[], metavar="KEY=VALUE", help="e.g. DATASET.test_batch_size=4")
    add("--split", choices=("train", "val", "test"), default="train", help="whose persons (%(default)s)")
    add("--mmaction2", type=Path, metavar="PKL", help="convert MMAction2's lfb_*.pkl instead; needs no network")
    add("--out", type=Path, required=True, metavar="FILE", help="the bank")
    add("--half", action="store_true", help="float16 features: half the size")
    add("--batch-size", type=int, metavar="N", help="key frames per forward pass (DATASET.test_batch_size)")
    add("--device", default="auto", metavar="NAME", help="auto, cpu, gpu or gpu:N")
    add("--amp", action="store_true", help="half precision on a GPU")
    args = parser.parse_args(argv)
    if not args.mmaction2 and not (args.config and args.weights):
        parser.error("give -c CFG and -w FILE, or --mmaction2 PKL")
    return args


def main(argv: list[str] | None = None) -> int:
    """Builds or converts."""
    args = parse_args(argv)
    if args.batch_size is not None and args.batch_size < 1:
        raise UserError(f"--batch-size {args.batch_size}: expected at least 1")
    config = None if args.mmaction2 else load_run_config(args.config, args.override, uses=("test",))
    set_cpu_environment()
    hide_paddle_remarks()
    from paddlevideo.engine.bank import build_bank
    from paddlevideo.loader.feature_bank import convert_mmaction2
    from paddlevideo.settings import Options

    if config is None:
        frames, persons = convert_mmaction2(args.mmaction2, args.out, args.half)
        print(f"{args.out}: {frames} key frames, {persons} persons")
        return 0
    options = Options(weights=args.weights, device=args.device, amp=args.amp)
    print(build_bank(config, options, args.split, args.out, args.half, args.batch_size))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
