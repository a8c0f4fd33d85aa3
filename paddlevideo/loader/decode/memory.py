"""The bytes of a video: a file, or the content of one in memory, behind one way to open them."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import BinaryIO


@dataclass(frozen=True)
class MemoryVideo(os.PathLike):
    """A video file whose bytes are in memory.

    Args:
        name: stands for its path in messages.
        content: of the file.
    """

    name: str
    content: bytes

    def __fspath__(self) -> str:
        return self.name

    def __str__(self) -> str:
        return self.name


Source = str | os.PathLike  # a path, or a MemoryVideo


def open_bytes(source: Source) -> BinaryIO:
    """The content as a stream that can be read at any place.

    Raises:
        OSError: the file cannot be opened.
    """
    return io.BytesIO(source.content) if isinstance(source, MemoryVideo) else open(source, "rb")


def size_of(source: Source) -> int:
    """Bytes.

    Raises:
        OSError: there is no such file.
    """
    return len(source.content) if isinstance(source, MemoryVideo) else os.path.getsize(source)
