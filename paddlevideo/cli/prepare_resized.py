"""Videos to small ones that are cheap to decode: shorter side 256, H.264, a key frame every 12 frames.

    paddlevideo prepare resize --videos data/k400/videos_original --out data/k400/videos

Structure and names stay, the ending becomes .mp4, sound is left out, the number of frames is checked.  Called again, it
goes on where it was stopped.  It is lossy: state it with an accuracy on such files.
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path

from paddlevideo.cli import options
from paddlevideo.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--videos", type=Path, required=True, metavar="DIR", help="folder of the originals; its structure is kept")
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the small ones")
    add(
        "--short_side",
        type=options.at_least(0),
        default=256,
        metavar="PX",
        help="scale larger videos down to this (%(default)s)",
    )
    add(
        "--group",
        type=options.at_least(1),
        default=12,
        metavar="FRAMES",
        help="from key frame to key frame (%(default)s)",
    )
    add("--crf", type=options.at_least(0), default=20, help="x264's quality: less is better and larger (%(default)s)")
    add("--preset", default="medium", help="x264's (%(default)s)")
    add("--backend", default="pyav", help="the suite's reader (%(default)s)")
    add("--jobs", type=options.at_least(1), default=os.cpu_count() or 1, help="processes (one per core)")


def run(args: argparse.Namespace) -> int:
    """Converts; 0, or 1 if a video could not be read."""
    from paddlevideo.preparation.convert_videos import (
        VideoSettings,
        convert_all,
        inside_folder,
        reencode,
        report_lines,
        scan_videos,
    )

    if inside_folder(args.videos, args.out):
        raise UserError(f"{args.out}: lies in {args.videos}; the small videos need a folder of their own (--out)")
    settings = VideoSettings(args.short_side, args.group, args.crf, args.preset, args.backend)
    jobs = scan_videos(args.videos)
    outcomes = convert_all(partial(reencode, out=args.out, settings=settings), jobs, args.jobs, "videos")
    print("\n".join(report_lines(outcomes, args.out)))
    return int(any(outcome.error for outcome in outcomes.values()))
