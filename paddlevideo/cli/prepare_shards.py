"""Videos to tar shards in WebDataset's layout, with an index; or the index of shards that exist.

    paddlevideo prepare shards data/own/train --out data/own/train_shards
    paddlevideo prepare shards data/k400/train.list --videos data/k400/videos --labels data/k400/labels.txt \
        --out data/k400/train_shards --prefix train
    paddlevideo prepare shards --index s3://bucket/train --out data/k400/train.npz

The first argument is a list (``path label``) or a folder with one sub-folder per class.  Each video and its label
(``key.json``) lie beside each other; videos are copied, not encoded.  All videos are opened first; one that cannot be
read is named, and nothing is written.  Called again, it continues where it was stopped.  DATASET.<split> reads the
folder, or the place that it is copied to, with ``format: ShardDataset``.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from paddlevideo.cli import options
from paddlevideo.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("source", nargs="?", help="list of videos, or folder of class folders")
    add("--index", metavar="SHARDS", help="write the index of existing shards: a folder, an address, or a pattern "
        "(http://host/train-{000000..000127}.tar)")  # fmt: skip
    add("--out", metavar="DIR", help="folder for the shards; with --index the file for the index")
    add("--videos", metavar="DIR", help="folder that the list's paths are relative to")
    add("--ending", default="", help="appended to every path of the list, as DATASET.*.suffix is, e.g. .avi")
    add("--labels", metavar="FILE", help="class names, one per line in class-id order (class folders name their own)")
    add("--multi_label", action="store_true", help="a list with any number of labels per clip (path 0 3 17)")
    add("--num_classes", type=options.at_least(1), help="labels must be below")
    add("--prefix", default="shard", help="of the shards' names: %(default)s-000000.tar")
    add("--shard_mb", type=options.at_least(1), default=256, metavar="MB", help="largest shard (%(default)s MiB)")
    add("--shard_samples", type=options.at_least(1), metavar="N", help="most samples of a shard (any number)")
    add("--keep_order", action="store_true", help="write in the order of the list; else mixed, the same every time")
    add("--jobs", type=options.at_least(1), default=os.cpu_count() or 1, help="processes that open the videos")


def run(args: argparse.Namespace) -> int:
    """Writes the shards, or the index of some; 0."""
    from paddlevideo.addresses import is_address, without_secrets
    from paddlevideo.loader.datasets.lists import expanded
    from paddlevideo.loader.datasets.video import VideoDataset
    from paddlevideo.loader.labels import read_labels
    from paddlevideo.preparation.write_shards import ShardSettings, write_index, write_shards

    if bool(args.source) == bool(args.index):
        raise UserError("name a list or folder of videos, or existing shards (--index), one of them")
    for value in filter(None, (args.source, args.out)):
        if is_address(value):
            raise UserError(f"{without_secrets(value)}: expected a local path; an address goes with --index alone")
    out = None if args.out is None else Path(args.out)
    names = read_labels(args.labels, args.num_classes) if args.labels else None
    if args.index:
        index, target = write_index(args.index, out, names)
    else:
        if out is None:
            raise UserError("name a folder for the shards (--out)")
        if not args.prefix or set(args.prefix) & set("/\\.") or not args.prefix.isprintable():
            raise UserError(f"--prefix {args.prefix!r}: expected a file name without dots")
        if os.path.isdir(args.source) and Path(os.path.abspath(out)).is_relative_to(os.path.abspath(args.source)):
            raise UserError(f"{out}: lies in {args.source}; the shards need a folder of their own (--out)")
        num_classes = args.num_classes or (len(names) if names else None)
        if args.multi_label and num_classes is None:
            raise UserError("--multi_label needs --num_classes or --labels")
        dataset = VideoDataset(
            expanded(args.source), args.videos, args.ending, class_names=names, multi_label=args.multi_label,
            num_classes=num_classes,
        )  # fmt: skip
        settings = ShardSettings(args.prefix, args.shard_mb << 20, args.shard_samples, not args.keep_order, args.jobs)
        index = write_shards(dataset, dataset.class_names or names, out, settings)
        target = out
    num_bytes = sum(shard.bytes for shard in index.shards)
    classes = f", {len(index.class_names)} class names" if index.class_names else ", no class names (--labels)"
    print(f"{target}: {len(index)} samples in {len(index.shards)} shards, {num_bytes / 1e6:,.1f} MB{classes}")
    return 0
