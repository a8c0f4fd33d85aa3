"""Finds where in videos something like a span happens, best first: candidates to annotate.

    paddlevideo similar --model_file inference/TSM --videos my/videos --video my/videos/a.mp4 --start_s 12 --end_s 14.5

The features of the videos' windows are kept in --features, which paddlevideo teach uses, too; with the same windows
nothing is computed again, and the answer takes a second.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from paddlevideo.cli import options
from paddlevideo.cli.reading_progress import ReadingProgress
from paddlevideo.cli.teach import add_windows, notice, windows_of
from paddlevideo.errors import UserError, printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The model, the videos, the span, and what is written."""
    add = parser.add_argument
    add("--model_file", required=True, type=Path, metavar="DIR", help="folder that paddlevideo export wrote")
    add("--videos", required=True, nargs="+", metavar="PATH", help="where to look: videos, folders and lists of them")
    add("--video", required=True, metavar="VIDEO", help="the video of the span, one of --videos or another one")
    add("--start_s", required=True, type=float, metavar="S", help="start of the span")
    add("--end_s", required=True, type=options.positive, metavar="S", help="its end")
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
    if not 0 <= args.start_s < args.end_s:
        raise UserError(
            f"--start_s {args.start_s:g} --end_s {args.end_s:g}: expected a start from 0 on, before the end"
        )
    declare_all(args.imports)
    model = TaughtFrom.find(args.model_file, notice)
    videos, query = _videos(args)
    window_s, hop_s = windows_of(args, model)
    folder = FeatureFolder(args.features or Path(f"{args.model_file}_features"), model, window_s, hop_s, notice)

    def network() -> object:
        from paddlevideo.inference.feature_network import FeatureNetwork

        return FeatureNetwork(model, args.device, args.batch_size, notice)

    found = dict(zip(videos, folder.all_of([Path(name) for name in videos], network, ReadingProgress())))
    if args.start_s >= found[query].end_s:
        raise UserError(f"--start_s {args.start_s:g}: {printable(query)} ends at {found[query].end_s:g} s")
    spans = similar_spans(found, query, args.start_s, args.end_s, args.top)
    for span in spans:
        print(f"{span.similarity:7.4f} {span.start_s:10.3f} {span.end_s:10.3f}  {printable(span.video)}")
    if args.out:
        query_of = {"video": query, "start_s": args.start_s, "end_s": args.end_s}
        content = {"query": query_of, "found": [asdict(span) for span in spans]}
        write_atomic(args.out, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return 0


def _videos(args: argparse.Namespace) -> tuple[list[str], str]:
    """All videos, each once, and the name of the query's among them."""
    from paddlevideo.video_files import find_videos

    names = {path.resolve(): str(path) for path in reversed(find_videos(args.videos, notice))}
    query = names.setdefault(Path(args.video).resolve(), args.video)
    return sorted({*names.values()}), query
