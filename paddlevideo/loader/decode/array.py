"""A clip in memory, read like a video file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.loader.decode.reader import EachFrame, FrameReader


class ArrayReader(FrameReader):
    """A frame source over an array.

    Args:
        frames: uint8 [T, H, W, 3] RGB.
        fps: frames per second; 0: unknown.

    Raises:
        UserError: it is not such an array.
    """

    def __init__(self, frames: np.ndarray, fps: float = 30.0):
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not frames.size:
            raise UserError(
                f"a clip in memory must be uint8 [T, H, W, 3] RGB with T, H and W of at least 1, got {frames.dtype} "
                f"{list(frames.shape)}"
            )
        self.fps = float(fps)
        self._frames = frames

    def __len__(self) -> int:
        return len(self._frames)

    def get(self, indices: Sequence[int] | np.ndarray, each: EachFrame | None = None) -> np.ndarray:
        requested = self.checked(indices)
        if each is None:
            return np.ascontiguousarray(self._frames[requested])
        return np.stack([each(np.ascontiguousarray(self._frames[index])) for index in requested])
