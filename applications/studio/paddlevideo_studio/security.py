"""Who may send requests: host names, origins, the token; and what browsers are told about the pages."""

from __future__ import annotations

import ipaddress
import socket
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from hmac import compare_digest
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import unquote, unquote_plus, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SERVER_ERROR = "an error of the server; its terminal has the details"
MAX_BODY = 1 << 20  # bytes of a request that is no upload
_UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_UPLOADS = frozenset({"/api/videos", "/api/predict"})  # which count their bytes themselves
_LARGER = {"/api/import": 16 << 20}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@dataclass(frozen=True)
class Access:
    """What is accepted.

    Args:
        names: of this server, lower case, without port.
        any_address: every address of a machine is a name (the server is bound to all of them).
        port: of the server.
        token: of every request; None: none.
    """

    names: frozenset[str]
    any_address: bool
    port: int
    token: str | None

    @classmethod
    def of(cls, host: str, port: int, token: str | None, more: Sequence[str] = ()) -> Access:
        """For a server that is bound to ``host``."""
        names = {host.lower(), *(name.lower() for name in more)}
        wildcard = host in ("0.0.0.0", "::")
        if wildcard or host in ("localhost", "127.0.0.1", "::1"):
            names |= {"localhost", "127.0.0.1", "::1"}
        if wildcard:  # a token is required then; a name that an attacker's DNS points here is refused all the same
            names |= {socket.gethostname().lower()}
        return cls(frozenset(names), wildcard, port, token)

    def is_own(self, host: str) -> bool:
        """Whether a ``Host`` header is one of this server's."""
        name, port = split_host(host)
        if name is None or (port is not None and not 0 < port < 65536):
            return False
        return name in self.names or (self.any_address and _is_address(name))

    def is_own_origin(self, origin: str, host: str) -> bool:
        """Whether an ``Origin`` header is of a page that this server sent, under the name in ``Host``."""
        try:
            parts = urlsplit(origin)
        except ValueError:  # "http://[": of no browser
            return False
        return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()

    def is_allowed(self, headers: Headers) -> bool:
        """Whether a request has the token."""
        if self.token is None:
            return True
        given = headers.get("authorization", "")
        found = given[len("bearer ") :] if given.lower().startswith("bearer ") else self._cookie(headers)
        return self.matches(found)

    @property
    def cookie(self) -> str:
        """The cookie's name; a browser sends cookies to all ports of a host."""
        return f"paddlevideo_studio_{self.port}"

    def _cookie(self, headers: Headers) -> str:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return ""
        return found.value if found is not None else ""

    def matches(self, text: str) -> bool:
        """Whether a text is the token; takes the same time for every text of its length."""
        return self.token is not None and compare_digest(text.encode(), self.token.encode())


def tokens_in(scope: Scope) -> list[str]:
    """The token of an address, with ``+`` as a blank, as forms write one, and as it is, as people type it."""
    query = scope["query_string"].decode("latin-1")
    parts = (part.partition("=") for part in query.split("&"))
    return [read(value) for name, _, value in parts if name == "token" for read in (unquote_plus, unquote)]


def split_host(text: str) -> tuple[str | None, int | None]:
    """Name and port of a ``Host`` header; no name: it is none."""
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port
    except ValueError:
        return None, None
    if parts.username is not None or parts.path or parts.query or parts.fragment:
        return None, None
    return parts.hostname, port


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Guard:
    """Middleware around the whole server."""

    def __init__(self, app: ASGIApp, access: Access):
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            answer = self._refusal(scope, headers)
        except Exception:
            traceback.print_exc()
            answer = _error(500, SERVER_ERROR)
        if answer is not None:
            await answer(scope, receive, _with_headers(send))
            return
        await self._app(scope, self._counted(scope, headers, receive), _with_headers(send))

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        access, host = self._access, headers.get("host", "")
        if len(headers.getlist("host")) != 1 or not access.is_own(host):
            return _error(400, "the Host header is not a name of this server (--allow_host adds one)")
        origin = headers.get("origin")
        if origin is not None and not access.is_own_origin(origin, host):
            return _error(403, "the request comes from a page of another site")
        if scope["method"] in _UNSAFE and headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return _error(403, "the request comes from a page of another site")
        if access.is_allowed(headers):
            return self._without_token(scope)
        if scope["method"] == "GET" and scope["path"] == "/" and any(map(access.matches, tokens_in(scope))):
            answer = RedirectResponse("/", status_code=303)
            answer.set_cookie(access.cookie, access.token or "", httponly=True, samesite="strict", path="/")
            return answer
        return _error(401, "a token is needed: open /?token=TOKEN once, or send Authorization: Bearer TOKEN")

    def _without_token(self, scope: Scope) -> Response | None:
        """An address with a token in it does not stay in the browser's history."""
        if scope["path"] == "/" and b"token=" in scope["query_string"] and self._access.token is not None:
            return RedirectResponse("/", status_code=303)
        return None

    def _counted(self, scope: Scope, headers: Headers, receive: Receive) -> Receive:
        """``receive`` that refuses a body beyond its limit, whether its length is stated or not."""
        if scope["path"] in _UPLOADS:
            return receive
        most, count = _LARGER.get(scope["path"], MAX_BODY), 0

        async def counted() -> Message:
            nonlocal count
            message = await receive()
            count += len(message.get("body", b""))
            if count > most:
                raise HTTPException(413, f"the request is larger than {most >> 20} MB")
            return message

        return counted


def _with_headers(send: Send) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return wrapped


def _error(status: int, text: str) -> JSONResponse:
    return JSONResponse(error_body(text), status_code=status)


def error_body(text: str) -> dict[str, Any]:
    """The body of every error; what UTF-8 has no bytes for, half of a pair of surrogates, is escaped."""
    return {"error": text.encode("utf-8", "backslashreplace").decode()}
