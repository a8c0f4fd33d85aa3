"""Overlapping windows of a stream of frames, each frame decoded once and held while a window needs it; single frames at
even steps."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.inference.stream import TimedFrame
from paddlevideo.loader.decode.reader import EachFrame, FrameBuffer, FrameReader
from paddlevideo.loader.decode.rgb import to_rgb

_SAME_S = 1e-6  # seconds that are equal but for rounding
_MAX_BYTES = 2 << 30
_RECENT = 9  # frames whose distances count as usual
_HOLE_S, _HOLE_FRAMES = 1.0, 3  # a hole is longer than both where a source stalls, and than one of them in a file
_LEAST_FRAMES = 2  # of a window


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


class Windows:
    """Windows that begin at 0, ``hop_s``, 2 ``hop_s``, ..., each given as soon as it is complete.

    At the end there is one more, up to the end of the last frame, where the others do not reach it; of a stream that is
    shorter than ``window_s`` it is the only one.

    In a file a picture is shown until the next one: a window that begins in a hole (more than a second, or than 3
    frames, before its first frame) begins with the picture that is shown then.  A live source stalls, and its frames
    are dropped: windows in which they are missing for more than a second (and more than 3 frames) are left out.

    Args:
        window_s, hop_s: above 0; ``hop_s`` may exceed ``window_s``.
        shown: for messages.
        max_fps: frames closer together are passed over; None: all are held.

    Attributes:
        end_s: end of the last frame, when all windows have been given; of a live source, of the last window.

    Raises:
        UserError: ``max_fps`` holds fewer than 2 frames per window; a window's frames take more than 2 GiB.
    """

    def __init__(
        self,
        frames: Iterable[TimedFrame],
        window_s: float,
        hop_s: float,
        shown: str = "video",
        max_fps: float | None = None,
    ):
        check_max_fps(max_fps, window_s)
        self._frames, self._window_s, self._hop_s, self._shown = frames, window_s, hop_s, shown
        self._least_s = 0.0 if max_fps is None else 1 / max_fps  # between two frames that are held
        self._held: deque[TimedFrame] = deque()
        self.end_s = self._reached_s = 0.0

    def __iter__(self) -> Iterator[Window]:
        held, window_s = self._held, self._window_s
        number, num_bytes, recent = 0, 0, deque[float](maxlen=_RECENT)
        last: TimedFrame | None = None
        for frame in self._frames:
            if last is not None and last is not held[-1] and frame.time_s - last.time_s > self._least_s:
                held.append(last)  # passed over, but then shown for long
                num_bytes += last.num_bytes
            while frame.time_s >= number * self._hop_s + window_s - _SAME_S:
                yield from self._cut(number * self._hop_s, number * self._hop_s + window_s)
                number += 1
            last = frame
            recent.append(frame.time_s)
            if held and frame.time_s - held[-1].time_s < self._least_s - _SAME_S:
                continue
            held.append(frame)
            num_bytes += frame.num_bytes
            # the last window begins anywhere, and perhaps with the picture before
            start_s = min(number * self._hop_s, frame.time_s - window_s)
            while len(held) > 1 and held[1].time_s < start_s - _SAME_S:
                num_bytes -= held.popleft().num_bytes
            if num_bytes > _MAX_BYTES:
                raise UserError(
                    f"{self._shown}: the frames of a window of {window_s:g} s take more than {_MAX_BYTES >> 30} GiB; "
                    "give a shorter window, or hold fewer frames per second (max_fps)"
                )
        if last is not None:
            period_s = _period_s([*recent], last.period_s)
            end_s = last.time_s + period_s
            if end_s > self._reached_s + period_s / 2:
                yield from self._cut(max(end_s - window_s, 0.0), end_s)
            self.end_s = self.end_s if last.live else end_s

    def _cut(self, start_s: float, end_s: float) -> Iterator[Window]:
        """The window; of a live source, where it is whole."""
        self._reached_s = end_s
        frames = [each for each in self._held if start_s - _SAME_S <= each.time_s < end_s - _SAME_S]
        times = [each.time_s for each in frames]
        period_s = _HOLE_FRAMES * _period_s(times, end_s - start_s)
        if self._held[-1].live:
            if not frames or max(np.diff([start_s, *times, end_s])) > max(_HOLE_S, period_s):
                return
            self.end_s = end_s
        elif not frames or times[0] - start_s > max(min(_HOLE_S, period_s), self._least_s):
            before = [each for each in self._held if each.time_s < start_s]
            frames = [dataclasses.replace(before[-1], time_s=start_s), *frames]
        yield Window(start_s, end_s, frames)


def check_max_fps(max_fps: float | None, window_s: float) -> None:
    """
    Raises:
        UserError: ``max_fps`` holds fewer than 2 frames per window.
    """
    if max_fps is not None and max_fps * window_s < _LEAST_FRAMES - _SAME_S:
        raise UserError(
            f"max_fps: expected at least {_LEAST_FRAMES / window_s:g}, which are {_LEAST_FRAMES} frames of a window of "
            f"{window_s:g} s, got {max_fps:g}"
        )


def _period_s(times: list[float], alone_s: float) -> float:
    """The usual distance of frames; of a single one ``alone_s``."""
    return float(np.median(np.diff(times))) if len(times) > 1 else alone_s


@dataclass(frozen=True)
class Step:
    """The frame that is shown at a time.

    Args:
        time_s: since the stream's first frame; a multiple of ``step_s``.
        frame: what is shown then.
        begins: it is the first one, or a live source stalled before it.
    """

    time_s: float
    frame: TimedFrame
    begins: bool


class Steps:
    """The frames that are shown at 0, ``step_s``, 2 ``step_s``, ..., each given when the frame after it is there.

    A frame is given several times where it is shown for long.  Where frames of a live source are missing for more than
    a second (and more than 3 frames) there are no steps: the source stalled, or frames were dropped.

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
                missing = frame.live and frame.time_s - held.time_s > max(_HOLE_S, _HOLE_FRAMES * period_s)
                yield from self._until(held, held.time_s + period_s if missing else frame.time_s)
                if missing:
                    times.clear()
            if not times:  # the first one, or the first one again
                self._number = max(self._number, int(np.ceil((frame.time_s - _SAME_S) / self._step_s)))
                self._begins = True
            times.append(frame.time_s)
            held = frame
        if held is not None:
            self.end_s = held.time_s + _period_s([*times], held.period_s)
            yield from self._until(held, self.end_s)

    def _until(self, held: TimedFrame, end_s: float) -> Iterator[Step]:
        while self._number * self._step_s < end_s - _SAME_S:
            yield Step(self._number * self._step_s, held, self._begins)
            self._number, self._begins = self._number + 1, False
