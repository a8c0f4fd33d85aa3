"""The files that ``timeline`` writes: spans, scores, a picture, the video with its labels."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from paddlevideo.cli.outputs import check_outputs, model_files
from paddlevideo.cli.reading_progress import ReadingProgress
from paddlevideo.errors import UserError
from paddlevideo.spans import Span, SpanTable, form_of, read_spans, write_spans

if TYPE_CHECKING:
    from paddlevideo.inference.step_outputs import SpanLines, StepLabels, StepScores
    from paddlevideo.loader.decode.reader import Damaged

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
        is_file: the sources are files.
        lines: of the files of ``spans`` that grow while the sources are read.
        labels: of ``--labels_out``.
        steps: holds all scores, where a file needs them.
    """

    args: argparse.Namespace
    spans: Sequence[str]
    is_file: bool
    lines: Sequence[SpanLines] = ()
    labels: StepLabels | None = None
    steps: StepScores | None = None
    table: SpanTable | None = field(default=None, init=False)

    @classmethod
    def checked(cls, args: argparse.Namespace, sources: Sequence[str]) -> Files:
        """Whether what is to be written can be, before any work is done.

        Raises:
            UserError: another ending than expected, a file of one video for several, no encoder; see ``check_outputs``.
        """
        from paddlevideo.inference.source_address import Address
        from paddlevideo.inference.step_outputs import SpanLines, StepLabels, StepScores

        spans = [*args.out, *filter(None, [args.srt])]
        subtitles = [path for path in spans if form_of(path) in ("srt", "vtt")]
        if args.srt and args.srt not in subtitles:
            raise UserError(f"--srt {args.srt}: expected a name that ends in .srt or .vtt")
        is_file = Address.parse(sources[0]).kind == "file"
        if len(sources) > 1:
            named = [(flag, vars(args)[flag[2:]]) for flag in _OF_ONE_VIDEO]
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
            _check_video(args.video, is_file)
        one = [(flag, vars(args)[flag[2:]]) for flag in (*_OF_ONE_VIDEO, "--plot") if vars(args)[flag[2:]]]
        read = [("-i", path) for path in {*args.input, *sources} if Address.parse(path).kind == "file"]
        check_outputs([*(("--out", path) for path in args.out), *one], [*read, *model_files(args, ("truth",))])
        held = StepScores() if is_file and len(sources) == 1 and (args.plot or args.scores) else None
        labels = StepLabels(args.labels_out) if args.labels_out else None
        lines = [SpanLines(path) for path in spans if form_of(path) == "jsonl"]
        return cls(args, spans, is_file, lines, labels, held)

    def observers(self, names: Sequence[str]) -> list[Callable]:
        """Of a timeline's steps.

        Args:
            names: of the K classes.
        """
        observers: list[Callable] = []
        if self.labels is not None:
            observers.append(partial(self.labels.add, names=names))
        if self.steps is not None:
            observers.append(self.steps.add)
        if self.args.progress:
            progress = ReadingProgress()
            observers.append(lambda clip, scores: progress(clip.end_s))
        return observers

    def add(self, span: Span) -> None:
        """Writes a complete span into the files that grow.

        Raises:
            UserError: one cannot be written.
        """
        for lines in self.lines:
            lines.add(span)

    def writes(self, tables: Sequence[SpanTable], names: Sequence[str]) -> list[Callable[[], list[str] | None]]:
        """What writes the files of spans, the scores and the picture; each gives remarks and raises UserError.

        Args:
            tables: of the sources; without any, nothing is written, so that earlier results stay.
            names: of the K classes.
        """
        if not tables:
            return []
        spans = [span for table in tables for span in table.spans]
        videos = {name: facts for table in tables for name, facts in table.videos.items()}
        self.table = SpanTable(spans, videos, tables[0].classes, tables[0].settings)
        writes: list[Callable[[], list[str] | None]] = [partial(write_spans, path, self.table) for path in self.spans]
        if self.args.scores:
            writes.append(partial(self.steps.write, self.args.scores, names))
        return [*writes, self._plot] if self.args.plot else writes

    def draw(self, source: str, damaged: Damaged) -> list[str]:
        """Writes the video with its labels, when ``writes`` has been called; gives a line.

        Args:
            source: its path.
            damaged: how the file was read.

        Raises:
            UserError: it cannot be written.
        """
        from paddlevideo.inference.timeline_video import write_timeline_video

        return [write_timeline_video(self.args.video, source, self.table, damaged)]

    def _plot(self) -> None:
        from paddlevideo.metrics.spans import with_names_of
        from paddlevideo.reporting.contact_sheet import write_png
        from paddlevideo.reporting.timeline_picture import timeline_picture

        rows = {"found": self.table}
        if self.args.truth:
            truth = read_spans(self.args.truth)
            rows = {"truth": truth, "found": with_names_of(truth, self.table, [])}
        steps = (self.steps.windows_s, self.steps.scores) if self.steps else ((), ())
        write_png(self.args.plot, timeline_picture(rows, *steps, levels=(self.args.on, self.args.off)))


def _check_video(path: str, is_file: bool) -> None:
    """
    Raises:
        UserError: the video with labels cannot be written.
    """
    from paddlevideo.video_files import check_video_name, require_encoder

    check_video_name(path)
    require_encoder()
    if not is_file:
        raise UserError(f"--video {path}: needs a second pass, over a file; record the source to one first")
