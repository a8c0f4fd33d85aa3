"""Checks a data set.

    paddlevideo check-data -c configs/recognition/tsm/tsm_k400_videos.yaml
    paddlevideo check-data --list train.list val.list --num_classes 400

Reads every line and every file of the lists: missing, unreadable, cut off or too short videos, labels out of range,
the same video twice, under two labels, or in two sets, and the balance of the classes.  A table on screen, everything
in a JSON file; each finding with its list and line.  Exit code: 0 no errors, 1 something is wrong, 2 it could not be
checked.  It also writes the index of the videos, with which training opens and reads less of each file.

Of a configuration for action detection (``format: AVADataset``) it finds what gives an mAP of 0 or NaN: action ids
that are none of the model's, boxes in pixels or without area, seconds outside of the video or of timestamp_start ..
timestamp_end, person boxes of other key frames or that overlap no person, and missing or short videos.

Of shards (``format: ShardDataset``) it reads every byte: shards that are missing, cut off or changed, videos that
cannot be read, labels out of range, and the same video twice or in two sets.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddlevideo.cli import options
from paddlevideo.errors import UserError

if TYPE_CHECKING:
    from paddlevideo.preparation.check_ava import AvaCheck, AvaSource
    from paddlevideo.preparation.check_dataset import Check, ListSource
    from paddlevideo.preparation.check_shards import ShardCheck

FRAME_NAME = "img_{:05}.jpg"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_config(parser, "YAML file: the lists, num_classes and num_seg are its", required=False)
    add = parser.add_argument
    lists = "lists (or folders of class folders) instead of a YAML file"
    add("--list", nargs="+", default=[], metavar="FILE", help=lists)
    add("--data_prefix", help="folder that the lists' paths are relative to")
    add("--frames", nargs="?", const=FRAME_NAME, metavar="NAME", help=f"lists of frame folders ({FRAME_NAME})")
    add("--ending", default="", help="appended to videos' paths, as DATASET.*.suffix is, e.g. .avi")
    add("--multi_label", action="store_true", help="lists with any number of labels per clip (path 0 3 17)")
    add("--num_classes", type=options.at_least(1), help="labels must be below")
    add("--num_seg", type=int, help="frames that a sample needs (8)")
    add("--labels", help="class names, one per line in class-id order")
    add("--source", metavar="REGEX", help="clips with equal matches are of one recording, e.g. 'v_[^/]+_g[0-9]+'")
    add("--depth", choices=("open", "sample", "full"), default="sample", help="decode nothing, 3 frames (default), all")
    add("--backend", default="pyav", help="the suite's reader (%(default)s)")
    add("--report", default="output/check_dataset.json", metavar="FILE", help="where the JSON goes (%(default)s)")
    where = "of the index of the videos that training reads: auto (beside the list, default), none, or a folder"
    add("--index", metavar="PLACE", help=where)
    add("--show", type=int, default=10, metavar="N", help="findings of each kind on screen (%(default)s)")
    add("--jobs", type=options.at_least(1), default=os.cpu_count() or 1, help="processes (one per core)")


def run(args: argparse.Namespace) -> int:
    """Checks; 0 if nothing is wrong, else 1."""
    if bool(args.config) == bool(args.list):
        raise UserError("name a configuration (-c) or lists (--list), one of them")
    from paddlevideo.config.checking import AUTO
    from paddlevideo.loader.labels import read_labels
    from paddlevideo.preparation.check_dataset import CheckSettings, check_lists

    config = options.read_config(args) if args.config else None
    if config is not None and is_detection(config):
        return check_detection(config, args)
    if config is not None and shard_splits(config):
        return check_sets_of_shards(config, args)
    if config is not None:
        lists, num_classes, labels = lists_of_config(config)
    else:
        lists, num_classes, labels = lists_of_flags(args), None, None
    num_classes = args.num_classes or (None if num_classes == AUTO else num_classes)
    labels = args.labels or labels
    names = read_labels(labels, num_classes) if labels else None
    if names and num_classes is None:
        num_classes = len(names)
    lists = [replace(source, index=args.index or source.index) for source in lists]
    settings = CheckSettings(num_classes, names, args.depth, args.source, args.backend, args.jobs)
    return report(check_lists(lists, settings), args)


def report(check: Check | AvaCheck | ShardCheck, args: argparse.Namespace) -> int:
    """Prints what was found and writes the JSON file of ``--report``; 0 if nothing is wrong, else 1."""
    from paddlevideo.safe_io import write_atomic

    print("\n".join(check.lines(args.show)))
    for line in check.indexes.write():
        print(line)
    write_atomic(args.report, json.dumps(check.as_json(), indent=1) + "\n")
    print(f"report: {args.report}")
    return 0 if check.is_sound else 1


def is_detection(config: Mapping[str, Any]) -> bool:
    """Whether DATASET is of key frames with boxes."""
    sections = ((config.get("DATASET") or {}).get(split) or {} for split in options.SPLITS)
    return any(section.get("format") == "AVADataset" for section in sections)


def shard_splits(config: Mapping[str, Any]) -> list[str]:
    """The splits of DATASET that are shards."""
    sections = {split: (config.get("DATASET") or {}).get(split) or {} for split in options.SPLITS}
    return [split for split, section in sections.items() if section.get("format") == "ShardDataset"]


def check_sets_of_shards(config: Mapping[str, Any], args: argparse.Namespace) -> int:
    """Checks shards; 0 if nothing is wrong, else 1."""
    from paddlevideo.config.checking import AUTO
    from paddlevideo.preparation.check_shards import ShardSource, check_shards

    dataset, splits = config["DATASET"], shard_splits(config)
    others = [split for split in options.SPLITS if dataset.get(split) and split not in splits]
    if others:
        print(f"DATASET.{', '.join(others)}: not shards; check the lists alone with --list")
    count = ((config.get("MODEL") or {}).get("head") or {}).get("num_classes")
    num_classes = args.num_classes or (None if count == AUTO else count)
    sources = [
        ShardSource(
            split,
            dataset[split]["file_path"],
            dataset[split].get("shard_index"),
            dataset[split].get("storage_options") or {},
            least_frames(((config.get("PIPELINE") or {}).get(split) or {}).get("sample")),
        )
        for split in splits
    ]
    return report(check_shards(sources, num_classes, args.depth, args.backend, args.jobs), args)


def check_detection(config: Mapping[str, Any], args: argparse.Namespace) -> int:
    """Checks key frames, boxes and actions; 0 if nothing is wrong, else 1."""
    from paddlevideo.preparation.check_ava import check_ava

    sources = [replace(source, index=args.index or source.index) for source in ava_sources(config, args.num_classes)]
    return report(check_ava(sources, args.jobs, args.depth, quiet=False), args)


def ava_sources(config: Mapping[str, Any], num_classes: int | None) -> list[AvaSource]:
    """The sets of DATASET; one that names the same csv as another is checked once."""
    from paddlevideo.preparation.check_ava import AvaSource

    head = (config.get("MODEL") or {}).get("head") or {}
    num_classes = num_classes or (head.get("bbox_head") or {}).get("num_classes")
    taken = {field.name for field in fields(AvaSource)} - {"split", "num_classes"}
    found: dict[str, AvaSource] = {}
    for split in options.SPLITS:
        section = (config.get("DATASET") or {}).get(split) or {}
        if section.get("format") != "AVADataset" or section.get("file_path") in found:
            continue
        given = {key: value for key, value in section.items() if key in taken}
        if given.get("custom_classes") is not None:
            given["custom_classes"] = tuple(given["custom_classes"])
        found[section["file_path"]] = AvaSource(split, num_classes=num_classes, **given)
    return list(found.values())


def lists_of_flags(args: argparse.Namespace) -> list[ListSource]:
    """Sets are called by their files' names, or by their paths where those are equal."""
    from paddlevideo.preparation.check_dataset import ListSource
    from paddlevideo.preparation.list_files import FrameNames

    stems = [Path(file).stem for file in args.list]
    names = stems if len(set(stems)) == len(stems) else args.list
    if args.frames:
        FrameNames(args.frames)
    num_seg = 8 if args.num_seg is None else args.num_seg
    return [
        ListSource(name, file, args.data_prefix, args.frames, args.ending, num_seg=num_seg, several=args.multi_label)
        for name, file in zip(names, args.list)
    ]


