"""Trains a video model from one YAML file.

paddlevideo train -c tsm_own_videos --validate
python -m paddle.distributed.launch --nproc_per_node 2 $(which paddlevideo) train -c CFG --validate
paddlevideo train -c CFG --validate --resume
"""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING, Any

from paddlevideo.cli import options
from paddlevideo.cli.check_data import is_detection
from paddlevideo.environment import rank
from paddlevideo.errors import UserError
from paddlevideo.settings import DEFAULT_SEED

if TYPE_CHECKING:
    from paddlevideo.api import Trained

# options that a resumed run is given again
_KEPT = (
    "validate", "multigrid", "scale_lr", "max_hours", "profiler_options", "deterministic", "device", "amp", "amp_level",
    "amp_dtype", "amp_black_list", "max_iters",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_config(parser)
    options.add_weights(parser, "weights to begin training from: a file")
    add_training(parser)
    add_run(parser)


def add_training(parser: argparse.ArgumentParser) -> None:
    """The options of training alone."""
    add = parser.add_argument
    add("--validate", action="store_true", help="evaluate during training and keep the best weights")
    point = "continue exactly: auto (newest valid), or a resume point"
    add("--resume", nargs="?", const="auto", metavar="PATH", help=point)
    add("--overwrite", action="store_true", help="move the work of another run in output_dir aside, into previous_N")
    add("--multigrid", action="store_true", help="clips of the shapes that MULTIGRID gives, small ones first")
    add("--scale_lr", action="store_true", help="scale rates from OPTIMIZER.base_batch_size to this global batch")
    limit = "stop with a resume point after so many hours of training, e.g. 11.5; --resume continues"
    add("--max_hours", type=options.positive, metavar="H", help=limit)
    add("-p", "--profiler_options", metavar="OPTIONS", help='e.g. "batch_range=[10,20];profile_path=model.profile"')
    add("--fleet", action="store_true", help="accepted for old scripts; the launcher's ranks are used either way")


def add_run(parser: argparse.ArgumentParser) -> None:
    """The options that training and testing have."""
    add = parser.add_argument
    add("--seed", type=int, help=f"of shuffling, augmentation, dropout and initial weights (default {DEFAULT_SEED})")
    add("--deterministic", action="store_true", help="only GPU kernels that give the same bits at every run; slower")
    options.add_device(parser)
    add("--amp", action="store_true", help="mixed precision on GPUs")
    add("--amp_level", choices=("O1", "O2"), help="O1 (default with --amp) or O2")
    add("--amp_dtype", choices=("float16", "bfloat16"), help="float16 (default with --amp) or bfloat16")
    stay = "operators that stay in float32 besides those of Paddle's own list (default: conv3d reduce_mean)"
    add("--amp_black_list", nargs="*", metavar="OPERATOR", help=stay)
    limit = "at most N batches per epoch, in training and evaluation"
    add("--max_iters", type=options.at_least(1), metavar="N", help=limit)


def run_options(args: argparse.Namespace) -> dict[str, Any]:
    """The values of ``add_run``, as ``paddlevideo.train`` and ``paddlevideo.test`` take them."""
    for name in ("amp_level", "amp_dtype", "amp_black_list"):
        if vars(args)[name] is not None and not args.amp:
            raise UserError(f"--{name} needs --amp")
    names = ("seed", "deterministic", "device", "amp", "amp_black_list", "max_iters")
    amp = {"amp_level": args.amp_level or "O1", "amp_dtype": args.amp_dtype or "float16"}
    return {name: vars(args)[name] for name in names} | amp


def run(args: argparse.Namespace) -> int:
    from paddlevideo import api

    names = ("weights", "validate", "resume", "overwrite", "multigrid", "scale_lr", "max_hours")
    names += ("profiler_options", "fleet")
    more = {name: vars(args)[name] for name in names}
    config = options.read_run_config(args)
    trained = api.train(config, **run_options(args), **more)
    if rank() == 0:
        resume = [f"resume:  {resume_command(args)}"]
        print("\n".join(resume if trained.out_of_time else next_commands(args, trained, is_detection(config))))
    return 0


def resume_command(args: argparse.Namespace) -> str:
    """The command that continues the run, to be copied; a launcher of ranks comes before it as it did."""
    words = ["paddlevideo", "train", "-c", args.config, *_changes(args)]
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    for name in _KEPT:
        value = vars(args)[name]
        if value != parser.get_default(name):
            values = value if isinstance(value, list) else [] if value is True else [value]
            words += [f"--{name}", *map(str, values)]
    return shlex.join([*words, "--resume"])


def _changes(args: argparse.Namespace) -> list[str]:
    """The words that change the configuration."""
    changes = [word for value in args.override for word in ("-o", value)]
    return changes + [word for value in args.imports for word in ("--import", value)]


def next_commands(args: argparse.Namespace, trained: Trained, has_boxes: bool) -> list[str]:
    """The commands that test the weights and, of whole clips, predict with them, to be copied."""
    weights = str(trained.best or trained.average or trained.last)
    model = shlex.join(["-c", args.config, "-w", weights, *_changes(args)])
    commands = [f"test:    paddlevideo test {model}"]
    return commands if has_boxes else [*commands, f"predict: paddlevideo predict {model} -i VIDEO"]
