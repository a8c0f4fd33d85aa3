"""Times a model on videos: decoding, the model alone, and both; with the memory that it takes.

paddlevideo benchmark -c tsm_k400_videos
paddlevideo benchmark -c CFG -w best.pdparams -i clip.mp4
paddlevideo benchmark --model_file inference/TSM -i videos --json

The videos are read and sampled as in testing, one after the other in this process, batch size 1 unless --batch_size
gives another.  The rate of the model alone is what MMAction2's tables list as videos/s.  Without -i, a synthetic video
of ten seconds is written to a temporary folder; -c without -w runs with untrained weights, which cost the same.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path

from paddlevideo.cli import options, predict
from paddlevideo.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add, positive = parser.add_argument, options.at_least(1)
    add("-i", "--input_file", nargs="+", metavar="VIDEO", help="videos, folders or .txt lists (a synthetic one)")
    predict.add_model(parser)
    add("-b", "--batch_size", type=positive, default=1, help="videos per run of the model (%(default)s)")
    add("--runs", type=positive, default=15, metavar="N", help="runs that are timed (%(default)s)")
    add("--warmup", type=options.at_least(0), default=3, metavar="N", help="runs before these (%(default)s)")
    add("--json", action="store_true", help="print one JSON object in place of the table")


def run(args: argparse.Namespace) -> int:
    """Times the model and prints the result."""
    from paddlevideo.inference.prediction_time import measure, start_weights, synthetic_video
    from paddlevideo.video_files import find_videos

    if not (args.config or args.model_file):
        raise UserError("name one model: -c CONFIG (with -w WEIGHTS, or untrained), or --model_file MODEL (an export)")
    untrained = bool(args.config and not args.weights and not args.model_file)
    config = options.read_config(args, ("test",)) if untrained else options.read_model_config(args)
    with contextlib.ExitStack() as stack:
        if untrained:
            args.weights = str(stack.enter_context(start_weights(config)))
        if args.input_file:
            videos = find_videos(args.input_file, predict.notice)
            names = ", ".join(Path(path).name for path in args.input_file)
            what = f"{len(videos)} video{'s' * (len(videos) != 1)} of {names}"
        else:
            videos, what = [stack.enter_context(synthetic_video())], "a synthetic video of 10 s, 340 x 256 pixels"
        predictor = predict.make_predictor(args, config)
        found = measure(predictor, videos, what, args.runs, args.warmup)
    print(json.dumps(found.describe(), indent=2) if args.json else "\n".join(found.lines()))
    return 0
