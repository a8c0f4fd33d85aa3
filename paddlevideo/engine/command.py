"""How every command ends: one line and an exit code, never a traceback for a user's mistake."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from paddlevideo.config import Config, load_config
from paddlevideo.config.checking import SPLITS
from paddlevideo.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, UserError
from paddlevideo.solver.check import check_lr, check_optimizer


def run_command(main: Callable[[], int | None]) -> int:
    """Runs a command's ``main`` and turns its outcome into an exit code.

    Returns:
        0 or what ``main`` returned, or another of ``EXIT_CODES``; a ``UserError`` is printed to stderr.
    """
    try:
        return main() or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


def load_run_config(path: str | Path, overrides: Sequence[str] = (), uses: Sequence[str] = SPLITS) -> Config:
    """The configuration of a training or test run, its OPTIMIZER and SWA.lr checked with the rest; imports no Paddle.

    Args:
        uses: the pipelines that the command runs: a test's network need not fit PIPELINE.train.

    Raises:
        ConfigError: every mistake of it.
    """
    return load_config(path, overrides, checks=(_optimizer, _swa_rate), uses=uses)


def _optimizer(data: Mapping[str, Any]) -> list[str]:
    return check_optimizer(data["OPTIMIZER"]) if "OPTIMIZER" in data else []


def _swa_rate(data: Mapping[str, Any]) -> list[str]:
    section = data.get("SWA")
    return check_lr(section["lr"], "SWA.lr") if isinstance(section, Mapping) and "lr" in section else []
