"""Videos to small ones that are cheap to decode: shorter side 256, H.264, a key frame every 12 frames.

    python tools/prepare/resize_videos.py --videos data/k400/videos_original --out data/k400/videos

Structure and names stay, the ending becomes .mp4, sound is left out, the number of frames is checked.  Called again, it
goes on where it was stopped.  It is lossy: say so beside an accuracy on such files.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

try:
    import paddlevideo  # noqa: F401
except ModuleNotFoundError:  # a checkout that was not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from paddlevideo.cli.command import run_command
from paddlevideo.errors import UserError
from paddlevideo.preparation.convert_videos import (
    VideoSettings,
    convert_all,
    inside_folder,
    reencode,
    report_lines,
    scan_videos,
)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make small videos that are cheap to decode.")
    add = parser.add_argument
    add("--videos", type=Path, required=True, metavar="DIR", help="folder of the originals; its structure is kept")
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the small ones")
    add("--short_side", type=int, default=256, metavar="PX", help="scale larger videos down to this (%(default)s)")
    add("--group", type=int, default=12, metavar="FRAMES", help="from key frame to key frame (%(default)s)")
    add("--crf", type=int, default=20, help="x264's quality: less is better and larger (%(default)s)")
    add("--preset", default="medium", help="x264's (%(default)s)")
    add("--backend", default="pyav", help="the suite's reader (%(default)s)")
    add("--jobs", type=int, default=os.cpu_count() or 1, help="processes (one per core)")
    args = parser.parse_args(argv)
    for name, least in (("short_side", 0), ("group", 1), ("crf", 0), ("jobs", 1)):
        if getattr(args, name) < least:
            parser.error(f"argument --{name}: expected at least {least}, got {getattr(args, name)}")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Converts; 0, or 1 if a video could not be read."""
    args = parse_args(argv)
    if inside_folder(args.videos, args.out):
        raise UserError(f"{args.out}: lies in {args.videos}; the small videos need a folder of their own (--out)")
    settings = VideoSettings(args.short_side, args.group, args.crf, args.preset, args.backend)
    jobs = scan_videos(args.videos)
    outcomes = convert_all(partial(reencode, out=args.out, settings=settings), jobs, args.jobs, "videos")
    print("\n".join(report_lines(outcomes, args.out)))
    return int(any(outcome.error for outcome in outcomes.values()))


if __name__ == "__main__":
    sys.exit(run_command(main))
