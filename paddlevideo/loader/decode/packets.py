"""What both PyAV readers share: opening a file safely, one decoder thread, one converter, upright RGB."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from paddlevideo.loader.decode.reader import VideoReadError

# They are text or lists of other files, not videos: a text file opens as a "tty" movie, a playlist reads what it names.
_NOT_VIDEOS = frozenset(
    {"tty", "hls", "concat", "dash", "sdp", "ffmetadata", "lavfi", "webvtt", "srt", "ass", "image2"}
)
# Containers whose packets carry presentation times; others count in decoding order, which B frames make another order.
_TIMED = frozenset({"mov", "matroska", "mpegts", "flv"})
_KEEP_BYTES = 64 << 20


@dataclass
class PacketTable:
    """One pass over a file's video packets, in decoding order, without decoding.

    ``packets`` holds the packets themselves as long as they are small together; a long video is read again instead.
    """

    pts: list[int | None] = field(default_factory=list)
    keyframe: list[bool] = field(default_factory=list)
    discard: list[bool] = field(default_factory=list)
    packets: list[Any] | None = field(default_factory=list)
    num_empty: int = 0
    damaged_end: bool = False

    def add(self, packet: Any, held: int) -> None:
        """Notes one packet; ``held`` is the number of bytes held so far, this packet included."""
        self.pts.append(packet.pts if packet.pts is not None else packet.dts)
        self.keyframe.append(packet.is_keyframe)
        self.discard.append(packet.is_discard)
        self.damaged_end = packet.is_corrupt
        if held > _KEEP_BYTES:
            self.packets = None
        if self.packets is not None:
            self.packets.append(packet)


class Source:
    """An open file and its first video stream."""

    def __init__(self, path: str):
        import av

        self.path = path
        with reading(path, "not_a_video"):
            # "file:" keeps a name such as "http://x" or "a:b.mp4" a file name; the option keeps a crafted file off
            # the net
            self._container = av.open(f"file:{path}", options={"protocol_whitelist": "file"})
        formats = set(self._container.format.name.split(","))
        try:
            if formats & _NOT_VIDEOS:
                raise VideoReadError(path, "not_a_video", "a text or list file")
            if not self._container.streams.video:
                raise VideoReadError(path, "no_video_stream", "it has no video track")
            self.stream = self._container.streams.video[0]
            self.context = self.stream.codec_context
            if self.context is None:
                raise VideoReadError(path, "not_a_video", "the format of its video track is unknown")
            self.stream.thread_type = "NONE"  # parallelism comes from the workers; AUTO can deadlock with logging
            self.context.thread_count = 1
        except BaseException:
            self.close()
            raise
        rate = self.stream.average_rate or self.stream.guessed_rate
        self.fps = float(rate) if rate else 0.0
        self.timed = bool(formats & _TIMED) or not self.context.has_b_frames
        self.indexed = "mov" in formats

    def demux(self) -> Iterator[Any]:
        """All packets of the video stream with content, in decoding order."""
        with reading(self.path, "corrupt"):
            for packet in self._container.demux(self.stream):
                if packet.size:
                    yield packet

    def seek(self, pts: int) -> bool:
        """Moves to a key frame at or before this time stamp, as far as the container can; False: it cannot."""
        import av

        try:
            self._container.seek(pts, stream=self.stream, backward=True)
        except (av.error.FFmpegError, OSError):
            return False
        return True

    def table(self) -> PacketTable:
        """Reads all packets once."""
        table, held = PacketTable(), 0
        with reading(self.path, "corrupt"):
            for packet in self._container.demux(self.stream):
                if packet.size:
                    held += packet.size
                    table.add(packet, held)
                elif packet.dts is not None:
                    table.num_empty += 1  # AVI: "repeat the last frame"
        if not table.pts:
            raise VideoReadError(self.path, "no_frames", "its video track is empty")
        # mp4: the index, which honours edit lists, where the header's count does not; elsewhere the header's count
        announced = len(self.stream.index_entries) if self.indexed else self.stream.frames
        found = len(table.pts) + table.num_empty
        if found < announced or (table.damaged_end and announced):
            detail = f"{len(table.pts)} of {announced} frames are there; get or copy the file again"
            raise VideoReadError(self.path, "truncated", detail)
        return table

    def close(self) -> None:
        self._container.close()


def refuse_non_videos(path: str) -> None:
    """For backends that would take a text for a film, open the files a playlist names, or give no reason.

    Raises:
        VideoReadError: not a video, or no video track.
    """
    Source(path).close()


@contextmanager
def reading(path: str, reason: str) -> Iterator[None]:
    """Turns the library's errors into one that names the file."""
    import av

    try:
        yield
    except FileNotFoundError as error:
        raise VideoReadError(path, "missing", "no such file") from error
    except (av.error.FFmpegError, OSError, ValueError, EOFError, IndexError) as error:  # IndexError: a late new track
        detail = getattr(error, "strerror", None) or str(error)
        if reason == "not_a_video" and _begins_like_mp4(path):
            reason, detail = "truncated", "an mp4 without its index (moov); the writing or copying was cut off"
        raise VideoReadError(path, reason, detail) from error


def to_rgb(frame: Any) -> np.ndarray:
    """uint8 [H, W, 3], turned upright by the file's display rotation."""
    image = _converter().reformat(frame, format="rgb24", threads=1, interpolation="BILINEAR").to_ndarray()
    turns = round(frame.rotation / 90) % 4
    return np.rot90(image, turns) if turns else image


@functools.cache
def _converter() -> Any:
    # one per process: a converter per frame costs 25 times as much
    from av.video.reformatter import VideoReformatter

    return VideoReformatter()


def _begins_like_mp4(path: str) -> bool:
    try:
        with open(path, "rb") as stream:
            return os.path.getsize(path) > 8 and stream.read(8)[4:] == b"ftyp"
    except OSError:
        return False
