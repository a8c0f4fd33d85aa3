"""Names and addresses to files: fetched once, pinned, bounded, and refused when they change."""

import fcntl
import io
import json
import os
import pickle
import subprocess
import sys
import threading
import zipfile
from hashlib import sha256

import numpy as np
import pytest

from paddlevideo.classes import UNKNOWN, classes_of_weights
from paddlevideo.downloads import cache
from paddlevideo.downloads.cache import Cache, Wanted, local_weights
from paddlevideo.downloads.index import Entry, file_name
from paddlevideo.engine.file_averages import average_files
from paddlevideo.errors import DamagedFileError, UnsafeFileError, UserError
from paddlevideo.modeling.weights import read_weights
from paddlevideo.safe_io import write_pickle
from paddlevideo.weight_names import weights_file
from tests.servers import answer, http_server, resumable

WEIGHTS = pickle.dumps({"a": np.arange(30_000, dtype="f4")}, protocol=4)
OTHERS = pickle.dumps({"a": np.arange(1, 30_001, dtype="f4")}, protocol=4)


@pytest.fixture
def server():
    """The address of a file on a server, and the headers of its requests."""
    handler = resumable(WEIGHTS)
    with http_server(handler) as port:
        yield f"http://127.0.0.1:{port}/folder/net.pdparams", handler


def entry(address, **fields):
    given = {"name": "Net_k400", "publisher": "P", "licence": "L", "page": "https://p", "origin": "paddle"}
    return Entry(**{**given, "config": "configs/x.yaml", "address": address, **fields})


@pytest.fixture
def indexed(monkeypatch):
    """Puts one entry into the index."""

    def put(address, **fields):
        monkeypatch.setattr(cache, "entries", lambda: {"Net_k400": entry(address, **fields)})

    return put


def test_an_address_is_fetched_once_and_read_at_every_door(server, tmp_path, capsys):
    address, handler = server
    assert np.array_equal(read_weights(address)["a"], np.arange(30_000))
    printed = capsys.readouterr().err
    assert f"SHA-256 {sha256(WEIGHTS).hexdigest()}, pinned by this first use" in printed
    assert weights_file(address).read_bytes() == WEIGHTS and classes_of_weights(address) == UNKNOWN
    average_files([address, write_pickle_at(tmp_path / "b.pdparams")], tmp_path / "mean.pdparams")
    assert np.array_equal(read_weights(tmp_path / "mean.pdparams")["a"], np.arange(30_000) / 2)
    assert len(handler.requests) == 1 and capsys.readouterr().err == ""


def write_pickle_at(path):
    write_pickle(path, {"a": np.zeros(30_000, "f4")})
    return path


def test_a_path_object_with_one_slash_of_two_is_the_same_address(server):
    from pathlib import Path

    address, handler = server
    assert local_weights(Path(address)) == local_weights(address) and len(handler.requests) == 1