def lists_of_config(config: Mapping[str, Any]) -> tuple[list[ListSource], int | str | None, str | None]:
    """The lists of DATASET, MODEL.head.num_classes, and the file of class names."""
    from paddlevideo.preparation.check_dataset import ListSource

    dataset = config.get("DATASET") or {}
    lists = []
    for split in options.SPLITS:
        section = dataset.get(split)
        if not section:
            continue
        columns = COLUMNS.get(section.get("format"))
        if columns is None:
            raise UserError(
                f"DATASET.{split}.format: {section.get('format')!r} is no list of classified clips; "
                f"this command checks {' and '.join(COLUMNS)}"
            )
        pipeline = (config.get("PIPELINE") or {}).get(split) or {}
        lists.append(
            ListSource(
                split,
                section["file_path"],
                section.get("data_prefix") or None,
                allow_outside_root=bool(section.get("allow_outside_root")),
                several=bool(section.get("multi_label")),
                index=section.get("index") or "auto",
                num_seg=least_frames(pipeline.get("sample")),
                **columns(section),
            )
        )
    if not lists:
        raise UserError("DATASET has no train, valid or test section to check")
    head = (config.get("MODEL") or {}).get("head") or {}
    return lists, head.get("num_classes"), dataset.get("label_names")


COLUMNS = {
    "VideoDataset": lambda section: {"ending": section.get("suffix") or ""},
    "FrameDataset": lambda section: {"frame_name": section.get("suffix") or FRAME_NAME},
    "SpanDataset": lambda section: {
        "spans": True,
        "fps": section.get("fps") or 0.0,
        "frame_name": (section.get("suffix") or FRAME_NAME) if section.get("fps") else None,
        "ending": section.get("suffix") or "",
    },
}


def least_frames(sample: Any) -> int:
    """``num_seg`` (or ``num_clips``) of a PIPELINE's sample step: fewer frames are sampled more than once."""
    steps = sample if isinstance(sample, (list, tuple)) else [sample]
    for step in steps:
        if isinstance(step, Mapping):
            arguments = step if "name" in step else next(iter(step.values()), None)
            if isinstance(arguments, Mapping):
                found = arguments.get("num_seg") or arguments.get("num_clips")
                if isinstance(found, int):
                    return found
    return 1
