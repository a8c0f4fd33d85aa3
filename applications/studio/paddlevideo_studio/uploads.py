"""The body of a request to a file: counted while it streams, with room left on the disk."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

from paddlevideo_studio.jobs import QueueFull

BLOCK = 1 << 20
_RESERVE = 1 << 30  # bytes of the disk that stay free
_DISCARD = 64 << 20  # bytes
_LOOK_EVERY = 64 << 20  # bytes between two looks at the disk


class TooLarge(Exception):
    """More bytes than allowed."""


class DiskFull(Exception):
    """Not enough free space."""


class CannotWrite(Exception):
    """The folder is read-only, or another user's."""


class Places:
    """So many requests at once, and no more.

    Args:
        most: of them.
    """

    def __init__(self, most: int):
        self._most, self._count = most, 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """A place; taken before a body is received, in the server's loop.

        Raises:
            QueueFull: there is none.
        """
        if self._count >= self._most:
            raise QueueFull(f"{self._most} are being read already; send again in a few seconds")
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1


def check_room(folder: Path, num_bytes: int) -> None:
    """
    Raises:
        DiskFull: ``num_bytes`` more would leave less than 1 GB.
    """
    if shutil.disk_usage(folder).free < num_bytes + _RESERVE:
        raise DiskFull


async def receive_file(stream: AsyncIterator[bytes], target: Path, most: int, stated: int | None) -> int:
    """Writes a body to a file, and returns its size; where it fails, a part is left for the caller to remove.

    Args:
        stated: the size by the request's header, or None.

    Raises:
        TooLarge, DiskFull, CannotWrite: see above.
        starlette.requests.ClientDisconnect: the body ends early.
    """
    if stated is not None and stated > most:
        await _discard(stream)
        raise TooLarge
    check_room(target.parent, stated or 0)
    size, looked, waiting = 0, 0, bytearray()
    try:
        file = open(target, "xb")  # noqa: SIM115 (closed by the block below)
    except PermissionError:
        raise CannotWrite from None
    with file:
        async for block in stream:
            waiting += block
            size += len(block)
            if size > most:
                await _discard(stream)
                raise TooLarge
            if len(waiting) >= BLOCK:
                await asyncio.to_thread(file.write, bytes(waiting))
                waiting.clear()
            if size - looked >= _LOOK_EVERY:
                looked = size
                check_room(target.parent, 0)
        await asyncio.to_thread(_finish, file, bytes(waiting))
    return size


async def _discard(stream: AsyncIterator[bytes]) -> None:
    """Reads on for a while: a connection that is closed while the client sends loses the answer."""
    size = 0
    async for block in stream:
        size += len(block)
        if size > _DISCARD:
            return


def _finish(file, rest: bytes) -> None:
    file.write(rest)
    file.flush()
    os.fsync(file.fileno())
