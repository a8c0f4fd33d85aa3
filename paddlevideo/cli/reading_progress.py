"""How far a video was read, for those who follow a command's stderr."""

from __future__ import annotations

import sys
import time

_EVERY_S = 1.0


class ReadingProgress:
    """Prints ``at 12.0 s`` to stderr, at most once a second; called with seconds of a video, or of all of them."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, time_s: float) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _EVERY_S
            print(f"at {time_s:.1f} s", file=sys.stderr, flush=True)
