"""A part of a video as a source of its own: the frames between two seconds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.loader.decode.reader import EachFrame, FrameReader

_ROUNDING_S = 0.0005  # spans are timed in milliseconds


def last_picture_s(times: np.ndarray, fps: float) -> float:
    """Seconds for which the last frame is shown, which its time stamp does not state.

    Where the rate changes it is that of the end: the shorter distance of the two before it, and ``1 / fps`` at least.

    Args:
        times: of every frame in seconds, float64 [frames].
        fps: frames per second on average.
    """
    distances = np.diff(times[-3:])
    return max(1 / fps, float(distances.min()) if len(distances) else 0.0)


class FrameRange(FrameReader):
    """The frames ``first`` to ``stop - 1`` of a reader, which is closed with this one.

    Args:
        times: seconds from the first of them to each, float64 [stop - first]; None: as of the reader.
    """

    def __init__(self, reader: FrameReader, first: int, stop: int, times: np.ndarray | None = None):
        self._reader, self._first, self._count = reader, first, stop - first
        self._times = times
        self.fps = reader.fps

    @property
    def pixel_aspect(self) -> float:
        return self._reader.pixel_aspect

    @property
    def remarks(self) -> Sequence[str]:
        return self._reader.remarks

    def __len__(self) -> int:
        return self._count

    def get(self, indices: Sequence[int] | np.ndarray, each: EachFrame | None = None) -> np.ndarray:
        return self._reader.get(np.array(self.checked(indices)) + self._first, each)

    def times(self) -> np.ndarray | None:
        if self._times is None:
            times = self._reader.times()
            if times is None:
                return None
            own = times[self._first : self._first + self._count]
            self._times = own - own[0]
        return self._times

    def close(self) -> None:
        self._reader.close()


class PartReader(FrameRange):
    """The frames of a reader whose time stamps are from ``start_s`` up to ``end_s``, which is no part; at least the one
    that is shown at ``start_s``.

    Args:
        reader: of the whole video; it is closed with this one.

    Raises:
        UserError: the video ends before ``start_s``, or its frames have no times.
    """

    def __init__(self, reader: FrameReader, start_s: float, end_s: float):
        times = reader.times()
        if times is None:
            raise UserError("a span in seconds needs the rate of the frames: fps in this section of DATASET")
        if start_s >= times[-1] + last_picture_s(times, reader.fps):
            raise UserError(
                f"the span from {start_s:.3f} to {end_s:.3f} s begins after the last frame, at {times[-1]:.3f} s"
            )
        first, stop = np.searchsorted(times, np.array([start_s, end_s]) - _ROUNDING_S)
        if stop <= first:  # shorter than a frame
            first = max(int(first) - 1, 0)
            stop = first + 1
        super().__init__(reader, int(first), int(stop), times[first:stop] - times[first])
