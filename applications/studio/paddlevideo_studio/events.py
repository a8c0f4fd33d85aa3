"""Server-sent events: what changes in the project, to every page that listens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

MOST_STREAMS = 64
_WAITING = 256  # events of a page that does not read; the oldest are dropped: events name what to load again
_COMMENT_S = 15.0


class TooManyStreams(Exception):
    """So many pages listen already."""


class Events:
    """Hands events of any thread to the pages."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[tuple[str, Any] | None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def start(self) -> None:
        """Called in the server's loop."""
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """Ends all streams; called in the server's loop."""
        self._closed = True
        for queue in self._queues:
            _put(queue, None)

    def is_full(self) -> bool:
        """Whether no further page may listen."""
        return len(self._queues) >= MOST_STREAMS

    def publish(self, event: str, data: Any) -> None:
        """Called by any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._hand_out, event, data)

    def _hand_out(self, event: str, data: Any) -> None:
        for queue in self._queues:
            _put(queue, (event, data))

    async def stream(self, render: Callable[[str, Any], tuple[str, Any] | None]) -> AsyncIterator[str]:
        """The text of a stream.

        Args:
            render: an event as published to what is sent; None: nothing.
        """
        queue: asyncio.Queue[tuple[str, Any] | None] = asyncio.Queue(_WAITING)
        self._queues.add(queue)
        try:
            yield ": open\n\n"
            while not self._closed:
                try:
                    item = await asyncio.wait_for(queue.get(), _COMMENT_S)
                except TimeoutError:
                    yield ":\n\n"
                    continue
                if item is None:
                    return
                shown = await asyncio.to_thread(render, *item)
                if shown is not None:
                    yield f"event: {shown[0]}\ndata: {json.dumps(shown[1], ensure_ascii=False)}\n\n"
        finally:
            self._queues.discard(queue)


def _put(queue: asyncio.Queue, item: Any) -> None:
    if queue.full():
        queue.get_nowait()
    queue.put_nowait(item)
