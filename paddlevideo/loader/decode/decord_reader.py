"""decord, for configurations that name it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.loader.decode.pyav_sequential import SurveyedReader
from paddlevideo.loader.decode.reader import MAX_PIXELS, EachFrame, FrameBuffer

_CANNOT_READ = "cannot read it (GIF and pictures turned by 90 degrees are known cases)"


class DecordReader(SurveyedReader, backend="decord"):
    """Twice the CPU time of ``pyav``, and wrong frames on open groups of pictures (and on MPEG-TS, which is refused).

    PyAV decodes the file once before, because decord hides what FFmpeg reports.  What decord then refuses is valid.
    """

    library = "decord"

    def __init__(self, path: str, max_pixels: int = MAX_PIXELS):
        try:
            import decord
        except ImportError as error:
            raise UserError(
                "backend 'decord' needs: pip install 'paddlevideo-suite[decord]'  (or use backend: pyav)"
            ) from error
        super().__init__(path, max_pixels)
        if self._seen.source.container == "mpegts":
            raise self.unable("gives wrong frames of transport streams")
        if self._seen.source.count_is_open:  # decord allocates memory for so many, and the process dies
            raise self.unable("needs the number of frames in the header")
        try:
            self._video = decord.VideoReader(path, num_threads=1)
            count = len(self._video)
        except Exception as error:  # decord raises RuntimeError and its own class, for every cause
            raise self.unable(_CANNOT_READ) from error
        if count != len(self):
            raise self.unable(f"counts {count} frames, there are {len(self)}")
        self.check_first_picture()

    def get(self, indices: Sequence[int] | np.ndarray, each: EachFrame | None = None) -> np.ndarray:
        requested = self.checked(indices)
        clip = FrameBuffer(self.path, requested, each)
        unique = sorted(set(requested))
        try:
            frames = self._video.get_batch(unique).asnumpy()
        except Exception as error:
            raise self.unable(_CANNOT_READ) from error
        swapped, left_right, upside_down = self._seen.orientation
        if swapped ^ left_right ^ upside_down:  # it turns pictures and does not mirror them
            frames = frames[:, :, ::-1] if swapped else frames[:, ::-1]
        for index, image in zip(unique, frames):
            clip.put(index, image)
        return clip.finish()

    def close(self) -> None:
        self._video = None
