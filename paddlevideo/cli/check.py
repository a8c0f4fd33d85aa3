"""Checks a configuration and prints it resolved.

paddlevideo check -c tsm_own_videos -o DATASET.batch_size=8
"""

from __future__ import annotations

import argparse
import sys

from paddlevideo.cli import options
from paddlevideo.cli.test import overrides


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_config(parser)
    parser.add_argument("--protocol", metavar="NAME", help="which of the configuration's PROTOCOLS to test with")
    parser.set_defaults(test=False)


def run(args: argparse.Namespace) -> int:
    from paddlevideo.build import length_remarks, load_run_config

    uses = ("test",) if args.test else ("train", "valid", "test")
    config = load_run_config(args.config, overrides(args), uses)
    for line in length_remarks(config):
        print(f"warning: {line}", file=sys.stderr)
    print(config.to_yaml(), end="")
    return 0
