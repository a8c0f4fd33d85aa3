"""Labelled spans of videos from one form to another, or split by video for training.

    paddlevideo prepare spans project.json --videos my/videos --out data/mine --val 0.2
    paddlevideo prepare spans spans.json --out spans.srt
    paddlevideo prepare spans spans.json --out annotations.xml
    paddlevideo prepare spans spans.json people.csv --out annotations.xml
    paddlevideo prepare spans spans.csv --to label_studio --fps 25 --out tasks.json

Files of spans: this suite's .json, .csv (video,start_s,end_s,label) and .jsonl; .srt and .vtt; Label Studio's JSON
(TimelineLabels; VideoRectangle: the spans of persons), CVAT for video 1.1 (tracks: the actions of persons; a box around
the whole picture is no person), VIA 3.  Several files may be given; a table of persons (paddlevideo detect --people)
beside spans of persons gives these their boxes.

--out FILE writes one file, in the form of its ending (.xml: CVAT); what that cannot hold is named.  --out DIR writes
train.json, val.json (whole videos each; test.json with --test) and classes.txt, for SpanDataset
(configs/recognition/tsm/tsm_own_spans.yaml).  With --videos names become paths below that folder, and durations, rates
and sizes are added.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path

from paddlevideo.cli import options
from paddlevideo.cli.outputs import sets_before
from paddlevideo.errors import UserError, printable
from paddlevideo.findings import plural
from paddlevideo.spans import FORMS, SpanTable, write_spans

_VAL = 0.2  # share of the videos
_ENDINGS = (".json", ".csv", ".jsonl", ".srt", ".vtt", ".xml")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from paddlevideo.preparation.person_annotations import FORMS as ANNOTATIONS
    from paddlevideo.preparation.span_files import FORMS as SPANS

    forms = sorted({*SPANS, *ANNOTATIONS} - {"coco", "ava"})
    add = parser.add_argument
    add("files", nargs="+", type=Path, metavar="FILE", help="files of spans, subtitles, annotation of tools")
    add("--out", type=Path, required=True, metavar="OUT", help="file to write, or folder for training")
    add("--format", choices=("auto", *forms), default="auto", help="of the files (by ending and content)")
    add("--to", choices=SPANS, help="the form to write (by the ending of OUT; of a folder json)")
    add("--videos", type=Path, metavar="DIR", help="folder of the videos")
    add("--fps", type=options.positive, help="frames per second, where frames are counted (the videos' own)")
    add("--video", metavar="NAME", help="the video of files that do not name it")
    add("--attribute", metavar="NAME", help="of annotation of tools: the attribute that holds the actions (all)")
    add("--labels", type=Path, metavar="FILE", help="class names in this order (those annotated, by the alphabet)")
    more = "spans of what the persons of tables do: the actions of a box hold until the person's next one"
    add("--from_boxes", action="store_true", help=more)
    add("--annotated", action="store_true", help="only spans without a score: those of a person, not of a model")
    add("--val", type=options.share, metavar="SHARE", help=f"of the videos, to validate on ({_VAL:g})")
    add("--test", type=options.share, metavar="SHARE", help="of the videos, to test on (0.0)")
    add("--seed", type=options.at_least(0), help="of the split (0)")


def run(args: argparse.Namespace) -> int:
    """Reads, converts or splits, and prints counts."""
    from paddlevideo.loader.labels import read_labels, refuse_doubled
    from paddlevideo.preparation.span_files import cleaned, import_options, merged, read_any, with_videos, write_any
    from paddlevideo.preparation.video_folder import VideoFolder

    folder = VideoFolder(args.videos, fps=args.fps) if args.videos else None
    names = read_labels(args.labels) if args.labels else []
    refuse_doubled(args.labels, names)
    import_as = replace(
        import_options(args.fps, folder), labels=dict(enumerate(names)), video=args.video, attribute=args.attribute
    )
    _refuse_without_effect(args)
    content = merged([read_any(file, args.format, import_as, args.from_boxes) for file in args.files], args.video)
    if args.annotated:
        kept = [span for span in content.table.spans if span.score is None]
        if not kept:
            raise UserError(f"{content.table.source}: every span has a score, so none is annotated (--annotated)")
        content = replace(content, table=replace(content.table, spans=kept, lines=()))
    if not content.table.spans and not content.table.videos:
        raise UserError(f"{args.files[0]}: there is no span in it")
    content = cleaned(content, names or content.table.classes)
    table = content.table
    if unknown := sorted({span.label for span in table.spans} - {*names}) if names else []:
        raise UserError(f"{args.labels}: has no class {unknown[0]!r}, which {table.source} has")
    if folder is not None:
        content = with_videos(content, folder)
    elif args.fps:
        facts = {name: {**table.videos.get(name, {}), "fps": args.fps} for name in table.video_names()}
        content = replace(content, table=replace(table, videos=facts))
    content = replace(content, table=replace(content.table, classes=names or content.table.classes))
    for line in content.lines:
        print(printable(line))
    if args.out.suffix.lower() in _ENDINGS:
        lost = write_any(args.out, content, args.to)
        if folder is None and not args.fps and {args.to, args.out.suffix.lower()} & {"cvat", ".xml"}:
            lost.append("frames are counted at the rate that the file of spans states; --videos counts those of a "
                        "video with a variable rate")  # fmt: skip
        print(
            "\n".join(
                [f"{plural(len(table.spans), 'span')} of {_videos(table)}: {args.out}", *(f"note: {x}" for x in lost)]
            )
        )
        return 0
    return _split(args, content.table)


def _refuse_without_effect(args: argparse.Namespace) -> None:
    """
    Raises:
        UserError: an option of a folder for training, of annotation of tools or of tables, and there is none.
    """
    from paddlevideo.preparation.span_files import is_own_form

    of_folder = [f"--{name}" for name in ("val", "test", "seed") if vars(args)[name] is not None]
    if of_folder and args.out.suffix.lower() in _ENDINGS:
        raise UserError(f"{of_folder[0]}: parts videos for training, and --out {args.out} is one file; name a folder")
    of_tools = [flag for flag, given in (("--from_boxes", args.from_boxes), ("--attribute", args.attribute)) if given]
    if of_tools and all(file.is_file() and is_own_form(file, args.format) for file in args.files):
        raise UserError(f"{of_tools[0]}: is of annotation of persons, and {args.files[0]} is a file of spans")


def _videos(table: SpanTable) -> str:
    count = max(len(table.video_names()), 1)
    return f"{count} video{'s' * (count != 1)}"


def _split(args: argparse.Namespace, table: SpanTable) -> int:
    from paddlevideo.classes import Classes
    from paddlevideo.preparation.span_files import split_by_video
    from paddlevideo.safe_io import write_atomic

    form = args.to or "json"
    if form not in ("json", "csv", "jsonl"):
        raise UserError(
            f"--to {form}: SpanDataset reads json, csv and jsonl; for one file --out ends in {', '.join(_ENDINGS)}"
        )
    if any(span.video is None for span in table.spans):
        raise UserError(f"{table.source}: a span names no video (--video)")
    val = _VAL if args.val is None else args.val
    parts = split_by_video(table, {"val": val, "test": args.test or 0.0}, args.seed or 0)
    names = table.labels()
    ending = next(ending for ending, own in FORMS.items() if own == form)
    for split, part in parts.items():
        write_spans(args.out / f"{split}{ending}", part, form)
        counts = Counter(span.label for span in part.spans)
        classes = ", ".join(f"{printable(name)} {counts[name]}" for name in names)
        print(
            f"{split}: {plural(len(part.spans), 'span')} of {_videos(part)} ({classes}): {args.out / (split + ending)}"
        )
    for line in sets_before(args.out, {f"{split}{ending}" for split in parts}):
        print(line)
    write_atomic(args.out / "classes.txt", Classes(tuple(names)).text())
    print(f"classes: {len(names)}: {args.out / 'classes.txt'} (DATASET.label_names)")
    return 0
