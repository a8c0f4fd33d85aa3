"""Finds the persons of videos and their tracks: boxes to annotate, without a model of actions.

    paddlevideo persons -i clip.mp4 --detector yolo.onnx --out people.csv
    paddlevideo persons -i clip.mp4 --detector hog --out people.csv --every_s 1 --progress

The table has key frames of each person: the first and the last detection and every --every_s between; the box is
interpolated in between.  Actions are empty.  paddlevideo prepare people reads it when actions are filled in; so does
the studio.  After Ctrl-C no file is written.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from pathlib import Path

from paddlevideo.cli import options
from paddlevideo.cli.outputs import check_outputs
from paddlevideo.cli.reading_progress import ReadingProgress
from paddlevideo.errors import UserError, printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The videos, the detector, the rates and the table."""
    add = parser.add_argument
    add("-i", "--input", required=True, nargs="+", metavar="VIDEO", help="videos")
    add("--out", required=True, metavar="FILE", help="the table (.csv)")
    add(
        "--detector",
        default="hog",
        metavar="MODEL",
        help="an .onnx file, a PaddleDetection export, or hog (%(default)s)",
    )
    add("--detector_config", metavar="FILE", help="the detector's options (the file beside it)")
    add("--det_score_thr", type=options.share, default=0.5, metavar="S", help="least score of a person (%(default)s)")
    add("--every_s", type=options.positive, default=1.0, help="seconds between key frames of a person (%(default)s)")
    more = "seconds from detection to detection, by which persons are tracked (%(default)s)"
    add("--detect_every", type=options.positive, default=0.2, metavar="S", help=more)
    add("--progress", action="store_true", help="print to stderr how far the video was read, once a second")
    options.add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Writes the table of all videos; 0."""
    if Path(args.out).suffix.lower() != ".csv":
        raise UserError(f"--out {args.out}: expected a name ending in .csv")
    inputs = [*(("--input", path) for path in args.input), ("--detector", args.detector)]
    check_outputs([("--out", args.out)], [(flag, path) for flag, path in inputs if Path(path).exists()])
    from paddlevideo.inference.person_detectors import open_detector
    from paddlevideo.inference.persons import track_persons, write_key_frames
    from paddlevideo.inference.runtimes.base import Runtime, to_stderr
    from paddlevideo.loader.decode import open_video

    for path, count in Counter(map(os.path.realpath, args.input)).items():
        if count > 1:
            raise UserError(f"-i {printable(path)}: is named twice")
    for path in args.input if len(args.input) > 1 else ():  # before the first one has taken its minutes
        open_video(path).close()
    detector = open_detector(
        args.detector, args.det_score_thr, args.detector_config, Runtime.on(args.device), to_stderr
    )
    results = []
    for video in args.input:
        shown = ReadingProgress() if args.progress else lambda time_s: None
        found = track_persons(video, detector, args.detect_every, say=to_stderr, on_second=shown)
        print(f"{video}: {len(found.tracks)} persons in {found.num_frames} frames", flush=True)
        results.append(found)
    count = write_key_frames(args.out, results, args.every_s)
    print(f"people: {args.out}, {count} boxes")
    return 0
