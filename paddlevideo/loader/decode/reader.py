"""The protocol of all frame sources, the error they raise, and the choice of a backend by name."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import logging
import os
import pkgutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from paddlevideo.addresses import without_secrets
from paddlevideo.errors import UserError, printable
from paddlevideo.loader.decode.container import declared_size
from paddlevideo.loader.decode.memory import MemoryVideo, Source, size_of
from paddlevideo.registry import suggest
from paddlevideo.safe_io import instead_of_a_file

if TYPE_CHECKING:
    from paddlevideo.loader.decode.index import IndexedVideo, VideoIndex

log = logging.getLogger("paddlevideo")

Reason = Literal[
    "missing", "empty", "not_a_video", "no_video_stream", "too_large", "truncated", "corrupt", "no_frames", "timeout",
    "crashed",
]  # fmt: skip
Damaged = Literal["refuse", "read"]
EachFrame = Callable[[np.ndarray], np.ndarray]  # uint8 [H, W, 3] -> uint8 [H', W', 3]
MAX_PIXELS = 1 << 26  # of one picture: 8192 x 8192


class VideoReadError(UserError):
    """One file cannot be read.  A data set may skip or count such a sample; every other error is raised.

    Attributes:
        path: the file.
        reason: one word of ``Reason``.
        detail: the cause, in words.
    """

    def __init__(self, path: str | os.PathLike, reason: Reason, detail: str):
        self.path, self.reason, self.detail = os.fspath(path), reason, detail
        super().__init__(f"{without_secrets(self.path)}: {reason} ({printable(detail)})")

    def __reduce__(self):
        return type(self), (self.path, self.reason, self.detail)


class OutdatedIndex(Exception):
    """An opened file is another one than its entry in the index describes."""


class FrameReader:
    """A source of frames.  ``len(reader)`` is the exact number of frames; ``fps`` is 0.0 where the source has none.

    A picture that the container repeats without storing it again (an empty chunk of an AVI) is no frame, as for
    OpenCV and decord, with which PaddleVideo and MMAction2 read; ``times`` has a gap there.

    A backend is a subclass with a name, in a file of this folder: ``class PyAVReader(FrameReader, backend="pyav")``.

    Attributes:
        fps: (frames - 1) / (time of the last one), or the stated rate where the time stamps agree with it.
        pixel_aspect: width of a pixel divided by its height, of the upright frames that are given, not scaled by it.
        remarks: what is read in another way than one might expect.
    """

    registered: ClassVar[dict[str, type[FrameReader]]] = {}
    takes_memory: ClassVar[bool] = False  # reads a ``MemoryVideo``
    takes_index: ClassVar[bool] = False  # ``open`` also takes ``known``, an ``IndexedVideo``
    fps: float = 0.0
    pixel_aspect: float = 1.0
    remarks: Sequence[str] = ()

    def __init_subclass__(cls, backend: str | None = None) -> None:
        if backend:
            FrameReader.registered[backend] = cls

    @classmethod
    def open(cls, path: str, max_pixels: int) -> FrameReader:
        """A reader for an existing, non-empty file; of a class with ``takes_memory`` also for a ``MemoryVideo``.

        Args:
            max_pixels: of one picture; a file with larger ones is refused before memory is taken for them.

        Raises:
            VideoReadError: the file holds no readable video.
        """
        return cls(path, max_pixels)

    def __len__(self) -> int:
        raise NotImplementedError

    def get(self, indices: Sequence[int] | np.ndarray, each: EachFrame | None = None) -> np.ndarray:
        """Exactly the requested frames.

        Args:
            indices: 0-based display indices, in any order, repetitions allowed.
            each: applied to every picture as it is decoded, so that no more than its results are held.

        Returns:
            uint8 [T, H, W, 3] RGB, upright, T = len(indices), all in the size of the video's first frame.

        Raises:
            VideoReadError: a frame cannot be decoded, or is damaged; there are never fewer frames than requested.
            IndexError: an index outside 0 .. len(reader) - 1.
        """
        raise NotImplementedError

    def times(self) -> np.ndarray | None:
        """Seconds from the first frame to each, float64 [len(reader)]; None where the source has no frame rate."""
        return np.arange(len(self)) / self.fps if self.fps else None

    def known(self) -> IndexedVideo | None:
        """What an index stores of this file; None: it is not to be stored, e.g. because a part is damaged."""
        return None

    def close(self) -> None:
        """Frees the file; may be called twice."""

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def checked(self, indices: Sequence[int] | np.ndarray) -> list[int]:
        """The indices as a list of ints, all of them inside the source."""
        requested = [int(i) for i in indices]
        wrong = [i for i in requested if not 0 <= i < len(self)]
        if not requested or wrong:
            raise IndexError(
                f"frame {wrong[0] if wrong else 'list is empty'} is outside a source with {len(self)} frames"
            )
        return requested


class FrameBuffer:
    """The output array of ``get``: filled by display index, complete or an error.

    Args:
        path: for messages.
        indices: the requested frames.
        each: what is done to every picture before it is stored (a smaller size, mostly).
    """

    def __init__(self, path: str, indices: list[int], each: EachFrame | None = None):
        self._path, self._each = path, each
        self._indices = np.asarray(indices)
        self.missing = set(indices)
        self.damage: dict[int, str] = {}
        self._shape: tuple[int, ...] | None = None
        self._out: np.ndarray | None = None

    def put(self, index: int, image: np.ndarray) -> None:
        """Stores uint8 [H, W, 3] at every position with this index."""
        self._shape = self._shape or image.shape
        if image.shape != self._shape:
            sizes = f"{self._shape[1]}x{self._shape[0]} and {image.shape[1]}x{image.shape[0]}"
            raise VideoReadError(self._path, "corrupt", f"the frame size changes: {sizes}")
        if self._each is not None:
            image = self._each(image)
        if self._out is None:
            self._out = np.empty((len(self._indices), *image.shape), np.uint8)
        self._out[self._indices == index] = image
        self.missing.discard(index)

    def finish(self) -> np.ndarray:
        """uint8 [T, H, W, 3]."""
        damaged = sorted(self.missing & self.damage.keys())
        if damaged:
            detail = f"frame {damaged[0]} is damaged: {self.damage[damaged[0]]}"
            raise VideoReadError(self._path, "corrupt", detail)
        if self.missing or self._out is None:
            raise VideoReadError(self._path, "corrupt", f"frame {min(self.missing)} cannot be decoded")
        return self._out


def backends() -> list[str]:
    """Names of all backends, sorted."""
    _discover()
    return sorted(FrameReader.registered)


def backend_of_config(backend: str) -> str:
    """The backend for one that a configuration names: ``pyav`` for decord where that cannot be imported.

    PaddleVideo's files name decord, which no file needs: ``pyav`` reads all that it reads.  The replacement is logged
    once per process, when a pipeline is built, which is before worker processes begin.
    """
    if backend != "decord" or has_decord():
        return backend
    return "pyav"


@functools.cache
def has_decord() -> bool:
    """Whether decord can be imported; where it cannot, a line in the log has the reason."""
    try:
        import decord  # noqa: F401
    except ImportError:
        reason = "is not installed"
    except Exception as error:  # of its shared libraries, of an import hook
        reason = f"cannot be imported ({' '.join(f'{type(error).__name__}: {error}'.split()):.200})"
    else:
        return True
    log.warning(
        f"backend decord: decord {reason}, so the exact reader (pyav) decodes the frames; they differ where "
        "decord gives wrong ones (open groups of pictures); pip install 'paddlevideo-suite[decord]' installs it"
    )
    return False


def open_video(
    path: Source,
    backend: str = "pyav",
    damaged: Damaged = "refuse",
    max_pixels: int = MAX_PIXELS,
    index: VideoIndex | None = None,
) -> FrameReader:
    """Opens a video file.

    Args:
        path: of the file, or a ``MemoryVideo``.
        backend: a name from ``backends()``.
        damaged: ``read`` takes what can be decoded of a damaged or cut-off file, as it comes, through
            ``pyav_sequential``.
        max_pixels: of one picture; larger ones are refused.
        index: of the data set that the file is in, for backends that take one.

    Raises:
        VideoReadError: missing, empty, cut off, or not a video.
        UserError: no such backend, or its library is not installed, or it reads files only.
    """
    _discover()
    if backend not in FrameReader.registered:
        raise UserError(f"there is no decode backend {backend!r}{suggest(str(backend), backends())}")
    if damaged not in ("refuse", "read"):
        raise UserError(f"damaged: expected refuse or read, got {damaged!r}")
    kind, in_memory = FrameReader.registered[backend], isinstance(path, MemoryVideo)
    if not in_memory:
        path = os.path.expanduser(os.fspath(path))
    elif not kind.takes_memory:
        raise UserError(f"{printable(path)}: decode backend {backend} reads files only; use backend: pyav")
    if index is None or damaged == "read" or in_memory or not kind.takes_index:
        check_file(path, damaged)
    else:
        return _by_index(kind, path, max_pixels, index)
    if damaged == "read":
        from paddlevideo.loader.decode.pyav_sequential import PyAVSequentialReader

        return PyAVSequentialReader(path, max_pixels, damaged)
    return kind.open(path, max_pixels)


def _by_index(kind: type[FrameReader], path: str, max_pixels: int, index: VideoIndex) -> FrameReader:
    """A reader, by the file's entry in the index if it is the entry of this file."""
    try:
        status = os.stat(path)
        known = index.find(path, status.st_size, status.st_mtime_ns)
    except (OSError, ValueError):
        known = None
    if known is not None and not known.is_unusual:
        # an error is that of a pass over the file
        with contextlib.suppress(OutdatedIndex, VideoReadError):
            return kind.open(path, max_pixels, known=known)
        known = None
    check_file(path, "refuse")
    reader = kind.open(path, max_pixels)
    if known is None:
        reader.remarks = [*reader.remarks, f"not in {index.file} as it is now; paddlevideo check-data writes it again"]
    return reader


@functools.cache
def _discover() -> None:
    package = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"{package}.{module.name}")


def check_file(path: Source, damaged: Damaged) -> None:
    """Raises for files that backends report differently, or not at all: missing, empty, cut off."""
    try:
        if not isinstance(path, MemoryVideo) and not os.path.isfile(path):
            raise VideoReadError(path, "missing", instead_of_a_file(path))
        size = size_of(path)
        if size == 0:
            raise VideoReadError(path, "empty", "0 bytes")
        declared = declared_size(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the name
        raise VideoReadError(path, "missing", f"cannot be opened: {error}") from error
    if declared is not None and declared > size and damaged != "read":
        detail = f"its container takes at least {declared} bytes, it has {size}; get or copy the file again"
        raise VideoReadError(path, "truncated", detail)
