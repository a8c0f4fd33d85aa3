"""Transfers from a server on the loopback that cuts, lies, stalls, redirects, or never ends."""

import json
import random
import resource
import shutil
import time
from types import SimpleNamespace

import pytest

from paddlevideo.downloads import http
from paddlevideo.downloads.http import NotReachedError, Rules, TooLargeError, check_address, fetch
from paddlevideo.errors import UserError
from tests.servers import answer, answer_with, http_server, resumable

CONTENT = random.Random(0).randbytes(300_000)
RULES = Rules(1 << 20)


@pytest.fixture
def part(tmp_path):
    return tmp_path / "x.part"


def begin(part, content, etag='"one"', modified="", total=None):
    """What an earlier command left of a transfer."""
    part.write_bytes(content)
    part.with_name("x.part.json").write_text(json.dumps({"etag": etag, "modified": modified, "total": total}))


def get(handler, part, rules=RULES, path="/x.pdparams"):
    """Fetches from a handler; the lines that it reported."""
    lines = []
    with http_server(handler) as port:
        fetch(f"http://127.0.0.1:{port}{path}", part, rules, lines.append)
    return lines


def send(body=b"", status=200, **headers):
    """A handler with a status, headers (``_`` for ``-``) and a body, and nothing that it was not given."""

    def reply(handler):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer(reply)


def test_a_file_comes_whole(part):
    lines = get(resumable(CONTENT), part)
    assert part.read_bytes() == CONTENT and "(0.3 MB)" in lines[0] and len(lines) == 1


def test_a_cut_transfer_continues_where_it_was(part):
    handler = resumable(CONTENT, cut_at=100_000)
    lines = get(handler, part)
    assert part.read_bytes() == CONTENT
    assert [request.get("Range") for request in handler.requests] == [None, "bytes=100000-"]
    assert handler.requests[1]["If-Range"] == '"one"'
    assert "100000 of 300000 bytes came; again in" in lines[1] and lines[2].endswith("continued")


def test_a_file_that_changed_in_between_comes_anew(part):
    get(resumable(b"old" * 50_000), part)
    part.write_bytes(part.read_bytes()[:70_000])
    handler = resumable(CONTENT, etag='"two"')
    get(handler, part)
    assert handler.requests[0]["Range"] == "bytes=70000-" and part.read_bytes() == CONTENT


@pytest.mark.parametrize("etag", ['W/"weak"', "", "none"])
def test_without_a_strong_etag_nothing_is_continued(part, etag):
    handler = resumable(CONTENT, etag=etag, cut_at=100_000)
    get(handler, part)
    assert "Range" not in handler.requests[1] and part.read_bytes() == CONTENT


def test_a_part_of_another_file_is_not_appended(part):
    begin(part, CONTENT[:1000])
    calls = []

    def reply(handler):
        calls.append(handler.headers.get("Range"))
        start = 500 if calls[-1] else 0
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(CONTENT) - start))
        handler.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        handler.end_headers()
        handler.wfile.write(CONTENT[start:])

    get(answer(reply), part)
    assert calls == ["bytes=1000-", None] and part.read_bytes() == CONTENT


DAY, LATER = "Sun, 01 Nov 2026 00:00:00 GMT", "Mon, 02 Nov 2026 00:00:00 GMT"


@pytest.mark.parametrize(
    ("stated", "total", "continued"),
    [
        ({"ETag": '"one"'}, None, True), ({"ETag": '"one"'}, 200_000, True), ({"Last-Modified": DAY}, 200_000, True),
        ({"ETag": '"two"', "Last-Modified": DAY}, 200_000, False), ({"ETag": '"one"'}, 200_001, False),
        ({"Last-Modified": LATER}, 200_000, False), ({}, 200_000, False), ({}, None, False),
    ],
)  # fmt: skip
def test_only_a_part_that_states_the_same_file_is_appended(part, stated, total, continued):
    """Also by a server that overlooks If-Range."""
    begin(part, b"old" * 100, modified=DAY, total=total)
    new, calls = CONTENT[:200_000], []

    def reply(handler):
        calls.append(handler.headers.get("Range"))
        start = 300 if calls[-1] else 0
        handler.send_response(206 if start else 200)
        for name, value in {**stated, "Content-Length": len(new) - start}.items():
            handler.send_header(name, str(value))
        handler.send_header("Content-Range", f"bytes {start}-{len(new) - 1}/{len(new)}")
        handler.end_headers()
        handler.wfile.write(new[start:])

    lines = get(answer(reply), part)
    assert calls == (["bytes=300-"] if continued else ["bytes=300-", None])
    assert part.read_bytes() == (b"old" * 100 + new[300:] if continued else new)
    assert continued or "has changed, or the server does not state that it is the same" in lines[0]


