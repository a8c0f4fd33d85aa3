"""The server as a process: many requests, kills, events, paths that no client library sends."""

import json
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

import httpx

from paddlevideo.cli.main import main
from paddlevideo.spans import read_spans
from tests.studio.conftest import TYPE
from tests.studio.running import memory_bytes, raw, running
from tests.studio.test_jobs import until

pytestmark = pytest.mark.xdist_group("server")  # one server for the module
SPAN = {"start_s": 0.48, "end_s": 1.52, "label": "walk"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Process, client, folder."""
    folder = tmp_path_factory.mktemp("server") / "project"
    with running(folder) as (process, port), httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        client.patch("/api/project", json={"classes": [{"name": "walk"}]})
        yield process, client, folder


@pytest.fixture(scope="module")
def video(server, clip):
    answer = server[1].post("/api/videos", params={"name": "a.mp4"}, content=clip.read_bytes(), headers=TYPE)
    assert answer.status_code == 201
    return answer.json()["id"]


def test_fifty_requests_at_once_and_a_thousand_in_a_row(server, video):
    process, client, _ = server
    paths = ["/api/project", "/api/videos", f"/api/videos/{video}/media", f"/api/videos/{video}/spans", "/"]
    with ThreadPoolExecutor(50) as pool:
        first = [*pool.map(lambda n: client.get(paths[n % len(paths)]).status_code, range(50))]
    assert {*first} <= {200, 429}
    for n in range(100):
        client.get(paths[n % len(paths)])
    before = memory_bytes(process)
    codes = {client.get(paths[n % len(paths)]).status_code for n in range(1000)}
    assert codes <= {200, 429}
    assert memory_bytes(process) - before < 8 << 20


def test_changes_at_once_are_all_written(server, video):
    _, client, folder = server

    def add(n):
        changes = [{**SPAN, "start_s": n / 100}]
        return client.put(f"/api/videos/{video}/spans", json={"changes": changes}).status_code

    with ThreadPoolExecutor(20) as pool:
        assert {*pool.map(add, range(40))} == {200}
    assert len(read_spans(folder / "spans.jsonl").spans) == 40


@pytest.mark.scorecard(8, times=9)
def test_paths_that_no_library_sends(server):
    client = server[1]
    port = client.base_url.port
    host = f"Host: 127.0.0.1:{port}\r\n".encode()
    for path in (b"/static/../project.py", b"/../../etc/passwd", b"/static/..%2f..%2fproject.py", b"//etc/passwd",
                 b"/api/videos/..%2f..%2fproject.json/media", b"/static/%00", b"/\xff\xfe"):  # fmt: skip
        answer = raw(port, b"GET " + path + b" HTTP/1.1\r\n" + host + b"Connection: close\r\n\r\n")
        assert answer[:12] in (b"HTTP/1.1 404", b"HTTP/1.1 400"), (path, answer[:200])
    two = raw(port, b"GET / HTTP/1.1\r\n" + host + b"Host: evil.example\r\nConnection: close\r\n\r\n")
    assert two[:12] == b"HTTP/1.1 400"
    assert raw(port, b"\x16\x03\x01 no http\r\n\r\n")[:12] in (b"HTTP/1.1 400", b"")
    assert client.get("/api/project").status_code == 200


def test_an_upload_that_is_broken_off_leaves_nothing(server):
    _, client, folder = server
    port = client.base_url.port
    head = f"POST /api/videos?name=a.mp4 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 1000000\r\n\r\n"
    raw(port, head.encode() + b"x" * 5000, half_open=False)
    end = time.monotonic() + 20
    while [*folder.glob("videos/.upload-*")]:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert len(client.get("/api/videos").json()["videos"]) <= 1


def test_a_chunked_upload_beyond_the_limit_is_refused(tmp_path):
    with running(tmp_path / "p", "--max_upload_gb", "0.002") as (_, port):
        head = f"POST /api/videos?name=a.mp4 HTTP/1.1\r\nHost: localhost:{port}\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunk = b"100000\r\n" + b"x" * (1 << 20) + b"\r\n"
        answer = raw(port, head.encode() + chunk * 3 + b"0\r\n\r\n")
        assert answer[:12] == b"HTTP/1.1 413" and b"connection: close" in answer.lower()
        assert [*(tmp_path / "p" / "videos").iterdir()] == []


def test_pages_receive_what_changes(server, video):
    client, seen, opened = server[1], [], threading.Event()

    def listen():
        with client.stream("GET", "/api/events") as stream:
            for line in stream.iter_lines():
                opened.set()
                seen.append(line)
                if line.startswith("data: ") and seen[-2] == "event: spans":
                    return

    listener = threading.Thread(target=listen)
    listener.start()
    assert opened.wait(20)
    client.patch("/api/project", json={"name": "b"})
    client.put(f"/api/videos/{video}/spans", json={"changes": [SPAN]})
    listener.join(20)
    assert not listener.is_alive() and "event: project" in seen
    assert json.loads(seen[-1].removeprefix("data: ")) == {"video": video}


def test_a_server_that_is_killed_while_it_saves_leaves_a_readable_project(tmp_path, clip):
    folder = tmp_path / "project"
    with running(folder) as (process, port), httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        client.patch("/api/project", json={"classes": [{"name": "walk"}]})
        key = client.post("/api/videos", params={"name": "a.mp4"}, content=clip.read_bytes(), headers=TYPE).json()["id"]
        saved = []

        def save():
            try:
                while True:
                    changes = [{**SPAN, "person": f"{len(saved)} {k}"} for k in range(20)]
                    client.put(f"/api/videos/{key}/spans", json={"changes": changes}).raise_for_status()
                    saved.append(20)
                    client.patch("/api/project", json={"name": f"name {len(saved)}"}).raise_for_status()
            except httpx.HTTPError:
                return

        writer = threading.Thread(target=save)
        writer.start()
        until(lambda: len(saved) > 4)
        os.kill(process.pid, signal.SIGKILL)
        writer.join()
    assert len(read_spans(folder / "spans.jsonl").spans) >= sum(saved) > 0
    with running(folder) as (_, port):
        found = httpx.get(f"http://127.0.0.1:{port}/api/videos/{key}/spans", timeout=30).json()["spans"]
        assert len(found) >= sum(saved)


def test_videos_and_options_of_the_command_line(tmp_path, clip):
    (tmp_path / "b.mp4").write_bytes(b"no video")
    words = ["--add", clip, tmp_path / "b.mp4", "--analysis", "window_s=2", "smoothing=none"]
    for _ in range(2):  # the second time it is there
        with running(tmp_path / "p", *words) as (process, port):
            url = f"http://127.0.0.1:{port}/api"
            assert [v["name"] for v in httpx.get(f"{url}/videos", timeout=60).json()["videos"]] == ["clip.mp4"]
            assert httpx.get(f"{url}/project").json()["analysis"] == {"window_s": 2, "smoothing": "none"}
            process.terminate()
            assert "not added: b.mp4: " in process.communicate(timeout=20)[1]


@pytest.mark.parametrize(("wrong", "text"), [("windows=2", "settings: windows"), ("on=high", "expected a number")])
def test_wrong_options_of_an_analysis_are_refused_in_one_line(tmp_path, capsys, wrong, text):
    assert main(["studio", "--project", str(tmp_path / "p"), "--analysis", wrong]) == 2
    error = capsys.readouterr().err
    assert text in error and error.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_the_server_ends_at_a_signal_while_pages_listen(tmp_path, number):
    with running(tmp_path / "p") as (process, port), ExitStack() as stack:
        for _ in range(3):
            page = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            page.sendall(f"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            head = page.recv(1 << 16)
            assert head.startswith(b"HTTP/1.1 200") and b"text/event-stream" in head
        begun = time.monotonic()
        process.send_signal(number)
        assert process.wait(20) in (130, -number)
        assert time.monotonic() - begun < 5
        assert process.stderr.read() in ("", "interrupted\n")
        while page.recv(1 << 16):  # what it still sent, and the end
            pass
