"""Decoding a file from its beginning: its frames, the errors that damage them, and what it shows as a whole."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paddlevideo.loader.decode.ffmpeg_errors import error_lines, first_line, is_random_access
from paddlevideo.loader.decode.memory import Source
from paddlevideo.loader.decode.packets import NO_STAMP, OpenVideo
from paddlevideo.loader.decode.reader import MAX_PIXELS, Damaged, VideoReadError
from paddlevideo.loader.decode.rgb import orientation


class Errors:
    """FFmpeg's errors about the packets of a file that is decoded from its beginning, and the frames they damage.

    A stream that was cut out of a longer one begins with pictures that refer to what is not there.  They are no frames
    of it, so errors about packets shown before the first key packet do not count; and those about packets before it
    only in containers that are written as a whole, with the decoder's parameters in their header.
    """

    def __init__(self):
        self.is_whole = True
        self.of_packet: dict[int, str] = {}
        self._keys: list[int] = []  # key packets so far
        self._first_pts: int | None = None  # of the first key packet
        self._cut_out = False
        self._last_key = -1  # the latest key packet whose frame came out

    def note(self, number: int, packet: Any | None, error: str | None) -> None:
        """Takes what decoding a packet (None: the end) reported."""
        if packet is not None and packet.is_keyframe:
            self._keys.append(number)
            if len(self._keys) == 1:
                self._first_pts, self._cut_out = packet.pts, number > 0
        if packet is not None and len(self._keys) == 1 and None not in (packet.pts, self._first_pts):
            precedes = packet.pts < self._first_pts
            self._cut_out = self._cut_out or precedes
            if precedes:
                return
        random_access = self._cut_out and len(self._keys) < 2 and is_random_access(error)
        if error is not None and (self._keys or self.is_whole) and not random_access:
            self.of_packet.setdefault(number, error)

    def of(self, frame: Any, last: int) -> tuple[int, str | None]:
        """The frame's packet (``last`` where the decoder gives none), and the first error that it depends on: one
        about a packet between it and its key packet."""
        number = frame.opaque if isinstance(frame.opaque, int) else last
        if frame.is_corrupt:
            self.of_packet.setdefault(number, "FFmpeg marks it as corrupt")
        at = bisect_right(self._keys, number) - 1
        if at >= 0 and self._keys[at] == number:
            self._last_key = max(self._last_key, number)
        elif at > 0 and self._keys[at] > self._last_key:
            at -= 1  # it precedes its key frame, so it also refers to the group before
        first = self._keys[at] if at >= 0 else 0
        return number, next((text for k, text in self.of_packet.items() if first <= k <= number), None)


def decode_all(
    path: Source, damaged: Damaged = "refuse", max_pixels: int = MAX_PIXELS, errors: Errors | None = None
) -> Iterator[tuple[Any, int, str | None]]:
    """All frames of a file in display order, each with the number of its packet and the error that damages it.

    Args:
        damaged: ``read``: an error of the container ends the video instead of being raised.
        errors: takes the errors, also those of packets that give no frame.

    Raises:
        VideoReadError: the file, or its container's structure, cannot be read.
    """
    errors, number = errors or Errors(), -1
    with OpenVideo(path, max_pixels) as source:
        errors.is_whole = source.is_whole
        try:
            for number, (packet, of_parser) in enumerate(source.parsed()):
                packet.opaque = number
                with error_lines() as lines:
                    frames = source.decode(packet, lines)
                errors.note(number, packet, first_line(lines or of_parser))
                for frame in frames:
                    yield frame, *errors.of(frame, number)
        except VideoReadError:
            if damaged != "read":
                raise
        with error_lines() as lines:
            frames = source.decode(None, lines)
        errors.note(number, None, first_line(lines))
        for frame in frames:
            yield frame, *errors.of(frame, number)


@dataclass(frozen=True)
class Survey:
    """What decoding a whole file shows.

    Attributes:
        times_s: float64 [frames], since the first one; None: without time stamps and rate.
        fps: (frames - 1) / span, or the stated rate where the stamps agree with it; 0.0: unknown.
        source: the closed source: track, pixel aspect, remarks.
        size: stored width and height of the first frame.
        orientation: of the first frame (``orientation``).
        remarks: of the source, and what was seen while decoding.
        stamps: int64 [frames], ascending; None: there are none.
    """

    times_s: np.ndarray | None
    fps: float
    num_frames: int
    source: OpenVideo
    size: tuple[int, int]
    orientation: tuple[bool, bool, bool]
    remarks: list[str]
    stamps: np.ndarray | None = None


def survey(path: Source, damaged: Damaged = "refuse", max_pixels: int = MAX_PIXELS) -> Survey:
    """Decodes a file once.

    Raises:
        VideoReadError: truncated; no frame; with ``damaged`` = ``refuse`` also a frame that is damaged.
    """
    with OpenVideo(path, max_pixels) as source:
        table = source.table(damaged)
    table.packets = None
    shown, sizes, num_damaged, turned, errors = [], [], 0, (False, False, False), Errors()
    for frame, number, damage in decode_all(path, damaged, max_pixels, errors):
        if damage is not None:
            if damaged != "read":
                raise VideoReadError(path, "corrupt", f"frame {len(shown)} is damaged: {damage}")
            num_damaged += 1
        if not shown:
            turned = orientation(frame)
        if (frame.width, frame.height) not in sizes:
            sizes.append((frame.width, frame.height))
        shown.append(int(table.pts[number]) if number < len(table.pts) else NO_STAMP)
    if not shown:
        raise VideoReadError(path, "no_frames", _undecodable(source))
    for number, error in errors.of_packet.items():
        if damaged != "read":
            raise VideoReadError(path, "corrupt", f"its packet {number} gives no frame: {error}")
    remarks = [*source.remarks, *([size_remark(sizes)] if len(sizes) > 1 else [])]
    if num_damaged:
        remarks.append(f"{num_damaged} of {len(shown)} frames are damaged and read as they come")
    # in decoding order where B frames have no presentation times: as a whole they are the same stamps
    stamps = None if NO_STAMP in shown else np.sort(np.array(shown))
    times, fps = clock(stamps, source.time_base, source.stated_fps, len(shown))
    return Survey(times, fps, len(shown), source, sizes[0], turned, remarks, stamps)


def size_remark(sizes: Sequence[tuple[int, int]]) -> str:
    """Text on a video whose size changes."""
    names = " and ".join(f"{width} x {height}" for width, height in sizes)
    return f"the size of its pictures changes ({names}); all are scaled to the first"


def _undecodable(source: OpenVideo) -> str:
    if source.codec == "webp":
        return "an animated WebP, which this PyAV cannot decode; convert it, e.g. with ImageMagick: magick a.webp a.mp4"
    return "no frame of its video track can be decoded"


def clock(stamps: np.ndarray | None, base: Any, stated_fps: float, count: int) -> tuple[np.ndarray | None, float]:
    """Seconds since the first frame, and the frame rate.

    Args:
        stamps: int64 [count], in display order, in units of ``base`` seconds; None: there are none.
        stated_fps: what the container states or guesses; 0.0: nothing.
    """
    even = np.arange(count) / stated_fps if stated_fps else None
    if stamps is None or not base or count < 2 or np.diff(stamps).min() <= 0:
        return even, stated_fps
    times = (stamps.astype(np.float64) - stamps[0]) * float(base)
    if even is not None and np.abs(times - even).max() <= float(base) * 1.01:
        return times, stated_fps
    return times, (count - 1) / float(times[-1])
