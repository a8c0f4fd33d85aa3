"""The last seconds of a live source as they were received: short Matroska files, of which the oldest are removed."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from paddlevideo.errors import UserError
from paddlevideo.safe_io import write_atomic

_PART_S = 5.0  # of a file; longer where key frames are further apart
_NAME = re.compile(r"part-(\d{8})\.mkv")
_UNPACKED = frozenset({"rawvideo", "wrapped_avframe"})  # codecs
_MP4 = frozenset({"h264", "hevc", "av1", "vp9", "mpeg4"})
_OPTIONS = {"cluster_time_limit": "500", "flush_packets": "1"}  # so that a file is read while it is written
_MS = 1000


class PacketRing:
    """Writes the packets of a stream into ``part-00000001.mkv`` and so on.

    Args:
        folder: made where it is not there; parts of an earlier source are removed.
        keep_s: parts that ended longer ago are removed.
        say: receives why nothing is kept.
    """

    def __init__(self, folder: str | Path, keep_s: float, say: Callable[[str], None]):
        self._folder, self._keep_s, self._say = Path(folder), keep_s, say
        self._folder.mkdir(parents=True, exist_ok=True)
        for part in parts_of(self._folder):
            part.unlink(missing_ok=True)
        self._number = 0
        self._stream: Any = None
        self._output: Any = None
        self._track: Any = None
        self._begun = 0.0  # monotonic
        self._first, self._last = 0, -1

    def connected(self, stream: Any, arrival: bool) -> None:
        """A new connection: its stream, and whether packets are timed by their arrival."""
        self.close()
        self._arrival, self._stream = arrival, stream
        if stream.codec_context.name in _UNPACKED:
            self._say(f"pictures come uncompressed ({stream.codec_context.name}); nothing of them is kept")
            self._stream = None

    def add(self, packet: Any) -> None:
        """Writes a packet; a part begins with a key frame."""
        import av

        if self._stream is None or not packet.size or (packet.dts is None and not self._arrival):
            return
        if packet.is_corrupt:  # its end was lost; what follows may need it, up to a key frame
            self.close()
            return
        now = time.monotonic()
        try:
            if packet.is_keyframe and (self._output is None or now - self._begun >= _PART_S):
                self._begin(now, packet)
            if self._output is not None:
                self._write(now, packet)
        except (av.error.ValueError, av.error.InvalidDataError):  # time stamps that begin anew: at the next key frame
            self.close()
        except OSError as error:
            self._say(f"{self._folder}: cannot be written ({error.strerror or error}); nothing more is kept")
            self.close()
            self._stream = None

    def close(self) -> None:
        """Ends the part."""
        output, self._output = self._output, None
        if output is not None:
            with contextlib.suppress(OSError):  # a part that is cut off is read up to there
                output.close()

    def _begin(self, now: float, packet: Any) -> None:
        import av

        self.close()
        limit = time.time() - self._keep_s
        for part in parts_of(self._folder):
            if part.stat().st_mtime < limit:
                part.unlink(missing_ok=True)
        self._number += 1
        path = self._folder / f"part-{self._number:08d}.mkv"
        self._output = av.open(str(path), "w", format="matroska", options=_OPTIONS)
        self._track = self._output.add_stream_from_template(self._stream)
        self._begun, self._first, self._last = now, packet.dts or 0, -1

    def _write(self, now: float, packet: Any) -> None:
        if self._arrival:
            stamp = self._last = max(round((now - self._begun) * _MS), self._last + 1)  # several may come at once
            self._output.mux(_copy(packet, self._track, stamp, stamp, (1, _MS)))
        else:
            shown = packet.dts if packet.pts is None else packet.pts
            self._output.mux(_copy(packet, self._track, shown - self._first, packet.dts - self._first))


def _copy(packet: Any, track: Any, pts: int, dts: int, time_base: tuple[int, int] | None = None) -> Any:
    """A packet with other time stamps; the source's own is left to its decoder."""
    from fractions import Fraction

    import av

    copy = av.Packet(bytes(packet))
    copy.time_base = Fraction(*time_base) if time_base else packet.time_base
    copy.pts, copy.dts, copy.is_keyframe, copy.stream = pts, dts, packet.is_keyframe, track
    return copy


def parts_of(folder: str | Path) -> list[Path]:
    """The files of a ring, oldest first."""
    return sorted(file for file in Path(folder).glob("part-*.mkv") if _NAME.fullmatch(file.name))


def join_parts(folder: str | Path, target: Path) -> Path:
    """Writes what a ring holds into one file, without decoding it; the ring may be written meanwhile.

    Args:
        target: without its ending.

    Returns:
        The file: ``.mp4`` for the codecs of that container, else ``.mkv``.

    Raises:
        UserError: the ring holds no picture.
    """
    parts = _alike(parts_of(folder))
    if not parts:
        raise UserError(f"{folder}: nothing of the source is kept yet")
    ending, form = (".mp4", "mp4") if parts[-1][1] in _MP4 else (".mkv", "matroska")
    path = target.with_name(target.name + ending)
    write_atomic(path, lambda stream: _join(stream, form, [part for part, *_ in parts]))
    return path


def _join(stream: BinaryIO, form: str, parts: list[Path]) -> None:
    import av

    track, end_s = None, 0.0
    with av.open(stream, "w", format=form) as output:
        for part in parts:
            begun_s, step_s = end_s, 0.04
            with contextlib.suppress(av.error.FFmpegError, FileNotFoundError), av.open(str(part)) as source:
                video = source.streams.video[0]
                track = track or output.add_stream_from_template(video)
                unit = float(video.time_base)
                step_s = 1 / float(video.average_rate) if video.average_rate else step_s
                for packet in source.demux(video):
                    if packet.size and packet.dts is not None:
                        offset = round(begun_s / unit)
                        shown = packet.dts if packet.pts is None else packet.pts
                        output.mux(_copy(packet, track, shown + offset, packet.dts + offset))
                        end_s = max(end_s, begun_s + shown * unit + step_s)


def _alike(parts: list[Path]) -> list[tuple[Path, str, bytes]]:
    """The last parts of one connection, or of several with the same coding."""
    found = [known for known in map(_coding, parts) if known is not None]
    alike: list[tuple[Path, str, bytes]] = []
    for part in reversed(found):
        if alike and part[1:] != alike[-1][1:]:
            break
        alike.append(part)
    return alike[::-1]


def _coding(part: Path) -> tuple[Path, str, bytes] | None:
    import av

    try:
        with av.open(str(part)) as source:
            context = source.streams.video[0].codec_context
            size = f"{context.width}x{context.height}".encode()
            return part, context.codec.canonical_name, size + bytes(context.extradata or b"")
    except (av.error.FFmpegError, IndexError, FileNotFoundError):
        return None


def kept(ring: PacketRing | None, packets: Iterator[Any]) -> Iterator[Any]:
    """The packets, each added to the ring when the next one is taken; None, at a recording's end, is none."""
    for packet in packets:
        yield packet
        if ring is not None and packet is not None:
            ring.add(packet)