def test_a_name_of_the_index_and_a_local_file_of_that_name(server, indexed, tmp_path, monkeypatch):
    address, handler = server
    indexed(address, sha256=sha256(WEIGHTS).hexdigest())
    monkeypatch.chdir(tmp_path)
    assert local_weights("Net_k400") == tmp_path / "home/weights/Net_k400/net.pdparams"
    write_pickle_at(tmp_path / "Net_k400")
    assert str(local_weights("Net_k400")) == "Net_k400" and len(handler.requests) == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("Net_k40", "no such file, nor a name of the index; did you mean 'Net_k400'.*paddlevideo weights list"),
        ("data/Net_k400.pdparams", "get it with 'paddlevideo weights get Net_k400 --out data/Net_k400.pdparams'"),
        ("s3://bucket/x.pdparams", "is an address"), ("https://me:pw@host/x.pth", "user's name or password"),
        ("http://example.org/x.pth", "without TLS"), ("~nosuchuser/x.pdparams", "~nosuchuser/x.pdparams: no such file"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_one_line_with_the_way_out(indexed, given, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    indexed("https://host.invalid/x")
    with pytest.raises(UserError, match=words):
        read_weights(given)
    assert not (tmp_path / "home").exists()


def test_a_changed_file_is_refused_until_its_pin_is_removed(server):
    address, handler = server
    file = local_weights(address)
    file.write_bytes(OTHERS)
    with pytest.raises(DamagedFileError, match="SHA-256 mismatch.*at its first use it was"):
        local_weights(address)
    key = file.parent.name
    assert Cache.of_environment().remove(key) == len(OTHERS) and not file.exists()
    handler.do_GET = resumable(OTHERS, etag='"two"').do_GET
    with pytest.raises(
        DamagedFileError, match="what came was not kept: .*at its first use it was .* --pin-only' accepts"
    ):
        local_weights(address)
    assert not file.exists() and not list(file.parent.glob("*.part*"))
    Cache.of_environment().remove(key, weights=False, pin=True)
    assert local_weights(address).read_bytes() == OTHERS


def test_another_process_that_fetches_is_waited_for_before_a_file_is_removed(server):
    file, lines, removed = local_weights(server[0]), [], []
    cached, key = Cache.of_environment(), file.parent.name
    remover = threading.Thread(target=lambda: removed.append(cached.remove(key, pin=True, say=lines.append)))
    with cache._locked(file.parent, key, lines.append):
        remover.start()
        remover.join(0.1)
        assert remover.is_alive() and file.is_file() and "waiting" in lines[0]
    remover.join(10)
    assert removed[0] > len(WEIGHTS) and not file.exists()
    assert not file.parent.exists()


def test_a_lock_that_was_removed_while_it_was_waited_for_is_not_held(home):
    """Else two processes would fetch at once: one with the removed lock, one with the lock that came after it."""
    folder, lines, inside = home / "weights/net", [], []
    opened, closing = threading.Event(), threading.Event()

    def wait():
        with cache._locked(folder, "net", lambda line: opened.set()):
            inside.append(os.stat(folder / ".lock").st_ino)
            closing.wait(10)

    waiting = threading.Thread(target=wait)
    with cache._locked(folder, "net", lines.append):
        waiting.start()
        assert opened.wait(10)
        cache._drop_empty(folder)
    while not inside:
        assert waiting.is_alive()
    with (folder / ".lock").open("w") as stream, pytest.raises(BlockingIOError):
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    Cache.of_environment().remove_empty()  # leaves the lock that is held
    assert os.stat(folder / ".lock").st_ino == inside[0]
    closing.set()
    waiting.join(10)
    (home / "weights/of a failed transfer").mkdir()
    Cache.of_environment().remove_empty()
    assert list((home / "weights").iterdir()) == []


@pytest.mark.scorecard(10)
@pytest.mark.parametrize("digits", [8, 64])
def test_a_file_with_another_digest_than_the_index_s_is_not_kept(server, indexed, digits):
    indexed(server[0], sha256=sha256(OTHERS).hexdigest()[:digits])
    with pytest.raises(
        DamagedFileError, match="Net_k400: what came was not kept: SHA-256 mismatch.*the index of weights has"
    ):
        local_weights("Net_k400")
    assert Cache.of_environment().folders() == []


def test_a_file_of_another_size_than_the_index_s_is_not_kept(server, indexed):
    indexed(server[0], size=1000)
    with pytest.raises(UserError, match="at most 0.0 are taken"):
        local_weights("Net_k400")
    assert Cache.of_environment().folders() == []


@pytest.mark.parametrize("body", [b"<!DOCTYPE html><html>Log in</html>", b"", b"not weights at all", b"\x80"])
def test_a_page_under_another_type_is_not_kept(body):
    with http_server(resumable(body)) as port, pytest.raises(UserError, match="what came is"):
        local_weights(f"http://127.0.0.1:{port}/x.pdparams")
    assert Cache.of_environment().folders() == []


class Exploit:
    def __reduce__(self):
        return os.mkdir, ("marker",)


def exploit_in_torch_s_form():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps({"a": Exploit()}, protocol=2))
    return stream.getvalue()


@pytest.mark.scorecard(1)
@pytest.mark.parametrize("body", [pickle.dumps({"a": Exploit()}, protocol=4), exploit_in_torch_s_form()])
@pytest.mark.parametrize("name", ["x.pdparams", "x.pth"])
def test_a_file_that_names_code_runs_nothing(body, name, tmp_path, monkeypatch):
    from paddlevideo.modeling.conversion import read_source

    monkeypatch.chdir(tmp_path)
    with http_server(resumable(body)) as port, pytest.raises(UnsafeFileError, match="mkdir"):
        read_source(f"http://127.0.0.1:{port}/{name}")
    assert not (tmp_path / "marker").exists()


def test_processes_at_once_fetch_once(home):
    handler = resumable(WEIGHTS, pause_s=0.4)
    with http_server(handler) as port:
        code = f"from paddlevideo.downloads.cache import local_weights; print(local_weights('http://127.0.0.1:{port}/x.pdparams'))"
        started = [
            subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        outputs = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], outputs
    assert len(handler.requests) == 1 and len({out for out, _ in outputs}) == 1
    assert any("another process fetches it; waiting" in err for _, err in outputs)


def test_a_folder_that_cannot_be_written_to_is_named(monkeypatch, tmp_path, server):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PADDLEVIDEO_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot be written .*set PADDLEVIDEO_HOME"):
        local_weights(server[0])


def test_a_cache_that_others_filled_is_read_without_writing(server, monkeypatch):
    file = local_weights(server[0])
    (file.parent / "pin.json").unlink()

    def refused(path, content):
        raise UserError(f"{path}: cannot be written (Read-only file system)")

    monkeypatch.setattr(cache, "write_atomic", refused)
    lines = []
    assert local_weights(server[0], lines.append) == file
    assert "was not pinned" in lines[0] and "Read-only" in lines[0]


def test_without_a_connection_the_line_is_the_way_by_hand(home):
    address = "http://127.0.0.1:1/net.pdparams?v=2"
    with pytest.raises(
        UserError, match=r"wget -O net.pdparams 'http://127.0.0.1:1/net.pdparams\?v=2', then put"
    ) as caught:
        local_weights(address)
    place = str(caught.value).rpartition("put the file to ")[2]
    assert place.startswith(str(home))
    with open(place, "wb") as stream:
        stream.write(WEIGHTS)
    assert str(local_weights(address)) == place


def test_the_cache_has_a_limit_and_names_what_to_remove(server, monkeypatch):
    address, handler = server
    local_weights(address)
    monkeypatch.setenv("PADDLEVIDEO_CACHE_GB", "0.00015")
    with pytest.raises(UserError, match=r"of 0.00015 GB.*make room: paddlevideo weights remove 127.0.0.1-"):
        local_weights(address + "2.pdparams")
    for text in ("none", "-1", "0", "inf", "nan", "1e300"):
        monkeypatch.setenv("PADDLEVIDEO_CACHE_GB", text)
        with pytest.raises(UserError, match="PADDLEVIDEO_CACHE_GB: expected gigabytes above 0"):
            local_weights(address)


def test_a_cache_below_an_unknown_user_is_one_line(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PADDLEVIDEO_HOME", "~nosuchuser/x")
    with pytest.raises(UserError, match="PADDLEVIDEO_HOME: ~nosuchuser/x: no such user"):
        local_weights("http://127.0.0.1:1/x.pth")


PIN = {"file": "net.pdparams", "sha256": "0" * 64, "address": "https://h/net.pdparams", "size": 1}


@pytest.mark.parametrize(
    "content",
    [{"file": 1}, [1], {**PIN, "file": 1}, {**PIN, "sha256": None}, {**PIN, "address": []}, {**PIN, "size": "1"},
     {**PIN, "file": "../../x"}, {**PIN, "more": 1}],
)  # fmt: skip
def test_a_damaged_pin_is_named_and_dropped_without_the_weights(server, content):
    address, handler = server
    file = local_weights(address)
    (file.parent / "pin.json").write_text(json.dumps(content))
    with pytest.raises(DamagedFileError, match=r"pin.json: damaged.*weights remove .* --pin-only' drops it"):
        local_weights(address)
    Cache.of_environment().remove(file.parent.name, weights=False, pin=True)
    assert local_weights(address) == file and len(handler.requests) == 1


@pytest.mark.parametrize("name", ["pin.json", ".lock", "x.part", "PIN.JSON", "pin", "x.part.json", "pin.json.part"])
def test_an_address_cannot_name_a_file_of_the_cache_s_own(name):
    handler = resumable(WEIGHTS)
    with http_server(handler) as port:
        address = f"http://127.0.0.1:{port}/{name}"
        assert [local_weights(address).read_bytes() for _ in range(2)] == [WEIGHTS, WEIGHTS]
        cached = Cache.of_environment()
        assert cached.weights(cached.folders()[0]) == local_weights(address) and len(handler.requests) == 1
        assert classes_of_weights(address) == UNKNOWN


def test_a_key_of_the_cache_does_not_leave_it():
    for address in (
        "https://host/../../../../etc/passwd",
        "https://host/%2e%2e%2f%2e%2e",
        "https://host/",
        "https://h/..",
    ):
        wanted = Wanted.of_address(address)
        assert "/" not in wanted.key and "/" not in wanted.file and not wanted.file.startswith(".")
    assert file_name("https://host/a/SlowFast_8*8.pdparams?x=/y") == "SlowFast_8_8.pdparams"
    assert file_name("https://host/%1b[31mred.pth") == "__31mred.pth"


def test_a_server_that_answers_no_http_is_one_line():
    def reply(handler):
        handler.wfile.write(b"\x00\x01 no http\r\n")

    with http_server(answer(reply)) as port, pytest.raises(UserError, match="cannot be fetched"):
        local_weights(f"http://127.0.0.1:{port}/x.pth")
