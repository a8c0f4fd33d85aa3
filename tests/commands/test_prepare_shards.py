"""``paddlevideo prepare shards`` and ``check-data`` on shards, and a training from them that is stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from paddlevideo.cli.main import main
from paddlevideo.config import Config
from paddlevideo.engine.training import train
from paddlevideo.loader.datasets.shard import ShardDataset
from paddlevideo.loader.shards.index import read_index
from paddlevideo.safe_io import read_pickle
from paddlevideo.settings import Options
from tests.clips import cut
from tests.faults.stopping import equal, train_until_sigterm
from tests.shard_files import make_videos, write_tar
from tests.tiny import ROOT, make_clips, save, tsm_config


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    return make_videos(tmp_path_factory.mktemp("rendered"), 8)


@pytest.fixture
def videos(rendered, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(rendered, "videos")


def prepare(*words):
    return main(["prepare", "shards", *map(str, words), *([] if "--index" in words else ["--jobs", "1"])])


def files_of(folder):
    return {file.name: file.read_bytes() for file in Path(folder).iterdir()}


def test_a_folder_gives_shards_and_the_same_bytes_again(videos, capsys):
    assert prepare("videos", "--out", "a", "--shard_samples", 3, "--prefix", "train") == 0
    assert "a: 8 samples in 3 shards" in capsys.readouterr().out
    assert sorted(files_of("a")) == [*(f"train-00000{k}.tar" for k in range(3)), "shards.npz"][-1:] + [
        f"train-00000{k}.tar" for k in range(3)
    ]
    for file in Path("videos").rglob("*.mp4"):
        os.utime(file, (1, 1))
    assert prepare("videos", "--out", "b", "--shard_samples", 3, "--prefix", "train") == 0
    assert files_of("a") == files_of("b")
    index = read_index("a/shards.npz")
    assert index.class_names == ["run", "walk"] and len({shard.sha256 for shard in index.shards}) == 3


def test_a_list_gives_the_samples_of_the_list(videos, capsys):
    Path("own.list").write_text('"walk/clip 1.mp4" 1\n"run/clip 0.mp4" 0\n')
    Path("names.txt").write_text("run\nwalk\n")
    assert prepare("own.list", "--videos", "videos", "--labels", "names.txt", "--out", "a", "--shard_mb", 1) == 0
    data = ShardDataset("a")
    assert [record["label"] for record in data.records] == [1, 0] and data.class_names == ["run", "walk"]
    assert data.sample(0)["content"] == Path("videos/walk/clip 1.mp4").read_bytes()


def test_finished_work_is_never_replaced(videos, capsys):
    assert prepare("videos", "--out", "a") == 0
    before = files_of("a")
    assert prepare("videos", "--out", "a") == 2
    assert "a: already holds 1 shards; choose another folder (--out), or remove it" in capsys.readouterr().err
    Path("full").mkdir()
    Path("full/mine.txt").write_text("x")
    assert prepare("videos", "--out", "full") == 2 and "full: is not empty (mine.txt)" in capsys.readouterr().err
    assert files_of("a") == before and files_of("full") == {"mine.txt": b"x"}


def test_a_killed_command_continues(videos, capsys):
    """Killed by SIGKILL in its second shard; other content does not continue it."""
    code = (
        "import os, signal, sys\n"
        "from paddlevideo.preparation import write_shards as w\n"
        "write = w._write_members\n"
        "def kill(items, classes, stream):\n"
        "    write(items, classes, stream)\n"
        "    if items[0].key.startswith('00000003'): os.kill(os.getpid(), signal.SIGKILL)\n"
        "w._write_members = kill\n"
        "from paddlevideo.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = ["prepare", "shards", "videos", "--out", "a", "--shard_samples", "3", "--jobs", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code, *words], env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert {name for name in os.listdir("a") if name[0] != "."} == {"shard-000000.tar", "shards.plan"}
    first = os.stat("a/shard-000000.tar").st_mtime_ns
    assert main([*words, "--shard_mb", "1", "--prefix", "other"]) == 2
    assert "a: holds shards that were begun from other videos, labels or sizes" in capsys.readouterr().err
    assert main(words) == 0 and os.stat("a/shard-000000.tar").st_mtime_ns == first
    assert main([word if word != "a" else "b" for word in words]) == 0
    assert files_of("a") == files_of("b")


def test_videos_that_cannot_be_read_are_named_before_anything_is_written(videos, capsys):
    cut("videos/run/clip 0.mp4", "videos/run/clip 0.mp4", 0.5)
    assert prepare("videos", "--out", "a") == 2
    error = capsys.readouterr().err
    assert "videos/run/clip 0.mp4: truncated (" in error and "nothing was written" in error
    assert os.listdir("a") == []


def test_too_little_space(videos, capsys, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 1000))
    assert prepare("videos", "--out", "a") == 2
    assert "GB are free there" in capsys.readouterr().err and os.listdir("a") == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name a list or folder of videos, or existing shards (--index), one of them"),
        (["videos"], "name a folder for the shards (--out)"),
        (["videos", "--out", "videos/shards"], "lies in videos"),
        (["none.list", "--out", "a"], "none.list: no such list file"),
        (["videos", "--out", "a", "--prefix", "x.y"], "expected a file name without dots"),
        (["--index", "none"], "none: no folder of shards"),
        (["--index", "memory://none"], "an address is not written to; name a file for the index (--out)"),
    ],
)
def test_mistakes(videos, capsys, words, message):
    assert prepare(*words) == 2 and message in capsys.readouterr().err


def test_the_index_of_existing_shards(videos, capsys):
    fsspec = pytest.importorskip("fsspec")
    assert prepare("videos", "--out", "a", "--shard_samples", 3) == 0
    whole = Path("a/shards.npz").read_bytes()
    assert prepare("--index", "a") == 0 and Path("a/shards.npz").read_bytes() == whole
    Path("names.txt").write_text("run\nwalk\n")
    files = fsspec.filesystem("memory")
    for name in ("shard-000000.tar", "shard-000001.tar", "shard-000002.tar"):
        files.pipe(f"/own/{name}", Path("a", name).read_bytes())
    assert prepare("--index", "memory://own", "--out", "i.npz", "--labels", "names.txt") == 0
    assert Path("i.npz").read_bytes() == whole
    words = ("--index", "memory://own/shard-{000000..000001}.tar", "--out", "j.npz", "--labels", "names.txt")
    assert prepare(*words) == 0 and len(read_index("j.npz")) == 6
    assert len(ShardDataset("memory://own", shard_index="i.npz").sample(7)["content"]) > 100


# ---- check-data and --check


def config_of(shards, tmp_path, **changes):
    config = tsm_config(shards, tmp_path / "out")
    section = {"format": "ShardDataset", "file_path": str(shards)}
    config["DATASET"] |= {split: {**section, **changes} for split in ("train", "valid", "test")}
    return config


def check(config, tmp_path, *words):
    path = save(config, tmp_path / "c.yaml")
    report = tmp_path / "report.json"
    code = main(["check-data", "-c", str(path), "--jobs", "1", "--report", str(report), *words])
    return code, json.loads(report.read_text()) if report.is_file() else {}


def test_check_data_reads_every_byte(videos, tmp_path, capsys):
    assert prepare("videos", "--out", "a", "--shard_samples", 3) == 0
    config = config_of("a", tmp_path)
    del config["DATASET"]["train"]
    code, report = check(config, tmp_path)
    assert code == 0 and report["sound"] and report["sets"]["valid"]["num_samples"] == 8
    # a bit of a video, in the middle of a shard
    content = bytearray(Path("a/shard-000001.tar").read_bytes())
    content[2000] ^= 1
    Path("a/shard-000001.tar").write_bytes(content)
    code, report = check(config, tmp_path)
    assert code == 1 and report["counts"] == {"shard": 1}
    assert "shard-000001.tar: SHA-256 mismatch with the index" in report["findings"][0]["detail"]
    os.remove("a/shard-000002.tar")
    code, report = check(config, tmp_path)
    assert report["counts"] == {"shard": 2}
    assert main(["check", "-c", str(save(config, tmp_path / "c.yaml"))]) == 2
    assert "shard-000002.tar: no such file" in capsys.readouterr().err


def test_check_data_compares_labels_without_digests(videos, tmp_path):
    clip = Path("videos/run/clip 0.mp4").read_bytes()
    write_tar(Path("a/x.tar"), {"k.mp4": clip, "k.cls": b"0"})
    ShardDataset("a")
    config = config_of("a", tmp_path)
    del config["DATASET"]["train"], config["DATASET"]["test"]
    assert check(config, tmp_path)[1]["counts"] == {"no_digest": 1, "no_samples": 1}
    write_tar(Path("a/x.tar"), {"k.mp4": clip, "k.cls": b"1"})
    report = check(config, tmp_path)[1]
    assert report["counts"]["shard"] == 1
    assert "x.tar: other labels than in the index" in json.dumps(report["findings"])


def test_check_data_finds_labels_leaks_and_addresses(videos, tmp_path, capsys):
    assert prepare("videos", "--out", "a") == 0
    config = config_of("a", tmp_path)
    code, report = check(config, tmp_path)
    assert code == 1 and report["counts"] == {"leak": 2}
    assert prepare("videos", "--out", "b") == 0
    config["DATASET"]["valid"]["file_path"] = "b"
    del config["DATASET"]["test"]
    assert check(config, tmp_path)[1]["counts"] == {"leak": 8}
    del config["DATASET"]["train"]
    code, report = check(config, tmp_path, "--num_classes", "1")
    assert report["counts"] == {"label": 4}
    config["DATASET"]["valid"]["file_path"] = "b/none"
    assert check(config, tmp_path)[1]["counts"] == {"index": 1}
    Path("own.list").write_text('"videos/walk/clip 1.mp4" 5\n"videos/run/clip 0.mp4" 0\n')
    assert prepare("own.list", "--out", "c") == 0
    config["DATASET"]["valid"]["file_path"] = "c"
    assert main(["check", "-c", str(save(config, tmp_path / "c.yaml"))]) == 2
    assert "DATASET.valid: " in (error := capsys.readouterr().err) and "label 5 is out of range" in error


# ---- training


def train_config(shards, output):
    config = tsm_config(shards, output)
    section = {"format": "ShardDataset", "file_path": str(shards), "window": 2}
    config["DATASET"] |= {"train": section, "valid": section, "test": section}
    config["MODEL"]["head"]["num_classes"] = "auto"
    return Config(config | {"checkpoint_steps": 1, "epochs": 2})


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    make_clips(folder / "videos")
    names = folder / "names.txt"
    names.write_text("left\nright\n")
    words = ["--labels", names, "--out", folder / "shards", "--shard_samples", 3]
    assert prepare(folder / "videos/clips.list", *words) == 0
    return folder / "shards"


def weights(output):
    return read_pickle(output / "TSM_epoch_00002.pdparams")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_stopped_training_ends_with_the_bits_of_one_that_was_not(shards, tmp_path, num_workers):
    whole = train_config(shards, tmp_path / "whole")
    train(whole, Options(validate=True, seed=7))
    stopped = train_config(shards, tmp_path / "stopped")
    assert train_until_sigterm(stopped, Options(validate=True, seed=7), 3) == 128 + signal.SIGTERM
    again = stopped.to_dict()
    again["DATASET"]["num_workers"] = num_workers
    train(Config(again), Options(validate=True, resume="auto"))
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "stopped"))
    note = json.loads((tmp_path / "whole/TSM_best.pdparams.json").read_text())
    assert note["classes"]["names"] == ["left", "right"]
