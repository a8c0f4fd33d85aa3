"""Teaches an exported model on annotated spans: a new linear head on its frozen backbone, in a minute on a CPU.

    paddlevideo teach --model_file inference/TSM --train train.json --val val.json --videos my/videos \\
        --out inference/TSM_2 --figures figures.json
    paddlevideo timeline --model_file inference/TSM_2 -i long.mp4 --out spans.json

The features of the videos' windows are kept in --features and used again, also by the next model that is taught.
New classes of --train are added; a class of the model is never lost.  Unmarked time of the videos is the class
--background; without that option that of the model, or a new class called background where there is enough of it.
The options of windows and spans are those of paddlevideo timeline, and decide the held-out figures.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from paddlevideo.cli import options, span_options
from paddlevideo.cli.reading_progress import ReadingProgress
from paddlevideo.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The model, the lists, what is written, the windows, and the rule from scores to spans."""
    add = parser.add_argument
    add("--model_file", required=True, type=Path, metavar="DIR", help="folder that paddlevideo export wrote")
    add("--train", required=True, type=Path, metavar="FILE", help="annotated spans to train on")
    add("--val", required=True, type=Path, metavar="FILE", help="annotated spans of other videos, held out")
    add("--videos", required=True, type=Path, metavar="DIR", help="folder of the videos that both lists name")
    add("--out", required=True, type=Path, metavar="DIR", help="folder for the new export")
    names = "names that the model's classes have in the lists, one per line in class-id order (those of inference.yml)"
    add("--label_file", type=Path, metavar="FILE", help=names)
    add("--figures", type=Path, metavar="FILE", help="write the held-out figures of the old and the new model: .json")
    add("--ignore", type=Path, metavar="FILE", help="spans that a model found, not checked: time to leave out")
    add_windows(parser)
    span_options.add_rule(parser)
    add("--no_background", action="store_true", help="do not train on unmarked time")


def add_windows(parser: argparse.ArgumentParser) -> None:
    """``--features``, the windows, and where the network runs: of ``teach`` and ``similar``."""
    add = parser.add_argument
    add("--features", type=Path, metavar="DIR", help="folder that keeps the features of windows (beside --out)")
    add("--window_s", type=options.positive, metavar="S", help="seconds of a window (those of the model's clip)")
    add("--hop_s", type=options.positive, metavar="S", help="seconds from window to window (window_s / 4)")
    add("-b", "--batch_size", type=options.at_least(1), default=4, help="windows per run of the network (%(default)s)")
    options.add_device(parser)
    options.add_imports(parser)


def run(args: argparse.Namespace) -> int:
    """Writes the export and the figures."""
    from paddlevideo.extensions import declare_all
    from paddlevideo.inference.teaching import Lesson, teach
    from paddlevideo.inference.window_features import FeatureFolder, TaughtFrom
    from paddlevideo.safe_io import write_atomic
    from paddlevideo.spans import SpanTable, read_spans

    if args.background and args.no_background:
        raise UserError("--background and --no_background: give one of them")
    _check_out(args)
    declare_all(args.imports)
    model = TaughtFrom.find(args.model_file, notice)
    if args.label_file:
        model = model.with_names(args.label_file)
    ignored = read_spans(args.ignore) if args.ignore else SpanTable([])
    window_s, hop_s = windows_of(args, model)
    rule = {"window_s": window_s, "hop_s": hop_s, **span_options.rule_of(args)}
    del rule["background"]
    lesson = Lesson(
        read_spans(args.train), read_spans(args.val), ignored, args.videos, rule, args.background, args.no_background,
        args.device, args.batch_size,
    )  # fmt: skip
    features = args.features or args.out.with_name(f"{args.out.name}_features")
    folder = FeatureFolder(features, model, window_s, hop_s, notice)
    figures = teach(model, lesson, args.out, folder, _say, ReadingProgress())
    if args.figures:
        write_atomic(args.figures, json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    held_out, previous = figures["held_out"], figures["previous"]
    print(f"held-out {held_out['name']}: {held_out['value']:.4f}, before {previous['value']:.4f}")
    for name, row in figures["per_class"]["held_out"].items():
        print(f"  {name}: {row['annotated']} spans annotated, {row['predicted']} found")
    for note in figures["notes"]:
        print(f"note: {note}")
    print(f"{args.out}: {len(figures['classes'])} classes")
    return 0


def windows_of(args: argparse.Namespace, model: object) -> tuple[float, float]:
    """``window_s`` and ``hop_s``, as ``paddlevideo timeline`` takes them."""
    from paddlevideo.inference.timeline import TimelineSettings
    from paddlevideo.inference.video_timeline import window_of_pipeline

    window_s = args.window_s or window_of_pipeline(model.pipeline, str(model.export.program), notice)
    settings = TimelineSettings(window_s=window_s, hop_s=args.hop_s)
    return settings.window_s, settings.hop_s


def notice(line: str) -> None:
    """Remarks go to stderr."""
    print(line, file=sys.stderr, flush=True)


def _say(line: str) -> None:
    print(line, flush=True)


def _check_out(args: argparse.Namespace) -> None:
    """
    Raises:
        UserError: the export would replace the model, or the figures have another ending.
    """
    if args.out.resolve() == args.model_file.resolve() or args.out.resolve() == args.model_file.resolve().parent:
        raise UserError(f"--out {args.out}: is the folder of --model_file; give the new model a folder of its own")
    if args.figures and args.figures.suffix.lower() != ".json":
        raise UserError(f"--figures {args.figures}: expected a name that ends in .json")
    if not args.videos.is_dir():
        raise UserError(f"--videos {args.videos}: no such folder")
