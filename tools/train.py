"""Trains a model; MMAction2's command line over the same engine as main.py.

    python tools/train.py configs/recognition/tsm/tsm_r50_1x1x8_50e_kinetics400_rgb.yaml \\
        --work-dir work_dirs/tsm_r50_1x1x8_50e_kinetics400_rgb --validate --seed 0 --deterministic
    python -m paddle.distributed.launch --gpus="0,1,2,3,4,5,6,7" tools/train.py CONFIG --validate
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

try:
    import paddlevideo  # noqa: F401
except ModuleNotFoundError:  # a checkout that was not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from paddlevideo.build import load_run_config
from paddlevideo.cli.command import run_command
from paddlevideo.environment import set_cpu_environment
from paddlevideo.errors import UserError


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """The flags, under MMAction2's names."""
    set_cpu_environment()
    from paddlevideo.cli.mmaction2 import add_shared_options

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_shared_options(parser)
    add = parser.add_argument
    add("--work-dir", metavar="DIR", help="where everything is written (output_dir of the configuration)")
    add("--resume-from", metavar="PATH", help="continue exactly: a resume point (any of its files), or auto")
    add("--overwrite", action="store_true", help="move the work of another run in DIR aside, into DIR/previous_N")
    add("--validate", action="store_true", help="evaluate during training and keep the best weights")
    add("--test-last", action="store_true", help="test the last weights afterwards; results in DIR/last_pred.pkl")
    add("--test-best", action="store_true", help="test the best weights afterwards; results in DIR/best_pred.pkl")
    add("--gpus", type=int, metavar="N", help="GPUs; 0 is the CPU, more than 1 needs the launcher with as many ranks")
    add("--gpu-ids", type=int, nargs="+", metavar="ID", help="which GPU; several need the launcher")
    add("--seed", type=int, help="of shuffling, augmentation, dropout and initial weights (1234)")
    add("--diff-seed", action="store_true",
        help="accepted: a clip's randomness is its own and dropout knows its rank, so ranks differ anyway")  # fmt: skip
    add("--deterministic", action="store_true", help="two runs give equal weights: no GPU kernel that varies; slower")
    args = parser.parse_args(argv)
    if args.gpus is not None and args.gpu_ids is not None:
        parser.error("--gpus and --gpu-ids exclude each other")
    return args


def main(argv: list[str] | None = None) -> int:
    """Trains, and tests if asked to."""
    args = parse_args(argv)
    from paddlevideo.cli import mmaction2

    if args.test_best and not args.validate:
        raise UserError("--test-best needs --validate, which says which weights are the best")
    chosen = mmaction2.overrides(args.cfg_options)
    if args.work_dir:
        chosen.append(f"output_dir={args.work_dir}")
    config = load_run_config(mmaction2.yaml_path(args.config), chosen)
    mmaction2.note_launcher(args.launcher)
    from paddlevideo.engine.testing import test
    from paddlevideo.engine.training import train
    from paddlevideo.reporting.report import ReportFiles
    from paddlevideo.settings import Options

    options = Options(
        validate=args.validate,
        resume=args.resume_from,
        overwrite=args.overwrite,
        seed=args.seed,
        deterministic=args.deterministic,
        device=mmaction2.device_of(args.device, args.gpus, args.gpu_ids),
    )
    run = train(config, options)
    for what, asked in (("last", args.test_last), ("best", args.test_best)):
        if asked:
            name = "best" if what == "best" else f"epoch_{run.progress.epoch:05d}"
            weights = f"{run.folder.stem(name)}.pdparams"
            files = ReportFiles(weights, str(config.output_dir / f"{what}_pred.pkl"))
            test(config, replace(options, resume=None, weights=weights), files)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
