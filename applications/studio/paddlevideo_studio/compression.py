"""Compression of answers: of JSON and texts, and never of media, pictures, archives and streams of events."""

from __future__ import annotations

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

_PLAIN = ("/media", "/thumbnail", "/strip", "/api/events", "/api/export")  # ends of paths
_LEAST, _LEVEL = 4096, 1  # bytes; a higher level takes longer than a local network saves


class JsonCompression:
    """Middleware around the routes."""

    def __init__(self, app: ASGIApp):
        self._app, self._compressed = app, GZipMiddleware(app, minimum_size=_LEAST, compresslevel=_LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        plain = scope["type"] != "http" or scope["path"].endswith(_PLAIN)
        await (self._app if plain else self._compressed)(scope, receive, send)
