"""What the header of a video file states, read in about 2 ms whatever its length: nothing is decoded."""

from __future__ import annotations

from dataclasses import dataclass

from paddlevideo.loader.decode.ffmpeg_errors import error_lines
from paddlevideo.loader.decode.packets import OpenVideo
from paddlevideo.loader.decode.reader import MAX_PIXELS, check_file, open_video

_CONTAINER_S = 1e-6  # unit of a container's duration


@dataclass(frozen=True)
class VideoHeader:
    """Stated, not counted: ``FrameReader`` has the exact numbers.

    Attributes:
        seconds: length.
        fps: frames per second; 0.0: not stated.
        width, height: pixels, as stored.
    """

    seconds: float
    fps: float
    width: int
    height: int


def read_header(path: str) -> VideoHeader:
    """The header of a file; where it lacks the length, of the frames themselves.

    Raises:
        VideoReadError: missing, empty, cut off, or not a video.
    """
    check_file(path, "refuse")
    with error_lines(), OpenVideo(path, MAX_PIXELS, quick=True) as source:
        stream, context = source.stream, source.context
        seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
        if seconds <= 0 and stream.container.duration:
            seconds = stream.container.duration * _CONTAINER_S
        fps, width, height = source.stated_fps, context.width, context.height
    if seconds <= 0 or not (fps and width and height):
        with open_video(path) as reader:
            fps = reader.fps
            seconds = len(reader) / fps if fps else float(len(reader))
            height, width = reader.get([0]).shape[1:3]
    return VideoHeader(seconds, fps, width, height)
