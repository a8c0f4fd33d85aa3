"""Find, correct and teach actions in own videos on a page.

    paddlevideo studio --project my_project --model inference/TSM
    paddlevideo studio --project my_project --host 0.0.0.0 --token SECRET

A project is a folder; it is made where there is none.  The page is at http://127.0.0.1:8080 and open to this machine
only; another --host needs a --token.  Ctrl-C ends the server; a running job goes on, and is found again.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from paddlevideo.cli import options
from paddlevideo.errors import UserError

_GB = 1 << 30
_PATIENCE_S = 2  # with requests that are being answered when the server is to end
_LAST_PORT = 65535
_SHORTEST = 8  # characters of a token


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The folder, the address, and limits."""
    add = parser.add_argument
    add("--project", required=True, type=Path, metavar="DIR", help="folder of the project")
    add("--model", action="append", default=[], type=Path, metavar="DIR", help="exported model to add; may be repeated")
    add(
        "--add",
        nargs="+",
        default=[],
        type=Path,
        metavar="VIDEO",
        help="videos to add, by names that are not there yet",
    )
    rule = "options of paddlevideo timeline for every analysis of the project, e.g. window_s=2 on=0.5"
    add("--analysis", nargs="+", default=[], metavar="KEY=VALUE", help=rule)
    add("--detector", metavar="MODEL", help="finds people: an .onnx file, or hog (the project's)")
    add("--port", type=options.at_least(0), default=8080, help="(%(default)s); 0: a free one")
    add("--host", default="127.0.0.1", help="address to bind (%(default)s)")
    add(
        "--token",
        help="required of every request; also as the variable PADDLEVIDEO_STUDIO_TOKEN, which ps does not show",
    )
    add(
        "--allow_host", action="append", default=[], metavar="NAME", help="another name of this server; may be repeated"
    )
    add("--docs", action="store_true", help="serve /docs and /openapi.json")
    add("--max_upload_gb", type=options.positive, default=8.0, help="of one video (%(default)s)")
    add("--queue", type=options.at_least(1), default=16, help="jobs that may wait (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Serves until Ctrl-C or SIGTERM."""
    if sys.platform == "win32":
        raise UserError("the studio runs on Linux and macOS; on Windows run it in WSL")
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError(
            f"the studio needs the package {error.name}: pip install 'paddlevideo-suite[studio]' (or: fastapi uvicorn)"
        ) from None
    from paddlevideo_studio.events import Events
    from paddlevideo_studio.project import Project
    from paddlevideo_studio.security import Access
    from paddlevideo_studio.server import make_app, open_socket, serve
    from paddlevideo_studio.studio import Limits

    token = args.token or os.environ.get("PADDLEVIDEO_STUDIO_TOKEN")
    if token is not None and (len(token) < _SHORTEST or not re.fullmatch(r"[!-~]+", token)):
        raise UserError(f"--token: expected at least {_SHORTEST} characters: ASCII letters, digits and signs")
    if not is_loopback(args.host) and token is None:
        raise UserError(
            f"--host {args.host}: others can reach this address, so a --token is needed: a secret of {_SHORTEST} "
            "characters or more"
        )
    if args.port > _LAST_PORT:
        raise UserError(f"--port {args.port}: expected 0 to {_LAST_PORT}")
    missing = next((file for file in args.add if not file.is_file()), None)
    if missing is not None:
        raise UserError(f"--add {missing}: no such file")
    with Project.open(args.project) as project:
        for folder in args.model:
            model = project.models.add_folder(folder)
            print(f"model {model.id}: {folder}", file=sys.stderr)
            if project.settings.model is None:
                project.use(model)
        if args.analysis:
            project.change(analysis=read_settings(args.analysis))
        if args.detector:
            project.change(detector=detector_of(args.detector))
        listener = open_socket(args.host, args.port)
        port = listener.getsockname()[1]
        access = Access.of(args.host, port, token, args.allow_host)
        limits = Limits(upload_bytes=int(args.max_upload_gb * _GB), queue=args.queue)
        events = Events()
        app = make_app(project, access, limits, args.docs, args.add, events)
        shown = f"[{args.host}]" if ":" in args.host else args.host
        print(f"{args.project}: http://{shown}:{port}{'/?token=...' if token else ''}", flush=True)
        serve(app, listener, events, _PATIENCE_S)
    return 0


def detector_of(text: str) -> str:
    """``hog``, or the whole path of a detector's file or folder, wherever the next server is started.

    Raises:
        UserError: there is no such file.
    """
    path = Path(text).expanduser()
    if text.lower() != "hog" and not path.exists():
        raise UserError(f"--detector {text}: no such file; expected hog, an .onnx file or a PaddleDetection export")
    return "hog" if text.lower() == "hog" else str(path.resolve())


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_settings(words: Sequence[str]) -> dict[str, float | str]:
    """Options of an analysis of ``KEY=VALUE``.

    Raises:
        UserError: an option that there is not, or a value of another type.
    """
    from paddlevideo_studio.work import NUMBERS, settings_words

    settings: dict[str, float | str] = {}
    for word in words:
        key, _, value = word.partition("=")
        try:
            settings[key] = float(value) if key in NUMBERS else value
        except ValueError:
            raise UserError(f"--analysis {word}: expected a number") from None
    settings_words(settings)
    return settings