def test_a_shorter_body_than_stated_is_no_file(part):
    with pytest.raises(NotReachedError, match="5 of 9 bytes came"):
        get(send(b"12345", Content_Length="9"), part)
    assert len(part.read_bytes()) == 5  # kept, to be continued


@pytest.mark.parametrize(("window", "words"), [(0.05, "only .* bytes in"), (60.0, "no answer for 0.2 s")])
def test_a_trickle_and_a_silence_end(part, monkeypatch, window, words):
    monkeypatch.setattr(http, "_WINDOW_S", window)
    monkeypatch.setattr(http, "_TIMEOUT_S", 0.2)
    monkeypatch.setattr(http, "_TRIES", 2)

    def reply(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        for _ in range(20):
            handler.wfile.write(b"x")
            time.sleep(0.01 if window < 1 else 0.5)

    with pytest.raises(NotReachedError, match=words):
        get(answer(reply), part)


@pytest.mark.scorecard(10)
def test_a_body_without_end_stops_at_the_limit_and_nothing_is_kept(part):
    def reply(handler):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        while True:
            handler.wfile.write(b"10000\r\n" + bytes(1 << 16) + b"\r\n")

    kind = answer(reply)
    kind.protocol_version = "HTTP/1.1"
    with pytest.raises(TooLargeError, match="sends more than 1048576 bytes"):
        get(kind, part)
    assert not list(part.parent.glob("x*"))


def test_a_stated_length_beyond_the_limit_is_refused_before_the_body(part):
    with pytest.raises(TooLargeError, match=r"has 2.1 MB, at most 1.0 are taken"):
        get(send(Content_Length=str(1 << 21)), part)
    assert not list(part.parent.glob("x*"))


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({}, "states no length"),
        ({"Content_Length": "12a"}, "states the length '12a'"),
        ({"Content_Length": "-1"}, "states the length '-1'"),
        ({"Content_Length": "9" * 30}, "states the length"),
        ({"Content_Length": "5", "Content_Type": "text/html"}, "is a web page"),
        ({"Content_Length": "5", "Content_Encoding": "gzip"}, "is sent compressed"),
    ],
)
def test_what_a_server_states_is_checked_before_its_body(part, headers, words):
    with pytest.raises(UserError, match=words):
        get(send(b"12345", **headers), part)
    assert not part.exists()


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (410, 1), (403, 1), (500, 6), (503, 6), (429, 6)])
def test_errors_of_a_server_are_named_and_only_some_are_tried_again(part, status, tries):
    calls = []

    def reply(handler):
        calls.append(handler.path)
        answer_with(status)(handler)

    with pytest.raises(UserError, match=f"the server answers {status} "):
        get(answer(reply), part)
    assert len(calls) == tries


def test_a_server_states_how_long_to_wait(part, monkeypatch):
    waits, calls = [], []
    # other threads of the process sleep too, so the clock of this module alone is replaced
    monkeypatch.setattr(http, "time", SimpleNamespace(sleep=waits.append, monotonic=time.monotonic))

    def reply(handler):
        calls.append(1)
        status = 429 if len(calls) == 1 else 200
        answer_with(status, "binary/octet-stream", **{"Retry-After": "7", "Content-Length": "3"})(handler)
        handler.wfile.write(b"" if status == 429 else b"abc")

    get(answer(reply), part)
    assert waits == [7.0] and part.read_bytes() == b"abc"


def redirect(to, status=302):
    return answer(answer_with(status, Location=to))


