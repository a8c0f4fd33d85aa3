"""decord, for configurations that name it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.loader.decode.pyav_sequential import SurveyedReader
from paddlevideo.loader.decode.reader import MAX_PIXELS, Clip, EachFrame, VideoReadError
from paddlevideo.video_files import printable


class DecordReader(SurveyedReader, backend="decord"):
    """Twice the CPU time of ``pyav``, and wrong frames on open groups of pictures (and on MPEG-TS, which is refused).

    PyAV decodes the file once before, because decord hides what FFmpeg reports.
    """

    def __init__(self, path: str, max_pixels: int = MAX_PIXELS):
        try:
            import decord
        except ImportError as error:
            raise UserError("backend 'decord' needs: pip install decord  (or use backend: pyav)") from error
        super().__init__(path, max_pixels)
        if self._seen.source.container == "mpegts":
            raise UserError(
                f"{printable(path)}: decord gives other frames of transport streams than asked; backend: pyav"
            )
        if self._seen.source.count_is_open:  # decord takes memory for so many, and the process dies
            raise UserError(f"{printable(path)}: decord needs the number of frames in the header; use backend: pyav")
        try:
            self._video = decord.VideoReader(path, num_threads=1)
            count = len(self._video)
        except Exception as error:  # decord raises RuntimeError and its own class, for every cause
            raise VideoReadError(path, "corrupt", _first_line(error)) from error
        if count != len(self):
            detail = f"decord counts {count} frames, there are {len(self)}; read it with backend: pyav"
            raise VideoReadError(path, "corrupt", detail)

    def get(self, indices: Sequence[int] | np.ndarray, each: EachFrame | None = None) -> np.ndarray:
        wanted = self.checked(indices)
        clip = Clip(self.path, wanted, each)
        unique = sorted(set(wanted))
        try:
            frames = self._video.get_batch(unique).asnumpy()
        except Exception as error:
            raise VideoReadError(self.path, "corrupt", _first_line(error)) from error
        swapped, left_right, upside_down = self._seen.orientation
        if swapped ^ left_right ^ upside_down:  # it turns pictures and does not mirror them
            frames = frames[:, :, ::-1] if swapped else frames[:, ::-1]
        for index, image in zip(unique, frames):
            clip.put(index, image)
        return clip.finish()

    def close(self) -> None:
        self._video = None


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return f"decord: {text.splitlines()[0].rpartition('] ')[2] if text else type(error).__name__}"
