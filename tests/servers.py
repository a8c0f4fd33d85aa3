"""Servers on the loopback that tests read video from: MJPEG and files over HTTP, and RTSP."""

from __future__ import annotations

import base64
import contextlib
import io
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from tests.clips import numbered_frames


def jpegs(count: int) -> list[bytes]:
    """Pictures that carry their number."""
    from PIL import Image

    found = []
    for picture in numbered_frames(count):
        out = io.BytesIO()
        Image.fromarray(picture).save(out, "JPEG", quality=95)
        found.append(out.getvalue())
    return found


@contextlib.contextmanager
def http_server(handler: type[BaseHTTPRequestHandler], port: int = 0) -> Iterator[int]:
    """Serves on the loopback; gives the port."""
    handler.log_message = lambda *_: None
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads, server.block_on_close = True, False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer(body: Callable[[BaseHTTPRequestHandler], None]) -> type:
    """A handler that answers every request by ``body``, until the client leaves."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            with contextlib.suppress(OSError):
                body(self)

    return Handler


def answer_with(status: int, content_type: str = "text/html", **headers: str) -> Callable:
    """For ``answer``: a status and headers, and nothing more."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Type": content_type, **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()

    return send


def mjpeg(
    pictures: list[bytes], fps: float = 50.0, endless: bool = False, cut_after: int | None = None, cut_s: float = 0.0
) -> type:
    """A handler that sends pictures as a camera does.

    Args:
        cut_after: pictures after which the first connection is closed, in the middle of one.
        cut_s: seconds from then on in which requests get status 503.
    """
    numbers, back_at = iter(range(1 << 30)), [0.0]

    class Handler(BaseHTTPRequestHandler):
        connections = 0

        def do_GET(self):
            if time.monotonic() < back_at[0]:
                self.send_error(503)
                return
            type(self).connections += 1
            first = type(self).connections == 1
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            with contextlib.suppress(OSError):
                for sent in numbers:
                    if not endless and sent >= len(pictures):
                        return
                    if first and cut_after is not None and sent >= cut_after:
                        back_at[0] = time.monotonic() + cut_s
                        return
                    data = pictures[sent % len(pictures)]
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                    self.wfile.write(head.encode() + data + b"\r\n")
                    time.sleep(1 / fps)

    return Handler


def files(folder) -> type:
    """A handler that serves a folder, without Range requests."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

    return Handler


def resumable(
    content: bytes,
    etag: str = '"one"',
    cut_at: int | None = None,
    pause_s: float = 0.0,
    type: str = "binary/octet-stream",
) -> type:
    """A handler that serves one file with Range and If-Range, and notes the headers of every request in ``requests``.

    Args:
        cut_at: byte of the file at which the first connection is closed.
        pause_s: before every 64 KiB.
    """

    class Handler(BaseHTTPRequestHandler):
        requests: list[dict[str, str]] = []

        def do_GET(self):
            self.requests.append(dict(self.headers))
            begin = 0
            if self.headers.get("If-Range") == etag and "Range" in self.headers:
                begin = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            self.send_response(206 if begin else 200)
            self.send_header("Content-Type", type)
            self.send_header("Content-Length", str(len(content) - begin))
            self.send_header("ETag", etag)
            if begin:
                self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            end = cut_at if cut_at is not None and len(self.requests) == 1 else len(content)
            with contextlib.suppress(OSError):
                for place in range(begin, end, 1 << 16):
                    time.sleep(pause_s)
                    self.wfile.write(content[place : min(place + (1 << 16), end)])

    return Handler


class RtspServer:
    """Sends one H.264 video to each client over the RTSP connection itself (interleaved), at ``speed`` times its rate.

    Args:
        nals: per picture the NAL units of an access unit; those of the parameter sets come first in ``sets``.
        password: user and password of Basic authentication, or None.
    """

    def __init__(
        self, sets: list[bytes], pictures: list[list[bytes]], fps: float = 30.0, speed: float = 1.0,
        password: tuple[str, str] | None = None, on_picture: Callable[[int], bool] = lambda number: True,
    ):  # fmt: skip
        self._sets, self._pictures, self._fps, self._speed = sets, pictures, fps, speed
        self._password, self._on_picture = password, on_picture
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> RtspServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as lines:
            while request := lines.readline().decode():
                head = {}
                while line := lines.readline().decode().strip():
                    key, _, value = line.partition(":")
                    head[key.strip().lower()] = value.strip()
                self._answer(connection, request.split()[0], request.split()[1], head)

    def _answer(self, connection: socket.socket, method: str, address: str, head: dict[str, str]) -> None:
        more, body, status = [], "", "200 OK"
        if self._password is not None and method != "OPTIONS":
            given = base64.b64encode(":".join(self._password).encode()).decode()
            if head.get("authorization") != f"Basic {given}":
                status, more = "401 Unauthorized", ['WWW-Authenticate: Basic realm="camera"']
                method = ""
        if method == "OPTIONS":
            more = ["Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"]
        elif method == "DESCRIBE":
            parameters = ",".join(base64.b64encode(one).decode() for one in self._sets)
            body = (
                "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
                f"a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets={parameters}\r\n"
                "a=control:track1\r\n"
            )
            more = ["Content-Type: application/sdp", f"Content-Base: {address}/"]
        elif method == "SETUP":
            more = ["Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 1"]
        elif method == "PLAY":
            more = ["Session: 1"]
        lines = [f"RTSP/1.0 {status}", f"CSeq: {head.get('cseq', 0)}", *more, f"Content-Length: {len(body)}"]
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
        if method == "PLAY":
            self._play(connection)

    def _play(self, connection: socket.socket) -> None:
        number, begun = 0, time.monotonic()
        for index, nals in enumerate(self._pictures):
            if not self._on_picture(index):
                connection.shutdown(socket.SHUT_RDWR)
                return
            for i, nal in enumerate(nals):
                last = 0x80 if i == len(nals) - 1 else 0
                header = struct.pack("!BBHII", 0x80, last | 96, number & 0xFFFF, round(index / self._fps * 90000), 1)
                number += 1
                connection.sendall(struct.pack("!cBH", b"$", 0, len(header) + len(nal)) + header + nal)
            ahead = index / self._fps / self._speed - (time.monotonic() - begun)
            time.sleep(max(0.0, ahead))
        connection.shutdown(socket.SHUT_RDWR)


def h264(count: int, fps: int = 30, gop: int = 10) -> tuple[list[bytes], list[list[bytes]]]:
    """Parameter sets, and the NAL units per picture, of pictures that carry their number (no B frames)."""
    import av

    out = io.BytesIO()
    frames = numbered_frames(count)
    with av.open(out, "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        stream.codec_context.gop_size = gop
        stream.codec_context.options = {
            "bf": "0",
            "preset": "ultrafast",
            "tune": "zerolatency",
            "x264-params": "slices=1",
        }
        packets = []
        for picture in [*frames, None]:
            frame = None if picture is None else av.VideoFrame.from_ndarray(np.ascontiguousarray(picture))
            packets += [bytes(packet) for packet in stream.encode(frame) if packet.size]
    pictures = [_nals(packet) for packet in packets]
    sets = [nal for nal in pictures[0] if nal[0] & 31 in (7, 8)]
    return sets, [[nal for nal in nals if nal[0] & 31 in (1, 5, 7, 8)] for nals in pictures]


def _nals(data: bytes) -> list[bytes]:
    parts = data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")
    return [part for part in parts if part]
