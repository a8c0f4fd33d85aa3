"""The size in bytes that a file should have, by its container's headers.

A file that was cut still opens, and most decoders return what is left without an error.  Packet counts do not show the
cut reliably (edit lists and dropped frames change them), whereas MP4, Matroska/WebM and AVI announce their size in
bytes, transport streams and DV consist of packets and pictures of one size, and Ogg marks the last page.
"""

from __future__ import annotations

import os
from typing import BinaryIO

from paddlevideo.loader.decode.memory import Source, open_bytes

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_MAX_BOXES = 100_000
_OGG_HEADER, _OGG_LAST = 27, 0x04  # bytes before a page's table of segments; the flag of a stream's last page
_DV, _DV_FRAMES = b"\x1f\x07\x00", (120_000, 144_000)  # of 525 lines (NTSC), of 625 (PAL)
_TS_SYNC, _TS_PACKETS = 0x47, (188, 192)  # plain; with four bytes of time before each (m2ts)


def declared_size(path: Source) -> int | None:
    """Bytes that the file should have at least, or None if the container does not state it.

    Raises:
        OSError: the file cannot be opened.
    """
    with open_bytes(path) as stream:
        head = stream.read(16)
        if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            announced = int.from_bytes(head[4:8], "little")
            # a writer that could not go back leaves 0 or all ones
            return announced + 8 if 0 < announced < 0xFFFFFFFF else None
        if head[:4] == _EBML:
            return _matroska(stream)
        size = stream.seek(0, os.SEEK_END)
        if head[4:8] == b"ftyp":
            return _mp4(stream, size)
        if head[:4] == b"OggS":
            return _ogg(stream, size)
        if head[:3] == _DV:
            frame = _DV_FRAMES[head[3] >> 7]
            return -(-size // frame) * frame
        for packet in _TS_PACKETS:
            if _is_transport_stream(stream, packet):
                return -(-size // packet) * packet
    return None


def _is_transport_stream(stream: BinaryIO, packet: int) -> bool:
    stream.seek(0)
    beginning = stream.read(5 * packet)
    return len(beginning) > 4 * packet and all(
        beginning[k + packet - 188] == _TS_SYNC for k in range(0, 5 * packet, packet)
    )


def _ogg(stream: BinaryIO, size: int) -> int | None:
    """End of the page that runs past the end of the file; more than there is if a stream's last page is missing."""
    position, open_streams = 0, set()
    while position < size:
        stream.seek(position)
        head = stream.read(_OGG_HEADER)
        if head[:4] != b"OggS":
            return None  # damaged, or something else follows
        if len(head) < _OGG_HEADER:
            return position + _OGG_HEADER
        table = stream.read(head[26])
        position += _OGG_HEADER + head[26] + sum(table)
        if head[5] & _OGG_LAST:
            open_streams.discard(head[14:18])
        else:
            open_streams.add(head[14:18])
    return max(position, size + bool(open_streams))


def _mp4(stream: BinaryIO, size: int) -> int | None:
    """End of the first top-level box that runs past the end of the file, else the end of the last box."""
    position = 0
    for _ in range(_MAX_BOXES):
        stream.seek(position)
        head = stream.read(16)
        if len(head) < 8 or not head[4:8].isascii():
            break
        length = int.from_bytes(head[:4], "big")
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:  # 0: up to the end of the file; anything else is not a box
            break
        position += length
        if position > size:
            return position
    return None


def _matroska(stream: BinaryIO) -> int | None:
    """End of the Segment element, or None if it was written as a live stream of unknown size."""
    stream.seek(4)
    header, _ = _vint(stream)
    if header is None:
        return None
    stream.seek(header, os.SEEK_CUR)
    if stream.read(4) != _SEGMENT:
        return None
    length, unknown = _vint(stream)
    return None if length is None or unknown else stream.tell() + length


def _vint(stream: BinaryIO) -> tuple[int | None, bool]:
    """An EBML length: its value, and whether it is the reserved 'unknown' (all value bits set)."""
    first = stream.read(1)
    if not first or first[0] == 0:
        return None, False
    width = 9 - first[0].bit_length()
    rest = stream.read(width - 1)
    if len(rest) < width - 1:
        return None, False
    value = int.from_bytes(bytes([first[0] & (0xFF >> width)]) + rest, "big")
    return value, value == (1 << (7 * width)) - 1
