"""Finds what happens when: spans of time in a file, from a camera or behind an address, printed as they close.

    paddlevideo timeline --model_file inference/TSM -i long.mp4 --out spans.json --srt spans.srt --video labelled.mp4
    paddlevideo timeline --model_file inference/TSM -i my/videos --out spans.csv
    paddlevideo timeline --model_file inference/TSM -i rtsp://192.0.2.1/stream --out spans.json
    paddlevideo timeline -c CFG -w best.pdparams -i 0

With -c and -w a network with shift_mode: online runs frame by frame (--by).  Ctrl-C ends a camera or an address; what
was found until then is written.  -m is short for --model_file.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from paddlevideo.cli import options, predict, span_options, timeline_files
from paddlevideo.errors import UserError, printable

if TYPE_CHECKING:
    from paddlevideo.inference.predictor import Predictor
    from paddlevideo.inference.video_timeline import VideoTimeline


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of a model, the sources, the windows, the rule from scores to spans, and the files."""
    predict.add_model(parser)
    add = parser.add_argument
    add("-m", dest="model_file", help=argparse.SUPPRESS)
    sources = "videos, folders and lists of them; or one camera (0, /dev/video0) or address"
    add("-i", "--input", required=True, nargs="+", metavar="SOURCE", help=sources)
    add("-b", "--batch_size", type=options.at_least(1), default=1, help="windows per run of the model (%(default)s)")
    add("--window_s", type=float, metavar="S", help="seconds of a window (those of the model's clip)")
    hop = "seconds from window to window (window_s / 4; by frames window_s / num_seg)"
    add("--hop_s", type=float, metavar="S", help=hop)
    by = "overlapping windows, or frame by frame, which needs -w and shift_mode: online (frames where possible)"
    add("--by", choices=("windows", "frames"), help=by)
    add("--max_fps", type=float, metavar="F", help="hold at most F frames per second (all)")
    span_options.add_rule(parser)
    timeline_files.add_files(parser)
    buffered = "of a live source: seconds that wait for the model before the oldest are dropped (%(default)s)"
    add("--buffer_s", type=float, default=10.0, metavar="S", help=buffered)
    keep = "of a live source: keep its last seconds in this folder as they are received, in files of some seconds"
    add("--keep", metavar="DIR", help=keep)
    add("--keep_s", type=options.positive, default=60.0, metavar="S", help="so many of them (%(default)s)")
    add("--outage_s", type=float, metavar="S", help="of a live source: end when it is lost for so long (never)")


def run(args: argparse.Namespace) -> int:
    """Prints and writes spans; 0 also after Ctrl-C, and if at least one of several videos was read."""
    sources = _sources(args.input)
    files = timeline_files.Files.checked(args, sources)
    if args.max_fps is not None and not args.max_fps > 0:
        raise UserError(f"--max_fps: expected frames per second above 0, got {args.max_fps:g}")
    predictor = predict.make_predictor(args, options.read_model_config(args))
    timelines: list[VideoTimeline] = []

    def stop(*_: object) -> None:
        for timeline in timelines[-1:]:
            timeline.stopped = True  # an exception that is raised in a library's callback ends there
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    failed = 0
    try:
        for source in sources:
            timelines.append(_timeline(args, predictor, source))
            timelines[-1].observers = files.observers(predictor.names)
            try:
                _follow(timelines[-1])
            except UserError as error:
                if len(sources) == 1:
                    raise
                predict.notice(f"skipped: {error}")
                failed += 1
    except KeyboardInterrupt:
        predict.notice("stopped; writing what was found")
    finally:
        if timelines:
            files.write_spans(timelines)
    if failed == len(sources):
        raise UserError(f"none of {failed} videos could be read")
    if failed:
        predict.notice(f"{failed} of {len(sources)} videos could not be read")
    if timelines:
        files.draw(timelines[0], sources[0], predictor.damaged)
    return 0


def _sources(inputs: Sequence[str]) -> list[str]:
    """One camera or address, or the files that the inputs name."""
    from paddlevideo.inference.stream import Address
    from paddlevideo.video_files import find_videos

    live = [address.shown for address in map(Address.parse, inputs) if address.kind != "file"]
    if live and len(inputs) > 1:
        raise UserError(f"-i {live[0]}: a camera or an address is a source of its own; give no other one beside it")
    if live:
        return [*inputs]
    files = [str(path) for path in find_videos(inputs, predict.notice)]
    twice = next((name for name, count in Counter(files).items() if count > 1), None)
    if twice is not None:
        raise UserError(f"-i {printable(twice)}: is named twice")
    return files


def _timeline(args: argparse.Namespace, predictor: Predictor, source: str) -> VideoTimeline:
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
    live = LiveSettings(buffer_s=args.buffer_s, outage_s=args.outage_s, keep=args.keep, keep_s=args.keep_s)
    kind = FrameTimeline if by_frame else VideoTimeline
    return kind(predictor, source, settings, args.max_fps, live)


def _follow(timeline: VideoTimeline) -> None:
    """Prints the spans of one source as they close, those that its end closes, and what it was."""
    print(f"{timeline.address.shown}: {timeline.steps}", flush=True)
    shown = 0
    try:
        with closing(timeline.run()) as spans:
            for span in spans:
                shown += 1
                _show(span)
    finally:
        for span in timeline.spans[shown:]:  # those that the end closed
            _show(span)
        predict.notice(f"{len(timeline.spans)} spans of {timeline.num_windows} {timeline.unit}; {timeline.status}")


def _show(span: object) -> None:
    print(f"{span.start_s:10.3f} {span.end_s:10.3f}  {span.score:.3f}  {span.label}", file=sys.stdout, flush=True)
