"""OpenCV's reader, for configurations that name it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from paddlevideo.loader.decode.pyav_sequential import SurveyedReader
from paddlevideo.loader.decode.reader import MAX_PIXELS, EachFrame, FrameBuffer, VideoReadError
from paddlevideo.loader.decode.rgb import upright


class CV2Reader(SurveyedReader, backend="cv2"):
    """Sequential: every frame is decoded when the file is opened, and again up to the last requested one.

    PyAV counts, because OpenCV hides what FFmpeg reports; and it turns the picture, because OpenCV has no mirrored
    ones.  Setting a position is not used, because it lands on wrong frames in damaged and variable-rate files; and
    neither is the header's count, because it can announce billions.  The first picture is compared with PyAV's, because
    OpenCV 5 gives black ones of interlaced video.
    """

    library = "OpenCV"

    def __init__(self, path: str, max_pixels: int = MAX_PIXELS):
        super().__init__(path, max_pixels)
        self.check_first_picture()

    def get(self, indices: Sequence[int] | np.ndarray, each: EachFrame | None = None) -> np.ndarray:
        import cv2

        requested = self.checked(indices)
        targets, clip = set(requested), FrameBuffer(self.path, requested, each)
        video = self._open()
        try:
            for index in range(max(requested) + 1):
                if not video.grab():
                    break
                if index in targets:
                    good, image = video.retrieve()
                    if not good:
                        break
                    if image.shape[1::-1] != self._seen.size:
                        image = cv2.resize(image, self._seen.size)
                    clip.put(index, upright(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), self._seen.orientation))
        finally:
            video.release()
        return clip.finish()

    def _open(self) -> Any:
        import cv2

        video = cv2.VideoCapture(self.path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        if not video.isOpened():
            raise VideoReadError(self.path, "corrupt", "OpenCV cannot open it")
        video.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
        return video
