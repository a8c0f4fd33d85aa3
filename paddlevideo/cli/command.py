"""How every command ends: one line and an exit code, never a traceback for a user's mistake; and flags they share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from paddlevideo.cli.escaping import escaped_output
from paddlevideo.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, UserError
from paddlevideo.memory import is_out_of_memory, reason

if TYPE_CHECKING:
    from paddlevideo.config import Config

_TRUE, _FALSE = ("true", "t", "1", "yes", "y"), ("false", "f", "0", "no", "n")

# names of packages that differ from their modules'
_PIP = {"paddle": "paddlepaddle (or paddlepaddle-gpu)", "cv2": "opencv-python-headless", "yaml": "pyyaml",
        "PIL": "pillow"}  # fmt: skip


@escaped_output()
def run_command(main: Callable[[], int | None]) -> int:
    """Runs a command's ``main`` and turns its outcome into an exit code.

    Returns:
        0 or what ``main`` returned, or another of ``EXIT_CODES``; a ``UserError``, or what the disk, memory or
        installation lacks, is printed to stderr in one line.
    """
    try:
        return main() or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:
        line = _of_the_system(error)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        return EXIT_USER_ERROR


def _of_the_system(error: Exception) -> str | None:
    """One line for what disks, memory and the installation lack; None where it is a bug."""
    if is_out_of_memory(error):
        return f"out of memory ({reason(error)}); lower the batch size, the number of frames or their size"
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("paddlevideo"):
        package = error.name.partition(".")[0]
        return f"the Python package {package!r} is not installed here: pip install {_PIP.get(package, package)}"
    if isinstance(error, OSError) and error.errno is not None:
        path = error.filename2 or error.filename
        return f"{path}: {error.strerror}" if path is not None else str(error.strerror)
    return None


def parse_bool(text: str) -> bool:
    """``true t 1 yes y`` and ``false f 0 no n``, in any case; anything else is refused.  For argparse's ``type``."""
    word = text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")


def config_of_model(args: argparse.Namespace) -> Config | None:
    """The configuration of ``-c`` with ``-o``, where ``--model_file``, or ``-c`` and ``-w``, name one model.

    Raises:
        UserError: they name none or two.
    """
    from paddlevideo.config import load_config

    if bool(args.weights) == bool(args.model_file):
        raise UserError("name one model: -c CONFIG -w WEIGHTS, or --model_file MODEL (from tools/export_model.py)")
    if args.weights and not args.config:
        raise UserError("-w needs the configuration that the weights were trained with: -c CONFIG")
    if args.override and not args.config:
        raise UserError("-o changes the configuration, but none is named; add --config")
    return load_config(args.config, args.override, uses=("test",)) if args.config else None
