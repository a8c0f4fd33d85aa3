"""Draws clips before and after their pipeline: python tools/browse_dataset.py -c CFG --num 8 --out look

One picture per clip, named <split>_<index>: a row of frames as decoded and sampled, a row as the network gets them, and
one after MIX if the configuration has it.  Annotated people are outlined where each row has them, their actions listed
above (a key frame's boxes belong to its middle).  Seed and epoch as in the run give the frames that the run saw.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

try:
    import paddlevideo  # noqa: F401
except ModuleNotFoundError:  # a checkout that was not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from paddlevideo.cli.command import run_command
from paddlevideo.environment import set_cpu_environment
from paddlevideo.errors import UserError


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description="Draw clips of a data set before and after their pipeline.")
    add = parser.add_argument
    add("-c", "--config", required=True, help="YAML file of the run")
    add(
        "-o", "--override", action="append", default=[], metavar="KEY=VALUE", help="change a value of the configuration"
    )
    add("--split", choices=("train", "valid", "test"), default="train", help="(%(default)s)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--index", type=int, nargs="+", metavar="N", help="samples to draw, by their place in the list")
    which.add_argument("--num", type=int, default=8, help="or so many, spread over the list (%(default)s)")
    add("--seed", type=int, default=1234, help="of the run (%(default)s, as for main.py)")
    add("--epoch", type=int, default=0, help="counted from 0 (%(default)s)")
    add("--steps", action="store_true", help="a row after every operator of the pipeline")
    add("--out", required=True, metavar="DIR", help="folder for the pictures")
    add("--format", choices=("png", "gif"), default="png", help="strips, or films side by side (%(default)s)")
    add("--height", type=int, default=128, help="pixels of a drawn frame (%(default)s)")
    add("--max_frames", type=int, default=16, help="columns of a strip (%(default)s)")
    add("--max_views", type=int, default=10, help="rows of a stage with several views (%(default)s)")
    add("--fps", type=float, default=4.0, help="of a film (%(default)s)")
    args = parser.parse_args(argv)
    for name in ("num", "height", "max_frames", "max_views", "fps"):
        if getattr(args, name) <= 0:
            parser.error(f"argument --{name}: expected more than 0, got {getattr(args, name)}")
    if args.seed < 0 or args.epoch < 0:
        parser.error("arguments --seed and --epoch: expected 0 or more")
    return args


def main(argv: list[str] | None = None) -> int:
    """Draws; 0 if every clip could be read."""
    args = parse_args(argv)
    set_cpu_environment()
    from paddlevideo.config import load_config
    from paddlevideo.reporting.browse import Browser, read_clips
    from paddlevideo.reporting.contact_sheet import contact_sheet, moving_sheet, spread, write_gif, write_png

    browser = Browser(
        load_config(args.config, args.override), args.split, args.seed, args.epoch, args.steps, args.max_views
    )
    wanted = args.index or spread(len(browser), args.num)
    clips, errors = read_clips(browser, wanted)
    for error in errors:
        print(f"skipped: {error}", file=sys.stderr)
    if not clips:
        raise UserError(f"none of {len(wanted)} clips could be read")
    if browser.mixes and len(clips) > 1:
        browser.blend(clips)
    elif browser.mixes:
        print("no row for MIX, which blends clips with one another: draw at least two", file=sys.stderr)
    for clip in clips:
        path = Path(args.out) / f"{args.split}_{clip.index:06}.{args.format}"
        if args.format == "gif":
            write_gif(path, moving_sheet(clip.heading, clip.rows, args.height), args.fps)
        else:
            write_png(path, contact_sheet(clip.heading, clip.rows, args.height, args.max_frames))
        print(path)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(run_command(main))
