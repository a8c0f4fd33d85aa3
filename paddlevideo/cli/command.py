"""Exit codes of all commands: a user's mistake gives one line, never a traceback."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable

from paddlevideo.cli.escaping import escaped_output
from paddlevideo.errors import EXIT_INTERRUPTED, EXIT_PIPE, EXIT_USER_ERROR, UserError
from paddlevideo.memory import is_out_of_memory, reason

# names of packages that differ from their modules'
_PIP = {"paddle": "paddlepaddle (or paddlepaddle-gpu)", "cv2": "opencv-python-headless", "yaml": "pyyaml",
        "PIL": "pillow"}  # fmt: skip


@escaped_output()
def run_command(main: Callable[[], int | None]) -> int:
    """Runs a command's ``main`` and turns its outcome into an exit code.

    Returns:
        0 or what ``main`` returned, or another of ``EXIT_CODES``; a ``UserError``, or a lack of disk space, memory or
        a package, is printed to stderr in one line.
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
        if isinstance(error, BrokenPipeError) and _reader_has_ended():
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return EXIT_PIPE
        line = _of_the_system(error)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        return EXIT_USER_ERROR


def _reader_has_ended() -> bool:
    """Whether stdout is a pipe without a reader any more, as of ``| head``."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)  # errors alone
        return bool(poll.poll(0))
    except (AttributeError, OSError, ValueError):  # no poll on this system, no file
        return False


def _of_the_system(error: Exception) -> str | None:
    """One line for a lack of disk space, memory or a package; None if it is a bug."""
    if is_out_of_memory(error):
        return f"out of memory ({reason(error)}); lower the batch size, the number of frames or their size"
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("paddlevideo"):
        package = error.name.partition(".")[0]
        return f"the Python package {package!r} is not installed here: pip install {_PIP.get(package, package)}"
    if isinstance(error, OSError) and error.errno is not None:
        path = error.filename2 or error.filename
        return f"{path}: {error.strerror}" if path is not None else str(error.strerror)
    return None
