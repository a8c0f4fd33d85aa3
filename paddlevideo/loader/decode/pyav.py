"""Decodes only the groups of pictures that hold a requested frame, and of these only what the frame depends on.

All packets are read once without decoding, so the exact number of frames and the display index of each packet are known
before anything is decoded.  Frames that no other refers to are skipped unless requested.  The result equals sequential
decoding bit for bit (tests/unit/loader/test_decode.py).

The packet table of a long video is cached by this process, and its packets are fetched by seeking: clips around the
key frames of a long video come in a fraction of a second, each after the first.
"""

from __future__ import annotations

import itertools
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from paddlevideo.loader.decode.memory import MemoryVideo, Source
from paddlevideo.loader.decode.packets import (
    Line,
    OpenVideo,
    PacketTable,
    clock,
    decode_all,
    error_lines,
    is_random_access,
    size_remark,
    to_rgb,
)
from paddlevideo.loader.decode.pyav_sequential import PyAVSequentialReader
from paddlevideo.loader.decode.reader import EachFrame, FrameBuffer, FrameReader

_MAX_CACHED = 16  # 3 MB each, for a quarter of an hour at 30 frames per second
_cache: dict[tuple[str, int, int], tuple[PacketTable, list[int] | None]] = {}  # of long files, latest last
# Packets that show nothing (VP8), or that this FFmpeg cannot decode (animated WebP): no frames to count
_NOT_COUNTABLE = frozenset({"vp8", "webp"})


class PyAVReader(FrameReader, backend="pyav"):
    """Exact, selective, one thread.  Streams without usable time stamps are read sequentially instead.

    Memory is that of the requested frames, plus the file's packets where they are below 64 MiB together.
    """

    takes_memory = True

    def __init__(self, source: OpenVideo, table: PacketTable, order: list[int], max_pixels: int):
        self.path, self._max_pixels = source.path, max_pixels
        self.remarks, self.pixel_aspect = list(source.remarks), source.pixel_aspect
        self._source, self._table, self._order = source, table, order
        self._keys = [k for k, flag in enumerate(table.keyframe) if flag]
        self._index_of_pts = {table.pts[k]: index for index, k in enumerate(order)}
        self._size = (source.context.width, source.context.height)
        self._size_is_sure = False
        stamps = [table.pts[k] for k in order]
        self._times, self.fps = clock(stamps, source.time_base, source.stated_fps, len(order))

    @classmethod
    def open(cls, path: Source, max_pixels: int) -> FrameReader:
        identity = _identity(path)
        source = OpenVideo(path, max_pixels)
        try:
            table, order = (_cache.pop(identity, None) if identity else None) or _read_all(source)
            if table.packets is None and identity:
                _cache[identity] = table, order  # the latest goes to the end
                if len(_cache) > _MAX_CACHED:
                    del _cache[next(iter(_cache))]
            if order is not None and source.timed and source.codec not in _NOT_COUNTABLE:
                return cls(source, table, order, max_pixels)
        except BaseException:
            source.close()
            raise
        source.close()
        return PyAVSequentialReader(path, max_pixels)

    def __len__(self) -> int:
        return len(self._order)

    def get(self, indices: Sequence[int] | np.ndarray, each: EachFrame | None = None) -> np.ndarray:
        requested = self.checked(indices)
        clip = FrameBuffer(self.path, requested, each)
        with error_lines() as lines:
            for frame in self._decode({self._order[i] for i in requested}, lines):
                index = self._index_of_pts.get(frame.pts)
                if index in clip.missing and not frame.is_corrupt:
                    clip.put(index, self._picture(frame))
        if clip.missing or lines:
            clip = FrameBuffer(self.path, requested, each)
            self._get_sequentially(clip)
        return clip.finish()

    def times(self) -> np.ndarray | None:
        return self._times

    def close(self) -> None:
        self._source.close()
        self._table.packets = None

    def _decode(self, targets: set[int], lines: list[Line]) -> Iterator[Any]:
        """Frames that come out of the decoder when only the needed runs of packets are fed to it.

        Args:
            lines: takes FFmpeg's errors.
        """
        context, decode = self._source.context, self._source.decode
        runs = needed_runs(sorted(targets), self._table.pts, self._keys)
        for first, packets in self._packets(runs):
            context.flush_buffers()
            before = len(lines)
            for k, packet in enumerate(packets, first):
                context.skip_frame = "DEFAULT" if k in targets else "NONREF"
                yield from decode(packet, lines)
            context.skip_frame = "DEFAULT"
            yield from decode(None, lines)
            if first > 0:
                lines[before:] = [line for line in lines[before:] if not is_random_access(line[2])]
        context.flush_buffers()

    def _picture(self, frame: Any) -> np.ndarray:
        """uint8 [H, W, 3] in the size of the video's first frame."""
        if not self._size_is_sure and (frame.width, frame.height) != self._size:
            first = next(decode_all(self.path, max_pixels=self._max_pixels))[0]
            self._size, self._size_is_sure = (first.width, first.height), True
        if (frame.width, frame.height) != self._size:
            remark = size_remark([self._size, (frame.width, frame.height)])
            self.remarks += [remark] if remark not in self.remarks else []
        return to_rgb(frame, self._size)

    def _packets(self, runs: list[tuple[int, int]]) -> Iterator[tuple[int, Iterator[Any]]]:
        held = self._table.packets
        if held is not None:
            for first, last in runs:
                yield first, iter(held[first : last + 1])
            return
        # a long file: fetch them again, and hold one at a time
        for first, last in runs:
            reopened = OpenVideo(self.path, self._max_pixels)
            try:
                stream = self._from_before(reopened, first)
                if stream is None:  # this container does not seek well: from its beginning
                    reopened.close()
                    reopened = OpenVideo(self.path, self._max_pixels)
                    stream = enumerate(reopened.demux())
                yield first, _between(stream, first, last)
            finally:
                reopened.close()

    def _from_before(self, source: OpenVideo, number: int) -> Iterator[tuple[int, Any]] | None:
        """Numbered packets from at or before key packet ``number`` on; None if seeking does not lead there."""
        pts = self._table.pts
        if not source.seek(pts[number]):
            return None
        packets = source.demux()
        found = next(packets, None)
        stamp = None if found is None else found.pts if found.pts is not None else found.dts
        # where stamps come twice (discarded packets), the order is unknown
        at = pts.index(stamp) if pts.count(stamp) == 1 else None
        if at is None or at > number:
            return None
        return enumerate(itertools.chain([found], packets), at)

    def _get_sequentially(self, clip: FrameBuffer) -> None:
        """The slow way for frames that did not appear, e.g. where a 'key frame' only begins a gradual refresh, or about
        which the decoder reported something: only decoding from the beginning gives errors of the file itself."""
        index_of_packet = {number: index for index, number in enumerate(self._order)}
        found, count, damaged = [], 0, False
        for frame, number, damage in decode_all(self.path, max_pixels=self._max_pixels):
            count += 1
            damaged = damaged or damage is not None
            index = index_of_packet.get(number)
            if index in clip.missing:
                if damage is not None:
                    clip.damage[index] = damage
                else:
                    clip.put(index, self._picture(frame))
                    found.append(index)
        if count != len(self) and not damaged:  # the packets announced other frames than there are
            clip.missing.update(found)


