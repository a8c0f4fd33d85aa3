"""Checks a configuration and prints it resolved.

paddlevideo check -c tsm_own_videos -o DATASET.batch_size=8
"""

from __future__ import annotations

import argparse
import sys

from paddlevideo.cli import options
from paddlevideo.cli.test import add_protocol


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_config(parser)
    add_protocol(parser)
    parser.set_defaults(test=False)


def run(args: argparse.Namespace) -> int:
    from paddlevideo.build import data_findings, length_remarks, load_run_config, monitor_findings, unread_remarks
    from paddlevideo.config.quantisation import is_quantisation, remark
    from paddlevideo.engine.sinks import missing_libraries
    from paddlevideo.errors import ConfigError

    uses = ("test",) if args.test else options.SPLITS
    config = load_run_config(args.config, args.override, uses, args.imports, quantises=not args.test)
    if is_quantisation(config):
        print(remark(config.source), file=sys.stderr)
        print(config.to_yaml(), end="")
        return 0
    found = data_findings(config, uses)
    if not args.test:  # a test reads neither
        found += monitor_findings(config) + missing_libraries(config.settings.sinks)
    if found:
        raise ConfigError(str(config.source), found)
    for line in unread_remarks(config) + length_remarks(config):
        print(f"warning: {line}", file=sys.stderr)
    print(config.to_yaml(), end="")
    return 0
