"""Trains a model; MMAction2's command line over the same engine as main.py.

    python tools/train.py configs/recognition/tsm/tsm_r50_1x1x8_50e_kinetics400_rgb.yaml \\
        --work-dir work_dirs/tsm_r50_1x1x8_50e_kinetics400_rgb --validate --seed 0 --deterministic
    python -m paddle.distributed.launch --gpus="0,1,2,3,4,5,6,7" tools/train.py CONFIG --validate
"""

from __future__ import annotations

import argparse

from paddlevideo.cli import mmaction2
from paddlevideo.errors import UserError
from paddlevideo.settings import DEFAULT_SEED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    mmaction2.add_shared_options(parser)
    add = parser.add_argument
    add("--work-dir", metavar="DIR", help="where everything is written (output_dir of the configuration)")
    add("--resume-from", metavar="PATH", help="continue exactly: a resume point (any of its files), or auto")
    add("--overwrite", action="store_true", help="move the work of another run in DIR aside, into DIR/previous_N")
    add("--validate", action="store_true", help="evaluate during training and keep the best weights")
    add("--test-last", action="store_true", help="test the last weights afterwards; results in DIR/last_pred.pkl")
    add("--test-best", action="store_true", help="test the best weights afterwards; results in DIR/best_pred.pkl")
    which = parser.add_mutually_exclusive_group()
    gpus = "GPUs; 0 is the CPU, more than 1 needs the launcher with as many ranks"
    which.add_argument("--gpus", type=int, metavar="N", help=gpus)
    which.add_argument("--gpu-ids", type=int, nargs="+", metavar="ID", help="which GPU; several need the launcher")
    add("--seed", type=int, help=f"of shuffling, augmentation, dropout and initial weights ({DEFAULT_SEED})")
    accepted = "accepted: a clip's randomness is its own and dropout depends on the rank, so ranks differ anyway"
    add("--diff-seed", action="store_true", help=accepted)
    add("--deterministic", action="store_true", help="two runs give equal weights: no GPU kernel that varies; slower")


def run(args: argparse.Namespace) -> int:
    from paddlevideo import api
    from paddlevideo.build import load_run_config

    if args.test_best and not args.validate:
        raise UserError("--test-best needs --validate, which finds the best weights")
    chosen = mmaction2.overrides(args.cfg_options)
    if args.work_dir:
        chosen.append(f"output_dir={args.work_dir}")
    config = load_run_config(mmaction2.yaml_path(args.config), chosen, imports=args.imports)
    mmaction2.note_launcher(args.launcher)
    options = {
        "seed": args.seed,
        "deterministic": args.deterministic,
        "device": mmaction2.device_of(args.device, args.gpus, args.gpu_ids),
    }
    done = api.train(config, validate=args.validate, resume=args.resume_from, overwrite=args.overwrite, **options)
    for name, chosen, weights in (("last", args.test_last, done.last), ("best", args.test_best, done.best)):
        if chosen and weights is None:
            missing = done.folder / f"{config['model_name']}_{name}.pdparams"
            raise UserError(f"--test-{name}: {missing} is missing: no validation of the run has kept weights")
        if chosen:
            api.test(config, weights, out=config.output_dir / f"{name}_pred.pkl", **options)
    return 0