@pytest.mark.scorecard(10)
def test_another_host_needs_a_permission(part):
    with http_server(resumable(CONTENT)) as port:
        to = f"http://localhost:{port}/y"
        with pytest.raises(UserError, match=r"redirects to another host, localhost; .*--host localhost"):
            get(redirect(to), part)
        assert not part.exists()
        get(redirect(to), part, Rules(1 << 20, hosts=("localhost",)))
    assert part.read_bytes() == CONTENT


@pytest.mark.scorecard(10)
@pytest.mark.parametrize(
    "to", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://127.0.0.1:1/x", "gopher://x", "//h/x"]
)
def test_a_redirect_reaches_no_file_and_no_other_port(part, to):
    with pytest.raises(UserError, match="redirect"):
        get(redirect(to), part)
    assert not part.exists()


@pytest.mark.parametrize("to", ["http://127.0.0.1:port/x", "http://[::1/x", "//127.0.0.1:99999/x", "http://a..b/x"])
def test_a_redirect_to_no_address_is_one_line(part, to):
    with pytest.raises(UserError, match="redirects to") as caught:
        get(redirect(to), part, Rules(1 << 20, hosts=("a..b",)))
    assert "\n" not in str(caught.value) and not part.exists()


def test_redirects_have_an_end(part):
    with pytest.raises(UserError, match="in a circle"):
        get(redirect("/again"), part)


def test_tls_is_not_left_on_the_way():
    handler = http._Redirects("https://host/x", RULES)
    request = http.urllib.request.Request("https://host/x")
    with pytest.raises(UserError, match="which is not https"):
        handler.redirect_request(request, None, 302, "", {}, "http://host/x")


@pytest.mark.scorecard(10)
@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://example.org/x", "without TLS.*--insecure"), ("ftp://host/x", "expected an address https://HOST/FILE"),
        ("file:///etc/passwd", "expected an address"), ("https:///x", "expected an address"),
        ("https://host:port/x", "no valid address"), ("https://[::1/x", "no valid address"),
        ("https://me:secret@host/x", "a user's name or password"), ("https://host/x?token=secret", "the key 'token'"),
    ],
)  # fmt: skip
def test_addresses_that_are_refused(address, words):
    with pytest.raises(UserError, match=words) as caught:
        check_address(address)
    assert "secret" not in str(caught.value)


def test_this_machine_needs_no_tls():
    for host in ("localhost", "127.0.0.1", "[::1]", "127.8.9.1"):
        check_address(f"http://{host}:80/x")
    check_address("http://example.org/x", insecure=True)


def test_no_connection_is_one_line_and_soon(part):
    with pytest.raises(NotReachedError, match="cannot be fetched .*refused"):
        fetch("http://127.0.0.1:1/x", part, RULES, lambda line: None)


def test_a_full_disk_is_not_the_network_s_fault(part, monkeypatch):
    calls = resumable(CONTENT)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(UserError, match="cannot be written .*; nothing was kept"):
            get(calls, part)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(part.parent.glob("x*")) and len(calls.requests) == 1
    usage = shutil.disk_usage(part.parent)
    monkeypatch.setattr(http.shutil, "disk_usage", lambda folder: usage._replace(free=1000))
    with pytest.raises(UserError, match=r"0.3 MB are needed, 0.0 are free"):
        get(calls, part)


def test_a_proxy_of_the_environment_is_used(part, monkeypatch):
    handler = resumable(CONTENT)
    with http_server(handler) as port:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        fetch("http://host.invalid/x", part, Rules(1 << 20, insecure=True), lambda line: None)
    assert part.read_bytes() == CONTENT and handler.requests[0]["Host"] == "host.invalid"


