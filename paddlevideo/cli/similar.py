"""Finds where in videos something like a span happens, best first: candidates to annotate; or clips like a clip.

    paddlevideo similar --model_file inference/TSM --videos my/videos --video my/videos/a.mp4 --start_s 12 --end_s 14.5
    paddlevideo similar clip.mp4 --in features.npz

The features of the videos' windows are kept in --features, which paddlevideo teach uses, too; with the same windows
nothing is computed again, and the answer takes a second.  --in takes the clips of a file of paddlevideo features; a
clip that is not among them goes through the network that made it.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from paddlevideo.cli import options
from paddlevideo.cli.reading_progress import ReadingProgress
from paddlevideo.cli.teach import add_windows, notice, windows_of
from paddlevideo.errors import UserError, printable

if TYPE_CHECKING:
    from paddlevideo.inference.feature_table import FeatureTable


_ROUNDED_S = 0.1  # an end as a player shows it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The model, the videos, the span, and what is written."""
    add = parser.add_argument
    add("clip", nargs="?", metavar="CLIP", help="with --in: the clip that others are compared with")
    add("--in", dest="table", type=Path, metavar="FILE", help="file of paddlevideo features: where to look for clips")
    add("--model_file", type=Path, metavar="DIR", help="folder that paddlevideo export wrote")
    add("--videos", nargs="+", metavar="PATH", help="where to look: videos, folders and lists of them")
    add("--video", metavar="VIDEO", help="the video of the span, one of --videos or another one")
    add("--start_s", type=float, metavar="S", help="start of the span")
    add("--end_s", type=options.positive, metavar="S", help="its end")
    add("--top", type=options.at_least(1), default=20, help="spans to find (%(default)s)")
    add("--out", type=Path, metavar="FILE", help="write them: .json")
    add_windows(parser)


def run(args: argparse.Namespace) -> int:
    """Prints a table, and writes the spans."""
    from paddlevideo.extensions import declare_all
    from paddlevideo.inference.similarity import similar_spans
    from paddlevideo.inference.window_features import FeatureFolder, TaughtFrom
    from paddlevideo.safe_io import write_atomic

    if args.out and args.out.suffix.lower() != ".json":
        raise UserError(f"--out {args.out}: expected a name that ends in .json")
    _check(args)
    if args.table:
        return _clips(args)
    if not 0 <= args.start_s < args.end_s:
        raise UserError(
            f"--start_s {args.start_s:g} --end_s {args.end_s:g}: expected a start from 0 on, before the end"
        )
    declare_all(args.imports)
    model = TaughtFrom.find(args.model_file, notice, teaches=False)
    videos, query = _videos(args)
    window_s, hop_s = windows_of(args, model)
    folder = FeatureFolder(args.features or Path(f"{args.model_file}_features"), model, window_s, hop_s, notice)

    def network() -> object:
        from paddlevideo.inference.feature_network import FeatureNetwork

        return FeatureNetwork(model, args.device, args.batch_size, notice)

    found = dict(zip(videos, folder.all_of([Path(name) for name in videos], network, ReadingProgress())))
    last_s = found[query].end_s
    for name, beyond in (("start_s", args.start_s >= last_s), ("end_s", args.end_s > last_s + _ROUNDED_S)):
        if beyond:
            raise UserError(f"--{name} {getattr(args, name):g}: {printable(query)} ends at {last_s:g} s")
    args.end_s = min(args.end_s, last_s)
    spans = similar_spans(found, query, args.start_s, args.end_s, args.top)
    for span in spans:
        print(f"{span.similarity:7.4f} {span.start_s:10.3f} {span.end_s:10.3f}  {printable(span.video)}")
    if args.out:
        query_of = {"video": query, "start_s": args.start_s, "end_s": args.end_s}
        content = {"query": query_of, "found": [asdict(span) for span in spans]}
        write_atomic(args.out, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return 0


_OF_SPANS = ("model_file", "videos", "video", "start_s", "end_s")


def _check(args: argparse.Namespace) -> None:
    """
    Raises:
        UserError: neither the options of a clip nor those of a span, or some of both.
    """
    given = [name for name in _OF_SPANS if vars(args)[name] is not None]
    if args.table or args.clip:
        given += [name for name in ("features", "window_s", "hop_s") if vars(args)[name] is not None]
        lacking = "CLIP" if args.table and not args.clip else "--in FILE" if not args.table else ""
        if lacking or given:
            mistake = f"{lacking}: missing" if lacking else f"--{given[0]}: is of spans in videos"
            raise UserError(f"{mistake}; clips like a clip: paddlevideo similar CLIP --in FILE")
    elif len(given) < len(_OF_SPANS):
        lacking = ", ".join(f"--{name}" for name in _OF_SPANS if name not in given)
        raise UserError(f"{lacking}: missing; give CLIP --in FILE, or --{' --'.join(_OF_SPANS)}")


def _clips(args: argparse.Namespace) -> int:
    """The clips of a file of features that are most like one."""
    from paddlevideo.extensions import declare_all
    from paddlevideo.inference.clip_features import FeatureModel
    from paddlevideo.inference.feature_table import read_features
    from paddlevideo.inference.similarity import similar_clips
    from paddlevideo.safe_io import write_atomic

    table = read_features(args.table)
    own = Path(args.clip).resolve()
    rows = [row for row, video in enumerate(table.videos) if Path(video).resolve() == own]
    if rows:
        query = table.features[rows].mean(0)
    elif not own.is_file():
        raise UserError(f"{printable(args.clip)}: no such video, and none of {args.table}")
    elif "window_s" in table.about:
        raise UserError(
            f"{printable(args.clip)}: none of the videos of {args.table}, which holds windows; use --model_file, "
            "--videos and --video, or compute features of clips"
        )
    else:
        declare_all(args.imports)
        query = FeatureModel.of_table(table.about, args.table, args.device, notice).clip(args.clip, {}, notice)
    similarities = similar_clips(table.features, query)
    order = [int(row) for row in np.argsort(-similarities, kind="stable") if row not in rows][: args.top]
    for row in order:
        print(f"{similarities[row]:7.4f}  {printable(table.title(row))}{_label(table, row)}")
    if args.out:
        found = [{"video": table.title(row), "similarity": round(float(similarities[row]), 4)} for row in order]
        write_atomic(args.out, json.dumps({"query": args.clip, "found": found}, indent=1, ensure_ascii=False) + "\n")
    return 0


def _label(table: FeatureTable, row: int) -> str:
    """Its class, for the line of a clip."""
    if not table.labelled:
        return ""
    own = np.flatnonzero(table.labels[row]) if table.multi_label else [int(table.labels[row])]
    names = [table.names[k] if k < len(table.names) else str(k) for k in own]
    return f"  ({', '.join(names)})"


def _videos(args: argparse.Namespace) -> tuple[list[str], str]:
    """All videos, each once, and the name of the query's among them."""
    from paddlevideo.video_files import find_videos

    names = {path.resolve(): str(path) for path in reversed(find_videos(args.videos, notice))}
    query = names.setdefault(Path(args.video).resolve(), args.video)
    return sorted({*names.values()}), query
