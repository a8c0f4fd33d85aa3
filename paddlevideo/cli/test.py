"""Evaluates weights on DATASET.test through PIPELINE.test.

paddlevideo test -c CFG -w output/TSM/TSM_best.pdparams --out results.json
"""

from __future__ import annotations

import argparse

from paddlevideo.cli import options
from paddlevideo.cli.train import add_run, run_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_config(parser)
    options.add_weights(parser)
    add_testing(parser)
    add_run(parser)


def add_testing(parser: argparse.ArgumentParser) -> None:
    """The options of testing alone."""
    parser.add_argument("--protocol", metavar="NAME", help="which of the configuration's PROTOCOLS to test with")
    results = "per-video results of a test as .json, .csv or .pkl; detections as .csv"
    parser.add_argument("--out", metavar="FILE", help=results)


def overrides(args: argparse.Namespace) -> list[str]:
    """``-o`` with ``--protocol``."""
    return [*args.override, *([f"protocol={args.protocol}"] if args.protocol else [])]


def run(args: argparse.Namespace) -> int:
    from paddlevideo import api

    api.test(args.config, args.weights, overrides(args), out=args.out, **run_options(args))
    return 0
