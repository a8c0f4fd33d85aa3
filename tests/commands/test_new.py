"""``paddlevideo new``: what it finds in folders of videos, and that what it writes trains, tests and predicts."""

import os
import re
import shlex

import numpy as np
import pytest

from paddlevideo.cli.main import main
from paddlevideo.config import load_config
from paddlevideo.errors import UserError
from paddlevideo.preparation.own_config import choose, summary
from paddlevideo.preparation.own_videos import OwnClip, OwnVideos, read_own_videos
from tests.clips import write_clip
from tests.tiny import moving_square

SMALL = [
    "-o", "MODEL.backbone.pretrained=null", "-o", "MODEL.backbone.scale=0.1", "-o", "epochs=1",
    "-o", "DATASET.num_workers=0", "-o", "DATASET.batch_size=2",
]  # fmt: skip


def make(root, counts=None, frames=12, seed=0):
    """Class folders with so many clips each, all of them different."""
    rng = np.random.default_rng(seed)
    for number, (name, count) in enumerate((counts or {"go": 3, "stop": 3}).items()):
        for i in range(count):
            (root / name).mkdir(parents=True, exist_ok=True)
            write_clip(root / name / f"{'abcdefghijklmnop'[i % 16]}{i}.mp4", moving_square(rng, number % 2), fps=12)
    return root


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def new(*words):
    return main(["new", *map(str, words), "--device", "cpu"])


