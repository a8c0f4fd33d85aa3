"""Train or test a video model from one YAML file.

python main.py -c CFG --validate
python -m paddle.distributed.launch --nproc_per_node 2 main.py -c CFG --validate
python main.py -c CFG --test -w output/TSM/TSM_best.pdparams
python main.py -c CFG --check
"""

from __future__ import annotations

import argparse
import sys

from paddlevideo.cli.command import run_command
from paddlevideo.environment import hide_paddle_remarks, set_cpu_environment


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("-c", "--config", required=True, metavar="CFG", help="the YAML file")
    assignment = "a.b.0.c=value; may be repeated; nothing behind = is the empty text, null is None"
    add("-o", "--override", action="append", default=[], metavar="KEY=VALUE", help=assignment)
    modules = "a module or .py file with your own registered classes, besides the file's imports; may be repeated"
    add("--import", dest="imports", action="append", default=[], metavar="MODULE", help=modules)
    add("--protocol", metavar="NAME", help="which of the configuration's PROTOCOLS to test with")
    add("--check", action="store_true", help="check the configuration, print it resolved, and stop")
    add("--test", action="store_true", help="evaluate the weights of -w on DATASET.test")
    add("-w", "--weights", metavar="PATH", help="weights to test, or to begin training from")
    add("--validate", action="store_true", help="evaluate during training and keep the best weights")
    add(
        "--resume",
        nargs="?",
        const="auto",
        metavar="PATH",
        help="continue exactly: auto (newest valid), or a resume point",
    )
    add("--overwrite", action="store_true", help="move the work of another run in output_dir aside, into previous_N")
    add("--seed", type=int, help="of shuffling, augmentation, dropout and initial weights (default 1234)")
    add("--deterministic", action="store_true", help="only GPU kernels that give the same bits at every run; slower")
    add("--device", default="auto", metavar="DEV", help="auto, cpu, gpu or gpu:N")
    add("--amp", action="store_true", help="mixed precision on GPUs")
    add("--amp_level", choices=("O1", "O2"), help="O1 (default with --amp) or O2")
    add("--amp_dtype", choices=("float16", "bfloat16"), default="float16")
    add("--max_iters", type=int, metavar="N", help="at most N batches per epoch, in training and evaluation")
    add("--scale_lr", action="store_true", help="scale rates from OPTIMIZER.base_batch_size to this global batch")
    add("--out", metavar="FILE", help="with --test: per-video results as .json, .csv or .pkl; detections as .csv")
    add("-p", "--profiler_options", metavar="OPTIONS", help='e.g. "batch_range=[10,20];profile_path=model.profile"')
    add("--fleet", action="store_true", help="accepted for old scripts; the launcher's ranks are used either way")
    arguments = parser.parse_args()
    if arguments.amp_level and not arguments.amp:
        parser.error("--amp_level needs --amp")
    if arguments.out and not arguments.test:
        parser.error("--out needs --test")
    if arguments.max_iters is not None and arguments.max_iters < 1:
        parser.error("--max_iters must be at least 1")
    return arguments


def main() -> int:
    arguments = parse_arguments()
    from paddlevideo.build import length_remarks, load_run_config

    chosen = [f"protocol={arguments.protocol}"] if arguments.protocol else []
    uses = ("test",) if arguments.test else ("train", "valid", "test")
    config = load_run_config(arguments.config, [*arguments.override, *chosen], uses, arguments.imports)
    if arguments.check:
        for line in length_remarks(config):
            print(f"warning: {line}", file=sys.stderr)
        print(config.to_yaml(), end="")
        return 0
    from paddlevideo.engine.training import train
    from paddlevideo.settings import Options

    options = Options(
        validate=arguments.validate,
        weights=arguments.weights,
        resume=arguments.resume,
        overwrite=arguments.overwrite,
        seed=arguments.seed,
        deterministic=arguments.deterministic,
        device=arguments.device,
        amp=arguments.amp,
        amp_level=arguments.amp_level or "O1",
        amp_dtype=arguments.amp_dtype,
        max_iters=arguments.max_iters,
        scale_lr=arguments.scale_lr,
        profiler_options=arguments.profiler_options,
        fleet=arguments.fleet,
    )
    if arguments.test:
        from paddlevideo.engine.testing import test
        from paddlevideo.reporting.report import ReportFiles

        test(config, options, ReportFiles(options.weights, arguments.out))
    else:
        train(config, options)
    return 0


if __name__ == "__main__":
    set_cpu_environment()
    hide_paddle_remarks()
    sys.exit(run_command(main))
