"""Shards for tests, and a loopback HTTP server for them."""

from __future__ import annotations

import contextlib
import io
import re
import tarfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from paddlevideo.loader.datasets.video import VideoDataset
from paddlevideo.preparation.write_shards import ShardSettings, write_shards
from tests.clips import numbered_frames, write_clip


def make_videos(root: Path, count: int = 20) -> Path:
    """Class folders ``run`` and ``walk`` of small clips of different length."""
    for n in range(count):
        name = root / ("run", "walk")[n % 2] / f"clip {n}.mp4"
        write_clip(name, numbered_frames(10 + n, seed=n))
    return root


def make_shards(videos: Path, out: Path, max_samples: int = 6, prefix: str = "train") -> Path:
    dataset = VideoDataset(str(videos))
    settings = ShardSettings(prefix, max_samples=max_samples, mixed=False, quiet=True)
    write_shards(dataset, dataset.class_names, out, settings)
    return out


def write_tar(path: Path, members: dict[str, bytes], **options) -> Path:
    """A shard as other programs write it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, **{"mode": "w", **options}) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), 1_700_000_000
            archive.addfile(member, io.BytesIO(content))
    return path


@contextlib.contextmanager
def http_server(
    root: Path, ranges: bool = True, delay_s: float = 0.0
) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """Address of a folder on the loopback, and the (path, Range) of each GET; without ``ranges`` these are ignored.
    Every answer takes ``delay_s`` more."""
    requests: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self.answer(False)

        def do_GET(self):
            requests.append((self.path, self.headers.get("Range")))
            self.answer(True)

        def answer(self, with_content):
            time.sleep(delay_s)
            file = root / self.path.partition("?")[0].lstrip("/")
            if not file.is_file():
                self.send_error(404)
                return
            content, total, code = file.read_bytes(), file.stat().st_size, 200
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
            if wanted and ranges:
                first, last = int(wanted[1]), min(int(wanted[2]), total - 1)
                content, code = content[first : last + 1], 206
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            if ranges:
                self.send_header("Accept-Ranges", "bytes")
            if code == 206:
                self.send_header("Content-Range", f"bytes {first}-{last}/{total}")
            self.end_headers()
            if with_content:
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