def refused(capsys, *words):
    """The one line of an error."""
    assert new(*words) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_it_trains_tests_and_predicts_by_the_printed_commands(here, capsys):
    make(here / "my data")
    assert new("my data") == 0
    out = capsys.readouterr().out
    command = shlex.split(re.search(r"^next: paddlevideo (.*)$", out, re.MULTILINE)[1])
    assert command == ["train", "-c", "own/my_data/my_data.yaml", "--validate"]
    assert main(["check", "-c", command[2]]) == 0
    capsys.readouterr()
    assert main([*command, *SMALL, "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    for kind, more in (("test", ["--device", "cpu"]), ("predict", [])):
        line = shlex.split(re.search(rf"^{kind}: +paddlevideo (.*)$", out, re.MULTILINE)[1])
        words = ["my data/go/a0.mp4" if word == "VIDEO" else word for word in line]
        assert main([*words, *more]) == 0
    assert re.search(r"go|stop", capsys.readouterr().out)
    written = load_config("output/my_data/config.yaml")
    assert written["MODEL"]["head"]["num_classes"] == 2 and "flip" not in written


def test_strong_augmentation_with_exchanged_labels_trains(here, capsys):
    make(here / "data", {"turn left": 3, "turn right": 3})
    assert new("data") == 0
    more = ["-o", "augment=strong", "-o", "flip=map", "--device", "cpu", "--max_iters", "2"]
    assert main(["train", "-c", "own/data/data.yaml", *SMALL, *more]) == 0
    assert "flip: map: exchanges turn left / turn right" in capsys.readouterr().out
    written = load_config("output/data/config.yaml")
    assert {"RandomFlip": {"flip_label_map": {"0": 1, "1": 0}}} in written["PIPELINE"]["train"]["transform"]
    assert written["MIX"]["name"] == "VideoMix"


def test_the_written_lists_hold_every_clip_once_and_both_classes(here):
    make(here / "data", {"go": 5, "stop": 10})
    assert new("data", "--out", "mine") == 0
    lists = {name: (here / "mine" / f"{name}.list").read_text().splitlines() for name in ("train", "val")}
    lines = lists["train"] + lists["val"]
    assert len(lines) == len(set(lines)) == 15
    assert sorted(line[-1] for line in lists["val"]) == ["0", "1", "1"]
    assert (here / "mine" / "classes.txt").read_text() == "go\nstop\n"
    config = load_config("mine/mine.yaml")
    assert config["DATASET"]["train"]["data_prefix"] == "data" and config["model_name"] == "mine"


def test_train_and_val_folders_are_used_as_they_are(here):
    make(here / "data" / "train"), make(here / "data" / "val", {"go": 1, "stop": 1}, seed=1)
    assert new("data") == 0
    assert os.listdir("own/data") == ["data.yaml"]
    section = load_config("own/data/data.yaml")["DATASET"]
    assert (section["train"]["file_path"], section["test"]["file_path"]) == ("data/train", "data/val")


@pytest.mark.parametrize("train, val", [("Train", "Val"), ("TRAIN", "Validation"), ("training", "valid")])
def test_names_of_splits_are_taken_in_any_case(here, capsys, train, val):
    make(here / "data" / train), make(here / "data" / val, {"go": 1, "stop": 1}, seed=1)
    assert new("data") == 0
    assert f"split: the folders {train} (training), {val} (validation)" in capsys.readouterr().out
    section = load_config("own/data/data.yaml")["DATASET"]
    assert (section["train"]["file_path"], section["valid"]["file_path"]) == (f"data/{train}", f"data/{val}")


def test_folders_that_resemble_splits_are_no_classes(here, capsys):
    make(here / "data", {"a_train": 2, "val_set": 2})
    assert "(a_train, val_set) have names of splits, not of classes" in refused(capsys, "data")
    make(here / "two" / "train"), make(here / "two" / "val"), make(here / "two" / "Valid")
    assert "Valid and val mean the same split" in refused(capsys, "two")
    make(here / "vehicles", {"bus": 3, "train": 3})  # videos directly in it: a class
    assert new("vehicles") == 0 and (here / "own/vehicles/classes.txt").read_text() == "bus\ntrain\n"


def test_equal_folders_in_every_class_are_remarked(here, capsys):
    make(here / "data" / "fold1", {"go": 2, "stop": 2}), make(here / "data" / "fold2", {"go": 2, "stop": 2}, seed=1)
    assert new("data") == 0
    assert "every class has the same sub-folders (go, stop); if these are the classes" in capsys.readouterr().out


def test_a_test_folder_is_for_the_test_alone(here, capsys):
    make(here / "a" / "train"), make(here / "a" / "test", {"go": 1, "stop": 1}, seed=1)
    assert new("a") == 0
    assert "the folders train (training), test (test)" in capsys.readouterr().out
    section = load_config("own/a/a.yaml")["DATASET"]
    assert section["test"]["file_path"] == "own/a/test.list"
    lines = {name: (here / f"own/a/{name}.list").read_text().splitlines() for name in ("train", "val", "test")}
    assert {name: len(own) for name, own in lines.items()} == {"train": 4, "val": 2, "test": 2}
    assert all(line.startswith("test/") == (name == "test") for name, own in lines.items() for line in own)
    make(here / "b" / "train"), make(here / "b" / "valid", seed=1), make(here / "b" / "test", {"go": 1}, seed=2)
    assert new("b") == 0
    section = load_config("own/b/b.yaml")["DATASET"]
    assert [section[k]["file_path"] for k in ("train", "valid", "test")] == ["b/train", "b/valid", "b/test"]


def test_linked_clips_train_by_the_printed_command(here, capsys):
    make(here / "elsewhere")
    for path in (here / "elsewhere").glob("*/*.mp4"):
        (here / "data" / path.parent.name).mkdir(parents=True, exist_ok=True)
        (here / "data" / path.parent.name / path.name).symlink_to(path)
    assert new("data") == 0
    assert "outside data: 6 clips, e.g. go/a0.mp4; the configuration permits this" in capsys.readouterr().out
    assert main(["train", "-c", "own/data/data.yaml", *SMALL, "--device", "cpu", "--max_iters", "1"]) == 0


def test_a_list_with_several_labels_gets_the_way_out(here, capsys):
    make(here / "data")
    clips = [path.relative_to(here).as_posix() for path in sorted((here / "data").glob("*/*.mp4"))]
    for labels in ("0 1", "go;stop"):
        (here / "some.list").write_text("".join(f"{clip} {labels}\n" for clip in clips))
        line = refused(capsys, "some.list")
        assert "some.list:1: expected one label per clip" in line and "Several labels per clip" in line


def test_left_and_right_are_reported(here, capsys):
    make(here / "data", {"turn left": 3, "turn right": 3})
    assert new("data") == 0
    assert "left and right: turn left / turn right: clips are not mirrored" in capsys.readouterr().out


def test_the_way_out_of_no_validation_fits_the_options(here, capsys):
    make(here / "data", {"go": 1, "stop": 1})
    (here / "my.list").write_text("data/go/a0.mp4 go\ndata/stop/a0.mp4 stop\n")
    assert refused(capsys, "my.list").startswith("error: my.list: nothing is left")
    assert "--source none" not in refused(capsys, "my.list", "--source", "none")


def test_a_train_folder_alone_is_parted(here, capsys):
    make(here / "data" / "train"), make(here / "data" / "raw")
    assert new("data") == 0 and "left out: the folder raw beside train" in capsys.readouterr().out
    lines = [(here / "own/data" / name).read_text().splitlines() for name in ("train.list", "val.list")]
    assert list(map(len, lines)) == [4, 2] and all(line.startswith("train/") for line in sum(lines, []))


def test_an_unreadable_file_is_left_out_with_a_line_and_lists_are_written(here, capsys):
    make(here / "data" / "train"), make(here / "data" / "val", {"go": 1, "stop": 1}, seed=1)
    (here / "data" / "train" / "go" / "bad.mp4").write_bytes(b"not a video")
    (here / "data" / "train" / "go" / "notes.txt").write_text("x")
    assert new("data") == 0
    out = capsys.readouterr().out
    assert "left out, unreadable: 1: train/go/bad.mp4 (" in out and "1 .txt" in out
    assert "bad.mp4" not in (here / "own/data/train.list").read_text()
    assert load_config("own/data/data.yaml")["DATASET"]["train"]["file_path"] == "own/data/train.list"


def test_a_list_with_names_or_numbers(here, capsys):
    make(here / "data")
    clips = sorted((here / "data").glob("*/*.mp4"))
    (here / "named.list").write_text("".join(f"{c.relative_to(here).as_posix()} {c.parent.name}\n" for c in clips))
    (here / "data" / "all.txt").write_text(
        "".join(f"{c.relative_to(here / 'data').as_posix()} {int(c.parent.name == 'stop')}\n" for c in clips)
    )
    assert new("named.list") == 0 and new("data/all.txt") == 0
    assert (here / "own/named/classes.txt").read_text() == "go\nstop\n"
    assert (here / "own/all/classes.txt").read_text() == "class 0\nclass 1\n"
    (here / "data" / "table.csv").write_text("path,label\ngo/a0.mp4,go\ngo/b1.mp4,go\nstop/a0.mp4,st\nstop/b1.mp4,st\n")
    assert new("data/table.csv") == 0
    for name in ("named", "all", "table"):
        assert main(["check", "-c", f"own/{name}/{name}.yaml"]) == 0


def test_equal_files_stay_on_one_side_and_two_labels_are_warned(here, capsys):
    make(here / "data", {"go": 6, "stop": 6})
    (here / "data/go/z.mp4").write_bytes((here / "data/go/a0.mp4").read_bytes())
    (here / "data/stop/y.mp4").write_bytes((here / "data/go/b1.mp4").read_bytes())
    for seed in (1, 2, 3):
        videos = read_own_videos(here / "data", seed)
        sides = {clip.path: i in videos.val for i, clip in enumerate(videos.clips)}
        assert sides["go/z.mp4"] == sides["go/a0.mp4"] and sides["stop/y.mp4"] == sides["go/b1.mp4"]
    assert any("the same content in two classes: go/b1.mp4 = stop/y.mp4" in line for line in videos.remarks)


def test_nothing_is_overwritten(here, capsys):
    make(here / "data")
    assert new("data") == 0
    before = {path: path.read_bytes() for path in (here / "own").rglob("*.*")}
    capsys.readouterr()
    assert "is there already; nothing was written; name another folder with --out" in refused(capsys, "data")
    assert before == {path: path.read_bytes() for path in (here / "own").rglob("*.*")}


@pytest.mark.parametrize(
    "counts, words",
    [
        ({"go": 3}, "one class only (go); a classifier needs videos of at least two classes"),
        ({"go": 1, "stop": 1}, "nothing is left for validation"),
        ({}, "there are no sub-folders in it"),
    ],
)
def test_folders_that_cannot_be_trained_on_give_one_line(here, capsys, counts, words):
    (here / "data").mkdir()
    if counts:
        make(here / "data", counts)
    assert words in refused(capsys, "data")


def test_more_odd_folders(here, capsys):
    assert "nowhere: there is no such file or folder; expected a folder with" in refused(capsys, "nowhere")
    make(here / "flat" / "x", {"": 2})
    assert "2 videos directly in it, and no sub-folders; put the videos of each class" in refused(capsys, "flat/x")
    for name in ("a", "b"):
        (here / "empty" / name).mkdir(parents=True)
    assert "no readable videos" in refused(capsys, "empty")
    (here / "empty.list").write_text("")
    assert "the list is empty" in refused(capsys, "empty.list")
    make(here / "odd" / "train"), make(here / "odd" / "val", {"walk": 1})
    assert "odd/val/walk: no class of odd/train" in refused(capsys, "odd")
    make(here / "void" / "train"), (here / "void" / "val").mkdir()
    assert "void/val: no readable videos; without that folder" in refused(capsys, "void")


def test_names_that_no_list_holds_are_refused_and_odd_ones_are_taken(here, capsys):
    make(here / "data", {"go": 3, 'st"op; , 1': 3, "左 转": 3})
    (here / "data/go/a b, 1.mp4").write_bytes((here / "data/go/a0.mp4").read_bytes())
    assert new("data") == 0 and main(["check", "-c", "own/data/data.yaml"]) == 0
    from paddlevideo.build import loader_for

    loaders = [loader_for(load_config("own/data/data.yaml"), split, 3, 0) for split in ("train", "valid")]
    assert sum(len(loader.dataset.records) for loader in loaders) == 10
    capsys.readouterr()
    os.rename(here / "data/go/a0.mp4", os.fsencode(here / "data/go") + b"/\xff.mp4")
    assert "no UTF-8; rename the file or folder" in refused(capsys, "data", "--out", "other")
    assert not (here / "other").exists()


def test_a_folder_that_cannot_be_listed(here, monkeypatch, capsys):
    make(here / "data")
    listing = os.scandir

    def denied(path):
        if str(path).endswith("data/stop"):
            raise PermissionError(13, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(os, "scandir", denied)
    assert "data/stop: cannot be read (Permission denied)" in refused(capsys, "data")


def test_a_class_without_videos_is_left_out_with_a_line(here, capsys):
    make(here / "data", {"go": 3, "stop": 3})
    (here / "data" / "later").mkdir()
    assert new("data") == 0
    assert "left out, without a readable video: 1 class: later" in capsys.readouterr().out
    assert (here / "own/data/classes.txt").read_text() == "go\nstop\n"


@pytest.mark.parametrize("number", ["20251231", "9" * 5000])
def test_a_column_of_ids_is_no_class(here, capsys, number):
    make(here / "data")
    clips = sorted((here / "data").glob("*/*.mp4"))
    (here / "data" / "all.txt").write_text("".join(f"{clip} {number}\n" for clip in clips))
    line = refused(capsys, "data/all.txt")
    assert "the last column, the label, holds" in line and "in 6 lines" in line and len(line) < 300


def test_the_printed_command_of_the_file_is_quoted(here):
    make(here / "data")
    assert new("data", "--out", "my own") == 0
    (file,) = (here / "my own").glob("*.yaml")
    command = re.search("^# Train: paddlevideo (.*)$", file.read_text(), re.MULTILINE)[1]
    assert shlex.split(command) == ["train", "-c", f"my own/{file.name}", "--validate"]


def test_left_and_right_are_in_the_file(here):
    make(here / "data", {"turn left": 3, "turn right": 3})
    assert new("data") == 0
    text = (here / "own/data/data.yaml").read_text()
    assert "turn left / turn right" in text and load_config("own/data/data.yaml")["flip"] == "auto"


def test_rare_classes_are_drawn_more_often(here):
    make(here / "data", {"go": 12, "stop": 3})
    assert new("data") == 0
    assert "# Imbalance: go has 10 clips for training, stop has 2" in (here / "own/data/data.yaml").read_text()
    config = load_config("own/data/data.yaml").to_dict()
    assert config["DATASET"]["train"]["sample_by_class"] and config["monitor"] == "mean_class_accuracy"


def test_slowonly_gets_an_interval_that_fits_its_clips(here):
    make(here / "data")  # 12 frames
    assert new("data", "--model", "slowonly") == 0
    config = load_config("own/data/data.yaml")
    assert [config["PIPELINE"][split]["sample"]["frame_interval"] for split in ("train", "valid", "test")] == [1] * 3


@pytest.mark.parametrize("model", ["few_clips", "tsm", "tsm_mv2", "pptsm", "timesformer"])
def test_every_model_gives_a_configuration_that_is_sound(here, model):
    make(here / "data")
    assert new("data", "--model", model) == 0 and main(["check", "-c", "own/data/data.yaml"]) == 0


def amount(count):
    clips = [OwnClip(f"{k}/{i}", k, None, f"{i}") for k in (0, 1) for i in range(count)]
    return OwnVideos(None, ["a", "b"], clips)


@pytest.mark.parametrize(
    "count, has_gpu, file",
    [
        (20, False, "few_clips"), (20, True, "few_clips"), (80, False, "tsm_mv2_own_videos"),
        (80, True, "tsm_own_videos"), (800, True, "pptsm_own_videos"), (800, False, "tsm_mv2_own_videos"),
    ],
)  # fmt: skip
def test_the_model_follows_from_data_and_machine(count, has_gpu, file):
    choice = choose(amount(count), None, has_gpu)
    assert choice.file == file and f"{count} training clips per class" in choice.reason
    assert choose(amount(count), "timesformer", has_gpu).file == "timesformer_own_videos"


def test_the_summary_cuts_many_classes(here):
    make(here / "data", {f"c{k}": 2 for k in range(33)})
    lines = summary(read_own_videos(here / "data", 0))
    assert any(line.startswith("... 3 more classes") for line in lines) and len(lines) < 40


def test_the_source_is_kept_whole(here):
    make(here / "data", {"go": 8, "stop": 8})
    with pytest.raises(UserError, match="matches none"):
        read_own_videos(here / "data", 0, "zzz")
    videos = read_own_videos(here / "data", 0, r"^(\w)")
    names = {clip.name for i, clip in enumerate(videos.clips) if i in videos.val}
    assert len(names) * 2 == len(videos.val)  # a letter of both classes
