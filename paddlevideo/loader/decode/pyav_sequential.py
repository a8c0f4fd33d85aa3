"""Decodes from the first frame on and counts.  Slow, and right for every stream that PyAV can decode."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import ClassVar

import numpy as np

from paddlevideo.errors import UserError, printable
from paddlevideo.loader.decode.packets import decode_all, survey, to_rgb
from paddlevideo.loader.decode.reader import MAX_PIXELS, Damaged, EachFrame, FrameBuffer, FrameReader

_MAX_DIFFERENCE = 30  # levels of 255, mean over a picture; other ways from YUV to RGB differ by less than 10


class SurveyedReader(FrameReader):
    """A reader that decodes the file once when it is opened: counts, measures and errors are FFmpeg's.

    Args:
        damaged: ``read``: take what can be decoded, as it comes.

    Attributes:
        library: the name of the library that gives the pictures, where it is another than PyAV.
    """

    library: ClassVar[str | None] = None

    def __init__(self, path: str, max_pixels: int = MAX_PIXELS, damaged: Damaged = "refuse"):
        self.path, self._max_pixels, self._damaged = path, max_pixels, damaged
        self._seen = survey(path, damaged, max_pixels)
        self.fps, self.remarks = self._seen.fps, self._seen.remarks
        self.pixel_aspect = self._seen.source.pixel_aspect
        if self.library and self._seen.source.track:
            raise self.unable("reads the first video track only")

    def unable(self, what: str) -> UserError:
        """The error for an intact file that the library cannot read; ``what`` follows its name."""
        return UserError(f"{printable(self.path)}: {self.library} {what}; use backend: pyav")

    def check_first_picture(self) -> None:
        """Raises UserError if the library's first picture is not PyAV's."""
        with closing(decode_all(self.path, max_pixels=self._max_pixels)) as frames:
            expected = to_rgb(next(frames)[0], self._seen.size)
        given = self.get([0])[0]
        if given.shape != expected.shape or np.abs(given.astype(np.int16) - expected).mean() > _MAX_DIFFERENCE:
            raise self.unable("gives another first picture than FFmpeg (interlaced video is a known case)")

    def __len__(self) -> int:
        return self._seen.num_frames

    def times(self) -> np.ndarray | None:
        return self._seen.times_s


class PyAVSequentialReader(SurveyedReader, backend="pyav_sequential"):
    """For streams without time stamps, and the reference for the selective reader.

    Opening decodes the file once to count; ``get`` decodes up to the last requested frame.  Other frames are not
    converted and not kept.
    """

    takes_memory = True

    def get(self, indices: Sequence[int] | np.ndarray, each: EachFrame | None = None) -> np.ndarray:
        requested = self.checked(indices)
        clip = FrameBuffer(self.path, requested, each)
        targets, last = set(requested), max(requested)
        for index, (frame, _, damage) in enumerate(decode_all(self.path, self._damaged, self._max_pixels)):
            if index in targets:
                if damage is not None and self._damaged != "read":
                    clip.damage[index] = damage
                else:
                    clip.put(index, to_rgb(frame, self._seen.size))
            if index == last:
                break
        return clip.finish()
