"""Ctrl-C and SIGTERM of a command that writes what it has found."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from paddlevideo.errors import EXIT_INTERRUPTED, EXIT_TERMINATED

_AT_ONCE_S = 5.0  # a second signal so soon is the same one: a terminal, a launcher and a user send several


class Interruption:
    """In its block Ctrl-C and SIGTERM are noted; after it, handlers are as before.

    Work that may end anywhere is in a block of ``interruptible``.  Outside of these nothing is raised, so that what was
    found is kept and written.  In another thread than the main one, which receives no signals, it does nothing.

    Args:
        stop: sets what ends the work, for an exception that is raised in a library's callback, where it ends.

    Attributes:
        signal: the first that was received; None: none.
    """

    def __init__(self, stop: Callable[[], None] = lambda: None):
        self._stop, self._raises, self._at_s = stop, False, 0.0
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            numbers = (signal.SIGINT, signal.SIGTERM)
            self._before = {number: signal.signal(number, self._received) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def exit_code(self) -> int:
        """Of a command that was interrupted."""
        return EXIT_TERMINATED if self.signal == signal.SIGTERM else EXIT_INTERRUPTED

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """In this block a signal calls ``stop`` and raises KeyboardInterrupt; at once, where there was one before."""
        try:
            self._raises = True
            if self.signal is not None:
                raise KeyboardInterrupt
            yield
        finally:
            self._raises = False

    def _received(self, number: int, _: object) -> None:
        now = time.monotonic()
        if self.signal is not None and now - self._at_s < _AT_ONCE_S:
            return
        if self.signal is None:
            self.signal, self._at_s = number, now
        self._stop()
        if self._raises:
            raise KeyboardInterrupt
