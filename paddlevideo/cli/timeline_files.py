"""The files that ``timeline`` writes: spans, scores, a picture, the video with its labels."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from paddlevideo.cli import predict
from paddlevideo.errors import UserError

if TYPE_CHECKING:
    from paddlevideo.inference.step_outputs import StepLabels, StepScores
    from paddlevideo.inference.stream_clips import ClipOfWindow
    from paddlevideo.inference.video_timeline import VideoTimeline
    from paddlevideo.spans import SpanTable

_OF_ONE_VIDEO = ("--srt", "--video", "--labels_out", "--scores")


def add_files(parser: argparse.ArgumentParser) -> None:
    """``--out`` to ``--progress``."""
    add = parser.add_argument
    add("--out", nargs="+", default=[], metavar="FILE", help="write the spans: .json, .jsonl, .csv, .srt, .vtt")
    add("--srt", metavar="FILE", help="write the spans of one video as subtitles: .srt, .vtt")
    video = "write the video with its labels and a bar of its spans: .mp4, .mov, .mkv, .avi"
    add("--video", metavar="FILE", help=video)
    add("--plot", metavar="FILE", help="draw the spans, and the scores of one file, over time: .png")
    add("--truth", metavar="FILE", help="annotated spans, a row of --plot")
    labels = "write the best class of every window or frame as it comes: .csv or .jsonl"
    add("--labels_out", metavar="FILE", help=labels)
    add("--scores", metavar="FILE", help="write all scores of every window or frame of a file: .csv")
    add("--progress", action="store_true", help="print to stderr how far the source was read, once a second")


@dataclass
class Files:
    """What the flags name.

    Args:
        args: of ``add_files``.
        spans: files of spans.
        labels: of ``--labels_out``.
        steps: holds all scores, where a file needs them.
    """

    args: argparse.Namespace
    spans: Sequence[str]
    labels: StepLabels | None = None
    steps: StepScores | None = None
    table: SpanTable | None = field(default=None, init=False)

    @classmethod
    def checked(cls, args: argparse.Namespace, sources: Sequence[str]) -> Files:
        """Whether what is to be written can be, before any work is done.

        Raises:
            UserError: another ending than expected, a file of one video for several, no encoder.
        """
        from paddlevideo.inference.step_outputs import StepLabels, StepScores
        from paddlevideo.inference.stream import Address
        from paddlevideo.spans import form_of, read_spans

        spans = [*args.out, *filter(None, [args.srt])]
        subtitles = [path for path in spans if form_of(path) in ("srt", "vtt")]
        if args.srt and args.srt not in subtitles:
            raise UserError(f"--srt {args.srt}: expected a name that ends in .srt or .vtt")
        is_file = Address.parse(sources[0]).kind == "file"
        if len(sources) > 1:
            named = [(flag, getattr(args, flag[2:])) for flag in _OF_ONE_VIDEO]
            for flag, path in (*named, *(("--out", path) for path in subtitles)):
                if path:
                    raise UserError(
                        f"{flag} {path}: is of one video, and {len(sources)} are read; read one, or leave it out"
                    )
        if args.truth and not args.plot:
            raise UserError(
                f"--truth {args.truth}: is a row of --plot, which is not given; figures come from paddlevideo eval"
            )
        if args.truth:
            read_spans(args.truth)
        for flag, path, ending in (("--plot", args.plot, ".png"), ("--scores", args.scores, ".csv")):
            if path and Path(path).suffix.lower() != ending:
                raise UserError(f"{flag} {path}: expected a name that ends in {ending}")
        if args.scores and not is_file:
            raise UserError(
                f"--scores {args.scores}: the scores of a camera or an address are not kept; give --labels_out, or "
                "name a file as --input"
            )
        if args.video:
            _check_video(args.video, sources[0], is_file)
        held = StepScores() if is_file and len(sources) == 1 and (args.plot or args.scores) else None
        labels = StepLabels(args.labels_out) if args.labels_out else None
        return cls(args, spans, labels, held)

    def observers(self, names: Sequence[str]) -> list[Callable]:
        """Of a timeline's steps; the file of labels is begun.

        Args:
            names: of the K classes.

        Raises:
            UserError: the file of labels cannot be written.
        """
        observers: list[Callable] = []
        if self.labels is not None:
            self.labels.begin()
            observers.append(partial(self.labels.add, names=names))
        if self.steps is not None:
            observers.append(self.steps.add)
        if self.args.progress:
            observers.append(_Progress())
        return observers

    def write_spans(self, timelines: Sequence[VideoTimeline]) -> None:
        """Writes the spans of all sources into every file of spans, and the scores.

        Raises:
            UserError: a file cannot be written.
        """
        from paddlevideo.spans import SpanTable, write_spans

        tables = [timeline.table() for timeline in timelines if timeline.num_windows] or [timelines[0].table()]
        spans = [span for table in tables for span in table.spans]
        videos = {name: facts for table in tables for name, facts in table.videos.items()}
        self.table = SpanTable(spans, videos, tables[0].classes, tables[0].settings)
        for path in self.spans:
            for remark in write_spans(path, self.table):
                predict.notice(remark)
        if self.args.scores:
            self.steps.write(self.args.scores, timelines[0].predictor.names)

    def draw(self, timeline: VideoTimeline, source: str, damaged: str) -> None:
        """Draws the picture and the video.

        Args:
            timeline: the first one.
            source: its path.
            damaged: how the file was read.
        """
        if self.args.plot:
            self._plot()
        if self.args.video and timeline.stopped:
            predict.notice(f"{self.args.video}: not written, as the video was not read to its end")
        elif self.args.video:
            from paddlevideo.inference.timeline_video import write_timeline_video

            predict.notice(write_timeline_video(self.args.video, source, self.table, damaged))

    def _plot(self) -> None:
        from paddlevideo.metrics.spans import with_names_of
        from paddlevideo.reporting.contact_sheet import write_png
        from paddlevideo.reporting.timeline_picture import timeline_picture
        from paddlevideo.spans import read_spans

        rows = {"found": self.table}
        if self.args.truth:
            truth = read_spans(self.args.truth)
            rows = {"truth": truth, "found": with_names_of(truth, self.table, [])}
        steps = (self.steps.windows_s, self.steps.scores) if self.steps else ((), ())
        write_png(self.args.plot, timeline_picture(rows, *steps, levels=(self.args.on, self.args.off)))


def _check_video(path: str, source: str, is_file: bool) -> None:
    """
    Raises:
        UserError: the video with labels cannot be written.
    """
    from paddlevideo.video_files import check_video_name, require_encoder

    check_video_name(path)
    require_encoder()
    if not is_file:
        raise UserError(f"--video {path}: needs a second pass, over a file; record the source to one first")
    if Path(path).resolve() == Path(source).expanduser().resolve():
        raise UserError(f"--video {path}: is the input; give another name")


class _Progress:
    """Prints ``at 12.0 s`` to stderr, at most once a second."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, clip: ClipOfWindow, scores: object) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + 1.0
            print(f"at {clip.end_s:.1f} s", file=sys.stderr, flush=True)
