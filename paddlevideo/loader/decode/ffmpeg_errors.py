"""FFmpeg's errors about a file: its exceptions as one that names the file, and the error lines of its log."""

from __future__ import annotations

import logging as python_logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from paddlevideo.errors import printable
from paddlevideo.loader.decode.memory import Source, open_bytes, size_of
from paddlevideo.loader.decode.reader import VideoReadError

Line = tuple[int, str, str]  # level, name, text
_RANDOM_ACCESS = ("mmco: unref short failure", "number of reference frames")


@contextmanager
def decoder_errors(path: Source, reason: str) -> Iterator[None]:
    """Turns the library's errors into one that names the file."""
    import av

    try:
        yield
    except FileNotFoundError as error:
        raise VideoReadError(path, "missing", "no such file") from error
    except (av.error.FFmpegError, OSError, ValueError, EOFError, IndexError) as error:  # IndexError: a late new track
        detail = getattr(error, "strerror", None) or str(error)
        if reason == "not_a_video" and _begins_like_mp4(path):
            reason, detail = "truncated", "an mp4 without its index (moov); the writing or copying was cut off"
        raise VideoReadError(path, reason, detail) from error


class _LogLevel:
    """FFmpeg's callback and level belong to the process: the first of the blocks that are open sets them, and the last
    one restores them.  The lock keeps a thread from restoring them just after another one has set them."""

    def __init__(self):
        self._lock, self._num_open, self._before = threading.Lock(), 0, (None, True)
        os.register_at_fork(after_in_child=self._reset)

    def __enter__(self) -> None:
        from av import logging

        with self._lock:
            self._num_open += 1
            if self._num_open == 1:
                self._before = logging.get_level(), logging.get_skip_repeated()
                logging.set_skip_repeated(False)
                logging.set_level(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._num_open = max(self._num_open - 1, 0)  # a block that a fork has closed
            if self._num_open == 0:
                self._restore()

    def _restore(self) -> None:
        from av import logging

        level, skip_repeated = self._before
        logging.set_level(level)
        logging.set_skip_repeated(skip_repeated)

    def _reset(self) -> None:
        """In a forked process the blocks of other threads never end."""
        if self._num_open:
            self._restore()
        self._lock, self._num_open = threading.Lock(), 0


_log_level = _LogLevel()
_SILENT = python_logging.NullHandler()


@contextmanager
def error_lines() -> Iterator[list[Line]]:
    """FFmpeg's error lines of this thread, as (level, name, text).

    FFmpeg has one callback per process.  It is PyAV's only within such blocks: with decoder threads it can deadlock.
    """
    from av import logging

    python_logging.getLogger("libav").addHandler(_SILENT)  # lines of other threads meanwhile: they have no reader
    with _log_level, logging.Capture() as lines:
        yield lines


def first_line(lines: list[Line]) -> str | None:
    """The first line as a text; None: there is none."""
    return f"{lines[0][1]}: {printable(lines[0][2].strip())}" if lines else None


def is_random_access(error: str | None) -> bool:
    """Whether FFmpeg reports this where decoding begins inside a stream, at a key frame that pictures precede."""
    return error is not None and any(text in error for text in _RANDOM_ACCESS)


def _begins_like_mp4(path: Source) -> bool:
    try:
        with open_bytes(path) as stream:
            return size_of(path) > 8 and stream.read(8)[4:] == b"ftyp"
    except OSError:
        return False
