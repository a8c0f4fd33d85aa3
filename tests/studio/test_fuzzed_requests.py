"""Five hundred requests that no page sends, drawn by a seed from the server's own list of operations."""

import json
import random
import re

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

import httpx

from tests.studio.conftest import TYPE
from tests.studio.running import raw, running

LONGEST_HEAD = 64 << 10  # bytes that the server reads of a request line and its headers
NUM_REQUESTS, NUM_RAW, SEED = 450, 50, 2026
VALUES = [
    None, True, 0, -1, 1 << 70, 1e308, 0.5, "", "walk", "x" * 5000, "\x1b[2J\r\nSet-Cookie: a=b", "../../etc/passwd",
    "/etc/passwd", "file:///etc/passwd", "<img onerror=alert(1) src=x>", "$(touch marker)", "'; touch marker; '",
    "\x00", "\ud800", "NaN", [], [[]], [None, {}], {}, {"": 1}, {"__class__": "os.system"}, [0, 0, 1, 1], [1, 1, 0, 0],
]  # fmt: skip
# values of the right kind, so that requests come further than the check of kinds
LIKELY = {
    "start_s": 0.1, "end_s": 0.9, "label": "walk", "time_s": 0.5, "box": [0.1, 0.1, 0.6, 0.9], "person": "1",
    "actions": ["walk"], "name": "a", "what": "spans", "changes": [{"start_s": 0.1, "end_s": 0.9, "label": "walk"}],
    "classes": [{"name": "walk"}], "analysis": {"window_s": 1}, "kind": "timeline", "mode": "head", "model": 1,
}  # fmt: skip
TYPES = ["application/json", "text/plain", "multipart/form-data", "application/x-www-form-urlencoded", "\xff", ""]
ODD_BODIES = [
    b"",
    b"{",
    b"[" * 100_000,
    b"\xff\xfe",
    b"null",
    b'{"a": NaN}',
    b'{"a": 1, "a": 2}',
    b"\x80\x04cposix\nsystem\n.",
]
TORN = [
    b"GET /api/project HTTP/9.9\r\n\r\n", b"FROB / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET\r\n\r\n", b"\x00" * 64,
    b"POST /api/import HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    b"POST /api/import HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nContent-Length: 5\r\n\r\n12345",
    b"POST /api/import HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 500 + b"\r\n", b"GET http://[::1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
]  # fmt: skip


def body_keys(schema, of):
    """The names of a body's properties, those of nested bodies too."""
    found = set()
    for part in (schema, *(of[name] for name in re.findall(r"#/components/schemas/(\w+)", json.dumps(schema)))):
        found |= {*part.get("properties", {})}
    return sorted(found)


def operations(client):
    """(method, path with {parameters}, names of the query, names in the body) of every operation."""
    page = client.get("/openapi.json").json()
    of = page["components"]["schemas"]
    return [
        (
            method.upper(),
            path,
            [p["name"] for p in operation.get("parameters", []) if p["in"] == "query"],
            body_keys(operation.get("requestBody", {}), of) or sorted(LIKELY),
        )
        for path, methods in page["paths"].items()
        for method, operation in methods.items()
    ]


def value_of(rng, key):
    return LIKELY[key] if key in LIKELY and rng.random() < 0.5 else rng.choice(VALUES)


def request_of(rng, operation, video):
    """One request, most parts of which may be right."""
    method, path, query, keys = operation
    if rng.random() < 0.1:
        method = rng.choice(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])

    def part(match):
        text = rng.choice([video, video, "1", "0", "-1", "9" * 40, *(str(v) for v in VALUES if v != "\ud800")])
        return httpx.QueryParams({"x": text})["x"] if text == video else text.replace("/", "%2F").replace("?", "%3F")

    path = re.sub(r"\{\w+\}", part, path).replace("\x00", "%00")
    path = re.sub(r"[\x01-\x20#]", lambda m: f"%{ord(m[0]):02x}", path)
    params = {name: str(value_of(rng, name)) for name in query if rng.random() < 0.7}
    params = {name: text.replace("\ud800", "?") for name, text in params.items()}
    if method == "GET" and not params:  # its body counts for nothing
        params = {rng.choice(["from_s", "run", "x[]", "__proto__"]): str(rng.choice(VALUES)).replace("\ud800", "?")}
    content = json.dumps({key: value_of(rng, key) for key in keys if rng.random() < 0.6}).encode()
    headers = {"Content-Type": "application/json"}
    if rng.random() < 0.25:
        content = rng.choice(ODD_BODIES)
    if rng.random() < 0.2:
        headers["Content-Type"] = rng.choice(TYPES).encode("latin-1")
    if rng.random() < 0.05:
        headers["Range"] = rng.choice(
            ["bytes=5-1", "bytes=-0", "bytes=" + "0-1," * 2000, "chars=1", f"bytes={1 << 70}-"]
        )
    return {"method": method, "url": path, "params": params, "content": content, "headers": headers}


def answer_to(client, request):
    """State, text (empty for a stream of events, which does not end)."""
    with client.stream(**request) as answer:
        endless = "event-stream" in answer.headers.get("content-type", "")
        return answer.status_code, answer.headers, "" if endless else answer.read().decode("utf-8", "replace")


@pytest.mark.scorecard(8, times=NUM_REQUESTS + NUM_RAW)
def test_five_hundred_odd_requests_are_answered_and_the_server_goes_on(tmp_path, clip):
    project, rng, states = tmp_path / "project", random.Random(SEED), []
    with (
        running(project, "--docs", cwd=tmp_path) as (process, port),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):
        client.patch("/api/project", json={"classes": [{"name": "walk"}]}).raise_for_status()
        upload = client.post("/api/videos?name=a.mp4", content=clip.read_bytes(), headers=TYPE)
        video, all_operations = upload.json()["id"], operations(client)
        for n in range(NUM_REQUESTS):
            request = request_of(rng, all_operations[n % len(all_operations)], video)
            if request["method"] == "DELETE" and request["url"] == f"/api/videos/{video}":
                request["method"] = "GET"  # the requests after it need the video
            state, headers, text = answer_to(client, request)
            states.append(state)
            assert 200 <= state < 500, (request, state, text)
            assert "set-cookie" not in headers and "Traceback" not in text, request
            if state >= 400 and request["method"] != "HEAD":
                error = json.loads(text)
                assert [*error] == ["error"] and error["error"] and "\n" not in error["error"], (request, text)
        for n in range(NUM_RAW):
            text = TORN[n % len(TORN)]
            cut = text if n < len(TORN) else text[: rng.randrange(1, len(text))]
            answer = raw(port, cut, half_open=False)
            whole = cut == text and b"HTTP/" in text and len(text) < LONGEST_HEAD  # of others it may be closed unread
            assert answer[:10] == b"HTTP/1.1 4" or (not whole and not answer), (cut[:200], answer[:200])
        assert client.get("/api/project").status_code == 200 and process.poll() is None
        assert client.get(f"/api/videos/{video}").json()["name"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["project"]
    assert not [*tmp_path.rglob("marker")]
    # the requests are not all refused at the first check
    assert {200, 404, 422} <= {*states} and sum(state < 300 for state in states) >= NUM_REQUESTS // 10
