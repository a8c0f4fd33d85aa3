"""A camera for tests of live sources: motion JPEG over HTTP on the loopback, whose connection can be cut."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from tests.servers import http_server


class Camera:
    """Shows pictures in turn, without an end; all clients see the picture of the moment.

    Args:
        pictures: JPEG files.
        fps: pictures per second.
    """

    def __init__(self, pictures: Sequence[bytes], fps: float):
        self.connections = 0
        self.refused = 0
        self.url = ""
        self._pictures, self._fps = pictures, fps
        self._begun, self._back_at = time.monotonic(), 0.0
        self._lock = threading.Lock()

    def cut(self, seconds: float) -> None:
        """Ends all connections in the middle of a picture; new ones get status 503 for that time."""
        self._back_at = time.monotonic() + seconds

    @property
    def is_cut(self) -> bool:
        """Whether it is."""
        return time.monotonic() < self._back_at

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """One client, until it leaves or the connection is cut."""
        with self._lock:
            self.connections += not self.is_cut
            self.refused += self.is_cut
        if self.is_cut:
            request.send_error(503)
            return
        request.send_response(200)
        request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        request.end_headers()
        number = int((time.monotonic() - self._begun) * self._fps)
        while True:
            time.sleep(max(0.0, self._begun + number / self._fps - time.monotonic()))
            content = self._pictures[number % len(self._pictures)]
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(content)}\r\n\r\n"
            if self.is_cut:
                request.wfile.write(head.encode() + content[: len(content) // 2])
                return
            request.wfile.write(head.encode() + content + b"\r\n")
            number += 1


@contextlib.contextmanager
def camera(pictures: Sequence[bytes], fps: float) -> Iterator[Camera]:
    """A running ``Camera``; ``url`` is its address."""
    shown = Camera(pictures, fps)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            with contextlib.suppress(OSError):
                shown.answer(self)

    with http_server(Handler) as port:
        shown.url = f"http://127.0.0.1:{port}/"
        yield shown
        shown.cut(3600.0)  # no thread sends any more


def jpegs_of(video: Path, every: int = 1) -> list[bytes]:
    """Every ``every``-th picture of a video as JPEG."""
    import av

    found = []
    with av.open(str(video)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number % every == 0:
                out = io.BytesIO()
                frame.to_image().save(out, "JPEG", quality=90)
                found.append(out.getvalue())
    return found
