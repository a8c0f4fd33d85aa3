"""Predicts the classes of videos.

    paddlevideo predict -i clip.mp4 --model_file inference/TSM
    paddlevideo predict -i clip.mp4 -c CFG -w best.pdparams
    paddlevideo predict -i list.txt --model_file inference/TSM --out results.jsonl

The preprocessing, the class names and the type of the scores come from inference.yml beside an exported model, or from
the configuration of trained weights.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from paddlevideo.cli import options, predict_many
from paddlevideo.cli.outputs import check_outputs, model_files
from paddlevideo.errors import UserError

_THRESHOLD = 0.5  # from which a class of several is shown

if TYPE_CHECKING:
    from paddlevideo.config import Config
    from paddlevideo.inference.predictions import Prediction, Threshold
    from paddlevideo.inference.predictor import Predictor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """PaddleVideo's flags, and -w, --num_workers, --top_k, --threshold, --label_file, --out, --on_error."""
    add_model(parser)
    add = parser.add_argument
    add("-i", "--input_file", required=True, nargs="+", metavar="PATH", help="videos, folders of videos, list files")
    add("-b", "--batch_size", type=options.at_least(1), default=1, help="videos per run of the model (%(default)s)")
    add(
        "--num_workers",
        type=options.at_least(0),
        metavar="N",
        help="processes that decode while the model runs; 0: none (one per core but one, at most 8)",
    )
    add(
        "--top_k",
        type=options.at_least(1),
        help="classes to show, best first (1; of several labels per clip all above --threshold)",
    )
    add(
        "--threshold",
        type=options.share,
        help="show the classes of at least this score (of several labels per clip: the model's own thresholds, or 0.5)",
    )
    add(
        "--timeout_s",
        type=float,
        default=300.0,
        metavar="S",
        help="seconds for reading one video; 0: no limit (%(default)g)",
    )
    add(
        "--out",
        metavar="FILE",
        help="write the results to FILE.json or FILE.csv as well; FILE.jsonl: only there, line by line, for many "
        "videos: the same command continues after a stop",
    )
    bad = "a video that cannot be read ends the command, or is a result with an error (raise; of .jsonl: skip)"
    add("--on_error", choices=("raise", "skip"), help=bad)
    add("--time_test_file", type=options.parse_bool, default=False, help="print how long each video took")
    add(
        "--enable_benchmark",
        type=options.parse_bool,
        default=False,
        help="time the first video over and over, print medians",
    )
    predict_many.add_arguments(parser)


def add_model(parser: argparse.ArgumentParser) -> None:
    """The flags of ``make_predictor``: a model, its class names, and where it runs."""
    config = "YAML file; of an exported model only if there is no inference.yml beside it"
    options.add_config(parser, config, required=False)
    options.add_weights(parser, "trained weights, with --config: a file")
    add = parser.add_argument
    add("--model_file", help="exported model (.json or .pdmodel), or the folder it was exported to")
    add("--params_file", help="its weights (.pdiparams beside the model)")
    add("--label_file", help="class names, one per line in class-id order (those of inference.yml)")
    add("--use_gpu", type=options.parse_bool, help="True: required; default: if Paddle has one")
    add("--use_xpu", type=options.parse_bool, default=False)
    add("--use_npu", type=options.parse_bool, default=False)
    options.add_backend(parser)
    precision = "of the model; int8: what paddlevideo export --int8 made, with --backend onnx (%(default)s)"
    add("--precision", choices=("fp32", "fp16", "bf16", "int8"), default="fp32", help=precision)
    add("--ir_optim", type=options.parse_bool, default=True, help="graph optimisation (%(default)s)")
    add("--use_tensorrt", type=options.parse_bool, default=False)
    add("--gpu_mem", type=int, default=8000, help="MB that Paddle reserves on the GPU (%(default)s)")
    add(
        "--enable_mkldnn",
        type=options.parse_bool,
        help="oneDNN of Paddle on the CPU (as timed at export, else False)",
    )
    add("--cpu_threads", type=int, help="threads of the model on the CPU (as timed at export, else all cores)")
    add("--disable_glog", type=options.parse_bool, default=True, help="hide Paddle's own log lines (%(default)s)")


def notice(line: str) -> None:
    """Remarks go to stderr, so that stdout holds results only."""
    print(line, file=sys.stderr)


