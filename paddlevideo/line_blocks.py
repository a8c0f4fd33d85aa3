"""Lines of a text file as arrays of bytes, a block after the other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_BLOCK = 1 << 16  # bytes that are looked at together: they stay in the processor's cache


def line_blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Where whole lines begin, and their bytes, with LF at the end of the last one, too."""
    begin = 0
    while begin < len(data):
        end = data.rfind(b"\n", begin, begin + _BLOCK) + 1 or data.find(b"\n", begin + _BLOCK) + 1 or len(data)
        block = data[begin:end]
        yield begin, block if block.endswith(b"\n") else block + b"\n"
        begin = end


def characters(
    a: np.ndarray, starts: np.ndarray, length: np.ndarray, most: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For k = 0, 1, ... up to ``most``: which texts have a k-th byte, bool [M], and these bytes, uint8 [M].

    Args:
        a: uint8 [B], the bytes of a block.
        starts, length: int64 [M], of the texts.
    """
    for k in range(min(int(length.max(initial=0)), most)):
        yield k < length, a[np.minimum(starts + k, len(a) - 1)]
