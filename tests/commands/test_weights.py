"""``paddlevideo weights``, its page, and weights by address at every command that takes a file of them."""

import re
from pathlib import Path

import numpy as np
import pytest

from paddlevideo.cli import weights as command
from paddlevideo.cli.main import main
from paddlevideo.downloads import cache
from paddlevideo.downloads.index import Entry, entries
from paddlevideo.errors import UserError
from paddlevideo.modeling import build_framework
from paddlevideo.modeling.weights import load_weights, read_weights
from paddlevideo.safe_io import sha256, write_pickle
from tests.commands.foreign_weights import image_resnet18, small
from tests.servers import http_server, resumable
from tests.tiny import distilled, save, tsm_config
from tests.torch_writer import Tensor, write_zip

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("PADDLEVIDEO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    return tmp_path / "home"


@pytest.fixture
def run(capsys):
    """``run("get", "NAME")`` -> code, out, err."""

    def run(*words):
        capsys.readouterr()
        code = main(["weights", *map(str, words)])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def indexed(monkeypatch, tmp_path):
    """An index of one entry, image weights of torchvision on a server, for a tiny network."""
    file = write_zip(tmp_path / "r.pth", {name: Tensor(value) for name, value in image_resnet18(small()).items()})
    config = save({"model_name": "TSM", "MODEL": small()}, tmp_path / "net.yaml")
    with http_server(resumable(file.read_bytes())) as port:
        about = ("tiny_torchvision", "torchvision", "BSD-3-Clause", "https://p", "torchvision", str(config))
        entry = Entry(*about, address=f"http://127.0.0.1:{port}/r.pth", sha256=sha256(file)[:8])
        for module in (cache, command):
            monkeypatch.setattr(module, "entries", lambda: {"tiny_torchvision": entry})
        monkeypatch.setattr(command, "matching", lambda pattern: [entry] if pattern in entry.name else [])
        yield entry


def test_a_name_is_listed_fetched_verified_and_removed(run, indexed, home):
    assert "in the cache" not in run("list", "tiny")[1]
    code, out, err = run("get", "tiny_torchvision")
    assert (
        code == 0 and Path(out.strip()) == home / "weights/tiny_torchvision/r.pth" and "pinned by this first use" in err
    )
    assert "in the cache" in run("list")[1] and "tiny_torchvision" in run("list", "--cached")[1]
    file = Path(out.strip())
    digest = sha256(file)
    as_known = f"ok: SHA-256 {digest}, as in the index (first 8 digits) and at its first use"
    assert run("verify") == (0, f"tiny_torchvision: {as_known}\n", "")
    file.write_bytes(b"\x80\x04.")
    code, out, _ = run("verify", "tiny_torchvision")
    damaged = f"SHA-256 mismatch: {sha256(file)}, in the index (first 8 digits) {indexed.sha256}; "
    again = "damaged or replaced: 'paddlevideo weights remove tiny_torchvision' and get it again"
    assert (code, out) == (1, f"tiny_torchvision: {damaged}{again}\n")
    stays = "its SHA-256 stays pinned (--pin removes that, too)"
    assert run("remove", "tiny_torchvision")[1] == f"tiny_torchvision: 0.0 MB removed; {stays}\n"
    assert run("remove", "tiny_torchvision")[1] == f"tiny_torchvision: was removed before; {stays}\n"
    gone = f"tiny_torchvision: no file: it was removed; its SHA-256 stays pinned: {digest}\n"
    assert run("verify") == (0, gone, "")
    assert f"removed, pinned: sha256 {digest}" in run("list", "--cached")[1]
    assert run("remove", "--all", "--pin")[:2] == (0, "tiny_torchvision: its pin removed\n")
    assert run("list", "--cached")[1].count("\n") == 1 and list((home / "weights").iterdir()) == []


def test_an_unfinished_and_an_unknown_file_have_words_of_their_own(run, home):
    for name, content in (("cut/net.pth.part", b"\x80"), ("own/net.pth", b"\x80\x04.")):
        (home / "weights" / name).parent.mkdir(parents=True)
        (home / "weights" / name).write_bytes(content)
    code, out, _ = run("verify")
    digest = sha256(home / "weights/own/net.pth")
    assert code == 0 and out.splitlines() == [
        "cut: no file: its transfer is unfinished; 'paddlevideo weights remove cut' drops it",
        f"own: not compared: SHA-256 {digest}, the index has none; the first use of the file pins it",
    ]
    assert run("remove", "own", "--pin-only")[1] == "own: has no pin; nothing removed\n"
    assert run("remove", "own", "cut")[1] == "own: 0.0 MB removed\ncut: 0.0 MB removed\n"
    assert list((home / "weights").iterdir()) == []


def test_a_file_of_another_project_is_written_as_its_configuration_takes_it(run, indexed, tmp_path):
    target = tmp_path / "data/tiny_torchvision.pdparams"
    code, out, _ = run("get", "tiny_torchvision", "--out", target)
    assert code == 0 and "torchvision -> backbone" in out and f"written: {target}" in out
    section = small(pretrained=str(target))
    own = build_framework(section).backbone.state_dict()
    assert all(np.array_equal(own[key].numpy(), value) for key, value in read_weights(target).items())
    code, _, err = run("get", "tiny_torchvision", "--out", target)
    assert code == 2 and "is there already" in err
    assert run("get", "tiny_torchvision", "--out", target, "--overwrite")[0] == 0
    code, out, _ = run("get", "tiny_torchvision", "--out", tmp_path / "copy.pth")
    assert code == 0 and (tmp_path / "copy.pth").read_bytes() == (tmp_path / "r.pth").read_bytes()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("get", "tiny_torchvison"), "did you mean 'tiny_torchvision'"), (("list", "zzz"), "no weights hold 'zzz'"),
        (("remove",), "give --all"), (("remove", "x", "--all"), "give --all"),
        (("verify", "../.."), "is not in the cache"),
        (("get", "http://example.org/x.pth"), "--insecure"), (("get", "ftp://example.org/x"), "neither an address"),
        (("get", "tiny_torchvision", "--out", "."), "is a folder, expected the name of a file"),
        (("get", "tiny_torchvision", "--out", "new/"), "is a folder"),
        (("get", "tiny_torchvision", "--out", "x.onnx"), "ends in .pth (as it is) or .pdparams"),
        (("get", "tiny_torchvision", "--out", ""), "is empty"),
        (("get", "tiny_torchvision", "--out", "~nosuchuser/x.pth"), "no such user"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(run, indexed, words, expected, home):
    code, _, err = run(*words)
    assert code == 2 and expected in err and err.count("\n") == 1
    assert not home.exists()  # nothing was fetched


def test_a_file_that_was_put_there_is_compared_and_a_damaged_pin_is_named(run, indexed, home, tmp_path):
    file = home / "weights/tiny_torchvision/r.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes((tmp_path / "r.pth").read_bytes())
    assert "not used yet" in run("list", "--cached")[1]
    assert run("verify") == (0, f"tiny_torchvision: ok: SHA-256 {sha256(file)}, as in the index (first 8 digits)\n", "")
    good = file.read_bytes()
    file.write_bytes(b"\x80\x04.")
    code, out, _ = run("verify")
    assert code == 1 and "SHA-256 mismatch" in out
    file.write_bytes(good)
    assert run("get", "tiny_torchvision")[0] == 0
    (file.parent / "pin.json").write_text('{"file": [], "sha256": 1, "address": "", "size": 0}')
    other = home / "weights/other/net.pth"
    other.parent.mkdir()
    other.write_bytes(good)
    assert "--pin-only" in run("list", "--cached")[1]
    code, out, _ = run("verify")
    assert code == 1 and out.splitlines()[0].startswith("other: not compared: SHA-256")
    assert "pin.json: damaged" in out.splitlines()[1] and len(out.splitlines()) == 2
    assert run("remove", "tiny_torchvision", "--pin-only")[1] == "tiny_torchvision: its pin removed\n"
    assert file.read_bytes() == good and run("verify")[0] == 0


@pytest.mark.parametrize("form", ["torch", "safetensors"])
def test_an_address_without_a_suffix_is_read_by_its_content(run, indexed, tmp_path, form):
    content = (tmp_path / "r.pth").read_bytes()
    if form == "safetensors":
        numpy = pytest.importorskip("safetensors.numpy")
        content = numpy.save(image_resnet18(small()))
    with http_server(resumable(content)) as port:
        address = f"http://127.0.0.1:{port}/download?id=3"
        backbone = build_framework(small(pretrained=address)).backbone.state_dict()
        assert "for which network?" in run("get", address, "--out", tmp_path / "x.pdparams")[2]
        assert address in run("list", "--cached")[1]
    named = run("get", "tiny_torchvision", "--out", tmp_path / "own.pdparams")
    assert named[0] == 0
    assert all(
        np.array_equal(backbone[key].numpy(), value) for key, value in read_weights(tmp_path / "own.pdparams").items()
    )


@pytest.mark.parametrize("form", ["tiny_torchvision", "own.pdparams"])
def test_a_backbone_alone_given_as_whole_weights_names_the_option(run, indexed, tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    assert run("get", "tiny_torchvision", "--out", "own.pdparams")[0] == 0
    with pytest.raises(UserError, match=f"a backbone alone: .* -o MODEL.backbone.pretrained={form}, not -w"):
        load_weights(build_framework(small()), form, strict=False, allow_head_mismatch=True)


def test_an_address_is_taken_by_every_command_and_fetched_once(clips, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = tsm_config(clips, tmp_path / "out")
    network = build_framework(config["MODEL"])
    write_pickle("net.pdparams", {key: value.numpy() for key, value in network.state_dict().items()})
    file = save(config | {"epochs": 1}, tmp_path / "tsm.yaml")
    handler = resumable(Path("net.pdparams").read_bytes())
    with http_server(handler) as port:
        address = f"http://127.0.0.1:{port}/net.pdparams"
        taught = distilled(config, address) | {"epochs": 1, "output_dir": str(tmp_path / "taught")}
        save(taught, tmp_path / "distilled.yaml")
        save(config | {"epochs": 1}, tmp_path / "from.yaml")
        video = next(Path(clips).parent.glob("*.mp4"))
        lines = [
            ["test", "-c", file, "-w", address],
            ["export", "-c", file, "-w", address, "--out", "export", "--timing=none"],
            ["predict", "-c", file, "-w", address, "-i", video],
            ["average", address, "net.pdparams", "--out", "mean.pdparams"],
            ["train", "-c", file, "-w", address], ["convert", address, "own.pdparams", "-c", file],
            ["train", "-c", "from.yaml", "-o", f"MODEL.backbone.pretrained={address}", "-o", "output_dir=from"],
            ["train", "-c", "distilled.yaml"],
        ]  # fmt: skip
        for words in lines:
            assert main([str(word) for word in words]) == 0, (words[0], capsys.readouterr().err)
    assert len(handler.requests) == 1
    mean, own = read_weights("mean.pdparams"), read_weights("own.pdparams")
    assert all(np.allclose(mean[key], value) and np.array_equal(own[key], value) for key, value in own.items())


def rows(page):
    found = re.findall(r"^\| `([\w-]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \| \[[\w-]+\]\(\.\./([^)]+)\) \|$", page, re.M)
    return [tuple(part.strip(" `") for part in row) for row in found]


@pytest.mark.parametrize("name", ["weights.md", "weights_zh-CN.md"])
def test_the_page_has_a_row_for_every_name(name):
    index = [
        (entry.name, entry.publisher, entry.package or entry.address.split("/")[2], entry.figure or "-", entry.config)
        for entry in entries().values()
    ]
    assert rows((ROOT / "docs" / name).read_text()) == index


def test_a_folder_that_the_cache_did_not_make_is_left_and_an_empty_cache_is_named(run, indexed, home):
    done, out, _ = run("remove", "--all")
    assert done == 0 and out.count("\n") == 1 and "weights: there is no such folder" in out
    own = home / "weights" / "my own"
    own.mkdir(parents=True)
    (own / "best.pdparams").write_bytes(b"mine")
    done, out, _ = run("remove", "--all", "--pin")
    assert done == 0 and "my own: left as it is; no file of it was fetched" in out
    assert (own / "best.pdparams").read_bytes() == b"mine"
    assert run("remove", "my own")[0] == 0 and not own.exists()
