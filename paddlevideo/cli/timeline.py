"""Finds what happens when: spans of time in a file, from a camera or behind an address, printed as they close.

    paddlevideo timeline --model_file inference/TSM -i long.mp4 --out spans.json spans.srt
    paddlevideo timeline --model_file inference/TSM -i long.mp4 --out spans.json --video out.mp4 --srt out.srt
    paddlevideo timeline --model_file inference/TSM -i folder --out spans.csv
    paddlevideo timeline --model_file inference/TSM -i rtsp://192.0.2.1/stream --out spans.json
    paddlevideo timeline -c CFG -w best.pdparams -i 0

Ctrl-C ends a camera or an address; what was found until then is written.  -m is short for --model_file.  Of several
videos one that cannot be read is a line, and the others follow.  --video reads its file a second time, once all spans
are known.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from paddlevideo.cli import options, predict
from paddlevideo.errors import UserError, printable

if TYPE_CHECKING:
    from paddlevideo.inference.predictor import Predictor
    from paddlevideo.inference.video_timeline import VideoTimeline
    from paddlevideo.spans import SpanTable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of a model, the source, the windows, the rule from scores to spans, and the files."""
    predict.add_model(parser)
    add = parser.add_argument
    add("-m", dest="model_file", help=argparse.SUPPRESS)
    sources = "videos, folders and lists of them; or one camera (0, /dev/video0) or address"
    add("-i", "--input", required=True, nargs="+", metavar="SOURCE", help=sources)
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
    add("--srt", metavar="FILE", help="write the spans of one video as subtitles: .srt, .vtt")
    add(
        "--video", metavar="FILE", help="write the video with its labels and a bar of its spans: .mp4, .mov, .mkv, .avi"
    )
    add("--plot", metavar="FILE", help="draw the spans, and the scores of one file, over time: .png")
    add("--truth", metavar="FILE", help="annotated spans, a row of --plot")
    buffered = "of a live source: seconds that wait for the model before the oldest are dropped (%(default)s)"
    add("--buffer_s", type=float, default=10.0, metavar="S", help=buffered)
    add("--outage_s", type=float, metavar="S", help="of a live source: end when it is lost for so long (never)")


def run(args: argparse.Namespace) -> int:
    """Prints and writes spans; 0 also after Ctrl-C, and if at least one of several videos was read."""
    sources = _sources(args.input)
    _check_files(args, sources)
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
        table = _write_spans(args, timelines) if timelines else None
    if failed == len(sources):
        raise UserError(f"none of {failed} videos could be read")
    if failed:
        predict.notice(f"{failed} of {len(sources)} videos could not be read")
    if args.plot:
        _plot(args, timelines, table)
    if args.video and timelines[0].stopped:
        predict.notice(f"{args.video}: not written, as the video was not read to its end")
    elif args.video:
        from paddlevideo.inference.timeline_video import write_timeline_video

        predict.notice(write_timeline_video(args.video, sources[0], table, predictor.damaged))
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
    twice = next((name for k, name in enumerate(files) if name in files[:k]), None)
    if twice is not None:
        raise UserError(f"-i {printable(twice)}: is named twice")
    return files


