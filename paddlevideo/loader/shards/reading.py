"""Members of shards, read in pieces of many neighbours at once."""

from __future__ import annotations

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.loader.decode.reader import VideoReadError
from paddlevideo.loader.shards.index import ShardIndex
from paddlevideo.loader.shards.storage import Storage
from paddlevideo.loader.shards.tar import BLOCK, check_header

MAX_REQUEST = 16 << 20  # bytes of one piece, unless a video is larger
_MAX_GAP = 256 << 10  # bytes between two neighbours that are read and dropped


class ShardReader:
    """Content of samples, by their indices.

    A process that has announced the order in which it reads gets the neighbours of a sample with it, in one request:
    those that it reads before ``read_ahead`` bytes of other samples.  So no more is held than this.  The order changes
    nothing but the requests.

    Args:
        index: of the shards.
        storage: their folder.
        read_ahead: bytes.
    """

    def __init__(self, index: ShardIndex, storage: Storage, read_ahead: int):
        self._index, self._storage, self._read_ahead = index, storage, read_ahead
        self.expect(np.empty(0, np.int64))

    def name(self, index: int) -> str:
        """A sample's shard and member, for messages and tables."""
        shard = self._index.shards[self._index.shard[index]]
        return f"{self._storage.place(shard.name)}: member {self._index.name(index)}"

    def expect(self, order: np.ndarray) -> None:
        """Announces the indices that this process reads next, int64 [reads]; what was read ahead is dropped."""
        self._held: dict[int, bytes] = {}
        # first place in the order of each sample; -1: none
        self._place = np.full(len(self._index) if len(order) else 0, -1, np.int64)
        self._place[order[::-1]] = np.arange(len(order))[::-1]
        self._before = np.concatenate([[0], np.cumsum(self._index.size[order])])  # bytes before each place

    def read(self, index: int) -> bytes:
        """The content of a sample's video.

        Raises:
            VideoReadError: the shard ends before it (truncated).
            UserError: the shard is missing or unreachable, or holds something else there.
        """
        if index not in self._held:
            first, last = self._neighbours(index)
            self._held.update(self._request(first, last, index))
        return self._held.pop(index)

    def _neighbours(self, index: int) -> tuple[int, int]:
        """First and last sample of the piece that is read for one."""
        first = last = index
        here = self._place[index] if len(self._place) else -1
        if here < 0:
            return first, last
        limit = self._before[here] + self._read_ahead
        while self._joins(last + 1, last, here, limit) and self._span(first, last + 1) <= MAX_REQUEST:
            last += 1
        while first and self._joins(first - 1, first, here, limit) and self._span(first - 1, last) <= MAX_REQUEST:
            first -= 1
        return first, last

    def _joins(self, index: int, neighbour: int, here: int, limit: int) -> bool:
        """Whether a sample is needed soon and lies beside its neighbour."""
        if index >= len(self._index) or self._index.shard[index] != self._index.shard[neighbour]:
            return False
        place, (low, high) = self._place[index], sorted((index, neighbour))
        gap = self._index.offset[high] - self._index.offset[low] - self._index.size[low]
        return place > here and self._before[place + 1] <= limit and gap <= _MAX_GAP and index not in self._held

    def _span(self, first: int, last: int) -> int:
        return int(self._index.offset[last] + self._index.size[last] - self._index.offset[first] + BLOCK)

    def _request(self, first: int, last: int, wanted: int) -> dict[int, bytes]:
        """The content of a run of samples; of one that is cut off or not in its place only where it is ``wanted``."""
        index, shard = self._index, self._index.shards[self._index.shard[first]]
        start = int(index.offset[first]) - BLOCK
        piece = memoryview(self._storage.read(shard.name, start, start + self._span(first, last)))
        found: dict[int, bytes] = {}
        for sample in range(first, last + 1):
            at, size = int(index.offset[sample]) - start, int(index.size[sample])
            if at + size > len(piece):
                if sample == wanted:
                    detail = f"its shard ends at byte {start + len(piece)}, expected {shard.bytes} bytes"
                    raise VideoReadError(self.name(sample), "truncated", f"{detail}; get or write the shard again")
                continue
            wrong = check_header(bytes(piece[at - BLOCK : at]), index.name(sample), size)
            if wrong is None:
                found[sample] = bytes(piece[at : at + size])
            elif sample == wanted:
                raise UserError(
                    f"{self.name(sample)}: {wrong}, where the index has {size} bytes of it: the shard is damaged or "
                    "was written again since; paddlevideo prepare shards --index writes the index again"
                )
        return found