def test_a_login_of_netrc_goes_to_its_host_alone(part, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    other = resumable(CONTENT)
    calls = []
    with http_server(other) as port:

        def reply(handler):
            calls.append(handler.headers.get("Authorization"))
            answer_with(302, Location=f"http://localhost:{port}/y")(handler)

        lines = get(answer(reply), part, Rules(1 << 20, hosts=("localhost",)))
    assert calls == ["Basic bWU6c2VjcmV0"] and "Authorization" not in other.requests[0]
    assert not any("secret" in line for line in lines)
    netrc.chmod(0o640)
    handler = resumable(CONTENT)
    lines = get(handler, part)
    assert "Authorization" not in handler.requests[0] and f"'chmod 600 {netrc}' makes it private" in lines[0]


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b"nonsense 127.0.0.1\n", 1, "is no entry of a netrc file"),
        (b"machine a login b password c\n# remark\nsecret\nmachine d\n", 3, "is no entry of a netrc file"),
        (b"machine a\n login b\n passwd secret\n", 3, "is no entry of a netrc file"),
        (b"machine a login b password c d\n\n", 1, "is no entry of a netrc file"),
        (b"machine a login b password c\n\nmachine", 3, "is no entry of a netrc file"),
        (b"machine a login b\npassword \xff\n", 2, "is not UTF-8 text"),
    ],
)
def test_a_netrc_file_that_cannot_be_read_is_named_with_its_line_and_no_word_of_it(
    part, monkeypatch, tmp_path, content, line, words
):
    netrc = tmp_path / "netrc"
    netrc.write_bytes(content)
    monkeypatch.setenv("NETRC", str(netrc))
    with pytest.raises(UserError) as caught:
        get(resumable(CONTENT), part)
    assert str(caught.value) == f"{netrc}, line {line}: {words}; expected machine HOST login USER password PASSWORD"
    netrc.unlink()
    netrc.mkdir()
    with pytest.raises(UserError, match=f"^{netrc}: the netrc file cannot be read \\(Is a directory\\)$"):
        get(resumable(CONTENT), part)


def test_a_refused_address_names_the_login_that_was_sent_or_where_it_belongs(part, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(netrc))
    entry = "machine 127.0.0.1 login USER password PASSWORD$"
    with pytest.raises(UserError, match=f"answers 401 .*; if it takes a login, write it into {netrc}, .*: {entry}"):
        get(answer(answer_with(401)), part)
    netrc.write_text("machine 127.0.0.1\n")
    netrc.chmod(0o600)
    assert "its entry for 127.0.0.1 has no login and is not used; expected machine" in get(resumable(CONTENT), part)[0]
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    with pytest.raises(UserError, match=f"the login for 127.0.0.1 in {netrc} is not accepted$"):
        get(answer(answer_with(401)), part)


def test_the_default_login_of_netrc_goes_nowhere(part, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine example.org login me password secret\ndefault login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    handler = resumable(CONTENT)
    get(handler, part)
    assert part.read_bytes() == CONTENT and "Authorization" not in handler.requests[0]


def test_headers_of_chance_give_the_file_or_one_line(part, monkeypatch):
    monkeypatch.setattr(http, "_TRIES", 2)
    monkeypatch.setattr(http, "_TIMEOUT_S", 0.5)
    draw = random.Random(1)
    values = [
        "",
        "0",
        "5",
        "bytes 2-4/5",
        "bytes 0-4/5",
        "bytes */5",
        '"one"',
        "chunked",
        "\x01",
        "é",
        "5, 5",
        "gzip",
        "x" * 900,
    ]
    names = [
        "Content-Length",
        "Content-Range",
        "ETag",
        "Transfer-Encoding",
        "Content-Encoding",
        "Content-Type",
        "Location",
    ]
    outcomes, sent = set(), {}

    def reply(handler):
        handler.send_response(sent["status"])
        for header in sent["headers"].items():
            handler.send_header(*header)
        handler.end_headers()
        handler.wfile.write(sent["body"])

    with http_server(answer(reply)) as port:
        for _ in range(300):
            sent["status"] = draw.choice([200, 200, 200, 206, 206, 204, 301, 304, 416, 599])
            sent["headers"] = {name: draw.choice(values) for name in draw.sample(names, draw.randint(0, 4))}
            sent["body"] = b"abcde"[draw.choice([0, 0, 2]) :]
            if draw.random() < 0.5:
                part.write_bytes(b"ab")
                whole = '{"etag": "\\"one\\"", "modified": "", "total": null}'
                about = draw.choice([whole, whole, "[1]", "{", whole.replace("null", '"5"')])
                part.with_name("x.part.json").write_text(about)
            try:
                fetch(f"http://127.0.0.1:{port}/x", part, RULES, lambda line: None)
                outcomes.add("whole")
            except UserError as error:
                outcomes.add("line")
                assert "\n" not in str(error) and "\x01" not in str(error)
            http.discard(part)
    assert outcomes == {"whole", "line"}
