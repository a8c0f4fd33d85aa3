"""Decodes from the first frame on and counts.  Slow, and right for every stream that PyAV can decode."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from paddlevideo.loader.decode.packets import Source, reading, to_rgb
from paddlevideo.loader.decode.reader import Clip, FrameReader, VideoReadError


class PyAVSequentialReader(FrameReader, backend="pyav_sequential"):
    """For streams without time stamps, and the yardstick for the selective reader.

    Opening decodes the file once to count; ``get`` decodes up to the last frame asked for.  Frames that are not asked
    for are not converted and not kept.
    """

    def __init__(self, path: str):
        self.path = path
        source = Source(path)
        self.fps = source.fps
        source.table()  # finds a cut
        source.close()
        self._count = sum(1 for _ in decode_all(path))
        if not self._count:
            raise VideoReadError(path, "no_frames", "no frame of its video track can be decoded")

    def __len__(self) -> int:
        return self._count

    def get(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        wanted = self.checked(indices)
        clip = Clip(self.path, wanted)
        targets, last = set(wanted), max(wanted)
        for index, frame in enumerate(decode_all(self.path)):
            if index in targets:
                clip.put(index, to_rgb(frame))
            if index == last:
                break
        return clip.finish()


def decode_all(path: str) -> Iterator[Any]:
    """All frames of a file in display order."""
    source = Source(path)
    try:
        with reading(path, "corrupt"):
            for packet in source.demux():
                yield from source.context.decode(packet)
            yield from source.context.decode(None)
    finally:
        source.close()
