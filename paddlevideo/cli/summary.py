"""Counts the parameters and the multiply-adds of a configuration's network, by part; no weights are read.

paddlevideo summary -c tsm_k400_frames
paddlevideo summary -c tsm_k400_frames -o num_seg=16 --json
"""

from __future__ import annotations

import argparse
import json

from paddlevideo.cli import options
from paddlevideo.cli.test import add_protocol


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_config(parser)
    add_protocol(parser)
    boxes = "persons in the clip, of a network that takes their boxes (1)"
    parser.add_argument("--boxes", type=options.at_least(1), metavar="N", help=boxes)
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")


def run(args: argparse.Namespace) -> int:
    config = options.read_config(args, ("test",))
    from paddlevideo.inference.summary import summarise

    summary = summarise(config, args.boxes)
    print(json.dumps(summary.describe(), indent=2) if args.json else "\n".join(summary.lines()))
    return 0
