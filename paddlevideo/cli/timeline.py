"""Finds what happens when: spans of time in a file, from a camera or behind an address, printed as they close.

    paddlevideo timeline --model_file inference/TSM -i long.mp4 --out spans.json --srt spans.srt --video labelled.mp4
    paddlevideo timeline --model_file inference/TSM -i my/videos --out spans.csv
    paddlevideo timeline --model_file inference/TSM -i rtsp://192.0.2.1/stream --out spans.json
    paddlevideo timeline -c CFG -w best.pdparams -i 0

With -c and -w a network with shift_mode: online runs frame by frame (--by).  Ctrl-C ends a camera or an address; of a
file it is an interruption (exit code 130).  What was found until then is written.  -m is short for --model_file.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from paddlevideo.cli import options, predict, span_options, timeline_files
from paddlevideo.cli.interruption import Interruption
from paddlevideo.cli.outputs import failures_of, raise_first
from paddlevideo.errors import UserError, printable
from paddlevideo.findings import plural

if TYPE_CHECKING:
    from paddlevideo.inference.predictor import Predictor
    from paddlevideo.inference.video_timeline import VideoTimeline
    from paddlevideo.spans import SpanTable

_LIVE = ("buffer_s", "keep", "keep_s", "outage_s")  # options of a live source, fields of LiveSettings


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
    buffered = "of a live source: seconds that wait for the model before the oldest are dropped (10)"
    add("--buffer_s", type=float, metavar="S", help=buffered)
    keep = "of a live source: keep its last seconds in this folder as they are received, in files of some seconds"
    add("--keep", metavar="DIR", help=keep)
    add("--keep_s", type=options.positive, metavar="S", help="so many of them (60)")
    add("--outage_s", type=float, metavar="S", help="of a live source: end when it is lost for so long (never)")


def run(args: argparse.Namespace) -> int:
    """Prints and writes spans; 0 also after Ctrl-C of a live source, and if one of several videos was read whole."""
    sources = _sources(args)
    files, rule = timeline_files.Files.checked(args, sources), span_options.rule_of(args)
    if args.max_fps is not None and not args.max_fps > 0:
        raise UserError(f"--max_fps: expected frames per second above 0, got {args.max_fps:g}")
    predictor = predict.make_predictor(args, options.read_model_config(args))
    search, errors = _Search(args, rule, predictor, sources, files), []
    with Interruption(search.stop) as interruption:
        try:
            search.run(interruption)
        except KeyboardInterrupt:
            search.is_stopped = True
        except BaseException as error:  # raised again when the files are written
            errors.append(error)
        reason = "the video was not read to its end" if errors else "the command was stopped"
        whole = not errors and not search.is_stopped
        if search.is_stopped:
            found = "writing what was found" if search.tables else "no window was scored, and no file is written"
            predict.notice(f"stopped; {found}")
        errors += failures_of(files.writes(search.tables, predictor.names), predict.notice)
        if args.video and not whole:
            predict.notice(f"{args.video}: not written, as {reason}")
        elif args.video:
            try:
                with interruption.interruptible():
                    errors += failures_of([lambda: files.draw(sources[0], predictor.damaged)], predict.notice)
            except KeyboardInterrupt:
                search.is_stopped = True
                predict.notice(f"{args.video}: not written, as the command was stopped")
    raise_first(errors, predict.notice)
    return interruption.exit_code if search.is_stopped and files.is_file else 0


@dataclass
class _Search:
    """All sources, one after the other.

    Attributes:
        tables: of the spans of those that were read, the last one perhaps in part.
        is_stopped: by a signal.
    """

    args: argparse.Namespace
    rule: dict[str, Any]
    predictor: Predictor
    sources: Sequence[str]
    files: timeline_files.Files
    tables: list[SpanTable] = field(default_factory=list)
    is_stopped: bool = False
    _current: VideoTimeline | None = None

    def run(self, interruption: Interruption) -> None:
        """
        Raises:
            UserError: the only source fails, or no video was read to its end.
        """
        num_unread = num_part = 0
        for source in self.sources:
            timeline = self._current = _timeline(self.args, self.rule, self.predictor, source)
            timeline.observers = self.files.observers(self.predictor.names)
            failed = True
            try:
                with interruption.interruptible():
                    _follow(timeline, self.files)
                failed = False
            except UserError as error:
                if len(self.sources) == 1:
                    raise
                part = f"{timeline.address.shown}: read to {timeline.read_to_s:.1f} s, then: "
                predict.notice(f"{part if timeline.num_windows else 'skipped: '}{error}")
                num_unread, num_part = num_unread + (not timeline.num_windows), num_part + (timeline.num_windows > 0)
            finally:
                if timeline.num_windows or not (failed or timeline.stopped):
                    self.tables.append(timeline.table())  # not the timeline, which holds a process
            if interruption.signal is not None:
                self.is_stopped = True
                return
        count = len(self.sources)
        if num_unread + num_part == count:
            raise UserError(f"none of {count} videos could be read{' to its end' if num_part else ''}")
        if num_unread:
            predict.notice(f"{num_unread} of {count} videos could not be read")
        if num_part:
            predict.notice(f"{num_part} of {count} videos were read in part (read_to_s in a json)")

    def stop(self) -> None:
        """Ends the current source after its next window."""
        if self._current is not None:
            self._current.stopped = True


def _sources(args: argparse.Namespace) -> list[str]:
    """One camera or address, or the files that the inputs name.

    Raises:
        UserError: a live source beside another one, no file, one file twice, or an option that has no effect on them.
    """
    from paddlevideo.inference.source_address import Address
    from paddlevideo.video_files import find_videos

    inputs = args.input
    live = [address.shown for address in map(Address.parse, inputs) if address.kind != "file"]
    if live and len(inputs) > 1:
        raise UserError(f"-i {live[0]}: a camera or an address is a source of its own; give no other one beside it")
    if args.keep_s is not None and args.keep is None:
        raise UserError("--keep_s: needs --keep DIR, the folder that holds these seconds")
    if live:
        return [*inputs]
    for name in _LIVE:
        if vars(args)[name] is not None:
            raise UserError(f"--{name}: is of a camera or an address, and -i names files; leave it out")
    files = [str(path) for path in find_videos(inputs, predict.notice)]
    twice = next((name for name, count in Counter(files).items() if count > 1), None)
    if twice is not None:
        raise UserError(f"-i {printable(twice)}: is named twice")
    return files


def _timeline(args: argparse.Namespace, rule: dict[str, Any], predictor: Predictor, source: str) -> VideoTimeline:
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
    rule = rule | {"background": rule["background"] or predictor.background}
    settings = TimelineSettings(window_s=window_s, hop_s=hop_s, exclusive=not predictor.multi_label, **rule)
    live = LiveSettings(**{name: vars(args)[name] for name in _LIVE if vars(args)[name] is not None})
    kind = FrameTimeline if by_frame else VideoTimeline
    return kind(predictor, source, settings, args.max_fps, live)


def _follow(timeline: VideoTimeline, files: timeline_files.Files) -> None:
    """Prints the spans of one source as they close, those that its end closes, and what it was."""
    print(f"{timeline.address.shown}: {timeline.steps}", flush=True)
    shown = 0
    try:
        with closing(timeline.run()) as spans:
            for span in spans:
                shown += 1
                files.add(span)
                _show(span)
    finally:
        for span in timeline.spans[shown:]:  # those that the end closed
            _show(span)
        part = f"; read to {timeline.read_to_s:.1f} s" if timeline.is_part else ""
        predict.notice(
            f"{plural(len(timeline.spans), 'span')} of {timeline.num_windows} {timeline.unit}; {timeline.status}{part}"
        )


def _show(span: object) -> None:
    print(f"{span.start_s:10.3f} {span.end_s:10.3f}  {span.score:.3f}  {span.label}", file=sys.stdout, flush=True)
