"""Measures how well small classifiers on frozen features tell classes apart, cross-validated by source; in seconds.

    paddlevideo features -c tsm_mv2_own_videos -i data/own/train --out features.npz
    paddlevideo probe features.npz --source sources.txt
    paddlevideo probe features.npz --source '_(g[0-9]+)_' --shots 1 5 20 --out probe.json
    paddlevideo probe features.npz --source sources.txt -c tsm_mv2_own_videos --save output/probe.pdparams

Clips of one recording stay on one side of every fold; --source names the recordings, as in paddlevideo new.  --save
writes the network with the linear classifier of all clips: for predict, export, and to fine-tune from with train -w.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from paddlevideo.cli import options
from paddlevideo.cli.features import add_network, notice
from paddlevideo.errors import UserError
from paddlevideo.findings import plural

if TYPE_CHECKING:
    from paddlevideo.inference.probing import Figure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The features, the folds, the classifiers, and what is written."""
    add = parser.add_argument
    add("features", type=Path, metavar="FEATURES", help="file of paddlevideo features, with labels")
    of_source = "which clips are of one recording: a regular expression, a file of 'name source' lines, or none"
    add("--source", metavar="REGEX", help=of_source)
    add("--folds", type=options.at_least(2), default=5, help="parts, each of which is measured once (%(default)s)")
    add("--head", nargs="+", choices=("linear", "knn", "prototype"), default=["linear", "knn", "prototype"])
    add("--shots", nargs="+", type=options.at_least(1), metavar="N", help="train on N clips per class (all of them)")
    add("--seeds", type=options.at_least(1), default=3, help="draws of the clips of --shots per fold (%(default)s)")
    add("--out", type=Path, metavar="FILE", help="write every figure: .json")
    add("--save", type=Path, metavar="FILE", help="write the network with the linear classifier: .pdparams; with -c")
    add_network(parser)


def run(args: argparse.Namespace) -> int:
    """Prints a table."""
    from paddlevideo.inference.feature_table import read_features
    from paddlevideo.inference.probing import cross_validate, sources_of_table
    from paddlevideo.safe_io import check_writable, write_atomic

    _check(args)
    for out in filter(None, (args.out, args.save)):
        check_writable(out)
    table = read_features(args.features)
    if not table.labelled:
        raise UserError(f"{args.features}: has clips without a label; a probe needs one for each")
    sources = sources_of_table(table, args.source)
    notice(
        f"sources: {sources.rule or 'every clip is one; figures are too good if clips share a recording (--source)'}"
    )
    figures = cross_validate(table, sources.names, args.folds, args.head, args.shots or (None,), args.seeds, notice)
    what = "mAP" if table.multi_label else "accuracy"
    counts = f"{plural(len(table.videos), 'clip')}, {plural(table.num_classes, 'class', 'classes')}"
    print(f"{counts}, {plural(len(set(sources.names)), 'source')}, {args.folds} folds: {what}")
    for shots in args.shots or (None,):
        for head in args.head:
            print(_line(head, shots, [each for each in figures if (each.head, each.shots) == (head, shots)]))
    if args.out:
        content = {"figure": what, "sources": len(set(sources.names)), "figures": [asdict(each) for each in figures]}
        write_atomic(args.out, json.dumps(content, indent=1) + "\n")
    if args.save:
        _save(args, table, sources.names)
    return 0


def _check(args: argparse.Namespace) -> None:
    """
    Raises:
        UserError: other endings, no network to save, or a network and nothing to save.
    """
    if args.out and args.out.suffix.lower() != ".json":
        raise UserError(f"--out {args.out}: expected a name that ends in .json")
    if args.save and args.save.suffix != ".pdparams":
        raise UserError(f"--save {args.save}: expected a name that ends in .pdparams")
    if args.save and not args.config:
        raise UserError("--save: needs the network: -c CONFIG (and -w WEIGHTS), the one of the features")
    if not args.save and (args.config or args.weights or args.override):
        raise UserError("-c, -w, -o: name the network that --save writes; the figures need the features alone")


def _line(head: str, shots: int | None, figures: list[Figure]) -> str:
    """Mean and spread over folds, of each the mean over seeds."""
    folds: dict[int, list[float]] = {}
    for each in figures:
        if not math.isnan(each.value):
            folds.setdefault(each.fold, []).append(each.value)
    means = [sum(values) / len(values) for values in folds.values()]
    mean = sum(means) / max(len(means), 1)
    spread = math.sqrt(sum((value - mean) ** 2 for value in means) / max(len(means) - 1, 1))
    title = "all clips" if shots is None else f"{shots} per class"
    each = " ".join(f"{value:.3f}" for value in means)
    return f"  {head:10} {title:13} {mean:.4f} (folds {each}; standard deviation {spread:.3f})"


def _save(args: argparse.Namespace, table: object, sources: Sequence[str]) -> None:
    from paddlevideo.inference.probed_network import save_probe

    config = options.read_config(args, ("test",))
    save_probe(config, args.weights, table, sources, args.save, args.device, notice)
    print(f"{args.save}: the network with the linear classifier of {plural(len(table.videos), 'clip')}")
