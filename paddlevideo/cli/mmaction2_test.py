"""Tests a model; MMAction2's command line over the same engine as main.py --test.

    python tools/test.py configs/recognition/tsm/tsm_r50_1x1x8_50e_kinetics400_rgb.yaml \\
        checkpoints/CHECKPOINT.pdparams --eval top_k_accuracy mean_class_accuracy --out result.json
    python tools/test.py configs/detection/ava/slowonly_kinetics_pretrained_r50_4x16x1_20e_ava_rgb.yaml \\
        checkpoints/CHECKPOINT.pdparams --eval mAP --out results.csv
"""

from __future__ import annotations

import argparse
from pathlib import Path

from paddlevideo.cli import mmaction2
from paddlevideo.environment import is_main
from paddlevideo.errors import UserError
from paddlevideo.metrics.base import Metric

METRICS = ("top_k_accuracy", "mean_class_accuracy", "mean_average_precision", "mmit_mean_average_precision", "mAP")
_TOP_K = ("topk", "top_k_accuracy.topk", "metric_options.top_k_accuracy.topk")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    mmaction2.add_shared_options(parser)
    add = parser.add_argument
    add("checkpoint", help="weights: a file, a name or an address; of a .pth, the .pdparams beside it is taken")
    results = "per-video results, .json, .pkl or .csv; of detection .csv (pred.* in the output folder)"
    add("--out", metavar="FILE", help=results)
    add("--eval", nargs="+", choices=METRICS, default=[], metavar="METRIC", help=", ".join(METRICS))
    add("--eval-options", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="topk=1,3")
    average = "average the views' probabilities or logits; none: also write each view's logits"
    add("--average-clips", choices=("prob", "score", "none"), help=average)
    add("--protocol", metavar="NAME", help="which of the configuration's PROTOCOLS to test with")
    add("--seed", type=int, help=argparse.SUPPRESS)
    add("--deterministic", action="store_true", help="no GPU kernel that varies from run to run; slower")
    for name in ("--fuse-conv-bn", "--gpu-collect"):
        add(name, action="store_true", help="accepted; changes nothing here")
    add("--tmpdir", metavar="DIR", help="accepted; ranks exchange their results without files")


def run(args: argparse.Namespace) -> int:
    """Tests, and prints the figures that ``--eval`` names."""
    if not (args.out or args.eval):
        raise UserError("give --eval, --out or both: otherwise the test has no result")
    from paddlevideo import api
    from paddlevideo.build import load_run_config

    top_k = _top_k(args.eval_options)
    chosen = mmaction2.overrides(args.cfg_options)
    chosen += [f"protocol={args.protocol}"] if args.protocol else []
    config = load_run_config(mmaction2.yaml_path(args.config), chosen, ("test",), args.imports)
    if args.average_clips:
        config = mmaction2.with_average(config, args.average_clips)
    weights = _weights(args.checkpoint)
    mmaction2.note_launcher(args.launcher)
    from paddlevideo.build import metric_for
    from paddlevideo.reporting.results import SUFFIXES

    metric = metric_for(config)
    _check_names(args.eval, metric)
    out = args.out or str(config.output_dir / f"pred{(metric.result_suffixes or SUFFIXES)[-1]}")
    figures = api.test(config, weights, out=out, seed=args.seed, deterministic=args.deterministic, device=args.device)
    if args.eval and is_main():
        for name, value in _figures(metric, figures, out, args.eval, top_k).items():
            print(f"{name}: {value:.4f}")
    return 0


def _check_names(names: list[str], metric: Metric) -> None:
    """Raises UserError if one of --eval's names is not what the configuration's metric measures."""
    measured = metric.eval_names or METRICS[:-1]
    strange = [name for name in names if name not in measured]
    if strange:
        raise UserError(f"--eval {strange[0]}: {type(metric).__name__} measures {', '.join(measured)}")


def _figures(metric: Metric, figures: dict, out: str, names: list[str], top_k: list[int]) -> dict[str, float]:
    """The figures of --eval: of a metric with names of its own as measured, of clips scored again from ``out``."""
    if metric.eval_names:
        return {key: value for key, value in figures.items() if not key.startswith("num_")}
    from paddlevideo.reporting.result_files import read_results
    from paddlevideo.reporting.results import score

    return score(read_results(out), names, top_k)


def _top_k(eval_options: list[str]) -> list[int]:
    """The k of top_k_accuracy.

    Raises:
        UserError: another option, or no numbers.
    """
    top_k = [1, 5]
    for option in eval_options:
        key, _, value = option.partition("=")
        numbers = value.strip("()[]").replace(" ", "").strip(",").split(",")
        if key not in _TOP_K:
            raise UserError(f"--eval-options {option}: there is one option, topk=1,5")
        if not all(number.isdecimal() and int(number) > 0 for number in numbers):
            raise UserError(f"--eval-options {option}: expected whole numbers from 1 on, e.g. topk=1,5")
        top_k = [int(number) for number in numbers]
    return top_k


def _weights(checkpoint: str) -> str:
    """CHECKPOINT, or the ``.pdparams`` beside a file of torch, whose path is printed."""
    path = Path(checkpoint)
    converted = path.with_suffix(".pdparams")
    if path.suffix not in (".pth", ".pt") or not converted.is_file():
        return checkpoint
    print(f"{checkpoint}: using the converted weights {converted}")
    return str(converted)
