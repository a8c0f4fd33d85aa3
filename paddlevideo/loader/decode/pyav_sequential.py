"""Decodes from the first frame on and counts.  Slow, and right for every stream that PyAV can decode."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import ClassVar

import numpy as np

from paddlevideo.errors import UserError, printable
from paddlevideo.loader.decode.index import IndexedVideo, described
from paddlevideo.loader.decode.memory import Source
from paddlevideo.loader.decode.packets import OpenVideo
from paddlevideo.loader.decode.reader import MAX_PIXELS, Damaged, EachFrame, FrameBuffer, FrameReader, OutdatedIndex
from paddlevideo.loader.decode.rgb import to_rgb, upright_aspect
from paddlevideo.loader.decode.sequential import Survey, clock, decode_all, survey

_MAX_DIFFERENCE = 30  # levels of 255, mean over a picture; other ways from YUV to RGB differ by less than 10


class SurveyedReader(FrameReader):
    """A reader that decodes the file once when it is opened: counts, measures and errors are FFmpeg's.

    Args:
        damaged: ``read``: take what can be decoded, as it comes.
        known: the file's entry in an index: nothing is decoded when it is opened.

    Attributes:
        library: the name of the library that gives the pictures, where it is another than PyAV.
    """

    library: ClassVar[str | None] = None

    def __init__(
        self,
        path: Source,
        max_pixels: int = MAX_PIXELS,
        damaged: Damaged = "refuse",
        known: IndexedVideo | None = None,
    ):
        self.path, self._max_pixels, self._damaged = path, max_pixels, damaged
        self._seen = survey(path, damaged, max_pixels) if known is None else _surveyed(path, max_pixels, known)
        self.fps, self.remarks = self._seen.fps, self._seen.remarks
        self.pixel_aspect = upright_aspect(self._seen.source.pixel_aspect, self._seen.orientation)
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
    takes_index = True

    @classmethod
    def open(cls, path: Source, max_pixels: int, known: IndexedVideo | None = None) -> FrameReader:
        return cls(path, max_pixels, known=known)

    def known(self) -> IndexedVideo | None:
        seen = self._seen
        return described(seen.source, self._max_pixels, len(self), self.fps, seen.remarks, stamps=seen.stamps)

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


def _surveyed(path: Source, max_pixels: int, known: IndexedVideo) -> Survey:
    """The survey of a file by its entry in an index.

    Raises:
        OutdatedIndex: the entry is that of another file.
    """
    with OpenVideo(path, max_pixels, known.quick) as source:
        if source.digest() != known.header:
            raise OutdatedIndex
    times, fps = clock(known.stamps, source.time_base, source.stated_fps, known.num_frames)
    facts = (source, known.size, known.orientation, source.remarks, known.stamps)
    return Survey(times, fps, known.num_frames, *facts)
