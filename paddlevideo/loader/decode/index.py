"""The index of the videos of a data set: the packets of each file, listed in one memory-mapped file.

With it the number of frames, their times and the packets they need are known before a file is opened, and no other
packets are read.  ``paddlevideo check-data`` writes it.  An entry counts while its file has the size and the
modification time that it had; besides, the reader compares the file's header and each packet that it reads with the
entry.  Any other file is read as without an index.

The file is a header, the sorted keys, one record of fixed width per video, and the variable parts one after the other;
processes share its pages.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paddlevideo.errors import DamagedFileError
from paddlevideo.findings import plural
from paddlevideo.loader.decode.ffmpeg_errors import error_lines
from paddlevideo.loader.decode.packets import OpenVideo, PacketTable
from paddlevideo.loader.decode.rgb import orientation, to_rgb
from paddlevideo.safe_io import reading, write_atomic

ENDING = ".videoindex"
_MAGIC, _VERSION = b"PVINDEX\0", 2
_HEADER = struct.Struct("<8sIIQQ28x")  # magic, version, checksum of the next two, videos, bytes of the variable parts
_SEQUENTIAL, _UNUSUAL, _QUICK, _STAMPED, _TURNED, _LEFT_RIGHT, _UPSIDE_DOWN = (1 << bit for bit in range(7))
_RECORD = np.dtype(
    [
        ("key", "<u8"), ("size", "<u8"), ("mtime_ns", "<i8"), ("offset", "<u8"),
        ("first", "<i8"), ("unit", "<i8"), ("fps", "<f8"),
        ("frames", "<u4"), ("packets", "<u4"), ("keys", "<u4"), ("discards", "<u4"),
        ("width", "<u4"), ("height", "<u4"), ("header", "<u4"), ("check", "<u4"),
        ("track", "<u2"), ("flags", "u1"), ("step_bytes", "u1"), ("length", "<u4"),
    ]
)  # fmt: skip
_MOST = np.iinfo(np.uint32).max


@dataclass(frozen=True)
class IndexedVideo:
    """What is known of an intact file.

    Attributes:
        num_frames: exact.
        fps: as of the reader; 0.0: unknown.
        size: stored width and height of the first frame.
        orientation: of the first frame (``rgb.orientation``).
        track: number of the track among the video tracks.
        header: ``OpenVideo.digest``.
        is_unusual: there is a remark that only reading the whole file gives.
        quick: whether a quick opening gives the same digest and picture.
        table: the packets; None: the file is decoded sequentially.
        stamps: of such a file, int64 [frames]; None: it has none.
    """

    num_frames: int
    fps: float
    size: tuple[int, int]
    orientation: tuple[bool, bool, bool]
    track: int
    header: int
    is_unusual: bool = False
    quick: bool = False
    table: PacketTable | None = None
    stamps: np.ndarray | None = None


def described(
    source: OpenVideo, max_pixels: int, num_frames: int, fps: float, remarks: Sequence[str] | None = None,
    table: PacketTable | None = None, stamps: np.ndarray | None = None,
) -> IndexedVideo | None:  # fmt: skip
    """What an index states of a file that has just been read.

    Args:
        source: closed or open, as it was read.
        remarks: on the file; None: the source's.
    """
    found = []
    for quick in (False, True):
        with OpenVideo(source.path, max_pixels, quick) as again:
            found.append((again, again.digest(), _first_picture(again)))
    (again, header, picture), (_, quick_header, quick_picture) = found
    if picture is None:
        return None
    quick = header == quick_header and quick_picture is not None
    quick = quick and np.array_equal(to_rgb(picture), to_rgb(quick_picture))
    remarks = source.remarks if remarks is None else remarks
    return IndexedVideo(
        num_frames, fps, (picture.width, picture.height), orientation(picture), source.track, header,
        is_unusual=list(remarks) != again.remarks, quick=quick, table=table, stamps=stamps,
    )  # fmt: skip


def _first_picture(source: OpenVideo) -> Any | None:
    with error_lines() as lines:
        for packet in source.demux():
            for frame in source.decode(packet, lines):
                return frame
        return next(iter(source.decode(None, lines)), None)


class VideoIndex:
    """Entries by path.

    Args:
        file: written by ``write_index``.
        root: folder that the entries' paths are relative to.

    Raises:
        UserError: the file is missing, or damaged as a whole.
    """

    def __init__(self, file: str, root: str):
        self.file, self._root = file, os.path.abspath(root)
        with reading(file, "an index of videos"):
            self._keys, self._records, self._parts = _mapped(file)

    def __len__(self) -> int:
        return len(self._keys)

    def __reduce__(self):
        return type(self), (self.file, self._root)

    def find(self, path: str, size: int, mtime_ns: int) -> IndexedVideo | None:
        """What is known of a file; None: nothing, or it was another file then, or its entry is damaged."""
        key = np.uint64(_key(path, self._root))
        first, end = (int(np.searchsorted(self._keys, key, side)) for side in ("left", "right"))
        for record in self._records[first:end]:  # several where a list is used with several roots
            if (int(record["size"]), int(record["mtime_ns"])) == (size, mtime_ns):
                return self._read(record)
        return None

    def _read(self, record: np.void) -> IndexedVideo | None:
        begin, length = int(record["offset"]), int(record["length"])
        part = self._parts[begin : begin + length].tobytes()
        return _unpacked(record, part) if int(record["check"]) == _checksum(record, part) else None


def place_of(file_path: str, data_prefix: str | None, index: str = "auto") -> tuple[str, str] | None:
    """The index of a list, or of a folder of class folders: its file, and the folder its paths are relative to.

    Args:
        index: ``DATASET.<split>.index``: auto (beside the list), none, or the folder that the file is in.
    """
    if index == "none":
        return None
    file_path = file_path.rstrip("/") or "/"
    root = file_path if os.path.isdir(file_path) else data_prefix or os.path.dirname(file_path) or "."
    folder = os.path.dirname(file_path) if index == "auto" else os.path.expanduser(index)
    return os.path.join(folder, os.path.basename(file_path) + ENDING), root


def write_index(file: str, entries: Mapping[str, Mapping[str, tuple[int, int, bytes]]]) -> None:
    """Writes the index of videos by path, whole or not at all.

    Args:
        entries: root (as ``place_of`` gives it) -> path -> size and modification time (ns) of the file, and what
            ``packed`` gives.  Files of one path below two roots are told apart by their sizes and times.

    Raises:
        UserError: the folder cannot be written to; an existing index is unchanged.
    """
    by_key = {
        (_key(path, os.path.abspath(root)), size, mtime_ns): entry
        for root, videos in entries.items()
        for path, (size, mtime_ns, entry) in videos.items()
    }
    keys = np.array(sorted(key for key, _, _ in by_key), "<u8")
    records, parts, offset = np.zeros(len(keys), _RECORD), [], 0
    for at, ((key, size, mtime_ns), entry) in enumerate(sorted(by_key.items())):
        records[at] = np.frombuffer(entry[: _RECORD.itemsize], _RECORD)[0]
        part = entry[_RECORD.itemsize :]
        records[at]["key"], records[at]["size"], records[at]["mtime_ns"] = key, size, mtime_ns
        records[at]["offset"], records[at]["length"] = offset, len(part)
        records[at]["check"] = _checksum(records[at], part)
        parts.append(part)
        offset += len(part)
    numbers = struct.pack("<QQ", len(keys), offset)
    header = _HEADER.pack(_MAGIC, _VERSION, zlib.crc32(numbers), len(keys), offset)
    write_atomic(file, lambda stream: stream.writelines([header, keys.tobytes(), records.tobytes(), *parts]))


def packed(video: IndexedVideo) -> bytes | None:
    """The entry of a file for ``write_index``; None: its numbers do not fit."""
    record, table = np.zeros(1, _RECORD)[0], video.table
    values = video.stamps if table is None else table.pts
    given = (
        table is None, video.is_unusual, video.quick, values is not None, *video.orientation
    )  # fmt: skip
    record["flags"] = sum(1 << bit for bit, flag in enumerate(given) if flag)
    count = 0 if values is None else len(values)
    if max(video.num_frames, count, *video.size) > _MOST:
        return None
    record["frames"], record["packets"], record["fps"] = video.num_frames, count, video.fps
    record["width"], record["height"] = video.size
    record["track"], record["header"] = video.track, video.header
    part = b""
    if count:
        first, unit, steps = _compact(values)
        record["first"], record["unit"], record["step_bytes"] = first, unit, steps.itemsize if len(steps) else 0
        part = steps.tobytes()
    if table is not None:
        record["keys"], record["discards"] = len(table.keys), len(table.discards)
        listed = [] if len(table.keys) == count else [table.keys]
        part += b"".join(numbers.astype("<u4").tobytes() for numbers in [*listed, table.discards])
        part += table.checks.tobytes()
    return record.tobytes() + part


def _compact(values: np.ndarray) -> tuple[int, int, np.ndarray]:
    """values = first + unit * (0, 1, 2, ... + steps), with steps in the smallest type; none where all are 0."""
    first = int(values[0])
    distances = values - first
    unit = int(np.gcd.reduce(distances)) or 1
    steps = distances // unit - np.arange(len(values))
    if not steps.any():
        return first, unit, steps[:0]
    kinds = (np.dtype(f"<i{width}") for width in (1, 2, 4, 8))
    fits = (k for k in kinds if np.iinfo(k).min <= steps.min() and steps.max() <= np.iinfo(k).max)
    return first, unit, steps.astype(next(fits))


def _unpacked(record: np.void, part: bytes) -> IndexedVideo:
    flags, count, num_keys = int(record["flags"]), int(record["packets"]), int(record["keys"])
    width, at, values = int(record["step_bytes"]), 0, None
    if flags & _STAMPED:
        numbers = np.arange(count)
        if width:
            numbers += np.frombuffer(part, f"<i{width}", count)
            at = width * count
        values = numbers * int(record["unit"]) + int(record["first"])
    table = None
    if not flags & _SEQUENTIAL:
        if num_keys == count:
            keys = np.arange(count)
        else:
            keys = np.frombuffer(part, "<u4", num_keys, at).astype(np.int64)
            at += 4 * num_keys
        discards = np.frombuffer(part, "<u4", int(record["discards"]), at).astype(np.int64)
        table = PacketTable(values, keys, discards, np.frombuffer(part, np.uint8, count, at + 4 * len(discards)))
    orientation = tuple(bool(flags & flag) for flag in (_TURNED, _LEFT_RIGHT, _UPSIDE_DOWN))
    size = int(record["width"]), int(record["height"])
    return IndexedVideo(
        int(record["frames"]), float(record["fps"]), size, orientation, int(record["track"]), int(record["header"]),
        bool(flags & _UNUSUAL), bool(flags & _QUICK), table, values if table is None else None,
    )  # fmt: skip


def _mapped(file: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with open(file, "rb") as stream:
        header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        raise DamagedFileError("it is cut off")
    magic, version, check, count, length = _HEADER.unpack(header)
    if (magic, version) != (_MAGIC, _VERSION) or check != zlib.crc32(struct.pack("<QQ", count, length)):
        raise DamagedFileError("another format, or another version of it")
    expected = _HEADER.size + count * (8 + _RECORD.itemsize) + length
    if os.path.getsize(file) != expected:
        raise DamagedFileError(f"it has {os.path.getsize(file)} bytes, its header states {expected}")
    content = np.memmap(file, np.uint8, "r")
    begin, end = _HEADER.size + 8 * count, expected - length
    keys, records = content[_HEADER.size : begin].view("<u8"), content[begin:end].view(_RECORD)
    return np.asarray(keys), np.asarray(records), np.asarray(content[end:])


def _checksum(record: np.void, part: bytes) -> int:
    """Of all fields but itself."""
    content = bytearray(record.tobytes())
    at = _RECORD.fields["check"][1]
    content[at : at + 4] = bytes(4)
    return zlib.crc32(part, zlib.crc32(content))


def _key(path: str, root: str) -> int:
    path = os.path.abspath(path)
    name = path[len(root) + 1 :] if path.startswith(root + os.sep) else path
    return int.from_bytes(hashlib.blake2b(os.fsencode(name), digest_size=8).digest(), "little")


def index_of(file_path: str, data_prefix: str | None, index: str) -> tuple[VideoIndex | None, str | None]:
    """The index of a data set, if there is one, and what the log is to say.

    Args:
        index: as of ``place_of``.

    Raises:
        UserError: there is none in the folder that is named.
    """
    place = place_of(file_path, data_prefix, index)
    if place is None or (index == "auto" and not os.path.exists(place[0])):
        return None, None
    try:
        found = VideoIndex(*place)
    except DamagedFileError as error:
        return None, f"{error}; its videos are read without it, paddlevideo check-data writes it again"
    return found, f"index of {plural(len(found), 'video')}: {place[0]}"
