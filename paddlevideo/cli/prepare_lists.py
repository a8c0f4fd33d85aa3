"""Lists of a public data set from its official annotations."""

from __future__ import annotations

import argparse
import inspect
from pathlib import Path

from paddlevideo.errors import UserError


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    """
    Args:
        name: key of ``PUBLIC_SETS``.
    """
    from paddlevideo.preparation.public_sets import PUBLIC_SETS

    public = PUBLIC_SETS[name]
    data = Path("data", public.name)
    parser.set_defaults(public=public, split=1)
    parser.description = inspect.getdoc(public.read)
    add = parser.add_argument
    official = "official files (%(default)s)"
    add("--annotations", type=Path, default=data / "annotations", metavar="DIR", help=official)
    add("--videos", type=Path, metavar="DIR", help=f"folder of the videos, in any structure ({data / 'videos'})")
    add("--frames", type=Path, metavar="DIR", help="folder of frame folders, to list those and not videos")
    add("--frame_name", default=public.frame_name, help="of the frames (%(default)s)")
    add("--out", type=Path, metavar="DIR", help=f"folder for the lists ({data})")
    names = "class names in class-id order (the suite's)"
    add("--labels", type=Path, default=public.labels, metavar="FILE", help=names)
    if public.num_splits:
        add("--split", type=int, default=1, choices=range(1, public.num_splits + 1), help="official split (1)")
    add("--relative", action="store_true", help="paths below that folder, for DATASET.*.data_prefix")
    add("--ending", action=argparse.BooleanOptionalAction, default=public.ending, help="endings of the videos' names")
    add("--strict", action="store_true", help="exit with 1 if annotated clips are missing")


def run(args: argparse.Namespace) -> int:
    """Writes the lists; 0, or 1 with ``--strict`` if clips are missing."""
    from paddlevideo.preparation.list_files import PathStyle

    public = args.public
    data = Path("data", public.name)
    if args.videos and args.frames:
        raise UserError("--videos and --frames: one of them")
    if not (args.videos or args.frames):
        args.frames, args.videos = (data / "rawframes", None) if public.from_frames else (None, data / "videos")
    out = args.out or (Path("data", public.frames_folder) if args.frames and public.frames_folder else data)
    lines, complete = public.write_lists(
        args.annotations,
        args.frames or args.videos,
        out,
        args.frame_name if args.frames else None,
        args.labels,
        args.split,
        PathStyle(args.relative, args.ending),
    )
    print("\n".join(lines))
    if args.frames:
        print(f"frames are called {args.frame_name!r}: that is DATASET.*.suffix in the configuration")
    elif not args.ending:
        print("paths are written without their ending: DATASET.*.suffix in the configuration adds it")
    return int(args.strict and not complete)
