"""OpenCV's reader, for configurations that name it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from paddlevideo.loader.decode.packets import refuse_non_videos
from paddlevideo.loader.decode.reader import Clip, FrameReader, VideoReadError


class CV2Reader(FrameReader, backend="cv2"):
    """Sequential: every frame is decoded to count, and again up to the last one asked for.

    Setting a position is not used, because it lands on wrong frames in damaged and variable-rate files; and neither
    is the header's count, because it can announce billions.
    """

    def __init__(self, path: str):
        import cv2

        refuse_non_videos(path)
        self.path = path
        video = self._open("not_a_video")
        fps = video.get(cv2.CAP_PROP_FPS)
        self.fps = float(fps) if 0 < fps < 1e4 else 0.0
        self._count = 0
        while video.grab():
            self._count += 1
        video.release()
        if not self._count:
            raise VideoReadError(path, "no_frames", "OpenCV decodes no frame")

    def __len__(self) -> int:
        return self._count

    def get(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        import cv2

        wanted = self.checked(indices)
        targets, clip = set(wanted), Clip(self.path, wanted)
        video = self._open("corrupt")
        try:
            for index in range(max(wanted) + 1):
                if not video.grab():
                    break
                if index in targets:
                    good, image = video.retrieve()
                    if not good:
                        break
                    clip.put(index, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
        finally:
            video.release()
        return clip.finish()

    def _open(self, reason: str) -> Any:
        import cv2

        video = cv2.VideoCapture(self.path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        if not video.isOpened():
            raise VideoReadError(self.path, reason, "OpenCV cannot open it")
        return video
