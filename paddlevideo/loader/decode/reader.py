"""The protocol of all frame sources, the error they raise, and the choice of a backend by name."""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.loader.decode.container import declared_size
from paddlevideo.registry import suggest

Reason = Literal[
    "missing", "empty", "not_a_video", "no_video_stream", "truncated", "corrupt", "no_frames", "timeout"
]  # fmt: skip


class VideoReadError(UserError):
    """One file cannot be read.  A data set may skip or count such a sample; every other error is raised.

    Attributes:
        path: the file.
        reason: one word of ``Reason``.
        detail: what was seen, for people.
    """

    def __init__(self, path: str | os.PathLike, reason: Reason, detail: str):
        self.path, self.reason, self.detail = os.fspath(path), reason, detail
        super().__init__(f"{printable(self.path)}: {reason} ({printable(detail)})")

    def __reduce__(self):
        return type(self), (self.path, self.reason, self.detail)


def printable(text: object) -> str:
    """The text with line breaks and control characters escaped, so that a file name cannot write to a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in str(text))


class FrameReader:
    """A source of frames.  ``len(reader)`` is the exact number of frames; ``fps`` is 0.0 where the source has none.

    A backend is a subclass with a name, in a file of this folder: ``class PyAVReader(FrameReader, backend="pyav")``.
    """

    registered: ClassVar[dict[str, type[FrameReader]]] = {}
    fps: float = 0.0

    def __init_subclass__(cls, backend: str | None = None) -> None:
        if backend:
            FrameReader.registered[backend] = cls

    @classmethod
    def open(cls, path: str) -> FrameReader:
        """A reader for an existing, non-empty file.

        Raises:
            VideoReadError: the file holds no readable video.
        """
        return cls(path)

    def __len__(self) -> int:
        raise NotImplementedError

    def get(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Exactly the frames asked for.

        Args:
            indices: 0-based display indices, in any order, repetitions allowed.

        Returns:
            uint8 [T, H, W, 3] RGB, upright, T = len(indices).

        Raises:
            VideoReadError: a frame cannot be decoded; there are never fewer frames than asked.
            IndexError: an index outside 0 .. len(reader) - 1.
        """
        raise NotImplementedError

    def times(self) -> np.ndarray | None:
        """Seconds from the first frame to each, float64 [len(reader)]; None where the source has no frame rate."""
        return np.arange(len(self)) / self.fps if self.fps else None

    def close(self) -> None:
        """Frees the file; may be called twice."""

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def checked(self, indices: Sequence[int] | np.ndarray) -> list[int]:
        """The indices as a list of ints, all of them inside the source."""
        wanted = [int(i) for i in indices]
        wrong = [i for i in wanted if not 0 <= i < len(self)]
        if not wanted or wrong:
            raise IndexError(
                f"frame {wrong[0] if wrong else 'list is empty'} asked of a source with {len(self)} frames"
            )
        return wanted


class Clip:
    """The output array of ``get``: filled by display index, complete or an error."""

    def __init__(self, path: str, indices: list[int]):
        self._path = path
        self._indices = np.asarray(indices)
        self.missing = set(indices)
        self._out: np.ndarray | None = None

    def put(self, index: int, image: np.ndarray) -> None:
        """Stores uint8 [H, W, 3] at every place that asked for this index."""
        if self._out is None:
            self._out = np.empty((len(self._indices), *image.shape), np.uint8)
        elif image.shape != self._out.shape[1:]:
            sizes = f"{self._out.shape[2]}x{self._out.shape[1]} and {image.shape[1]}x{image.shape[0]}"
            raise VideoReadError(self._path, "corrupt", f"the frame size changes: {sizes}")
        self._out[self._indices == index] = image
        self.missing.discard(index)

    def finish(self) -> np.ndarray:
        """uint8 [T, H, W, 3]."""
        if self.missing or self._out is None:
            raise VideoReadError(self._path, "corrupt", f"frame {min(self.missing)} cannot be decoded")
        return self._out


def backends() -> list[str]:
    """Names of all backends, sorted."""
    _discover()
    return sorted(FrameReader.registered)


def open_video(path: str | os.PathLike, backend: str = "pyav") -> FrameReader:
    """Opens a video file.

    Args:
        backend: a name from ``backends()``.

    Raises:
        VideoReadError: missing, empty, cut off, or not a video.
        UserError: no such backend, or its library is not installed.
    """
    _discover()
    if backend not in FrameReader.registered:
        raise UserError(f"there is no decode backend {backend!r}{suggest(str(backend), backends())}")
    path = os.fspath(path)
    _check_file(path)
    return FrameReader.registered[backend].open(path)


def _discover() -> None:
    package = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"{package}.{module.name}")


def _check_file(path: str) -> None:
    """What every backend would report in its own words, or not at all: missing, empty, cut off."""
    try:
        if not os.path.isfile(path):
            raise VideoReadError(path, "missing", "it is a folder" if os.path.isdir(path) else "no such file")
        size = os.path.getsize(path)
        if size == 0:
            raise VideoReadError(path, "empty", "0 bytes")
        declared = declared_size(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the name
        raise VideoReadError(path, "missing", f"cannot be opened: {error}") from error
    if declared is not None and declared > size:
        detail = f"its header announces {declared} bytes, it has {size}; get or copy the file again"
        raise VideoReadError(path, "truncated", detail)
