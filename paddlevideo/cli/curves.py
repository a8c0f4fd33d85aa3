"""Draws the curves of training runs: losses, learning rate, figures by epoch, and the time that steps wait for data.

    paddlevideo curves output/TSM
    paddlevideo curves output/TSM output/TSM_ema --out both.html

One folder: writes training.html in it.  Several: their curves in the same charts, and the keys of their configurations
that differ.

A run writes its own page at the end of every epoch; this command draws it for a run that trains right now, or one of
an earlier version.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from paddlevideo.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The folders, and the page."""
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="output folder of a training run")
    out = "the page (default: training.html in the folder; of several: curves.html)"
    parser.add_argument("--out", type=Path, metavar="FILE", help=out)


def run(args: argparse.Namespace) -> int:
    """Writes the page and prints its path."""
    from paddlevideo.reporting.training_report import PAGE, named_apart, read_run, write_page

    resolved = [folder.resolve() for folder in args.folders]
    for folder in args.folders:
        if resolved.count(folder.resolve()) > 1:
            raise UserError(f"{folder}: is named {resolved.count(folder.resolve())} times; name each run once")
    default = args.folders[0] / PAGE if len(args.folders) == 1 else Path("curves.html")
    out = args.out or default
    if out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--out {out}: expected a name ending in .html")
    print(write_page(named_apart([read_run(folder) for folder in args.folders]), out))
    return 0