def _check_files(args: argparse.Namespace, sources: Sequence[str]) -> None:
    """Whether what is to be written can be, before any work is done."""
    from paddlevideo.inference.stream import Address
    from paddlevideo.spans import form_of, read_spans
    from paddlevideo.video_files import check_video_name, require_encoder

    subtitles = [path for path in (*args.out, *filter(None, [args.srt])) if form_of(path) in ("srt", "vtt")]
    if args.srt and args.srt not in subtitles:
        raise UserError(f"--srt {args.srt}: expected a name that ends in .srt or .vtt")
    for name, path in (("--video", args.video), ("subtitles", subtitles[0] if subtitles else None)):
        if path and len(sources) > 1:
            raise UserError(f"{name} {path}: are of one video, and {len(sources)} are read; read one, or leave it out")
    if args.truth and not args.plot:
        raise UserError(
            f"--truth {args.truth}: is a row of --plot, which is not given; figures come from paddlevideo eval"
        )
    if args.truth:
        read_spans(args.truth)
    if args.plot and Path(args.plot).suffix.lower() != ".png":
        raise UserError(f"--plot {args.plot}: expected a name that ends in .png")
    if args.video:
        check_video_name(args.video)
        require_encoder()
        if Address.parse(sources[0]).kind != "file":
            raise UserError(f"--video {args.video}: needs a second pass, over a file; record the source to one first")
        if Path(args.video).resolve() == Path(sources[0]).expanduser().resolve():
            raise UserError(f"--video {args.video}: is the input; give another name")


def _timeline(args: argparse.Namespace, predictor: Predictor, source: str) -> VideoTimeline:
    """Of one source, with what the flags leave open from the model."""
    from paddlevideo.inference.stream import LiveSettings
    from paddlevideo.inference.timeline import TimelineSettings
    from paddlevideo.inference.video_timeline import VideoTimeline, window_of

    settings = TimelineSettings(
        window_s=window_of(predictor, predict.notice) if args.window_s is None else args.window_s,
        hop_s=args.hop_s, smoothing=args.smoothing, smooth_s=args.smooth_s, on=args.on, off=args.off,
        min_s=args.min_s, gap_s=args.gap_s, exclusive=not predictor.multi_label, background=args.background,
    )  # fmt: skip
    live = LiveSettings(buffer_s=args.buffer_s, outage_s=args.outage_s)
    return VideoTimeline(predictor, source, settings, args.max_fps, live)


def _follow(timeline: VideoTimeline) -> None:
    """Prints the spans of one source as they close, those that its end closes, and what it was."""
    settings, shown = timeline.settings, 0
    print(f"{timeline.address.shown}: windows of {settings.window_s:g} s every {settings.hop_s:g} s", flush=True)
    try:
        with closing(timeline.run()) as spans:
            for span in spans:
                shown += 1
                _show(span)
    finally:
        for span in timeline.spans[shown:]:  # those that the end closed
            _show(span)
        predict.notice(f"{len(timeline.spans)} spans of {timeline.num_windows} windows; {timeline.status}")


def _write_spans(args: argparse.Namespace, timelines: Sequence[VideoTimeline]) -> SpanTable:
    """Writes the spans of all sources into every file."""
    from paddlevideo.spans import SpanTable, write_spans

    tables = [timeline.table() for timeline in timelines if timeline.num_windows] or [timelines[0].table()]
    spans = [span for table in tables for span in table.spans]
    videos = {name: facts for table in tables for name, facts in table.videos.items()}
    table = SpanTable(spans, videos, tables[0].classes, tables[0].settings)
    for path in (*args.out, *filter(None, [args.srt])):
        for remark in write_spans(path, table):
            predict.notice(remark)
    return table


def _plot(args: argparse.Namespace, timelines: Sequence[VideoTimeline], table: SpanTable) -> None:
    from paddlevideo.metrics.spans import with_names_of
    from paddlevideo.reporting.contact_sheet import write_png
    from paddlevideo.reporting.timeline_picture import timeline_picture
    from paddlevideo.spans import read_spans

    rows = {"found": table}
    if args.truth:
        rows = {"truth": read_spans(args.truth), "found": table}
        rows["found"] = with_names_of(rows["truth"], table, [])
    only = timelines[0]
    windows = (only.windows_s, only.scores) if len(timelines) == 1 else ((), ())
    write_png(args.plot, timeline_picture(rows, *windows, levels=(args.on, args.off)))


def _show(span: object) -> None:
    print(f"{span.start_s:10.3f} {span.end_s:10.3f}  {span.score:.3f}  {span.label}", file=sys.stdout, flush=True)
