"""A folder of extracted frames as a source."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from paddlevideo.loader.decode.pictures import PictureDecoder
from paddlevideo.loader.decode.reader import EachFrame, FrameBuffer, FrameReader, VideoReadError


class FrameFolder(FrameReader):
    """Image files that count from 1, as PaddleVideo's and MMAction2's extraction scripts write them.

    Args:
        frame_dir: the folder.
        total_frames: the number of frames by the list file; None: as many as are there, numbered without a gap.
        suffix: file name with a place for the 1-based number, e.g. ``img_{:05}.jpg``.
        fps: frame rate, if it is known; images carry none.
        decoder: of the pictures; None: the default one.

    Raises:
        VideoReadError: the folder is not there, or no frames are announced.
    """

    def __init__(
        self,
        frame_dir: str | os.PathLike,
        total_frames: int | None,
        suffix: str = "img_{:05}.jpg",
        fps: float = 0.0,
        decoder: PictureDecoder | None = None,
    ):
        self._folder, self._suffix, self.fps = os.fspath(frame_dir), suffix, fps
        self._decoder = decoder or PictureDecoder()
        if not os.path.isdir(self._folder):
            raise VideoReadError(self._folder, "missing", "no such folder of frames")
        self._announced = "the list file announces" if total_frames is not None else "the folder seems to hold"
        self._count = int(total_frames) if total_frames is not None else self._last_number()
        if total_frames is None and not self._count:
            raise VideoReadError(self._folder, "no_frames", f"there is no {self._suffix.format(1)} in it")
        if self._count < 1:
            raise VideoReadError(self._folder, "no_frames", f"the list file states {self._count} frames")

    def __len__(self) -> int:
        return self._count

    def get(self, indices: Sequence[int] | np.ndarray, each: EachFrame | None = None) -> np.ndarray:
        requested = self.checked(indices)
        clip = FrameBuffer(self._folder, requested, each)
        for index in sorted(set(requested)):
            clip.put(index, self._read(index))
        return clip.finish()

    def _file(self, number: int) -> str:
        return os.path.join(self._folder, self._suffix.format(number))

    def _last_number(self) -> int:
        """The number of the last file, found by bisection: thirty look-ups instead of a listing of 27,000 names."""
        above = 1
        while os.path.isfile(self._file(above)):
            above *= 2
        there = above // 2
        while above - there > 1:
            middle = (there + above) // 2
            there, above = (middle, above) if os.path.isfile(self._file(middle)) else (there, middle)
        return there

    def _read(self, index: int) -> np.ndarray:
        file = self._file(index + 1)
        if not os.path.isfile(file):
            raise VideoReadError(file, "missing", f"frame {index + 1} of the {self._count} that {self._announced}")
        try:
            with open(file, "rb") as stream:
                data = stream.read()
        except OSError as error:
            raise VideoReadError(file, "corrupt", f"not a readable image ({error.strerror})") from error
        image = self._decoder.decode(data)
        if image is None and data:
            image = self._decoder.decode_file(file)
        if image is None:
            raise VideoReadError(file, "corrupt" if data else "empty", "not a readable image")
        return image
