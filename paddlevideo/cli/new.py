"""Looks at a folder of your own videos and writes the configuration that trains on them.

paddlevideo new data/mine
paddlevideo new data/mine.list --videos data/videos --model tsm --out own/mine

data/mine has a folder per class, data/mine/<class>/*.mp4, or train and val folders with such folders in them; or it is
a list of "path label" lines.  A test folder beside train is for the test alone.  Headers are read, nothing is decoded.
Without a val folder a fifth of each class is for validation; clips whose names show that they are of one recording stay
together.
"""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path

from paddlevideo.cli import options
from paddlevideo.errors import printable
from paddlevideo.settings import DEFAULT_SEED

_MODELS = ("few_clips", "tsm", "tsm_mv2", "tsm_mv2_motion", "pptsm", "timesformer", "slowonly")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("data", type=Path, metavar="DIR", help="folder of class folders, or a list of 'path label' lines")
    add("--out", type=Path, metavar="DIR", help="folder for the files (own/<name of the data>)")
    add("--model", choices=_MODELS, help="(by the amount of data and the machine)")
    add("--videos", type=Path, metavar="DIR", help="folder that the paths of a list are relative to")
    source = (
        "clips with equal matches in their names are of one recording; or a file of 'name recording' lines; or none"
    )
    add("--source", metavar="REGEX", help=f"{source} (found by the names)")
    add("--seed", type=int, default=DEFAULT_SEED, help="of the split (%(default)s)")
    options.add_device(parser, "what the training will have: auto (this machine), cpu or gpu (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Prints what was found, writes the files, and prints the next command."""
    from paddlevideo.environment import has_gpu
    from paddlevideo.preparation.own_config import choose, summary, write_config
    from paddlevideo.preparation.own_videos import read_own_videos

    videos = read_own_videos(args.data, args.seed, args.source, args.videos)
    print("\n".join(summary(videos)))
    choice = choose(videos, args.model, has_gpu() if args.device == "auto" else args.device.startswith("gpu"))
    written = write_config(videos, choice, args.data, args.out, os.cpu_count() or 1)
    print(f"model: {choice.file}: {choice.reason}")
    if choice.other:
        print(f"compare with: {choice.other}")
    print(f"written: {', '.join(printable(path.as_posix()) for path in (written.file, *written.lists))}")
    if written.missing:
        print(f"start weights: {written.missing} is not there; its source: the comments of {choice.file}.yaml and the "
              "page beside it; without: -o MODEL.backbone.pretrained=null, which needs far more clips")  # fmt: skip
    print(f"next: paddlevideo train -c {shlex.quote(written.file.as_posix())} --validate")
    return 0
