"""Finds what happens when: spans of time in a file, from a camera or behind an address, printed as they close.

    paddlevideo timeline --model_file inference/TSM -i long.mp4 --out spans.json spans.srt
    paddlevideo timeline --model_file inference/TSM -i rtsp://192.0.2.1/stream --out spans.json
    paddlevideo timeline -c CFG -w best.pdparams -i 0

Ctrl-C ends a camera or an address; what was found until then is written.  -m is short for --model_file.
"""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from paddlevideo.cli import options, predict, span_options
from paddlevideo.errors import UserError

if TYPE_CHECKING:
    from paddlevideo.inference.predictor import Predictor
    from paddlevideo.inference.video_timeline import VideoTimeline


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of a model, the source, the windows, the rule from scores to spans, and the files."""
    predict.add_model(parser)
    add = parser.add_argument
    add("-m", dest="model_file", help=argparse.SUPPRESS)
    add("-i", "--input", required=True, metavar="SOURCE", help="a video, a camera (0, /dev/video0), or an address")
    add("-b", "--batch_size", type=options.at_least(1), default=1, help="windows per run of the model (%(default)s)")
    add("--window_s", type=float, metavar="S", help="seconds of a window (those of the model's clip)")
    add(
        "--hop_s",
        type=float,
        metavar="S",
        help="seconds from window to window (window_s / 4; by frames window_s / num_seg)",
    )
    by = "overlapping windows, or frame by frame, which needs -w and shift_mode: online (frames where possible)"
    add("--by", choices=("windows", "frames"), help=by)
    add("--max_fps", type=float, metavar="F", help="hold at most F frames per second (all)")
    span_options.add_rule(parser)
    add("--out", nargs="+", default=[], metavar="FILE", help="write the spans: .json, .jsonl, .csv, .srt, .vtt")
    labels = "write the best class of every window or frame as it comes: .csv or .jsonl"
    add("--labels_out", metavar="FILE", help=labels)
    buffered = "of a live source: seconds that wait for the model before the oldest are dropped (%(default)s)"
    add("--buffer_s", type=float, default=10.0, metavar="S", help=buffered)
    add("--outage_s", type=float, metavar="S", help="of a live source: end when it is lost for so long (never)")


def run(args: argparse.Namespace) -> int:
    """Prints and writes spans; 0 also after Ctrl-C."""
    from paddlevideo.inference.step_outputs import StepLabels
    from paddlevideo.inference.stream import Address
    from paddlevideo.spans import form_of, write_spans

    for path in args.out:
        form_of(path)
    labels = StepLabels(args.labels_out) if args.labels_out else None
    Address.parse(args.input)
    if args.max_fps is not None and not args.max_fps > 0:
        raise UserError(f"--max_fps: expected frames per second above 0, got {args.max_fps:g}")
    predictor = predict.make_predictor(args, options.read_model_config(args))
    timeline = _timeline(args, predictor)
    print(f"{timeline.address.shown}: {timeline.steps}", flush=True)
    if labels is not None:
        labels.begin()
        timeline.observers.append(partial(labels.add, names=predictor.names))

    def stop(*_: object) -> None:
        timeline.stopped = True  # an exception that is raised in a library's callback ends there
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    shown = 0
    try:
        with closing(timeline.run()) as spans:
            for span in spans:
                shown += 1
                _show(span)
    except KeyboardInterrupt:
        predict.notice("stopped; writing what was found")
    finally:
        for span in timeline.spans[shown:]:  # those that the end closed
            _show(span)
        table = timeline.table()
        for path in args.out:
            for remark in write_spans(path, table):
                predict.notice(f"{path}: {remark}")
        predict.notice(f"{len(timeline.spans)} spans of {timeline.num_windows} {timeline.unit}; {timeline.status}")
    return 0


def _timeline(args: argparse.Namespace, predictor: Predictor) -> VideoTimeline:
    """By windows or by frames, with what the flags leave open from the model."""
    from paddlevideo.inference.frame_timeline import FrameTimeline, frame_hop_s, steps_by_frame
    from paddlevideo.inference.stream import LiveSettings
    from paddlevideo.inference.timeline import TimelineSettings
    from paddlevideo.inference.video_timeline import VideoTimeline, window_of

    by_frame = steps_by_frame(predictor, args.by)
    window_s, hop_s = args.window_s, args.hop_s
    if window_s is None and (hop_s is None or not by_frame):
        window_s = window_of(predictor, predict.notice)
    if by_frame:
        window_s, hop_s = frame_hop_s(predictor, window_s, hop_s)
    settings = TimelineSettings(
        window_s=window_s, hop_s=hop_s, exclusive=not predictor.multi_label, **span_options.rule_of(args)
    )
    live = LiveSettings(buffer_s=args.buffer_s, outage_s=args.outage_s)
    kind = FrameTimeline if by_frame else VideoTimeline
    return kind(predictor, args.input, settings, args.max_fps, live)


def _show(span: object) -> None:
    print(f"{span.start_s:10.3f} {span.end_s:10.3f}  {span.score:.3f}  {span.label}", file=sys.stdout, flush=True)
