"""Draws clips before and after their pipeline.

    paddlevideo browse -c CFG --num 8 --out pictures

One picture per clip, named <split>_<index>: a row of frames as decoded and sampled, a row as the network gets them, and
one after MIX if the configuration has it.  Annotated people are outlined where each row has them, their actions listed
above (a key frame's boxes belong to its middle).  Seed and epoch as in the run give the frames of the run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from paddlevideo.cli import options
from paddlevideo.errors import UserError
from paddlevideo.settings import DEFAULT_SEED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_config(parser, "YAML file of the run")
    add = parser.add_argument
    add("--split", choices=("train", "valid", "test"), default="train", help="(%(default)s)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--index", type=int, nargs="+", metavar="N", help="samples to draw, by their place in the list")
    number = "or so many, spread over the list (%(default)s)"
    which.add_argument("--num", type=options.at_least(1), default=8, metavar="N", help=number)
    add("--seed", type=options.at_least(0), default=DEFAULT_SEED, help="of the run (%(default)s, as for main.py)")
    add("--epoch", type=options.at_least(0), default=0, help="counted from 0 (%(default)s)")
    add("--steps", action="store_true", help="a row after every operator of the pipeline")
    add("--max_views", type=options.at_least(1), default=10, help="rows of a stage with several views (%(default)s)")
    add_pictures(parser)


def add_pictures(parser: argparse.ArgumentParser) -> None:
    """The options of commands that write a picture per clip."""
    add = parser.add_argument
    add("--out", required=True, metavar="DIR", help="folder for the pictures")
    add("--format", choices=("png", "gif"), default="png", help="strips, or animations side by side (%(default)s)")
    add("--height", type=options.at_least(1), default=128, help="pixels of a drawn frame (%(default)s)")
    add("--max_frames", type=options.at_least(1), default=16, help="columns of a strip (%(default)s)")
    add("--fps", type=options.positive, default=4.0, help="of an animation (%(default)s)")


def write_picture(path: Path, heading: list[str], rows: list, args: argparse.Namespace) -> None:
    """Writes the rows of one clip in ``--format``, and prints the file's path."""
    from paddlevideo.reporting.contact_sheet import contact_sheet, moving_sheet, write_gif, write_png

    if args.format == "gif":
        write_gif(path, moving_sheet(heading, rows, args.height), args.fps)
    else:
        write_png(path, contact_sheet(heading, rows, args.height, args.max_frames))
    print(path)


def run(args: argparse.Namespace) -> int:
    """Draws; 0 if every clip could be read."""
    from paddlevideo.reporting.browse import Browser, read_clips
    from paddlevideo.reporting.contact_sheet import spread

    browser = Browser(options.read_config(args), args.split, args.seed, args.epoch, args.steps, args.max_views)
    indices = args.index or spread(len(browser), args.num)
    clips, errors = read_clips(browser, indices)
    for error in errors:
        print(f"skipped: {error}", file=sys.stderr)
    if not clips:
        raise UserError(f"none of {len(indices)} clips could be read")
    if browser.mixes and len(clips) > 1:
        browser.blend(clips)
    elif browser.mixes:
        print("no row for MIX, which blends clips with one another: draw at least two", file=sys.stderr)
    for clip in clips:
        path = Path(args.out) / f"{args.split}_{clip.index:06}.{args.format}"
        write_picture(path, clip.heading, clip.rows, args)
    return 1 if errors else 0
