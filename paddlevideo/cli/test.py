"""Evaluates weights on DATASET.test through PIPELINE.test.

paddlevideo test -c CFG -w output/TSM/TSM_best.pdparams --out results.json
"""

from __future__ import annotations

import argparse
import os

from paddlevideo.cli import options
from paddlevideo.cli.outputs import check_outputs
from paddlevideo.cli.train import add_run, run_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_config(parser)
    options.add_weights(parser)
    add_testing(parser)
    add_run(parser)


def add_testing(parser: argparse.ArgumentParser) -> None:
    """The options of testing alone."""
    add_protocol(parser)
    results = "per-video results of a test as .json, .csv or .pkl; detections as .csv"
    parser.add_argument("--out", metavar="FILE", help=results)
    clips = "clips with pictures in report.html (default 32; 0: none)"
    parser.add_argument("--report_clips", type=options.at_least(0), metavar="N", help=clips)


def add_protocol(parser: argparse.ArgumentParser) -> None:
    """``--protocol NAME``, short for ``-o protocol=NAME``."""
    which = "which of the configuration's PROTOCOLS to test with"
    assignment = "protocol={}".format
    parser.add_argument("--protocol", dest="override", action="append", type=assignment, metavar="NAME", help=which)


def run(args: argparse.Namespace) -> int:
    from paddlevideo import api
    from paddlevideo.config.finding import find_config

    if args.out:
        lists = ((options.read_config(args, ("test",)).get("DATASET") or {}).get("test") or {}).values()
        files = [path for path in lists if isinstance(path, str) and os.path.isfile(os.path.expanduser(path))]
        read = [("-c", str(find_config(args.config))), *(("DATASET.test", path) for path in files)]
        check_outputs([("--out", args.out)], [*read, *([("-w", args.weights)] if args.weights else [])])
    more = {"report_clips": args.report_clips, **run_options(args)}
    api.test(args.config, args.weights, args.override, args.out, args.imports, **more)
    return 0