def run(args: argparse.Namespace) -> int:
    """Predicts; 0 if at least one video was read."""
    if Path(args.out or "").suffix.lower() == ".jsonl":
        return predict_many.run(args)
    predict_many.refuse(args)
    from paddlevideo.inference.prediction_time import benchmark
    from paddlevideo.inference.predictions import check_out, write_predictions
    from paddlevideo.video_files import find_videos

    out = check_out(args.out) if args.out else None
    config = options.read_model_config(args)
    top_k = args.top_k or top_k_of(config)
    videos = find_videos(args.input_file, notice, keep_missing=args.on_error == "skip")
    if out is not None:
        read = [("-i", str(path)) for path in (*args.input_file, *videos)]
        check_outputs([("--out", str(out))], [*read, *model_files(args)])
    predictor = make_predictor(args, config, args.num_workers, args.timeout_s)
    threshold = threshold_of(args, predictor, top_k)
    print(f"Inference model({predictor.name})...")
    if args.enable_benchmark:
        print(benchmark(predictor, videos[:1]))
    done: list[Prediction] = []
    try:
        for prediction in predictor.stream(videos, args.on_error or "raise"):
            done.append(prediction)
            show(prediction, top_k, threshold, args.time_test_file)
    except BrokenPipeError:  # the reader of stdout, e.g. head, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:  # finished results are written even if an error ends the rest
        if out is not None and done:
            write_predictions(out, done, top_k, threshold)
            notice(f"results of {len(done)} of {len(videos)} videos written to {out}")
    bad = sum(prediction.error is not None for prediction in done)
    if bad == len(done):
        raise UserError(f"none of {len(done)} videos could be read")
    if bad:
        notice(f"{bad} of {len(done)} videos could not be read")
    return 0


def show(prediction: Prediction, top_k: int | None, threshold: Threshold | None, times: bool) -> None:
    """Prints one video's classes, or why it has none."""
    from paddlevideo.inference.predictions import lines_of

    if prediction.error is not None:
        notice(f"skipped: {prediction.error}")
        return
    print("\n".join(lines_of(prediction, top_k, threshold)), flush=True)
    if times:
        named = {"prepare": prediction.prepare_s, "wait": prediction.wait_s, "model": prediction.infer_s}
        print("\ttime:", ", ".join(f"{name} {seconds * 1e3:.1f} ms" for name, seconds in named.items()), flush=True)


def threshold_of(args: argparse.Namespace, predictor: Predictor, top_k: int | None) -> Threshold | None:
    """``--threshold``; of several labels per clip, without ``--top_k``, the model's own, one per class, or 0.5."""
    if args.threshold is not None or not predictor.multi_label or top_k is not None:
        return args.threshold
    return predictor.thresholds or _THRESHOLD


def top_k_of(config: Config | None) -> int | None:
    """PaddleVideo's ``INFERENCE.top_k``, or None."""
    top_k = ((config or {}).get("INFERENCE") or {}).get("top_k")
    if top_k is None:
        return None
    if not isinstance(top_k, int) or top_k < 1:
        raise UserError(f"{config.source}: INFERENCE.top_k: expected at least 1, got {top_k!r}")
    return top_k


def make_predictor(
    args: argparse.Namespace, config: Config | None, num_workers: int | None = 0, timeout_s: float = 0.0
) -> Predictor:
    """The predictor that the flags of ``add_model`` and ``--batch_size``, and the configuration describe."""
    from paddlevideo.inference.exported import Export
    from paddlevideo.inference.predictor import Predictor
    from paddlevideo.inference.runtimes.base import Runtime

    runtime = Runtime(
        backend=args.backend,
        use_gpu=args.use_gpu,
        use_xpu=args.use_xpu,
        use_npu=args.use_npu,
        precision=args.precision,
        ir_optim=args.ir_optim,
        use_tensorrt=args.use_tensorrt,
        gpu_mem_mb=args.gpu_mem,
        enable_mkldnn=args.enable_mkldnn,
        cpu_threads=args.cpu_threads,
        disable_glog=args.disable_glog,
    )
    more = {"batch_size": args.batch_size, "num_workers": num_workers, "timeout_s": timeout_s, "say": notice}
    if args.weights:
        return Predictor.from_config(config, args.weights, runtime.device_of_network(), args.label_file, **more)
    export = Export.find(args.model_file, args.params_file, notice)
    labels = args.label_file
    if labels is None and export.description is None and config is not None:
        labels = (config.get("DATASET") or {}).get("label_names")
    section = export.section(config, args.override, notice)
    return Predictor.from_export(export, pipeline=section, labels=labels, runtime=runtime, **more)
