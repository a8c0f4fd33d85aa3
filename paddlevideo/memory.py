"""Out of memory: the messages of numpy, Paddle and C++, and one line with what was computed and what to lower."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from paddlevideo.errors import UserError

_MESSAGES = ("ResourceExhausted", "Out of memory", "bad_alloc", "Cannot allocate memory")


class OutOfMemoryError(UserError):
    """One line with the place, the size of the batch, and what to lower."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of any library means that memory ran out."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | OSError) and any(words in str(error) for words in _MESSAGES)
    )


@contextlib.contextmanager
def within_memory(place: str, imgs: Any, way_out: str) -> Iterator[None]:
    """Names the batch that the block works on where memory runs out in it.

    Args:
        place: what happens in the block, e.g. ``a training step``.
        imgs: the clips, [N, V, T, H, W, 3], or what else is computed; None if there is nothing of the kind.
        way_out: what to lower.

    Raises:
        OutOfMemoryError: memory ran out.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(f"out of memory in {place} of {clips(imgs)} ({reason(error)}); {way_out}") from error


def clips(imgs: Any) -> str:
    """``8 clips (1 view of 16 frames, 224 x 224 pixels)``; other shapes as they are."""
    if imgs is None:
        return "a batch"
    shape = tuple(imgs.shape)
    if len(shape) != 6:
        return f"an array {list(shape)}"
    n, views, frames, height, width, _ = shape
    return f"{n} clip{'s' * (n != 1)} ({views} view{'s' * (views != 1)} of {frames} frames, {height} x {width} pixels)"


def reason(error: BaseException) -> str:
    """The first sentence of a library's message; Paddle's opens with its kind in brackets."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = next((line for line in lines if line.startswith("(")), lines[0] if lines else type(error).__name__)
    return first.split(" (at ")[0].removeprefix("(ResourceExhausted) ").rstrip(".")[:200]