def _identity(path: Source) -> tuple[str, int, int] | None:
    """Of a file that is unchanged; None: content in memory, which is read once."""
    if isinstance(path, MemoryVideo):
        return None
    status = os.stat(path)
    return os.path.abspath(path), status.st_size, status.st_mtime_ns


def _read_all(source: OpenVideo) -> tuple[PacketTable, list[int] | None]:
    table = source.table()
    return table, display_order(table)


def display_order(table: PacketTable) -> list[int] | None:
    """Packet numbers by presentation time, or None where time stamps do not give it.

    Discarded packets (before an edit list's start) are decoded for others to refer to, and are no frames.
    """
    pts = table.pts
    shown = [k for k, discard in enumerate(table.discard) if not discard]
    if not shown or any(stamp is None for stamp in pts) or len({pts[k] for k in shown}) < len(shown):
        return None
    order = sorted(shown, key=pts.__getitem__)
    first_key = next((k for k, flag in enumerate(table.keyframe) if flag), None)
    # a stream cut out of a longer one can begin with pictures without their references: only decoding counts those
    if first_key is None or shown[0] < first_key or pts[order[0]] < pts[first_key]:
        return None
    return order


def needed_runs(targets: list[int], pts: list[int], keys: list[int]) -> list[tuple[int, int]]:
    """Runs (first, last) of packets to feed, in decoding order, that do not touch each other.

    Args:
        targets: requested packets, ascending.
        pts: presentation time per packet.
        keys: key-frame packets, ascending.
    """
    runs: list[tuple[int, int]] = []
    for target in targets:
        at = bisect_right(keys, target) - 1
        if at > 0 and pts[target] < pts[keys[at]]:
            at -= 1  # open group: shown before its key frame, so it also refers to the group before
        first = keys[at]
        while runs and first <= runs[-1][1] + 1:  # an open group can reach back over more than one run
            first = min(first, runs.pop()[0])
        runs.append((first, target))
    return runs


def _between(stream: Iterator[tuple[int, Any]], first: int, last: int) -> Iterator[Any]:
    for k, packet in stream:
        if k >= first:
            yield packet
        if k == last:
            return
