"""Decodes from the first frame on and counts.  Slow, and right for every stream that PyAV can decode."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paddlevideo.loader.decode.packets import decode_all, survey, to_rgb
from paddlevideo.loader.decode.reader import MAX_PIXELS, Clip, Damaged, EachFrame, FrameReader


class SurveyedReader(FrameReader):
    """A reader that decodes the file once when it is opened: what it counts, measures and refuses is FFmpeg's answer.

    Args:
        damaged: ``read``: take what can be decoded, as it comes.
    """

    def __init__(self, path: str, max_pixels: int = MAX_PIXELS, damaged: Damaged = "refuse"):
        self.path, self._max_pixels, self._damaged = path, max_pixels, damaged
        self._seen = survey(path, damaged, max_pixels)
        self.fps, self.remarks = self._seen.fps, self._seen.remarks
        self.pixel_aspect = self._seen.source.pixel_aspect

    def __len__(self) -> int:
        return self._seen.num_frames

    def times(self) -> np.ndarray | None:
        return self._seen.times_s


class PyAVSequentialReader(SurveyedReader, backend="pyav_sequential"):
    """For streams without time stamps, and the yardstick for the selective reader.

    Opening decodes the file once to count; ``get`` decodes up to the last frame asked for.  Frames that are not asked
    for are not converted and not kept.
    """

    def get(self, indices: Sequence[int] | np.ndarray, each: EachFrame | None = None) -> np.ndarray:
        wanted = self.checked(indices)
        clip = Clip(self.path, wanted, each)
        targets, last = set(wanted), max(wanted)
        for index, (frame, _, damage) in enumerate(decode_all(self.path, self._damaged, self._max_pixels)):
            if index in targets:
                if damage is not None and self._damaged != "read":
                    clip.damage[index] = damage
                else:
                    clip.put(index, to_rgb(frame, self._seen.size))
            if index == last:
                break
        return clip.finish()
