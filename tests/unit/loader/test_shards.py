"""Shards: the same samples as loose files, the same batches whatever reads them, and every damage named."""

import contextlib
import gzip
import io
import json
import os
import shutil
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from paddlevideo.addresses import secret_in, without_secrets
from paddlevideo.cli.main import main
from paddlevideo.config import load_config
from paddlevideo.errors import ConfigError, DamagedFileError, UserError
from paddlevideo.loader.build import build_loader
from paddlevideo.loader.datasets.records import digest_of
from paddlevideo.loader.datasets.shard import ShardDataset
from paddlevideo.loader.datasets.video import VideoDataset
from paddlevideo.loader.decode import MemoryVideo, VideoReadError, open_video
from paddlevideo.loader.sampler import BatchPlan
from paddlevideo.loader.shards import storage as storage_module
from paddlevideo.loader.shards.index import read_index
from paddlevideo.loader.shards.storage import Storage
from paddlevideo.preparation.write_shards import write_index
from tests.clips import cut, numbered_frames, write_clip
from tests.shard_files import http_server, make_shards, make_videos, write_tar
from tests.tiny import tsm_config
from tests.unit.loader.fakes import arrays, assert_same

PIPELINE = {
    "decode": {"name": "VideoDecoder"},
    "sample": {"name": "Sampler", "num_seg": 2, "seg_len": 1},
    "transform": [{"RandomCrop": {"target_size": 32}}],
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return make_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def shards(videos, tmp_path_factory):
    return make_shards(videos, tmp_path_factory.mktemp("made") / "shards")


@pytest.fixture
def copied(shards, tmp_path):
    shutil.copytree(shards, tmp_path / "shards")
    return tmp_path / "shards"


@pytest.fixture
def no_pause(monkeypatch):
    monkeypatch.setattr(storage_module, "_PAUSE_S", 0.001)


def loader(path, num_workers=0, rank=0, world_size=1, split="train", **section):
    return build_loader(
        {"format": "ShardDataset", "file_path": str(path), "window": 2, **section}, PIPELINE, split, seed=3,
        num_classes=2, batch_size=2, num_workers=num_workers, rank=rank, world_size=world_size,
        shuffle=split == "train", drop_last=False,
    )  # fmt: skip


# ---- samples


def test_samples_are_those_of_the_files(videos, shards):
    loose, packed = VideoDataset(str(videos)), ShardDataset(str(shards))
    assert len(packed) == len(loose) == 20 and packed.class_names == loose.class_names == ["run", "walk"]
    for k in range(len(loose)):
        sample = packed.sample(k)
        assert sample["content"] == Path(loose.records[k]["filename"]).read_bytes()
        assert (sample["label"], sample["index"]) == (loose.records[k]["label"], k)
    assert packed.records[0]["filename"] == f"{shards}/train-000000.tar: member 00000000-clip_0.mp4"
    assert "20 samples in 4 shards" in packed.remarks[0]


def test_the_same_clips_as_from_files(videos, shards):
    section = {"format": "VideoDataset", "file_path": str(videos)}
    loose = build_loader(section, PIPELINE, "test", seed=3, num_classes=2, batch_size=2, num_workers=0, shuffle=False,
                         drop_last=False)  # fmt: skip
    assert_same(arrays(loose.epoch(0)), arrays(loader(shards, split="test").epoch(0)))


def test_memory_videos_are_read_like_files(videos):
    path = sorted(videos.rglob("*.mp4"))[-1]
    content = path.read_bytes()
    for backend in ("pyav", "pyav_sequential"):
        with open_video(path, backend) as file, open_video(MemoryVideo("a", content), backend) as memory:
            assert len(file) == len(memory) and np.array_equal(file.get([0, 5]), memory.get([0, 5]))
    for backend in ("cv2", "decord"):
        with pytest.raises(UserError, match="reads files only; use backend: pyav"):
            open_video(MemoryVideo("a", content), backend)
    with pytest.raises(VideoReadError, match=r"s\.tar: member b\.mp4: truncated \("):
        open_video(MemoryVideo("s.tar: member b.mp4", content[: len(content) // 2]))
    with pytest.raises(VideoReadError, match="empty"):
        open_video(MemoryVideo("a", b""))
    with pytest.raises(VideoReadError, match="not_a_video"):
        open_video(MemoryVideo("a", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n" + os.fsencode(path)))


def test_a_damaged_video_in_a_shard_is_named_and_counted(videos, tmp_path):
    good = sorted(videos.rglob("*.mp4"))[0]
    bad = cut(good, tmp_path / "bad.mp4", 0.5)
    members = {"a.mp4": good.read_bytes(), "a.cls": b"0", "b.mp4": bad.read_bytes(), "b.cls": b"1"}
    write_tar(tmp_path / "s" / "x-000003.tar", members)
    with pytest.raises(VideoReadError, match=r"x-000003\.tar: member b\.mp4: truncated \("):
        list(loader(tmp_path / "s", split="test").epoch(0))
    counted = loader(tmp_path / "s", split="test", on_error="count")
    assert [batch["valid"].tolist() for batch in counted.epoch(0)] == [[1, 0]]


# ---- order


@pytest.mark.parametrize("num_workers", [1, 4])
@pytest.mark.parametrize("split", ["train", "test"])
def test_workers_change_nothing(shards, num_workers, split):
    alone = arrays(loader(shards, split=split).epoch(1))
    assert_same(alone, arrays(loader(shards, num_workers, split=split).epoch(1)))


@pytest.mark.parametrize("start", [0, 1, 4, 9])
def test_a_resumed_epoch_is_the_same(shards, start):
    whole = arrays(loader(shards).epoch(2))
    assert_same(whole[start:], arrays(loader(shards).epoch(2, start)))
    assert_same(whole[start:], arrays(loader(shards, 2).epoch(2, start)))


def test_ranks_together_take_the_batches_of_one(shards):
    two = [arrays(loader(shards, rank=rank, world_size=2).epoch(0)) for rank in range(2)]
    data = ShardDataset(str(shards), window=2)
    plan = BatchPlan(20, 4, 3, shuffle=True, shuffled=data.shuffled)
    for whole, *parts in zip(plan.batches(0), *two):
        assert [k for part in parts for k in part["index"].tolist()] == whole.tolist()


@pytest.mark.parametrize("window", [1, 2, 7, 100])
@pytest.mark.parametrize("together", [1, 2, 4, 6, 64])
def test_an_epoch_has_each_sample_once(shards, window, together):
    data = ShardDataset(str(shards), window=window)
    orders = [data.shuffled(np.random.default_rng([5, epoch]), together).tolist() for epoch in (0, 0, 1)]
    assert sorted(orders[0]) == list(range(20)) and orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize("per_window", [1, 4])
def test_a_batch_mixes_windows(per_window):
    data = ShardDataset.__new__(ShardDataset)
    data._window, data._per_window = 16, per_window

    class Index:
        shards = [type("Shard", (), {"samples": 1000})] * 4

        def __len__(self):
            return 4000

    data._index = Index()
    order = data.shuffled(np.random.default_rng(0), 16)[: 16 * 200].reshape(200, 16)
    windows = [len({(k // 1000, k % 1000 // 16) for k in batch}) for batch in order.tolist()]
    assert 16 / per_window <= min(windows) and np.mean(windows) <= 16 / per_window * 1.3


def test_ranks_and_workers_have_windows_of_their_own():
    """Of 4,000 samples the processes share few windows, whatever the ranks and workers."""
    data = ShardDataset.__new__(ShardDataset)
    data._window, data._per_window = 16, 2
    counts = [500] * 8

    class Shard:
        samples = 500

    class Index:
        shards = [Shard] * len(counts)

        def __len__(self):
            return sum(counts)

    data._index = Index()
    for ranks, workers in ((1, 1), (1, 4), (2, 4), (4, 2), (1, 8)):
        batch = 8 // ranks
        owners = {}
        for rank in range(ranks):
            plan = BatchPlan(4000, batch, 1, True, False, rank, ranks, pad=True, shuffled=data.shuffled)
            for number, indices in enumerate(plan.batches(0)):
                for k in indices.tolist():
                    owners.setdefault((k // 500, k % 500 // 16), set()).add((rank, number % workers))
        shared = sum(len(own) > 1 for own in owners.values())
        assert shared <= 64 + 8, (ranks, workers, shared)  # at most one per lane, and the rest
        assert len(owners) == 8 * 32


# ---- addresses


def test_the_same_batches_from_memory_and_http(shards):
    fsspec = pytest.importorskip("fsspec")
    expected = arrays(loader(shards).epoch(0))
    files = fsspec.filesystem("memory")
    for file in shards.iterdir():
        files.pipe(f"/shard_test/{file.name}", file.read_bytes())
    assert_same(expected, arrays(loader("memory://shard_test").epoch(0)))
    pytest.importorskip("aiohttp")
    with http_server(shards) as (address, requests):
        assert_same(expected, arrays(loader(address).epoch(0)))
        assert all(header for path, header in requests if path.endswith(".tar"))
        assert_same(expected[3:], arrays(loader(address, 2).epoch(0, 3)))


def test_a_server_without_ranges_is_one_error(shards, no_pause):
    pytest.importorskip("aiohttp")
    with http_server(shards, ranges=False) as (address, _), pytest.raises(UserError, match="HTTP range requests, or"):
        loader(address)


def test_what_is_missing_at_an_address_is_named(shards, tmp_path, no_pause):
    pytest.importorskip("aiohttp")
    shutil.copy(shards / "shards.npz", tmp_path)
    with http_server(tmp_path) as (address, _):
        with pytest.raises(UserError, match=r"train-000000\.tar: no such file"):
            loader(address)
        with pytest.raises(UserError, match="no index beside these shards; write one with paddlevideo prepare shards"):
            loader(f"{address}/other")
    with pytest.raises(UserError, match=r"http://127.0.0.1:9/x/shards.npz: cannot be read, 6 tries \("):
        loader("http://127.0.0.1:9/x")


def test_a_request_that_fails_once_is_repeated(shards, monkeypatch, no_pause):
    fsspec = pytest.importorskip("fsspec")
    files = fsspec.filesystem("memory")
    for file in shards.iterdir():
        files.pipe(f"/flaky/{file.name}", file.read_bytes())
    read, failed = type(files).cat_file, []

    def flaky(self, path, *args, **kwargs):
        if len(failed) < 3:
            failed.append(path)
            raise ConnectionError("reset")
        return read(self, path, *args, **kwargs)

    monkeypatch.setattr(type(files), "cat_file", flaky)
    assert len(Storage("memory://flaky").read("train-000000.tar", 0, 512)) == 512 and len(failed) == 3


def test_secrets_stay_out_of_messages():
    assert without_secrets("https://me:pw@host/a?X-Signature=1") == "https://host/a?..."
    assert without_secrets("data/what?.tar") == "data/what?.tar"
    for password in ("S3CRET", "p@ss", "p/w", "p:w?x", "12/p"):
        address = f"simplecache::http://alice:{password}@host/a"
        assert without_secrets(address) == "simplecache::http://host/a"
        with pytest.raises(UserError, match="http://host/a holds a user's name or password") as caught:
            Storage(address)
        assert password not in str(caught.value) and "alice" not in str(caught.value)
    assert "hush" not in repr(Storage("s3://bucket/x", {"secret": "hush"}))


@pytest.mark.parametrize(
    "address", ["s3://KEY:SECRET@bucket/x", "https://SECRET@host/x", "http://host/x.npz?X-Amz-Signature=SECRET",
                "https://host/x?sv=1&sig=SECRET", "https://host/x?access_token=SECRET", "http://host/x?api%5Fkey=SECRET"]
)  # fmt: skip
def test_a_configuration_with_a_key_in_an_address_is_refused(tmp_path, clips, address):
    config = tsm_config(clips, tmp_path)
    config["DATASET"]["test"] = {"format": "ShardDataset", "file_path": "data", "shard_index": address}
    file = tmp_path / "keys.yaml"
    file.write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match="DATASET.test.shard_index: the address .* holds ") as caught:
        load_config(file)
    assert "SECRET" not in str(caught.value)
    with pytest.raises(UserError, match="holds "):
        write_index(address.replace(".npz", ""), tmp_path / "x.npz", None)


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        ({"anon": True, "client_kwargs": {"trust_env": True}, "token": "anon"}, None),
        ({"key": "SECRET"}, "key"),
        ({"client_kwargs": {"aws_secret_access_key": "SECRET"}}, "client_kwargs.aws_secret_access_key"),
        ({"sas_token": "SECRET"}, "sas_token"),
    ],
)
def test_a_configuration_with_a_key_in_its_storage_options_is_refused(tmp_path, clips, options, refused):
    config = tsm_config(clips, tmp_path)
    config["DATASET"]["test"] = {"format": "ShardDataset", "file_path": "data", "storage_options": options}
    file = tmp_path / "keys.yaml"
    file.write_text(yaml.safe_dump(config))
    if refused is None:
        assert load_config(file)["DATASET"]["test"]["storage_options"]["token"] == "anon"
        return
    with pytest.raises(ConfigError, match=f"test.storage_options.{refused}: is a password or a key") as caught:
        load_config(file)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("arguments", [["{}"], ["videos", "--out", "{}"], ["--index", "{}", "--out", "x.npz"]])
def test_prepare_shards_prints_no_password(capsys, arguments):
    code = main(["prepare", "shards", *(text.replace("{}", "http://alice:S3CRET@host/x") for text in arguments)])
    out, err = capsys.readouterr()
    assert code == 2 and "http://host/x" in err and "S3CRET" not in out + err


def test_an_address_without_a_key_is_taken():
    for address in ("s3://bucket/a@b", "http://host:8080/x", "ssh://me@host:22/x", "abfs://box@account.net/x", "http://h/x?v=1",
                    "github://org:repo@main/x", "zip://a::s3://bucket/b.zip", "data/alice:x@y"):  # fmt: skip
        assert secret_in(address) is None, address


def test_a_chain_of_addresses_is_read(shards, no_pause):
    fsspec = pytest.importorskip("fsspec")
    for file in shards.iterdir():
        fsspec.filesystem("memory").pipe(f"/chained/{file.name}", file.read_bytes())
    assert_same(arrays(loader(shards).epoch(0)), arrays(loader("simplecache::memory://chained").epoch(0)))


def test_an_address_without_fsspec_names_the_pip_line(monkeypatch):
    for name in ("fsspec", "fsspec.core"):
        monkeypatch.setitem(sys.modules, name, None)
    wanted = "s3://bucket/x: an address needs the Python package fsspec: pip install fsspec aiohttp"
    with pytest.raises(UserError, match=wanted):
        ShardDataset("s3://bucket/x", shard_index="s3://bucket/x/shards.npz")
    assert "pip install" in ShardDataset.findings({"file_path": "s3://bucket/x"}, 2)[0]


def test_local_shards_need_no_fsspec(shards, monkeypatch):
    for name in ("fsspec", "fsspec.core"):
        monkeypatch.setitem(sys.modules, name, None)
    assert len(ShardDataset(str(shards)).sample(3)["content"]) > 100


# ---- shards of others


def members(count=6, label=lambda k: {"cls": str(k % 2).encode()}):
    clip = write_clip("some.mp4", numbered_frames(6)).read_bytes()
    return {
        name: content
        for k in range(count)
        for name, content in {
            f"part/{k}.json" if "json" in label(k) else f"part/{k}.cls": next(iter(label(k).values())),
            f"part/{k}.left.mp4": clip + bytes(k),
            f"part/{k}.npy": b"other",
        }.items()
    }


@pytest.fixture
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_shards_of_other_programs_are_indexed_once(inside, form):
    write_tar(Path("s/a-0.tar"), members(), format=form)
    write_tar(Path("s/a-1.tar"), members(3), format=form)
    first = ShardDataset("s")
    assert len(first) == 9 and [r["label"] for r in first.records] == [0, 1, 0, 1, 0, 1, 0, 1, 0]
    assert any("written from the headers of 2 shards" in remark for remark in first.remarks)
    assert any("9 members that are neither a video nor a label are not read" in remark for remark in first.remarks)
    again = ShardDataset("s")
    assert not any("headers" in remark for remark in again.remarks)
    assert again.sample(8)["content"] == Path("some.mp4").read_bytes() + bytes(2)
    assert digest_of(first.records) == digest_of(again.records)


def test_attributes_of_macos_are_no_samples(inside):
    attributes = {"./._k0.mp4": b"x", "./._k0.cls": b"\0\5\x16\7", "./._d": b"x"}
    write_tar(Path("s/a.tar"), {**attributes, "./k0.mp4": b"video", "./._k1.mp4": b"x", "./k0.cls": b"1"})
    data = ShardDataset("s")
    assert len(data) == 1 and data.records[0]["label"] == 1 and data.sample(0)["content"] == b"video"
    assert "4 members that are neither a video nor a label are not read" in data.remarks[-1]


def test_long_names(inside):
    name = "folder/" + "x" * 150
    write_tar(Path("s/a.tar"), {f"{name}.mp4": b"1" * 700, f"{name}.json": b'{"label": 1}'}, format=tarfile.PAX_FORMAT)
    sample = ShardDataset("s").sample(0)
    assert sample["content"] == b"1" * 700 and sample["filename"] == f"s/a.tar: member {name}.mp4"


def test_labels_of_json_and_names(inside):
    rows = [{"label": 1}, {"labels": [0]}, {"cls": 0}, {"class": 1}, 1, {"label": 0, "text": "x"}]
    write_tar(Path("s/a.tar"), members(6, lambda k: {"json": json.dumps(rows[k]).encode()}))
    assert [r["label"] for r in ShardDataset("s").records] == [1, 0, 0, 1, 1, 0]
    write_tar(Path("t/a.tar"), members(2, lambda k: {"json": json.dumps({"label": "walk"}).encode()}))
    with pytest.raises(ConfigError, match="label 'walk' is a name; class names need --labels FILE"):
        ShardDataset("t")
    index, _ = write_index("t", Path("t.npz"), ["run", "walk"])
    assert index.labels.tolist() == [1, 1]
    assert ShardDataset("t", shard_index="t.npz", class_names=["walk", "run"]).records[0]["label"] == 0


def test_several_labels(inside):
    rows = [[0, 2], [], [1]]
    write_tar(Path("s/a.tar"), members(3, lambda k: {"json": json.dumps({"labels": rows[k]}).encode()}))
    with pytest.raises(UserError, match=r"member part/0\.left\.mp4 has several labels, or none; set multi_label: True"):
        ShardDataset("s", num_classes=3)
    data = ShardDataset("s", multi_label=True, num_classes=3)
    assert [r["label"].tolist() for r in data.records] == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert data.records.relabelled([2, 0, 1])[0]["label"].tolist() == [0, 1, 1]


def test_names_map_labels_to_the_training_s_classes(shards):
    data = ShardDataset(str(shards), class_names=["jump", "walk", "run"])
    assert {data.records[k]["label"] for k in range(10)} == {2} and data.records[19]["label"] == 1
    with pytest.raises(UserError, match="the class 'run' of these shards is none of the 2 classes of the training"):
        ShardDataset(str(shards), class_names=["walk", "jump"])


def test_an_unwritable_folder_is_read_at_every_start(inside, monkeypatch):
    write_tar(Path("s/a.tar"), members(2))

    def refuse(self, path):
        raise UserError(f"{path}: cannot be written")

    monkeypatch.setattr("paddlevideo.loader.shards.index.ShardIndex.write", refuse)
    assert "the headers are read at every start" in ShardDataset("s").remarks[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a.mp4": b"1"}, r"member a\.\*: there is no label \(\.json, \.cls, \.txt\) beside it"),
        ({"a.cls": b"1"}, r"member a\.\*: there is no video beside it"),
        ({"a.mp4": b"1", "a.avi": b"2", "a.cls": b"0"}, "two videos of one sample"),
        ({"a.mp4": b"1", "a.cls": b"-3"}, "label -3 is no class index"),
        ({"a.mp4": b"1", "a.json": b"{"}, r"member a\.json: not UTF-8 JSON"),
        ({"a.mp4": b"1", "a.json": b'{"label": 1.5}'}, r"member a\.json: expected a class index or name"),
        ({"a.mp4": b"1", "a.json": b'{"label": 1}', "a.cls": b"2"}, r"\.json has the label 1 and \.cls 2"),
        ({"a.mp4": b"1", "a.json": b'{"labels": []}', "a.cls": b"2"}, r"\.json has the label none and \.cls 2"),
        ({"a.mp4": b"1", "b.cls": b"1", "a.cls": b"1"}, "do not follow each other"),
        ({}, "1 shards without a sample"),
    ],
)
def test_wrong_members_are_named(inside, content, message):
    write_tar(Path("s/a.tar"), content)
    with pytest.raises(UserError, match=message):
        ShardDataset("s")


def test_labels_beyond_the_classes(shards):
    with pytest.raises(ConfigError, match=r"member 00000010-\S+: label 1 is out of range; labels must .* \(10 times"):
        ShardDataset(str(shards), num_classes=1)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_shard_that_is_cut_off(inside, share):
    cut(write_tar(Path("a.tar"), members(30)), Path("b.tar"), share)
    Path("s").mkdir()
    os.replace("b.tar", "s/b.tar")
    with pytest.raises(DamagedFileError, match=r"s/b\.tar: (truncated|damaged)"):
        ShardDataset("s")


def test_a_shard_that_is_cut_between_two_members(inside):
    content = write_tar(Path("s/a.tar"), members(5)).read_bytes()
    Path("s/a.tar").write_bytes(content[: content.index(b"part/3.cls")])
    for read in (ShardDataset, lambda folder: write_index(folder, None, None)):
        with pytest.raises(DamagedFileError, match=r"s/a\.tar: truncated .* no end mark after 3 samples"):
            read("s")


@pytest.mark.parametrize("far", [0, 3 << 20])
def test_joined_tar_files_are_refused(inside, far):
    first, second = (write_tar(Path(f"{name}.tar"), members(5)).read_bytes() for name in "ab")
    Path("s").mkdir()
    Path("s/c.tar").write_bytes(first + bytes(far) + second)
    for read in (ShardDataset, lambda folder: write_index(folder, None, None)):
        message = rf"s/c\.tar: data at byte {len(first) + far}, after the end mark at byte \d+ and 5 samples"
        with pytest.raises(DamagedFileError, match=message):
            read("s")
    Path("s/c.tar").write_bytes(first + bytes(far))
    assert len(ShardDataset("s")) == 5


def test_a_damaged_header_is_no_end(inside):
    content = bytearray(write_tar(Path("s/a.tar"), members(5)).read_bytes())
    place = content.index(b"part/3.left.mp4")
    content[place : place + 4] = b"XXXX"
    Path("s/a.tar").write_bytes(content)
    with pytest.raises(
        DamagedFileError, match=r"s/a\.tar: truncated or damaged at byte \d+: no end mark after 4 sampl"
    ):
        ShardDataset("s")


def test_what_is_no_shard(inside):
    Path("s").mkdir()
    with pytest.raises(UserError, match=r"s: no shards in it \(looked for \*\.tar\)"):
        ShardDataset("s")
    Path("s/a.tar").write_bytes(gzip.compress(b"x" * 2000))
    with pytest.raises(UserError, match="it is compressed"):
        ShardDataset("s")
    Path("s/a.tar").write_bytes(b"x" * 2000)
    with pytest.raises(DamagedFileError, match=r"s/a\.tar: damaged, or no tar file"):
        ShardDataset("s")
    with pytest.raises(UserError, match=r"none: no folder of shards"):
        ShardDataset("none")
    with pytest.raises(UserError, match=r"none\.npz: no such index"):
        ShardDataset("s", shard_index="none.npz")


# ---- shards that have changed


def test_shards_that_do_not_fit_their_index(copied):
    os.remove(copied / "train-000001.tar")
    cut(copied / "train-000002.tar", copied / "train-000002.tar", 0.5)
    write_tar(copied / "train-000009.tar", {})
    with pytest.raises(ConfigError) as error:
        ShardDataset(str(copied))
    assert error.value.problems[0].endswith("train-000001.tar: no such file")
    assert "truncated, or written again since" in error.value.problems[1]
    assert "a shard that the index lacks" in error.value.problems[2]


def test_another_content_of_the_same_size(copied):
    data = ShardDataset(str(copied))
    content = bytearray((copied / "train-000000.tar").read_bytes())
    content[512:] = bytes(len(content) - 512)
    (copied / "train-000000.tar").write_bytes(content)
    with pytest.raises(
        UserError, match=r"train-000000\.tar: member 00000001-\S+: .* the shard is damaged or was written"
    ):
        data.sample(1)


def rewritten(path, old, new):
    """Writes other content of the same size, with the times of the content before."""
    status, content = path.stat(), path.read_bytes()
    path.write_bytes(content.replace(old, new))
    assert path.stat().st_size == status.st_size and path.read_bytes() != content
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_other_labels_of_the_same_size_are_read_again_from_the_headers(inside):
    write_tar(Path("s/a.tar"), members(4, lambda k: {"cls": b"5"}))
    assert {record["label"] for record in ShardDataset("s").records} == {5}
    time.sleep(0.02)  # the clock of files has steps
    rewritten(Path("s/a.tar"), b"5" + bytes(511), b"7" + bytes(511))
    data = ShardDataset("s")
    assert {record["label"] for record in data.records} == {7}
    assert "written from the headers of 1 shards again, since some changed after it was written" in data.remarks[0]
    assert len(ShardDataset("s").remarks) == 1
    write_tar(Path("s/a.tar"), members(300))
    assert len(ShardDataset("s")) == 300


def test_other_labels_in_place_of_prepared_ones_stop_the_run(copied):
    rewritten(copied / "train-000001.tar", b'{"label": 0, "classes": ["run"]', b'{"label": 1, "classes": ["run"]')
    assert ShardDataset.findings({"file_path": str(copied)}, 2)
    with pytest.raises(ConfigError) as error:
        ShardDataset(str(copied))
    assert len(error.value.problems) == 1
    assert "train-000001.tar: written again since: not the SHA-256 in the index" in error.value.problems[0]
    write_index(str(copied), None, None)
    assert [record["label"] for record in ShardDataset(str(copied)).records] == [0] * 6 + [1] * 14


def test_copied_shards_are_compared_by_digest_once(shards, tmp_path, monkeypatch):
    (tmp_path / "s").mkdir()
    for name in sorted(os.listdir(shards), reverse=True):  # the index last but one
        shutil.copy2(shards / name, tmp_path / "s")
    before = (tmp_path / "s/shards.npz").read_bytes()
    opened = []
    monkeypatch.setattr(Storage, "open", lambda self, name, o=Storage.open: opened.append(name) or o(self, name))
    wanted = "4 shards are newer than "
    monkeypatch.setattr(os, "utime", lambda *_, **__: (_ for _ in ()).throw(PermissionError()))
    refused = ShardDataset(str(tmp_path / "s")).remarks[0]
    assert wanted in refused and "they are read whole at every start" in refused and len(opened) == 4
    monkeypatch.undo()
    monkeypatch.setattr(Storage, "open", lambda self, name, o=Storage.open: opened.append(name) or o(self, name))
    assert ShardDataset(str(tmp_path / "s")).remarks[0].endswith("and have the SHA-256 in it") and len(opened) == 8
    assert len(ShardDataset(str(tmp_path / "s")).remarks) == 1 and len(opened) == 8
    assert (tmp_path / "s/shards.npz").read_bytes() == before


def test_a_shard_that_is_cut_while_it_is_read(copied):
    data = ShardDataset(str(copied))
    cut(copied / "train-000000.tar", copied / "train-000000.tar", 0.5)
    data.expect(np.arange(20))
    assert data.sample(0)["content"]
    with pytest.raises(VideoReadError, match=r"train-000000\.tar: member 00000005-\S+: truncated \(its shard ends at"):
        data.sample(5)


@pytest.mark.parametrize("how", ["cut", "noise", "columns", "version", "outside", "names"])
def test_a_damaged_index(copied, how):
    path = copied / "shards.npz"
    arrays_ = dict(np.load(path))
    if how == "cut":
        cut(path, path, 0.5)
    elif how == "noise":
        path.write_bytes(b"noise")
    elif how == "columns":
        arrays_["offset"] = arrays_["offset"] + 10**6
        np.savez(path, **arrays_)
    else:
        about = json.loads(arrays_["about"].tobytes())
        about |= {"version": {"format": 99}, "names": {"class_names": ["run", "a\x1b[2J"]}}.get(how, {})
        if how == "outside":
            about["shards"][0]["name"] = "../other.tar"
        np.savez(path, **arrays_ | {"about": np.frombuffer(json.dumps(about).encode(), np.uint8)})
    with pytest.raises(UserError, match=r"shards\.npz: (damaged|an index of format 99|the class name 'a.x1b)"):
        read_index(str(path))


ESCAPES = {
    "upwards": [("../escaped.mp4", b"1"), ("../escaped.cls", b"0")],
    "absolute": [("{}/escaped.mp4", b"1"), ("{}/escaped.cls", b"0")],
    "through a link": [("a", ".."), ("a/escaped.mp4", b"1"), ("a/escaped.cls", b"0")],
}


@pytest.mark.reliability
@pytest.mark.scorecard(11)
@pytest.mark.parametrize("members", ESCAPES.values(), ids=ESCAPES)
def test_no_member_of_a_shard_is_written_outside(tmp_path, monkeypatch, members):
    Path(tmp_path / "inside" / "s").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "inside")
    with tarfile.open("s/a.tar", "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name.format(tmp_path))
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
            else:
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content if isinstance(content, bytes) else b""))
    with contextlib.suppress(UserError):
        ShardDataset("s")
    assert not (tmp_path / "escaped.mp4").exists()
    with tarfile.open("s/a.tar") as archive:
        archive.extractall(filter="fully_trusted")
    assert (tmp_path / "escaped.mp4").exists()  # extracting does
