"""The server: its routes, errors, pages, and the socket."""

from __future__ import annotations

import asyncio
import html
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from paddlevideo import __version__
from paddlevideo.errors import UserError
from paddlevideo_studio.adding import add_later, add_videos
from paddlevideo_studio.compression import JsonCompression
from paddlevideo_studio.events import Events, TooManyStreams
from paddlevideo_studio.jobs import Jobs, QueueFull
from paddlevideo_studio.journal import Changed
from paddlevideo_studio.live import Live
from paddlevideo_studio.prediction import Predictions
from paddlevideo_studio.project import Project
from paddlevideo_studio.routes import ROUTERS
from paddlevideo_studio.security import SERVER_ERROR, Access, Guard, error_body
from paddlevideo_studio.studio import Limits, Studio
from paddlevideo_studio.uploads import CannotWrite, DiskFull, TooLarge
from paddlevideo_studio.work import FINISHES

STATIC = Path(__file__).resolve().parent / "static"
_RETRY_S = "5"
_BACKLOG = 512


def make_app(
    project: Project,
    access: Access,
    limits: Limits,
    docs: bool = False,
    add: Sequence[Path] = (),
    events: Events | None = None,
) -> ASGIApp:
    """The whole server of an open project.

    Args:
        docs: serve /docs and /openapi.json.
        add: videos to add when it starts, unless the project has one of that name; one that cannot be read is named on
            stderr, and left out.
        events: of the pages; ``serve`` closes them before the server ends.
    """
    events = events or Events()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        events.start()
        project.listeners.append(events.publish)
        jobs = Jobs(project, FINISHES, limits.queue)
        live, predictions = Live(project), Predictions(limits.predictions)
        app.state.studio = Studio(project, jobs, live, predictions, limits, events)
        waiting = await add_videos(app.state.studio, add)
        adding = asyncio.create_task(add_later(app.state.studio, waiting)) if waiting else None
        try:
            yield
        finally:
            project.listeners.remove(events.publish)
            if adding is not None:
                adding.cancel()
            live.stop()
            predictions.close()
            jobs.close()

    app = FastAPI(
        title="Studio", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        openapi_url="/openapi.json" if docs else None,
    )  # fmt: skip
    for router in ROUTERS:
        app.include_router(router)
    _add_errors(app)
    if docs:
        app.add_api_route("/docs", _docs_page, include_in_schema=False)
    app.add_api_route("/", _index, include_in_schema=False)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return Guard(JsonCompression(app), access)


def serve(app: ASGIApp, listener: socket.socket, events: Events, patience_s: int) -> None:
    """Serves until SIGINT or SIGTERM; then ends the streams of events first, which pages would hold open for ever.

    Args:
        patience_s: for what is being answered then, whole seconds.
    """
    import uvicorn

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            events.close()
            await super().shutdown(sockets)

    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=patience_s
    )
    Server(config).run(sockets=[listener])


def _index() -> FileResponse:
    return FileResponse(STATIC / "index.html", media_type="text/html; charset=utf-8")


def _docs_page(request: Request) -> HTMLResponse:
    """All operations; without scripts, so that it needs nothing from elsewhere."""
    schema = request.app.openapi()
    rows = [
        f"<tr><td>{html.escape(method.upper())}<td><code>{html.escape(path)}</code>"
        f"<td>{html.escape(operation.get('description', ''))}"
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
    ]
    text = "".join(rows)
    return HTMLResponse(
        f"<!doctype html><html lang=en><title>API</title><h1>API</h1><p><a href=/openapi.json>openapi.json</a>"
        f"<table>{text}</table></html>"
    )


def _add_errors(app: FastAPI) -> None:
    """Every error as ``{"error": "one line"}``."""

    def add(kind: type[Exception], status: int, text: str | None = None, **headers: str) -> None:
        async def handler(request: Request, error: Exception) -> JSONResponse:
            line = " ".join(str(error).split()) if text is None else text
            return JSONResponse(error_body(line), status_code=status, headers=headers)

        app.add_exception_handler(kind, handler)

    retry = {"Retry-After": _RETRY_S}
    add(UserError, 422)
    add(Changed, 409, "it was changed or removed since; load again")
    add(QueueFull, 429, **retry)
    add(TooManyStreams, 429, **retry)
    add(TooLarge, 413, "the file is larger than this server takes (--max_upload_gb)", Connection="close")
    add(Exception, 500, SERVER_ERROR)  # the traceback goes to stderr all the same
    add(CannotWrite, 507, "the project's folder cannot be written to")
    add(DiskFull, 507, "not enough free disk: at least 1 GB is kept free")

    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse(error_body(str(error.detail)), status_code=error.status_code, headers=error.headers)

    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "body")
        return JSONResponse(error_body(f"{place}: {first['msg']}" if place else first["msg"]), status_code=422)

    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, invalid)


def open_socket(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        UserError: the address is not this machine's, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        raise UserError(f"{host}:{port}: cannot be bound ({error.strerror or error}); choose another --port") from None
    return listener
