"""Videos to folders of frames, and the list of those folders.

    paddlevideo prepare frames data/ucf101/ucf101_train_split_1_videos.txt --ending .avi \
        --videos data/ucf101/videos --out data/ucf101/rawframes

For each list of ``path label`` lines a list of ``folder num_frames label`` lines is written beside it
(``..._videos.txt`` gives ``..._rawframes.txt``, ``train.list`` gives ``train_rawframes.list``).  Without lists, all
videos below --videos are taken.  Called again, it goes on where it was stopped.  A video that cannot be read to its
last frame gets no folder and no line; it is named, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from paddlevideo.cli import options
from paddlevideo.errors import UserError

if TYPE_CHECKING:
    from paddlevideo.preparation.convert_videos import Line, Outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("lists", nargs="*", type=Path, metavar="LIST", help="'path label' lists; none: all videos below --videos")
    add("--videos", type=Path, required=True, metavar="DIR", help="folder of the videos; its structure is kept")
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the frame folders")
    add("--ending", default="", help="appended to every path of the lists, as DATASET.*.suffix is, e.g. .avi")
    add("--frame_name", default="img_{:05}.jpg", help="%(default)s; .png keeps every bit")
    add("--short_side", type=int, default=0, metavar="PX", help="scale larger frames down to this (0: not)")
    add("--quality", type=int, default=95, help="of JPEG (%(default)s)")
    add("--backend", default="pyav", help="the suite's reader (%(default)s)")
    add("--relative", action="store_true", help="list folders below --out, for DATASET.*.data_prefix")
    add("--overwrite", action="store_true", help="replace frame folders that this command did not make")
    add("--jobs", type=options.at_least(1), default=os.cpu_count() or 1, help="processes (one per core)")


def run(args: argparse.Namespace) -> int:
    """Extracts; 0, or 1 if a video could not be read."""
    from paddlevideo.preparation.convert_videos import (
        FrameSettings,
        convert_all,
        extract_frames,
        inside_folder,
        read_lists,
        report_lines,
        scan_videos,
    )
    from paddlevideo.safe_io import write_atomic

    settings = FrameSettings(args.frame_name, args.short_side, args.quality, args.backend)
    if inside_folder(args.videos, args.out):
        raise UserError(f"{args.out}: lies in {args.videos}; the frames need a folder of their own (--out)")
    if args.lists:
        jobs, lines = read_lists(args.lists, args.videos, args.ending)
    else:
        jobs, lines = scan_videos(args.videos), {}
    task = partial(extract_frames, out=args.out, settings=settings, overwrite=args.overwrite)
    outcomes = convert_all(task, jobs, args.jobs, "frames")
    print("\n".join(report_lines(outcomes, args.out)))
    for file, listed in lines.items():
        target = frame_list_name(file)
        rows = frame_rows(listed, outcomes, "" if args.relative else args.out.as_posix())
        write_atomic(target, "".join(f"{row}\n" for row in rows))
        print(f"{target}: {len(rows)} of {len(listed)} lines")
    return int(any(outcome.error for outcome in outcomes.values()))


def frame_rows(lines: Sequence[Line], outcomes: dict[str, Outcome], prefix: str) -> list[str]:
    """``folder num_frames label`` for what was extracted, in the list's order."""
    done = [(line, outcomes[line.name]) for line in lines if not outcomes[line.name].error]
    return [
        f"{os.path.join(prefix, os.path.splitext(line.name)[0])} {outcome.num_frames} {line.label}"
        for line, outcome in done
    ]


def frame_list_name(file: Path) -> Path:
    """Where the list of frame folders goes."""
    stem = file.stem.removesuffix("_videos").removesuffix("videos")
    return file.with_name(f"{stem}_rawframes{file.suffix}")
