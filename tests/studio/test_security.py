"""T8: tokens, hosts, origins, limits; what browsers are told."""

import subprocess
import sys

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from paddlevideo_studio import command
from paddlevideo_studio.limited import environment
from paddlevideo_studio.security import Access

from paddlevideo.cli.command import run_command
from tests.studio.conftest import TYPE

TOKEN = "a secret of the test"


def test_without_the_token_nothing_is_served(serve):
    client = serve(token=TOKEN)
    for path in ("/", "/api/project", "/api/videos", "/static/index.html", "/api/events", "/nowhere"):
        answer = client.get(path)
        assert answer.status_code == 401 and "token" in answer.json()["error"]
    for given in ("Bearer ", "Bearer x", f"Basic {TOKEN}", f"Bearer {TOKEN}x"):
        assert client.get("/api/project", headers={"Authorization": given}).status_code == 401
    assert client.get("/api/project", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert client.get("/?token=wrong").status_code == 401
    assert client.get("/api/project", params={"token": TOKEN}).status_code == 401  # of the page alone
    answer = client.get("/", params={"token": TOKEN}, follow_redirects=False)
    assert answer.status_code == 303 and answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"]
    assert "paddlevideo_studio_8080=" in cookie and "HttpOnly" in cookie and "SameSite=strict" in cookie
    assert client.get("/api/project").status_code == 200  # the client holds the cookie now
    client.cookies.clear()
    assert client.get("/api/project", headers={"Cookie": f"paddlevideo_studio_8080=x; a={TOKEN}"}).status_code == 401


HOSTS = [
    "evil.example",
    "127.0.0.1.evil.example",
    "evil.example:8080",
    "",
    "localhost@evil.example",
    "192.0.2.1",
    "[::2]",
]


@pytest.mark.parametrize("host", HOSTS)
def test_a_foreign_host_is_refused(client, host):
    answer = client.get("/api/project", headers={"Host": host})
    assert answer.status_code == 400 and "Host" in answer.json()["error"]


def test_names_of_this_server(client):
    for host in ("localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]:8080"):
        assert client.get("/api/project", headers={"Host": host}).status_code == 200
    everywhere = Access.of("0.0.0.0", 8080, TOKEN, ["studio.example"])
    assert all(map(everywhere.is_own, ("192.0.2.1:8080", "[2001:db8::1]", "studio.example", "localhost:8080")))
    assert not everywhere.is_own("evil.example")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "https://localhost"])
def test_a_foreign_origin_is_refused(client, origin):
    for method in ("get", "post", "put", "patch", "delete"):
        answer = client.request(method, "/api/project", headers={"Origin": origin})
        assert answer.status_code == 403 and "another site" in answer.json()["error"]


def test_the_own_origin_is_accepted(client):
    own = {"Origin": "http://127.0.0.1:8080", "Host": "127.0.0.1:8080"}
    assert client.patch("/api/project", json={"name": "b"}, headers=own).status_code == 200
    cross = client.patch("/api/project", json={"name": "c"}, headers={"Sec-Fetch-Site": "cross-site"})
    assert cross.status_code == 403 and client.get("/api/project").json()["name"] == "b"


def test_large_bodies_are_refused_while_they_stream(client):
    def chunks():
        for _ in range(64):
            yield b"x" * (1 << 18)

    for path in ("/api/train", "/api/live"):
        answer = client.post(path, content=chunks(), headers=TYPE)
        assert answer.status_code == 413 and "larger than 1 MB" in answer.json()["error"], answer.text
    assert client.post("/api/import?filename=a.csv", content=b"x" * (17 << 20)).status_code == 413


@pytest.mark.scorecard(9, times=16)
def test_no_path_leads_out_of_the_pages(client, video):
    paths = ["/static/", "/static/../server.py", "/static/..%2fserver.py", "/static/%2e%2e/server.py", "/static/%00",
             "/static//etc/passwd", "/..%2f..%2fetc/passwd", "/api/videos/..%2f..%2fproject.json/media",
             "/api/videos/%2e%2e/media", "/api/videos/a%00b/media", f"/api/videos/{'x' * 300}/media",
             "/api/videos/<img onerror=alert(1)>/media", "/videos/", "/project.json", "/docs",
             "/openapi.json"]  # fmt: skip
    for path in paths:
        answer = client.get(path)
        assert answer.status_code == 404, path
        assert "def make_app" not in answer.text and "<img" not in answer.text


def test_headers_for_browsers(client, video):
    for path in ("/", "/api/project", f"/api/videos/{video['id']}/media", "/static/index.html", "/nowhere"):
        headers = client.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers


def test_the_docs_are_served_with_their_flag(serve):
    client = serve(docs=True)
    paths = client.get("/openapi.json").json()["paths"]
    assert "/api/videos/{key}/spans" in paths and "<script" not in client.get("/docs").text


@pytest.mark.scorecard(8, times=8)
def test_every_error_is_one_line_of_json(client, video):
    for method, path, body, status in [
        ("get", "/api/jobs/99", None, 404), ("get", "/api/jobs/x", None, 422), ("delete", "/api/project", None, 405),
        ("put", "/api/videos/x/spans", {}, 422), ("post", "/api/videos", None, 422),
        ("post", "/api/models/7/use", {}, 404), ("post", "/api/train", {"mode": "full"}, 422),
        ("post", f"/api/videos/{video['id']}/analyse", {}, 409),
    ]:  # fmt: skip
        answer = client.request(method, path, json=body)
        assert answer.status_code == status, (path, answer.text)
        assert [*answer.json()] == ["error"] and "\n" not in answer.json()["error"]


def run(*words):
    return subprocess.run(
        [sys.executable, "-m", "paddlevideo_studio", *map(str, words)],
        env=environment(),
        capture_output=True,
        text=True,
    )


def test_another_host_needs_a_token(tmp_path):
    done = run("--project", tmp_path / "p", "--host", "0.0.0.0")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "--token is needed" in done.stderr
    done = run("--project", tmp_path / "p", "--token", "short")
    assert done.returncode == 2 and "at least 8 characters" in done.stderr


def test_a_missing_package_is_one_line_with_the_pip_line(tmp_path, monkeypatch, capsys):
    import argparse

    monkeypatch.setitem(sys.modules, "fastapi", None)
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    args = parser.parse_args(["--project", str(tmp_path / "p")])
    assert run_command(lambda: command.run(args)) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "pip install 'paddlevideo-suite[studio]'" in err
