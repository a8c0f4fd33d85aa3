"""Overlapping windows of a stream of frames, each frame decoded once and held while a window needs it; single frames at
even steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.inference.stream import TimedFrame
from paddlevideo.loader.decode.packets import to_rgb
from paddlevideo.loader.decode.reader import EachFrame, FrameBuffer, FrameReader

_SAME_S = 1e-6  # seconds that are equal but for rounding
_MAX_BYTES = 2 << 30
_RECENT = 9  # frames whose distances count as usual
_HOLE_S = 1.0  # without a frame for so long, or for 3 frames, a window is not whole


@dataclass(frozen=True)
class Window:
    """The frames of a stretch of time.

    Args:
        start_s, end_s: since the stream's first frame; the end is no part.
        frames: in order, at least one.
    """

    start_s: float
    end_s: float
    frames: Sequence[TimedFrame]


class WindowReader(FrameReader):
    """A window, read like a video file.

    Args:
        shown: the source's name, for messages.
        size: width and height as stored, to which pictures of another size are scaled.
    """

    def __init__(self, window: Window, shown: str, size: tuple[int, int]):
        self.path, self._frames, self._size = shown, window.frames, size
        stamps = np.array([each.time_s for each in window.frames])
        self._times = stamps - stamps[0]
        self.fps = (len(stamps) - 1) / float(self._times[-1]) if len(stamps) > 1 else 1 / (window.end_s - stamps[0])

    def __len__(self) -> int:
        return len(self._frames)

    def times(self) -> np.ndarray:
        return self._times

    def get(self, indices: Sequence[int] | np.ndarray, each: EachFrame | None = None) -> np.ndarray:
        requested = self.checked(indices)
        clip = FrameBuffer(self.path, requested, each)
        for index in sorted(set(requested)):
            clip.put(index, to_rgb(self._frames[index].frame, self._size))
        return clip.finish()


def windows(
    frames: Iterable[TimedFrame], window_s: float, hop_s: float, shown: str = "video", max_fps: float | None = None
) -> Iterator[Window]:
    """Windows that begin at 0, ``hop_s``, 2 ``hop_s``, ..., each given as soon as it is complete.

    At the end there is one more, up to the end of the last frame, where the others do not reach it; of a stream that is
    shorter than ``window_s`` it is the only one.  Windows in which frames are missing for more than a second (and more
    than 3 frames) are left out: the source stalled, or frames were dropped.

    Args:
        window_s, hop_s: above 0; ``hop_s`` may exceed ``window_s``.
        shown: for messages.
        max_fps: frames closer together are passed over; None: all are held.

    Raises:
        UserError: a window's frames take more than 2 GiB.
    """
    held: deque[TimedFrame] = deque()
    number, num_bytes = 0, 0
    for frame in frames:
        while frame.time_s >= number * hop_s + window_s - _SAME_S:
            yield from _cut(held, number * hop_s, number * hop_s + window_s)
            number += 1
        if held and max_fps is not None and frame.time_s - held[-1].time_s < 1 / max_fps - _SAME_S:
            continue
        held.append(frame)
        num_bytes += frame.num_bytes
        # the last window begins anywhere
        while held[0].time_s < min(number * hop_s, frame.time_s - window_s) - _SAME_S:
            num_bytes -= held.popleft().num_bytes
        if num_bytes > _MAX_BYTES:
            raise UserError(
                f"{shown}: the frames of a window of {window_s:g} s take more than {_MAX_BYTES >> 30} GiB; give a "
                "shorter window, or hold fewer frames per second (max_fps)"
            )
    if held:
        period_s = _period_s([each.time_s for each in held], window_s)
        end_s = held[-1].time_s + period_s
        reached_s = (number - 1) * hop_s + window_s if number else 0.0
        if end_s > reached_s + period_s / 2:
            yield from _cut(held, max(end_s - window_s, 0.0), end_s)


def _cut(held: Iterable[TimedFrame], start_s: float, end_s: float) -> Iterator[Window]:
    """The window, where it is whole."""
    frames = [each for each in held if start_s - _SAME_S <= each.time_s < end_s - _SAME_S]
    if frames:
        times = [each.time_s for each in frames]
        longest_s = max(np.diff([start_s, *times, end_s]))
        if longest_s <= max(_HOLE_S, 3 * _period_s(times, end_s - start_s)):
            yield Window(start_s, end_s, frames)


def _period_s(times: list[float], alone_s: float) -> float:
    """The usual distance of frames; of a single one ``alone_s``."""
    return float(np.median(np.diff(times))) if len(times) > 1 else alone_s


@dataclass(frozen=True)
class Step:
    """The frame that is shown at a time.

    Args:
        time_s: since the stream's first frame; a multiple of ``step_s``.
        frame: what is shown then.
        begins: it is the first one, or frames are missing before it.
    """

    time_s: float
    frame: TimedFrame
    begins: bool


class Steps:
    """The frames that are shown at 0, ``step_s``, 2 ``step_s``, ..., each given when the frame after it is there.

    A frame of a slow stream is given several times.  Where frames are missing for more than a second (and more than 3
    frames) there are no steps: the source stalled, or frames were dropped.

    Attributes:
        end_s: end of the last frame, when all have been given.
    """

    def __init__(self, frames: Iterable[TimedFrame], step_s: float):
        self._frames, self._step_s = frames, step_s
        self._number, self._begins = 0, True
        self.end_s = 0.0

    def __iter__(self) -> Iterator[Step]:
        held: TimedFrame | None = None
        times: deque[float] = deque(maxlen=_RECENT)
        for frame in self._frames:
            if held is not None:
                period_s = _period_s([*times], np.inf)
                missing = frame.time_s - held.time_s > max(_HOLE_S, 3 * period_s)
                yield from self._until(held, held.time_s + period_s if missing else frame.time_s)
                if missing:
                    times.clear()
            if not times:  # the first one, or the first one again
                self._number = max(self._number, int(np.ceil((frame.time_s - _SAME_S) / self._step_s)))
                self._begins = True
            times.append(frame.time_s)
            held = frame
        if held is not None:
            self.end_s = held.time_s + _period_s([*times], self._step_s)
            yield from self._until(held, self.end_s)

    def _until(self, held: TimedFrame, end_s: float) -> Iterator[Step]:
        while self._number * self._step_s < end_s - _SAME_S:
            yield Step(self._number * self._step_s, held, self._begins)
            self._number, self._begins = self._number + 1, False
