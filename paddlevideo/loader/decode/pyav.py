"""Decodes only the groups of pictures that hold a requested frame, and of these only what the frame depends on.

The packets of a file are known before anything is decoded, and with them the exact number of frames and the display
index of each packet: from the data set's index (``index``), or from reading all of them once without decoding.  Frames
that no other refers to are skipped unless requested.  The result equals sequential decoding bit for bit
(tests/unit/loader/test_decode.py).

Packets that are not held since that reading are fetched by seeking.  The packet table of a long video is cached by this
process: clips around the key frames of a long video come in a fraction of a second, each after the first.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from paddlevideo.errors import UserError, printable
from paddlevideo.loader.decode.ffmpeg_errors import Line, error_lines, is_random_access
from paddlevideo.loader.decode.index import IndexedVideo, described
from paddlevideo.loader.decode.memory import MemoryVideo, Source
from paddlevideo.loader.decode.packets import NO_STAMP, OpenVideo, PacketTable, size_check
from paddlevideo.loader.decode.pyav_sequential import PyAVSequentialReader
from paddlevideo.loader.decode.reader import EachFrame, FrameBuffer, FrameReader, OutdatedIndex, VideoReadError
from paddlevideo.loader.decode.rgb import orientation, to_rgb, upright_aspect
from paddlevideo.loader.decode.sequential import clock, decode_all, size_remark

_MAX_CACHED = 16  # 3 MB each, for a quarter of an hour at 30 frames per second
_LONG = 5000  # packets
_NEAR = 10  # packets that are read and left out rather than sought over
# of long files, latest last: path, size, modification time, whether it comes from an index
_cache: dict[tuple[str, int, int, bool], PacketTable] = {}
# Packets that show nothing (VP8), or that this FFmpeg cannot decode (animated WebP): no frames to count
_NOT_COUNTABLE = frozenset({"vp8", "webp"})


class PyAVReader(FrameReader, backend="pyav"):
    """Exact, selective, one thread.  Streams without usable time stamps are read sequentially instead.

    Memory is that of the requested frames, plus the file's packets where they were read and are below 64 MiB together.

    Args:
        is_known: the table comes from an index.
    """

    takes_memory = True
    takes_index = True

    def __init__(self, source: OpenVideo, table: PacketTable, max_pixels: int, is_known: bool = False):
        self.path, self._max_pixels, self._is_known = source.path, max_pixels, is_known
        self.remarks = list(source.remarks)
        self._source, self._table, self._order = source, table, table.order
        self._size = (source.context.width, source.context.height)
        self._size_is_sure, self._seeks = False, True
        self._times, self.fps = clock(table.stamps, source.time_base, source.stated_fps, len(self._order))

    @classmethod
    def open(cls, path: Source, max_pixels: int, known: IndexedVideo | None = None) -> FrameReader:
        if known is not None and known.table is None:
            return PyAVSequentialReader(path, max_pixels, known=known)
        identity = _identity(path, known is not None)
        source = OpenVideo(path, max_pixels, quick=known is not None and known.quick)
        try:
            if known is not None and source.digest() != known.header:
                raise OutdatedIndex
            table = _cache.pop(identity, None) if identity else None
            table = table or (source.table() if known is None else known.table)
            if identity and table.packets is None and (known is None or len(table.pts) > _LONG):
                _cache[identity] = table  # the latest goes to the end
                if len(_cache) > _MAX_CACHED:
                    del _cache[next(iter(_cache))]
            if table.order is not None and source.timed and source.codec not in _NOT_COUNTABLE:
                return cls(source, table, max_pixels, known is not None)
        except BaseException:
            source.close()
            raise
        source.close()
        return PyAVSequentialReader(path, max_pixels)

    @functools.cached_property
    def pixel_aspect(self) -> float:
        """Decodes a frame where pixels are not square: which side is the wide one depends on how it is turned."""
        stored = self._source.pixel_aspect
        if stored == 1.0:
            return stored
        with closing(decode_all(self.path, max_pixels=self._max_pixels)) as frames:
            return upright_aspect(stored, orientation(next(frames)[0]))

    def __len__(self) -> int:
        return len(self._order)

    def get(self, indices: Sequence[int] | np.ndarray, each: EachFrame | None = None) -> np.ndarray:
        requested = self.checked(indices)
        try:
            clip, is_whole = self._get_selected(requested, each)
        except _OtherPackets:
            # that seeking does not lead where the table says is no fault of the file
            seeks, self._seeks = self._seeks, False
            if seeks:
                return self.get(requested, each)
            is_whole = False
        except VideoReadError:
            if not self._is_known:
                raise
            is_whole = False
        if not is_whole:
            if self._is_known:
                return self._without_index(requested, each)
            clip = FrameBuffer(self.path, requested, each)
            self._get_sequentially(clip)
        return clip.finish()

    def _get_selected(self, requested: list[int], each: EachFrame | None) -> tuple[FrameBuffer, bool]:
        """The frames that come out of the needed packets, and whether these are all, without an error."""
        clip = FrameBuffer(self.path, requested, each)
        stamps = self._table.stamps
        index_of_stamp = {int(stamps[i]): i for i in requested}
        with error_lines() as lines:
            for frame in self._decode(set(self._order[requested].tolist()), lines):
                index = index_of_stamp.get(frame.pts)
                if index in clip.missing and not frame.is_corrupt:
                    clip.put(index, self._picture(frame))
        return clip, not (clip.missing or lines)

    def times(self) -> np.ndarray | None:
        return self._times

    def close(self) -> None:
        self._source.close()
        self._table.packets = None

    def known(self) -> IndexedVideo | None:
        return described(self._source, self._max_pixels, len(self), self.fps, table=self._table)

    def _decode(self, targets: set[int], lines: list[Line]) -> Iterator[Any]:
        """Frames that come out of the decoder when only the needed runs of packets are fed to it.

        Args:
            lines: takes FFmpeg's errors.
        """
        context, decode = self._source.context, self._source.decode
        runs = needed_runs(sorted(targets), self._table.pts, self._table.keys)
        for first, packets in self._packets(runs):
            context.flush_buffers()
            before, skipping, frames = len(lines), None, []
            for k, packet in enumerate(packets, first):
                if (k not in targets) is not skipping:
                    skipping = k not in targets
                    context.skip_frame = "NONREF" if skipping else "DEFAULT"
                lines += self._table.of_parser.get(k, ())
                frames = decode(packet, lines)
                yield from frames
            context.skip_frame = "DEFAULT"
            if k > first or not frames:  # the only frame of a run may have come at once
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
        # fetched from the open file, one at a time
        with _Feed(self._source, self._table, self._max_pixels, self._seeks) as feed:
            for first, last in runs:
                yield first, feed.run(first, last)

    def _without_index(self, requested: list[int], each: EachFrame | None) -> np.ndarray:
        """The frames as a pass over the whole file gives them, or its error: the entry does not fit, or the decoder
        reported something."""
        with type(self).open(self.path, self._max_pixels) as reader:
            if len(reader) != len(self):
                detail = f"{len(reader)} frames, its entry in the index of the data set states {len(self)}"
                raise UserError(f"{printable(self.path)}: {detail}; write the index again: paddlevideo check-data")
            return reader.get(requested, each)

    def _get_sequentially(self, clip: FrameBuffer) -> None:
        """The slow way for frames that did not appear, e.g. where a 'key frame' only begins a gradual refresh, or about
        which the decoder reported something: only decoding from the beginning gives errors of the file itself."""
        index_of_packet = {number: index for index, number in enumerate(self._order.tolist())}
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


def _identity(path: Source, indexed: bool) -> tuple[str, int, int, bool] | None:
    """The key in the cache of a file that is unchanged; None: content in memory, which is read once."""
    if isinstance(path, MemoryVideo):
        return None
    status = os.stat(path)
    return os.path.abspath(path), status.st_size, status.st_mtime_ns, indexed


class _OtherPackets(Exception):
    """The packets of the file are not those of the table."""


class _Feed:
    """Packets of an open file by their numbers, in ascending runs: read on, or sought where they are far.

    Each packet is compared with the table.  Where seeking leads elsewhere, the file is read from its beginning.

    Args:
        seeks: False: it is known that seeking leads elsewhere.
    """

    def __init__(self, source: OpenVideo, table: PacketTable, max_pixels: int, seeks: bool):
        self._source, self._table, self._max_pixels, self._seeks = source, table, max_pixels, seeks
        self._again: OpenVideo | None = None
        self._stream = source.demux() if source.at_start else None
        self._next = 0  # number of the stream's next packet

    def run(self, first: int, last: int) -> Iterator[Any]:
        """Packets ``first`` to ``last``; ``first`` is a key packet, after the last one of the run before.

        Raises:
            _OtherPackets: the file has others there.
        """
        if self._seeks and (self._stream is None or first - self._next > _NEAR):
            self._seeks = self._seek(first)
        if self._stream is None:
            self._again = OpenVideo(self._source.path, self._max_pixels)
            self._stream, self._next = self._again.demux(), 0
        table = self._table
        expected = list(zip(table.pts[self._next : last + 1].tolist(), table.checks[self._next : last + 1].tolist()))
        while self._next <= last:
            packet = next(self._stream, None)
            if packet is None or (_stamp(packet), size_check(packet)) != expected[self._next - last - 1]:
                raise _OtherPackets
            self._next += 1
            if self._next > first:
                yield packet

    def _seek(self, number: int) -> bool:
        """Goes to key packet ``number`` or before it; False: it cannot, and there is no stream."""
        pts, self._stream = self._table.pts, None
        if not self._source.seek(int(pts[number])):
            return False
        packets = self._source.demux()
        found = next(packets, None)
        # where stamps come twice (discarded packets), the place is unknown
        places = np.flatnonzero(pts == _stamp(found)) if found is not None else ()
        if len(places) != 1 or places[0] > number:
            return False
        self._stream, self._next = itertools.chain([found], packets), int(places[0])
        return True

    def __enter__(self) -> _Feed:
        return self

    def __exit__(self, *_: object) -> None:
        if self._again is not None:
            self._again.close()


def _stamp(packet: Any) -> int:
    stamp = packet.pts if packet.pts is not None else packet.dts
    return NO_STAMP if stamp is None else stamp


def needed_runs(targets: list[int], pts: np.ndarray, keys: np.ndarray) -> list[tuple[int, int]]:
    """Runs (first, last) of packets to feed, in decoding order, that do not touch each other.

    Args:
        targets: requested packets, ascending.
        pts: presentation time per packet.
        keys: key-frame packets, ascending.
    """
    runs: list[tuple[int, int]] = []
    for target, at in zip(targets, (np.searchsorted(keys, targets, side="right") - 1).tolist()):
        if at > 0 and pts[target] < pts[keys[at]]:
            at -= 1  # open group: shown before its key frame, so it also refers to the group before
        first = int(keys[at])
        while runs and first <= runs[-1][1] + 1:  # an open group can reach back over more than one run
            first = min(first, runs.pop()[0])
        runs.append((first, target))
    return runs
