"""The options of the rule from scores to spans, which ``timeline`` and ``detect`` share."""

from __future__ import annotations

import argparse
from typing import Any

from paddlevideo.cli import options
from paddlevideo.errors import UserError

NAMES = ("smoothing", "smooth_s", "on", "off", "min_s", "gap_s", "background")


def add_rule(parser: argparse.ArgumentParser) -> None:
    """``--smoothing`` to ``--background``: fields of ``inference.timeline.TimelineSettings``."""
    add = parser.add_argument
    add("--smoothing", choices=("median", "exponential", "none"), default="median", help="of scores (%(default)s)")
    add("--smooth_s", type=float, metavar="S", help="width of the median or time constant (window_s / 2)")
    add("--on", type=options.share, default=0.6, help="a span begins at this score (%(default)s)")
    add("--off", type=options.share, default=0.4, help="and ends below this one (%(default)s)")
    add("--min_s", type=float, metavar="S", help="shorter spans are dropped (window_s / 2)")
    add("--gap_s", type=float, metavar="S", help="spans of a class at most so far apart are one (window_s / 2)")
    add("--background", metavar="CLASS", help="the class that is no span (that of the model, if it was taught one)")


def rule_of(args: argparse.Namespace) -> dict[str, Any]:
    """The values of ``add_rule``'s options, by the names that ``TimelineSettings`` has.

    Raises:
        UserError: a width of smoothing beside ``--smoothing none``.
    """
    if args.smooth_s and args.smoothing == "none":
        raise UserError(f"--smooth_s {args.smooth_s:g}: --smoothing none has no width; leave one of the two out")
    return {name: vars(args)[name] for name in NAMES}
