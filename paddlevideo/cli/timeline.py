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
import time
from contextlib import closing

from paddlevideo.cli import options, predict
from paddlevideo.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of a model, the source, the windows, the rule from scores to spans, and the files."""
    predict.add_model(parser)
    add = parser.add_argument
    add("-m", dest="model_file", help=argparse.SUPPRESS)
    add("-i", "--input", required=True, metavar="SOURCE", help="a video, a camera (0, /dev/video0), or an address")
    add("-b", "--batch_size", type=options.at_least(1), default=1, help="windows per run of the model (%(default)s)")
    add("--window_s", type=float, metavar="S", help="seconds of a window (those of the model's clip)")
    add("--hop_s", type=float, metavar="S", help="seconds from window to window (window_s / 4)")
    add("--max_fps", type=float, metavar="F", help="hold at most F frames per second (all)")
    add("--smoothing", choices=("median", "exponential", "none"), default="median", help="of scores (%(default)s)")
    add("--smooth_s", type=float, metavar="S", help="width of the median or time constant (window_s / 2)")
    add("--on", type=options.share, default=0.6, help="a span begins at this score (%(default)s)")
    add("--off", type=options.share, default=0.4, help="and ends below this one (%(default)s)")
    add("--min_s", type=float, metavar="S", help="shorter spans are dropped (window_s / 2)")
    add("--gap_s", type=float, metavar="S", help="spans of a class at most so far apart are one (window_s / 2)")
    add("--background", metavar="CLASS", help="the class that is no span")
    add("--out", nargs="+", default=[], metavar="FILE", help="write the spans: .json, .jsonl, .csv, .srt, .vtt")
    add("--scores", metavar="FILE", help="write the scores of every window of a file: .csv")
    add("--progress", action="store_true", help="print to stderr how far the source was read, once a second")
    buffered = "of a live source: seconds that wait for the model before the oldest are dropped (%(default)s)"
    add("--buffer_s", type=float, default=10.0, metavar="S", help=buffered)
    add("--outage_s", type=float, metavar="S", help="of a live source: end when it is lost for so long (never)")


def run(args: argparse.Namespace) -> int:
    """Prints and writes spans; 0 also after Ctrl-C."""
    from paddlevideo.inference.stream import Address, LiveSettings
    from paddlevideo.inference.timeline import TimelineSettings
    from paddlevideo.inference.video_timeline import VideoTimeline, window_of
    from paddlevideo.spans import form_of, write_spans

    for path in args.out:
        form_of(path)
    if Address.parse(args.input).kind != "file" and args.scores:
        raise UserError("--scores: the scores of a camera or an address are not kept; name a file as --input")
    if args.scores and not args.scores.lower().endswith(".csv"):
        raise UserError(f"--scores {args.scores}: expected a name that ends in .csv")
    if args.max_fps is not None and not args.max_fps > 0:
        raise UserError(f"--max_fps: expected frames per second above 0, got {args.max_fps:g}")
    predictor = predict.make_predictor(args, options.read_model_config(args))
    settings = TimelineSettings(
        window_s=window_of(predictor, predict.notice) if args.window_s is None else args.window_s,
        hop_s=args.hop_s, smoothing=args.smoothing, smooth_s=args.smooth_s, on=args.on, off=args.off,
        min_s=args.min_s, gap_s=args.gap_s, exclusive=not predictor.multi_label, background=args.background,
    )  # fmt: skip
    live = LiveSettings(buffer_s=args.buffer_s, outage_s=args.outage_s)
    progress = {"progress": _Progress()} if args.progress else {}
    timeline = VideoTimeline(predictor, args.input, settings, args.max_fps, live, **progress)
    print(f"{timeline.address.shown}: windows of {settings.window_s:g} s every {settings.hop_s:g} s", flush=True)

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
        if args.scores:
            timeline.write_scores(args.scores)
        predict.notice(f"{len(timeline.spans)} spans of {timeline.num_windows} windows; {timeline.status}")
    return 0


class _Progress:
    """Prints ``at 12.0 s`` to stderr, at most once a second."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, end_s: float) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + 1.0
            print(f"at {end_s:.1f} s", file=sys.stderr, flush=True)


def _show(span: object) -> None:
    print(f"{span.start_s:10.3f} {span.end_s:10.3f}  {span.score:.3f}  {span.label}", file=sys.stdout, flush=True)
