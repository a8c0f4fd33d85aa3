"""Own annotated videos to an AVA-style data set and a configuration that trains on it.

    paddlevideo prepare people people.csv --videos my/videos --out data/mine
    paddlevideo train -c data/mine/detector.yaml --validate --scale_lr

What annotation may be (docs/files.md has the details): a table (csv with a header, or jsonl) of video, time_s, box
x1 y1 x2 y2, actions, person, and width and height where boxes are in pixels and there is no video; AVA's own csv;
COCO json; VIA 2 or 3 json or csv; CVAT xml of a task, job or project (video 1.1: tracks, interpolated to one box a
second; or images 1.1); Label Studio json.  Several files may be given.  Seconds count from a video's first frame.

With --every_s the boxes of a person in tables are key frames: the box is interpolated between two of them, the actions
of the first hold until the next, and the data set has everybody at every such second.

A summary counts the boxes: read, dropped and why, resampled, merged, and how many each class has.

Written to --out: train.csv, val.csv (whole videos each; test.csv with --test), *_excluded.csv, labels.pbtxt,
*_proposals.pkl (the annotated boxes, or those of --proposals), detector.yaml; segments.csv (video, start_s, end_s,
label) where the annotation labels stretches of time.  Then everything is checked, as
paddlevideo check-data -c does it; exit code 1 if that finds errors, 2 if the annotation cannot be read.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paddlevideo.ava_files import read_ava_labels, read_excluded
from paddlevideo.cli import options
from paddlevideo.cli.outputs import sets_before
from paddlevideo.config import load_config
from paddlevideo.config.finding import find_config
from paddlevideo.errors import UserError, printable
from paddlevideo.findings import Findings, cut, plural
from paddlevideo.loader.labels import refuse_doubled
from paddlevideo.preparation.check_ava import AvaSource, check_ava
from paddlevideo.preparation.importers.people import PersonBox, video_name
from paddlevideo.preparation.list_files import text_lines
from paddlevideo.preparation.person_annotations import (
    FORMS,
    TABLES,
    Annotation,
    ImportOptions,
    ImportSummary,
    VideoFolder,
    class_names,
    excluded_frames,
    guess_form,
    merge_spellings,
    read_detected,
    read_people,
    resolve,
    resolve_segments,
    split_videos,
    write_detected,
    write_labels,
    write_segments,
    write_split,
)
from paddlevideo.preparation.person_tracks import sampled
from paddlevideo.safe_io import write_atomic
from paddlevideo.shipped import ROOT

BASE = ROOT / "configs/detection/ava/slowonly_kinetics_pretrained_r50_4x16x1_20e_ava_rgb.yaml"
SETS = {"train": "train", "valid": "val", "test": "test"}  # sections of DATASET -> names of files
TOPK = (3, 5)
_FORMER = {"norm": "fractions", "px": "pixels"}  # values of --boxes, the former name of --units
CONFIG = "detector.yaml"  # what is written
SEGMENTS = "segments.csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("annotations", nargs="+", type=Path, metavar="FILE", help="tables, AVA, COCO, VIA, CVAT, Label Studio files")
    add("--format", choices=("auto", *FORMS), default="auto", help="of the files (by ending and content)")
    add("--videos", type=Path, metavar="DIR", help="folder of the videos")
    add("--frames", type=Path, metavar="DIR", help="folder of folders of frames, instead of videos; with --fps")
    add("--frame_name", default="img_{:05}.jpg", help="of the frames (%(default)s)")
    add("--fps", type=float, help="frames per second (the videos' own)")
    add("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    add("--base", type=Path, default=BASE, metavar="YAML", help="the configuration to start from (SlowOnly R50 4x16)")
    add("--video", metavar="NAME", help="the video of a file that does not name it, or by another name")
    units = ("auto", "pixels", "fractions")
    add("--units", choices=units, default="auto", help="of tables' boxes; auto: a row with a number above 2 is pixels")
    add("--boxes", dest="units", type=lambda text: _FORMER.get(text, text), choices=units, help=argparse.SUPPRESS)
    add("--box-format", "--box_format", choices=("xyxy", "xywh"), default="xyxy", help="of tables' boxes (%(default)s)")
    first = "the second at which annotation, --proposals and --exclude count the first frame (AVA: 900)"
    add("--start_s", type=float, default=0.0, help=first)
    add("--attribute", metavar="NAME", help="the attribute that holds the actions (COCO, VIA, CVAT; all)")
    add("--picture_fps", type=float, help="pictures per second, where pictures' numbers count time (the videos' fps)")
    add("--first_number", type=int, help="of a video's first picture (0 as CVAT exports a video's, else 1)")
    add("--every", type=float, default=1.0, metavar="S", help="seconds between the key frames of tracks (%(default)s)")
    more = "seconds between samples of persons, also of those in tables (tables: each box as it stands)"
    add("--every_s", type=options.positive, metavar="S", help=more)
    add("--labels", type=Path, metavar="FILE", help="classes in this order (those annotated, by the alphabet)")
    add("--proposals", type=Path, metavar="FILE", help="a detector's boxes (.pkl, .npz, .json), for all sets")
    add("--exclude", type=Path, metavar="FILE", help="key frames not to use: video,second lines")
    add("--val", type=float, default=0.2, metavar="SHARE", help="of the videos, to validate on (%(default)s)")
    add("--test", type=float, default=0.0, metavar="SHARE", help="of the videos, to test on; 0: as --val (%(default)s)")
    more = "names of the videos to validate on, one a line (instead of --val)"
    add("--val_videos", type=Path, metavar="FILE", help=more)
    add("--seed", type=int, default=0, help="of the split")
    add(
        "--jobs",
        type=options.at_least(1),
        default=os.cpu_count() or 1,
        help="processes that check videos (one per core)",
    )


def run(args: argparse.Namespace) -> int:
    """Converts and checks; 0 if nothing is wrong, else 1."""
    _check(args)
    args.base = find_config(args.base)
    folder = VideoFolder(args.frames or args.videos, args.frame_name if args.frames else None, args.fps)
    labels = read_ava_labels(args.labels) if args.labels else {}
    given = list(labels.values()) or None
    refuse_doubled(args.labels, given or ())
    options = ImportOptions(
        fps_of=folder.fps_of,
        picture_fps=args.picture_fps,
        first_number=args.first_number,
        every_s=args.every_s or args.every,
        attribute=args.attribute,
        units=args.units,
        box_format=args.box_format,
        video=args.video and video_name(args.video),
        labels=labels,
        start_s=args.start_s,
        last_s_of=folder.last_s,
        times_of=folder.times_s,
    )
    imported = ImportSummary()
    people = [person for file in args.annotations for person in read_file(file, args, options, imported)]
    annotation = resolve(merge_spellings(people, given, imported), folder, imported)
    print("\n".join(map(printable, imported.lines(annotation.people))))
    if imported.segments:
        write_segments(args.out / SEGMENTS, resolve_segments(imported.segments, folder))
        print(f"segments: {len(imported.segments)} stretches of time with a label and no box: {args.out / SEGMENTS}")
    if not annotation.people:
        raise UserError(f"{args.annotations[0]}: no boxes of people, which a detector of actions needs, only segments")
    names = class_names(annotation, given)
    if args.val_videos:
        parts = held_out(annotation, args.val_videos, folder)
    else:
        parts = split_videos(annotation, {"val": args.val, "test": args.test}, args.seed)
    listed = read_excluded(args.exclude) if args.exclude else ()
    excluded, others = excluded_frames(listed, annotation, folder, args.start_s)
    if others:
        named = printable(", ".join(cut(list(map(repr, others)), 3)))
        lines = plural(len(others), "line is", "lines are")
        print(f"note: {args.exclude}: {lines} of no annotated key frame: {named}")
    counts = write_files(args, annotation, names, parts, excluded)
    suffix = "" if args.frames else folder.video_suffix(annotation.videos())
    text = configuration(args, names, set(parts), suffix)
    notes = [*kept_before(args.out / CONFIG, text), *sets_before(args.out, {f"{name}.csv" for name in parts})]
    write_atomic(args.out / CONFIG, text)
    print("\n".join([*summary(annotation, parts, counts, names), *notes]))
    check = check_ava(sources(args, parts, len(names) + 1, suffix), args.jobs)
    print("\n".join(check.lines()))
    print("\n".join(advice(args, names)))
    return 0 if check.is_sound else 1


def kept_before(config: Path, text: str) -> list[str]:
    """Moves a configuration that has another content, as one that was edited, out of the way; a line on it."""
    if not config.is_file() or config.read_bytes() == text.encode():
        return []
    number = next(n for n in itertools.count(1) if not config.with_name(f"{config.stem}_{n}.yaml").exists())
    before = config.rename(config.with_name(f"{config.stem}_{number}.yaml"))
    return [f"note: {config} was another one, or edited: it is {before.name} now; take over what you changed"]


def _check(args: argparse.Namespace) -> None:
    """Rejects options that contradict each other."""
    if bool(args.videos) == bool(args.frames):
        raise UserError("name --videos or --frames, one of them")
    if args.val_videos and args.test:
        raise UserError("--val_videos: there is no --test beside it")
    if not (0 <= args.val < 1 and 0 <= args.test < 1 and 0 < args.every < math.inf):
        raise UserError("--val and --test are shares from 0 to 1, --every is above 0")
    rates = [rate for rate in (args.fps, args.picture_fps) if rate is not None]
    if not all(0 < rate < math.inf for rate in rates) or not math.isfinite(args.start_s):
        raise UserError("--fps and --picture_fps are above 0, --start_s is a number of seconds")


def read_file(
    file: Path, args: argparse.Namespace, import_as: ImportOptions, imported: ImportSummary
) -> list[PersonBox]:
    """The persons of one file; with ``--every_s`` those of tables at every such second."""
    form = guess_form(file) if args.format == "auto" else args.format
    people = read_people(file, form, import_as, imported)
    return sampled(people, args.every_s, imported) if args.every_s and form in TABLES else people


def held_out(annotation: Annotation, file: Path, folder: VideoFolder) -> dict[str, list[str]]:
    """``train`` and ``val``: the videos that a file names.

    Raises:
        ConfigError: a line is no annotated video.
        UserError: all videos, or none, are held out.
    """
    videos, named, findings = annotation.videos(), set(), Findings(str(file))
    for where, text in text_lines(file):
        name = folder.name_of(video_name(text.strip()))
        if name not in videos:
            findings.add(where, f"{text.strip()!r} is none of the {len(videos)} annotated videos")
        named.add(name)
    findings.raise_if_any()
    if not 0 < len(named) < len(videos):
        raise UserError(f"{file}: holds out {len(named)} of {len(videos)} videos; expected some, and some to train on")
    return {"train": [name for name in videos if name not in named], "val": sorted(named)}


def write_files(
    args: argparse.Namespace,
    annotation: Annotation,
    names: list[str],
    parts: dict[str, list[str]],
    excluded: set[tuple[str, float]],
) -> dict[str, Counter]:
    """All but the configuration; the number of each action in each set."""
    detected = read_detected(args.proposals, args.start_s) if args.proposals else None
    write_labels(args.out / "labels.pbtxt", names)
    counts = {}
    for split, videos in parts.items():
        counts[split] = write_split(annotation, videos, names, args.out / split, excluded)
        if detected is not None:
            write_detected(args.proposals, detected, videos, args.out / f"{split}_proposals.pkl")
    return counts


def files_of(args: argparse.Namespace, split: str, parts: set[str]) -> dict[str, str]:
    """The files of a section of DATASET; sets that were not made are the next best one."""
    name = SETS[split]
    if name not in parts:
        name = "val" if "val" in parts else "train"
    stem = (args.out / name).as_posix()
    return {
        "file_path": f"{stem}.csv",
        "exclude_file": f"{stem}_excluded.csv",
        "proposal_file": f"{stem}_proposals.pkl",
        "label_file": (args.out / "labels.pbtxt").as_posix(),
    }


def configuration(args: argparse.Namespace, names: list[str], parts: set[str], suffix: str) -> str:
    """The YAML: the base with these classes and files."""
    import yaml

    found, base = read_base(args.base), args.base.resolve()
    if base.is_relative_to(ROOT / "configs"):  # found by its name, wherever the package is installed
        base = base.name
    else:
        base = os.path.relpath(base, args.out.resolve()).replace(os.sep, "/")
    place: dict = {"data_prefix": (args.frames or args.videos).as_posix(), "timestamp_start": 0, "timestamp_end": None}
    if args.frames:
        place |= {"suffix": args.frame_name, "fps": args.fps}
    else:
        place |= {"videos": True, "video_suffix": suffix}
    topk = [k for k in TOPK if k < len(names) + 1] or [1]
    custom = {split: {"custom_classes": None} for split in SETS if "custom_classes" in found["DATASET"].get(split, {})}
    # without files of its own the metric takes those of the set that it measures, valid or test
    metric = dict.fromkeys(name for name in ("file_path", "exclude_file", "label_file") if name in found["METRIC"])
    metric |= {"custom_classes": len(names) + 1} if "custom_classes" in found["METRIC"] else {}
    content = {
        "MODEL": {"head": {"bbox_head": {"num_classes": len(names) + 1, "topk": topk}}},
        "DATASET": {split: files_of(args, split, parts) | place | custom.get(split, {}) for split in SETS},
        "METRIC": metric,
        "model_name": args.out.resolve().name,
        "output_dir": (Path("output") / args.out.name).as_posix(),
    }
    command = f"paddlevideo train -c {shlex.quote((args.out / CONFIG).as_posix())} --validate --scale_lr"
    held_out = "" if "val" in parts else "# No video is held out: validation is on the training videos.\n"
    return (
        f"# Action detection on own videos, {len(names)} classes: {', '.join(names)}.\n"
        f"# Launch: {command}\n{held_out}"
        f"_base_: {base!r}\n\n" + yaml.safe_dump(content, sort_keys=False, width=110, allow_unicode=True)
    )


def read_base(path: Path) -> Mapping[str, Any]:
    """The configuration to start from.

    Raises:
        UserError: it is not of a detector.
    """
    found = load_config(str(path))
    if "bbox_head" not in ((found.get("MODEL") or {}).get("head") or {}) or not found.get("METRIC"):
        raise UserError(f"{path}: MODEL.head has no bbox_head, so it is no action detector (--base)")
    return found


def advice(args: argparse.Namespace, names: Sequence[str]) -> list[str]:
    """Remarks on the configuration."""
    found = read_base(args.base)
    lines = []
    sided = [name for name in names if {"left", "right"} & set(re.split(r"[\W_]+", name.lower()))]
    if sided and "Flip" in str((found.get("PIPELINE") or {}).get("train")):
        lines.append(f"note: {', '.join(sided)}: the mirror makes one of the other; take Flip out of PIPELINE.train")
    pretrained = found["MODEL"]["backbone"].get("pretrained")
    if pretrained and not Path(pretrained).exists():
        lines.append(f"note: it starts from {pretrained}, which is not there; {args.base.name} names its source")
    command = f"paddlevideo train -c {shlex.quote((args.out / CONFIG).as_posix())} --validate --scale_lr"
    return [*lines, f"train on it: {command}"]


def sources(args: argparse.Namespace, parts: dict[str, list[str]], num_classes: int, suffix: str) -> list[AvaSource]:
    """What was written, for the check."""
    kind = {"suffix": args.frame_name, "fps": args.fps} if args.frames else {"videos": True, "video_suffix": suffix}
    return [
        AvaSource(
            split,
            data_prefix=str(args.frames or args.videos),
            timestamp_start=0,
            timestamp_end=None,
            num_classes=num_classes,
            **files_of(args, split, set(parts)),
            **kind,
        )
        for split, name in SETS.items()
        if name in parts
    ]


def summary(
    annotation: Annotation, parts: dict[str, list[str]], counts: dict[str, Counter], names: list[str]
) -> list[str]:
    """A summary of the annotation."""
    lines = [
        f"{plural(len(annotation.people), 'box', 'boxes')} of people in {plural(len(annotation.videos()), 'video')}, "
        f"{plural(len(names), 'class', 'classes')}"
    ]
    lines += [
        f"{split}: {plural(len(videos), 'video')}, {plural(sum(counts[split].values()), 'action')}"
        for split, videos in parts.items()
    ]
    if any(not person.actions for person in annotation.people):
        lines.append("boxes without an action are among the proposals only")
    return [*lines, ""]
