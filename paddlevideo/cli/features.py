"""Writes the features of clips, what a network's classifier takes, into a file: for probe, similar and your own tools.

    paddlevideo features -c tsm_mv2_own_videos -i data/own/train --out features.npz
    paddlevideo features -c CFG -w best.pdparams --split valid --out features.parquet
    paddlevideo features --model_file inference/TSM -i my/videos --no_labels --out features.npz
    paddlevideo features --model_file inference/TSM -i long.mp4 --window_s 2 --hop_s 0.5 --out windows.npz

A row is the mean over a clip's views and frames.  Without -w the network has the weights of MODEL.backbone.pretrained.
A folder with one sub-folder per class, or a list (path label), gives labels; --no_labels takes videos as they are.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from paddlevideo.cli import options
from paddlevideo.cli.reading_progress import ReadingProgress
from paddlevideo.errors import UserError
from paddlevideo.findings import plural


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The network, the clips, and the file."""
    add_network(parser)
    add = parser.add_argument
    add("--model_file", metavar="DIR", help="instead: the folder of an exported model")
    add("-b", "--batch_size", type=options.at_least(1), default=8, help="clips per run (%(default)s)")
    add("-i", "--input", nargs="+", default=[], metavar="PATH", help="the clips; default: DATASET of --split")
    add("--split", choices=options.SPLITS, help="section of DATASET (test)")
    add("--data_prefix", metavar="DIR", help="folder that the paths of a list are relative to")
    add("--label_file", metavar="FILE", help="class names, one per line; default: those of the folders, or of the list")
    add("--no_labels", action="store_true", help="the inputs are videos, folders and lists without labels")
    add("--window_s", type=options.positive, metavar="S", help="a row per window of so many seconds; with --model_file")
    add("--hop_s", type=options.positive, metavar="S", help="seconds from window to window (window_s / 4)")
    add("--out", type=Path, required=True, metavar="FILE", help=".npz, or .parquet (needs pyarrow)")
    add("--num_workers", type=options.at_least(0), metavar="N", help="processes that decode (0)")


def add_network(parser: argparse.ArgumentParser) -> None:
    """``-c`` and ``-w``, and where the network runs."""
    options.add_config(parser, "YAML file of the network", required=False)
    options.add_weights(parser, "its weights (those of MODEL.backbone.pretrained)")
    options.add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Writes the file."""
    from paddlevideo.inference.clip_features import data_section, features_of
    from paddlevideo.inference.feature_table import check_ending
    from paddlevideo.safe_io import check_writable

    check_ending(args.out)
    check_writable(args.out)
    if args.window_s or args.hop_s:
        return _windows(args)
    if args.split and args.input:
        raise UserError("--split: of DATASET, whose clips are taken without -i; name one of the two")
    if args.no_labels and not args.input:
        raise UserError("--no_labels: name the videos with -i")
    if args.data_prefix and (args.no_labels or not args.input):
        raise UserError("--data_prefix: of the paths of a list with labels; name the list with -i")
    model = model_of(args)
    split, num_workers = args.split or "test", args.num_workers or 0
    section = data_section(model.config, split, args.input, args.data_prefix, not args.no_labels, args.label_file)
    table = features_of(model, section, args.label_file, args.batch_size, num_workers, notice, _Progress())
    table.write(args.out)
    labels = f", {plural(table.num_classes, 'class', 'classes')}" if table.labelled else ", without labels"
    print(f"{args.out}: {plural(len(table.videos), 'clip')}, {table.features.shape[1]} values each{labels}")
    return 0


def model_of(args: argparse.Namespace) -> object:
    """The network of ``add_network``'s options, or of ``--model_file``.

    Raises:
        UserError: they name none, or two.
    """
    from paddlevideo.inference.clip_features import FeatureModel

    if bool(args.config) == bool(args.model_file) or (args.model_file and args.weights):
        raise UserError("name one network: -c CONFIG (and -w WEIGHTS), or --model_file MODEL (from paddlevideo export)")
    if args.override and not args.config:
        raise UserError(
            "-o changes the configuration; an export has its own, so that its features are what it predicts"
        )
    if args.model_file:
        from paddlevideo.extensions import declare_all

        declare_all(args.imports)
        return FeatureModel.of_export(args.model_file, args.device, notice)
    config = options.read_config(args, ("test",))
    return FeatureModel.of_weights(config, args.weights, args.device, notice)


def notice(line: str) -> None:
    """Remarks go to stderr."""
    print(line, file=sys.stderr, flush=True)


_OF_CLIPS = ("config", "weights", "override", "split", "data_prefix", "label_file", "no_labels", "num_workers")


def _refuse_of_clips(args: argparse.Namespace) -> None:
    """
    Raises:
        UserError: options of clips beside those of windows, which have no labels and an export's network.
    """
    given = [f"--{name}" for name in _OF_CLIPS if vars(args)[name]]
    if given:
        raise UserError(
            f"{', '.join(given)}: of clips; windows (--window_s, --hop_s) are of the videos of -i, unlabelled"
        )


def _windows(args: argparse.Namespace) -> int:
    """A row per window of videos, those of ``paddlevideo timeline``."""
    from paddlevideo.cli.teach import windows_of
    from paddlevideo.extensions import declare_all
    from paddlevideo.inference.feature_network import FeatureNetwork
    from paddlevideo.inference.feature_table import of_windows
    from paddlevideo.inference.window_features import TaughtFrom
    from paddlevideo.video_files import find_videos

    if not args.model_file or not args.input:
        raise UserError("--window_s and --hop_s: need --model_file MODEL and -i VIDEO ...; export the model first")
    _refuse_of_clips(args)
    declare_all(args.imports)
    model = TaughtFrom.find(args.model_file, notice, teaches=False)
    window_s, hop_s = windows_of(args, model)
    videos, progress = find_videos(args.input, notice), ReadingProgress()
    network = FeatureNetwork(model, args.device, args.batch_size, notice)
    found = {os.path.abspath(video): network.features(video, window_s, hop_s, progress) for video in videos}
    about = {"model_file": os.path.abspath(args.model_file), "window_s": window_s, "hop_s": hop_s}
    table = of_windows(found, about)
    table.write(args.out)
    counts = f"{plural(len(table.videos), 'window')} of {plural(len(found), 'video')}"
    print(f"{args.out}: {counts}, {table.features.shape[1]} values each")
    return 0


class _Progress:
    """``240 of 1000 clips`` on stderr, at most every two seconds."""

    def __init__(self) -> None:
        self._shown_s = 0.0

    def __call__(self, done: int, total: int) -> None:
        import time

        now = time.monotonic()
        if now - self._shown_s >= 2 or done == total:
            self._shown_s = now
            notice(f"{done} of {total} clips")
