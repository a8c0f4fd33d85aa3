"""What all readers share: opening a file safely, its video track, and its packets."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from paddlevideo.loader.decode.container import declared_size
from paddlevideo.loader.decode.ffmpeg_errors import Line, decoder_errors, error_lines, first_line
from paddlevideo.loader.decode.memory import MemoryVideo, Source, open_bytes, size_of
from paddlevideo.loader.decode.reader import MAX_PIXELS, Damaged, VideoReadError

# They are text or lists of other files, not videos: a text file opens as a "tty" movie, a playlist opens other files.
_NOT_VIDEOS = frozenset({"tty", "hls", "concat", "dash", "sdp", "ffmetadata", "lavfi", "webvtt", "srt", "ass"})
_PICTURE = "a still picture"
# Containers whose packets carry presentation times; others count in decoding order, which B frames make another order.
_TIMED = frozenset({"mov", "matroska", "mpegts", "flv"})
# Containers whose header gives the duration; that of others is estimated from what is there.
_STATES_DURATION = frozenset({"matroska", "flv"})
_WHOLE = frozenset({"mov", "matroska", "flv", "avi"})  # containers that are not cut at any place and go on
_KEEP_BYTES = 64 << 20
_PART_BYTES = 4 << 20  # of packets between two looks at their sum
NO_STAMP = np.iinfo(np.int64).min
_COPY = "get or copy the file again"
_TOO_LARGE = "max pixel count"  # FFmpeg's error
_CUT_OFF = ("File ended prematurely", "partial file")
_MAX_FPS = 1000.0  # above it is a clock, not a rate


@dataclass
class PacketTable:
    """What one pass over a file's video packets shows, in decoding order, without decoding.

    Attributes:
        pts: presentation time of each, int64 [packets]; ``NO_STAMP``: it has none, nor a decoding time.
        keys: numbers of the key packets, ascending.
        discards: numbers of the packets that are decoded and not shown (before an edit list's start), ascending.
        checks: a byte of each packet's size, uint8 [packets], see ``size_check``.
        packets: the packets themselves as long as they are small together; None: read again where they are needed.
        num_damaged: packets that the container marks, mostly because a part of the stream is missing before.
        end: latest end of a packet.
        of_parser: number of a packet -> errors of ``OpenVideo.of_the_parser``.
    """

    pts: np.ndarray
    keys: np.ndarray
    discards: np.ndarray
    checks: np.ndarray
    packets: list[Any] | None = None
    num_empty: int = 0
    num_damaged: int = 0
    damaged_end: bool = False
    end: int | None = None
    of_parser: dict[int, list[Line]] = field(default_factory=dict)

    @functools.cached_property
    def order(self) -> np.ndarray | None:
        """Packet numbers by presentation time, int64 [frames], or None where time stamps do not give it.

        Discarded packets are decoded for others to refer to, and are no frames.
        """
        pts = self.pts
        shown = np.arange(len(pts))
        if len(self.discards):
            shown = np.delete(shown, self.discards)
        if not len(shown) or (pts == NO_STAMP).any():
            return None
        order = shown[np.argsort(pts[shown], kind="stable")]
        if (np.diff(pts[order]) == 0).any():
            return None
        # a stream cut out of a longer one can begin with pictures without their references: only decoding counts those
        first_key = self.keys[0] if len(self.keys) else None
        if first_key is None or shown[0] < first_key or pts[order[0]] < pts[first_key]:
            return None
        return order

    @functools.cached_property
    def stamps(self) -> np.ndarray:
        """Time stamps in display order, int64 [frames]; only where there is an ``order``."""
        return self.pts[self.order]


class _Columns:
    """Collects packets and keeps what a table needs of them; the packets too while they are small together."""

    def __init__(self):
        self.waiting: list[Any] = []
        self.held = self.num_empty = 0
        self._packets: list[Any] | None = []
        self._parts: list[tuple[np.ndarray, ...]] = []

    def empty_waiting(self) -> None:
        """Moves the waiting packets into the columns."""
        packets, self.waiting = self.waiting, []
        if self.held > _KEEP_BYTES:
            self._packets = None
        if self._packets is not None:
            self._packets += packets
        pts = [packet.pts for packet in packets]
        if None in pts:
            stamps = (packet.dts if packet.pts is None else packet.pts for packet in packets)
            pts = [NO_STAMP if stamp is None else stamp for stamp in stamps]
        flags = ([packet.is_keyframe, packet.is_discard, packet.is_corrupt] for packet in packets)
        durations = [packet.duration or 0 for packet in packets]
        checks = np.array([size_check(packet) for packet in packets], np.uint8)
        flags = np.array(list(flags), bool).reshape(-1, 3)
        part = (np.array(pts, np.int64), np.array(durations, np.int64), flags, checks)
        self._parts.append(part)

    def table(self) -> PacketTable:
        """The table of all packets so far."""
        self.empty_waiting()
        pts, durations, flags, checks = (np.concatenate(column) for column in zip(*self._parts))
        key, discard, corrupt = flags.T
        ends = (pts + durations)[pts != NO_STAMP]
        return PacketTable(
            pts, np.flatnonzero(key), np.flatnonzero(discard), checks, self._packets, self.num_empty,
            int(corrupt.sum()), bool(len(pts) and corrupt[-1]), int(ends.max()) if len(ends) else None,
        )  # fmt: skip


def size_check(packet: Any) -> int:
    """A byte in which two packets differ unless their sizes do by a multiple of 251."""
    return packet.size % 251


class OpenVideo:
    """An open file and its video track: the default one, else the largest; never a cover picture.

    Args:
        quick: FFmpeg decodes no picture to look for what the header lacks; only for a file whose ``digest`` is known to
            be the same in both ways.

    Attributes:
        container, codec: FFmpeg's names.
        track: number of the track among the video tracks.
        stated_fps: the container's average rate, or its guess; 0.0: none.
        count_is_open: whether the container's count is a placeholder, as a writer to a pipe leaves it.
        at_start: whether no packet has been read.
        timed: whether packets carry presentation times.
        pixel_aspect: width of a pixel divided by its height.
        remarks: what is read in another way than expected, each as a text.
    """

    def __init__(self, path: Source, max_pixels: int = MAX_PIXELS, quick: bool = False):
        import av

        self.path = path
        with decoder_errors(path, "not_a_video"):
            # "file:" keeps a name such as "http://x" or "a:b.mp4" a file name; the whitelist keeps a crafted file off
            # the net; max_pixels is checked by FFmpeg before it allocates a picture
            in_memory = isinstance(path, MemoryVideo)
            options = {"protocol_whitelist": "none" if in_memory else "file", "max_pixels": str(max_pixels)}
            if quick:
                options["skip_frame"] = "all"
            with error_lines() as lines:  # much of a short file is read here already
                self._container = av.open(open_bytes(path) if in_memory else f"file:{path}", options=options)
        self._open_error = self._of_the_container(lines)
        self._formats = set(self._container.format.name.split(","))
        self.remarks: list[str] = []
        self.at_start = True
        try:
            if self._formats & _NOT_VIDEOS:
                raise VideoReadError(path, "not_a_video", "a text or list file")
            if "image2" in self._formats:
                raise VideoReadError(path, "not_a_video", _PICTURE)
            self.stream = self._choose_track()
            self.track = self._container.streams.video.index(self.stream)
            self.context = self.stream.codec_context
            if self.context is None:
                raise VideoReadError(path, "not_a_video", "the format of its video track is unknown")
            too_large = next((text.strip() for _, _, text in lines if _TOO_LARGE in text), None)
            if too_large is None and self.context.width * self.context.height > max_pixels:
                too_large = f"pictures of {self.context.width} x {self.context.height}"
            if too_large is not None:
                detail = f"{too_large}: more than max_pixels ({max_pixels:,}); if it is right, give a larger max_pixels"
                raise VideoReadError(path, "too_large", f"{detail} of VideoDecoder, or convert it to a smaller size")
            self.stream.thread_type = "NONE"  # parallelism comes from the workers; AUTO can deadlock with logging
            self.context.thread_count = 1
            self.context.options = {"max_pixels": str(max_pixels)}
            self.context.copy_opaque = True  # frames name the packet that they come from
        except BaseException:
            self.close()
            raise
        self.count_is_open = self.stream.frames > size_of(path) // 8  # a chunk's header alone takes 8 bytes
        rate = self.stream.average_rate or self.stream.guessed_rate
        self.stated_fps = float(rate) if rate and 0 < rate < _MAX_FPS else 0.0
        self.container = self._container.format.name
        self.time_base, self.codec = self.stream.time_base, self.context.name
        self.timed = bool(self._formats & _TIMED) or not self.context.has_b_frames
        self.is_whole = bool(self._formats & _WHOLE and self.context.extradata)
        aspect = self.stream.sample_aspect_ratio
        self.pixel_aspect = float(aspect) if aspect and 0.1 < aspect < 10 else 1.0
        if abs(self.pixel_aspect - 1) > 0.01:
            self.remarks.append(
                f"its pixels are {self.pixel_aspect:.3g} times as wide as high; they are used as stored"
            )

    def _choose_track(self) -> Any:
        from av.stream import Disposition

        tracks = self._container.streams.video
        if not tracks:
            raise VideoReadError(self.path, "no_video_stream", "it has no video track")
        pictures = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
        real = [track for track in tracks if not Disposition(track.disposition) & pictures]
        if not real:
            raise VideoReadError(self.path, "no_video_stream", "its only video track is a cover picture")

        def rank(track: Any) -> tuple[bool, int]:
            context = track.codec_context
            default = bool(Disposition(track.disposition) & Disposition.default)
            return default, context.width * context.height if context is not None else 0

        chosen = max(real, key=rank)
        if len(real) > 1:
            number = tracks.index(chosen) + 1
            self.remarks.append(
                f"of its {len(real)} video tracks, number {number} is read (the default, or the largest)"
            )
        return chosen

    def demux(self) -> Iterator[Any]:
        """All packets of the video track with content, in decoding order, from the beginning or where ``seek`` led."""
        self.at_start = False
        with decoder_errors(self.path, "corrupt"):
            for packet in self._container.demux(self.stream):
                if packet.size:
                    yield packet

    def parsed(self) -> Iterator[tuple[Any, list[Line]]]:
        """The packets of ``demux``, each with what ``of_the_parser`` gives of it."""
        packets = self.demux()
        while True:
            with error_lines() as lines:
                packet = next(packets, None)
            if packet is None:
                return
            yield packet, self.of_the_parser(lines)

    def decode(self, packet: Any | None, lines: list[Line]) -> list[Any]:
        """Frames that come out for a packet (None: the last ones).

        Args:
            packet: of this source, or of another one of the same file.
            lines: of ``error_lines``, which is open; an exception becomes a line too.
        """
        import av

        try:
            return self.context.decode(packet)
        except av.error.EOFError:
            return []
        except av.error.FFmpegError as error:
            lines.append((0, self.context.name, error.strerror))
            return []

    def seek(self, pts: int) -> bool:
        """Moves to a key frame at or before this time stamp, as far as the container can; False: it cannot."""
        import av

        try:
            self._container.seek(pts, stream=self.stream, backward=True)
        except (av.error.FFmpegError, OSError):
            return False
        return True

    def table(self, damaged: Damaged = "refuse") -> PacketTable:
        """Reads all packets once.

        Args:
            damaged: ``read``: what is missing becomes a remark.

        Raises:
            VideoReadError: no packets; fewer than announced; errors on the way.
        """
        columns, self.at_start = _Columns(), False
        of_parser: dict[int, list[Line]] = {}
        try:
            with decoder_errors(self.path, "corrupt"), error_lines() as lines:
                limit, number, num_lines = _PART_BYTES, 0, 0
                for packet in self._container.demux(self.stream):
                    size = packet.size
                    if size:
                        if len(lines) > num_lines and (found := self.of_the_parser(lines[num_lines:])):
                            of_parser[number] = found
                        number, num_lines = number + 1, len(lines)
                        columns.waiting.append(packet)
                        columns.held += size
                        if columns.held > limit:
                            columns.empty_waiting()
                            limit = columns.held + _PART_BYTES
                    elif packet.dts is not None:
                        columns.num_empty += 1
            table = columns.table()
            table.of_parser = of_parser
            if len(table.pts):
                self._check_complete(table, self._open_error or self._of_the_container(lines))
        except VideoReadError as error:
            if damaged != "read":
                raise
            self.remarks.append(f"{error.reason}: {error.detail}; what is there is read")
            table = columns.table()
        if not len(table.pts):
            raise VideoReadError(self.path, "no_frames", "its video track is empty")
        of_pictures = any(name.endswith("_pipe") for name in self._formats)  # JPEG, PNG, ..., by content
        if of_pictures and len(table.pts) == 1 and self.context.width:  # 0: of an animated WebP
            raise VideoReadError(self.path, "not_a_video", _PICTURE)
        if table.num_damaged:
            are = "is" if table.num_damaged == 1 else "are"
            self.remarks.append(f"{table.num_damaged} of its packets {are} marked as damaged; a part may be missing")
        return table

    def digest(self) -> int:
        """A checksum of what the file's header and FFmpeg's look at its beginning say about the track."""
        stream, context, container = self.stream, self.context, self._container
        facts = (
            self.container, container.duration, container.start_time, len(container.streams), self.track,
            stream.time_base, stream.frames, stream.duration, stream.start_time, stream.sample_aspect_ratio,
            stream.average_rate, stream.guessed_rate, len(stream.index_entries), stream.disposition,
            context.name, context.width, context.height, context.coded_width, context.coded_height,
            context.has_b_frames, context.extradata, context.profile, context.color_range, context.colorspace,
            context.color_primaries, context.color_trc, context.field_order, context.bits_per_coded_sample,
        )  # fmt: skip
        return zlib.crc32(repr(facts).encode())

    def _of_the_container(self, lines: list[Line]) -> str | None:
        """The first error of the container."""
        return first_line([line for line in lines if line[1] == self._container.format.name])

    def of_the_parser(self, lines: list[Line]) -> list[Line]:
        """The errors of what cuts the video into packets.  Mostly decoding shows them too, but a VP8 frame of an
        invalid profile, say, decodes without a word.  A line does not name its track: where another one has the same
        format there are none."""
        if not lines:
            return []
        contexts = [track.codec_context for track in self._container.streams.video]
        if sum(context is not None and context.name == self.context.name for context in contexts) > 1:
            return []
        return [line for line in lines if line[1] == self.context.name]

    def _check_complete(self, table: PacketTable, error: str | None) -> None:
        found, announced = len(table.pts) + table.num_empty, self._announced(table)
        detail = self._missing_end(table)
        if found < announced or (table.damaged_end and announced):
            detail = f"{len(table.pts)} of {announced} frames are there"
        elif error is not None and any(text in error for text in _CUT_OFF):
            detail = error
        if detail is not None:
            raise VideoReadError(self.path, "truncated", f"{detail}; {_COPY}")
        if error is not None:
            raise VideoReadError(self.path, "corrupt", error)

    def _announced(self, table: PacketTable) -> int:
        """Packets that there should be; 0: the container does not state it."""
        if "mov" in self._formats:  # the index honours edit lists, where the header's count does not
            return len(self.stream.index_entries)
        if "avi" in self._formats:
            # the header also counts empty chunks ("repeat the last picture"), which the demuxer does not hand out but
            # counts in its time stamps; the index does not count them
            reached = 1 + max(int(table.pts.max()), 0)
            complete = self.count_is_open or reached >= self.stream.frames - 1 or declared_size(self.path) is not None
            return len(self.stream.index_entries) if complete else self.stream.frames
        return self.stream.frames

    def _missing_end(self, table: PacketTable) -> str | None:
        """The message if the file ends before the duration that its header states."""
        if not self._formats & _STATES_DURATION or not self._container.duration or table.end is None:
            return None
        stated_s = self._container.duration / 1e6
        period_s = 1 / self.stated_fps if self.stated_fps else 0.1
        limit_s = stated_s - max(2.5 * period_s, 0.1)
        end_s = float(table.end * self.stream.time_base)
        if end_s >= limit_s:
            return None
        if len(self._container.streams) > 1:  # another track may be longer than the video
            with OpenVideo(self.path) as other:
                end_s = max(end_s, other.last_end_s())
        return None if end_s >= limit_s else f"it ends at {end_s:.1f} of {stated_s:.1f} s"

    def last_end_s(self) -> float:
        """The latest end of a packet of all tracks: a subtitle lasts, and may outlast the video."""
        with decoder_errors(self.path, "corrupt"):
            packets = (p for p in self._container.demux() if p.size and p.pts is not None)
            ends = ((p.pts + (p.duration or 0)) * p.time_base for p in packets)
            return float(max(ends, default=0))

    def close(self) -> None:
        self._container.close()

    def __enter__(self) -> OpenVideo:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
