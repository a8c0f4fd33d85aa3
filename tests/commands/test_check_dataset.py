"""Every way in which a data set is commonly wrong is found, with its list and line; a sound one passes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.clips import cut, numbered_frames, write_clip, write_frames

REPORT = "report.json"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Eight different clips v0.mp4 ... v7.mp4 of 12 frames."""
    monkeypatch.chdir(tmp_path)
    Path("videos").mkdir()
    for number in range(8):
        write_clip(f"videos/v{number}.mp4", numbered_frames(12, seed=number))
    return tmp_path


def lists(train: str, val: str) -> None:
    Path("train.list").write_bytes(train.encode())
    Path("val.list").write_bytes(val.encode())


def check(run_tool, *more):
    done = run_tool("check_dataset", "--report", REPORT, "--jobs", 1, "--data_prefix", "videos", *more)
    found = json.loads(Path(REPORT).read_text()) if done.code < 2 else None
    return done, found


def places(found: dict, level: str = "error") -> set[tuple[str, str, int]]:
    return {(f["kind"], f["set"], f["line"]) for f in found["findings"] if f["level"] == level}


def test_a_sound_data_set_passes(place, run_tool):
    """Windows line ends, a byte-order mark, names with spaces and just enough frames are nothing wrong."""
    write_clip("videos/v1.mp4", numbered_frames(8, seed=1))
    Path("videos/v2.mp4").rename("videos/my clip 2.mp4")
    lists("\ufeffv0.mp4 0\r\nv1.mp4 1\r\n", "my clip 2.mp4\t0\nv3.mp4 1\n")
    done, found = check(run_tool, "--list", "train.list", "val.list", "--num_classes", 2)
    assert done.code == 0, done.out + done.err
    assert "nothing is wrong" in done.out
    assert found["sound"] and found["findings"] == []
    assert found["sets"]["train"]["num_frames"] == {"min": 8, "median": 10.0, "max": 12}
    assert found["sets"]["val"]["samples_by_class"] == {"0": 1, "1": 1}


@pytest.mark.scorecard(34)
def test_everything_that_is_wrong_with_its_line(place, run_tool):
    cut("videos/v4.mp4", "videos/cut.mp4", 0.6)
    write_clip("videos/short.mp4", numbered_frames(5, seed=20))
    Path("videos/empty.mp4").write_bytes(b"")
    Path("videos/text.mp4").write_text("not a film\n" * 50)
    shutil.copy("videos/v0.mp4", "videos/copy_of_v0.mp4")
    train = [
        "v0.mp4 0",
        "v1.mp4 1",
        "nowhere.mp4 0",  # 3
        "cut.mp4 1",  # 4
        "short.mp4 0",  # 5
        "empty.mp4 1",  # 6
        "text.mp4 1",  # 7
        "v2.mp4 2",  # 8: there are two classes
        "v3.mp4 minus",  # 9
        "v3.mp4",  # 10
        "../secret.mp4 0",  # 11
        "v1.mp4 1",  # 12: twice
        "copy_of_v0.mp4 1",  # 13: equal content, another label
    ]
    lists("\n".join(train), "v5.mp4 0\n\n./v1.mp4 1\n")
    done, found = check(run_tool, "--list", "train.list", "val.list", "--num_classes", 2)
    assert done.code == 1
    assert places(found) == {
        ("missing", "train", 3),
        ("unreadable", "train", 4),
        ("short", "train", 5),
        ("unreadable", "train", 6),
        ("unreadable", "train", 7),
        ("label", "train", 8),
        ("label", "train", 9),
        ("line", "train", 10),
        ("path", "train", 11),
        ("duplicate", "train", 12),
        ("duplicate", "train", 13),
        ("conflict", "train", 13),
        ("leak", "val", 3),
    }
    assert "train.list:4: videos/cut.mp4: truncated" in done.out
    assert "val.list:3: videos/./v1.mp4: also in train: train.list:2" in done.out
    assert "train.list:13: videos/copy_of_v0.mp4: the same as train.list:1 (videos/v0.mp4, equal content)" in done.out
    assert found["sets"]["train"]["num_lines"] == 13 and not found["sound"]


def test_damage_in_the_middle_needs_the_full_depth(place, run_tool):
    write_frames("videos/f", numbered_frames(12))
    Path("videos/f/img_00003.jpg").write_bytes(b"damaged")
    lists("f 12 0\n", "f2 12 0\n")
    write_frames("videos/f2", numbered_frames(12, seed=3))
    arguments = ("--frames", "--list", "train.list", "val.list")
    assert check(run_tool, *arguments)[0].code == 0
    done, found = check(run_tool, *arguments, "--depth", "full")
    assert done.code == 1 and places(found) == {("unreadable", "train", 1)}
    assert "frame 3 (img_00003.jpg) is no readable image" in done.out


def test_frame_folders(place, run_tool):
    for number in range(6):
        write_frames(f"videos/f{number}", numbered_frames(10, seed=number))
    Path("videos/f2/img_00007.jpg").unlink()
    shutil.rmtree("videos/f5")
    shutil.copytree("videos/f0", "videos/f0_again")
    Path("videos/none").mkdir()
    lists("f0 10 0\nf1 11 0\nf2 10 0\nf3 9 0\nf4 ten 0\nf5 10 0\nnone 10 0\n", "f0_again 10 0\n")
    done, found = check(run_tool, "--frames", "--list", "train.list", "val.list")
    assert places(found) == {
        ("frames", "train", 2),
        ("frames", "train", 3),
        ("line", "train", 5),
        ("missing", "train", 6),
        ("unreadable", "train", 7),
        ("leak", "val", 1),
    }
    assert places(found, "note") == {("more_frames", "train", 4)}
    assert "the list states 10, the folder has 6 without a gap" in done.out


def test_class_balance_is_a_note(place, run_tool):
    lists("".join(f"v{n % 6}.mp4 0\n" for n in range(6)) * 2 + "v6.mp4 2\n", "v7.mp4 0\n")
    Path("names.txt").write_text("left\nright\nup\n")
    done, found = check(run_tool, "--list", "train.list", "val.list", "--labels", "names.txt")
    assert {("no_samples", "train", 0), ("imbalance", "train", 0)} <= places(found, "note")
    assert "0 (left) has 12 samples, 2 (up) has 1" in done.out and "1 class: 1 (right)" in done.out
    assert {kind for kind, _, _ in places(found)} == {"duplicate"}


def test_clips_of_one_recording_in_two_sets(place, run_tool):
    for source, target in (("v0", "g01_c01"), ("v1", "g01_c02"), ("v2", "g02_c01")):
        Path(f"videos/{source}.mp4").rename(f"videos/v_YoYo_{target}.mp4")
    lists("v_YoYo_g01_c01.mp4 0\n", "v_YoYo_g02_c01.mp4 0\nv_YoYo_g01_c02.mp4 0\n")
    assert check(run_tool, "--list", "train.list", "val.list")[0].code == 0
    done, found = check(run_tool, "--list", "train.list", "val.list", "--source", "v_[^/]+_g[0-9]+")
    assert done.code == 1 and places(found) == {("source", "val", 2)}
    assert "v_YoYo_g01 is also in train: train.list:1" in done.out
    done, found = check(run_tool, "--list", "train.list", "val.list", "--source", "g01")
    assert "--source matches nothing in 1 of 2 lines: not compared" in done.out
    for pattern, words in (("(", "not a regular expression"), ("g99", "matches none of the 3 paths")):
        done = run_tool("check_dataset", "--list", "train.list", "val.list", "--source", pattern)
        assert done.code == 2 and words in done.err


CONFIG = """
model_name: "TSM"
MODEL:
    framework: "Recognizer2D"
    backbone: {name: "ResNetTSM", depth: 18, num_seg: 14}
    head: {name: "TSMHead", num_classes: 2, in_channels: 512}
DATASET:
    batch_size: 1
    train: {format: "VideoDataset", data_prefix: "videos", file_path: "train.list", suffix: ".mp4"}
    valid: {format: "VideoDataset", data_prefix: "videos", file_path: "val.list", suffix: ".mp4"}
    test: {format: "VideoDataset", data_prefix: "videos", file_path: "val.list", suffix: ".mp4"}
PIPELINE:
    train: {decode: {name: "VideoDecoder"}, sample: {name: "Sampler", num_seg: 14, seg_len: 1}}
    valid: {decode: {name: "VideoDecoder"}, sample: {name: "Sampler", num_seg: 14, seg_len: 1}}
    test: {decode: {name: "VideoDecoder"}, sample: {name: "Sampler", num_seg: 14, seg_len: 1}}
"""


def test_the_lists_of_a_configuration(place, run_tool):
    """num_classes and num_seg are the file's; valid and test may be one list, train and valid may not."""
    Path("c.yaml").write_text(CONFIG)
    lists("v0 0\nv1 2\n", "v2 0\nv3 1\n")
    done = run_tool("check_dataset", "-c", "c.yaml", "--report", REPORT, "--jobs", 1)
    assert done.code == 1, done.err
    found = json.loads(Path(REPORT).read_text())
    assert list(found["sets"]) == ["train", "valid = test"]
    short = {("short", split, line) for split in found["sets"] for line in (1, 2)}
    assert places(found) == short | {("label", "train", 2)}
    keys = ["MODEL.backbone", *(f"PIPELINE.{split}.sample" for split in ("train", "valid", "test"))]
    override = ("-o", "MODEL.head.num_classes=3")
    for key in keys:
        override += ("-o", f"{key}.num_seg=8")
    assert run_tool("check_dataset", "-c", "c.yaml", *override, "--report", REPORT, "--jobs", 1).code == 0
    override += ("-o", "DATASET.valid.file_path=train.list")
    done = run_tool("check_dataset", "-c", "c.yaml", *override, "--report", REPORT, "--jobs", 1)
    assert done.code == 1 and "one list for both" in done.out


def test_a_list_that_is_not_there_is_a_finding(place, run_tool):
    lists("v0.mp4 0\n", "")
    done, found = check(run_tool, "--list", "train.list", "val.list", "nowhere.list")
    assert done.code == 1
    assert places(found) == {("list", "val", 0), ("list", "nowhere", 0)}
    assert "val.list: the list is empty" in done.out


def test_folders_of_class_folders(place, run_tool):
    """The training folder names the classes: val has no class0, and its class1 is 1 all the same."""
    for number in range(4):
        folder = Path(f"{'train' if number < 3 else 'val'}/class{number % 2}")
        folder.mkdir(parents=True, exist_ok=True)
        Path(f"videos/v{number}.mp4").rename(folder / f"v{number}.mp4")
    assert check(run_tool, "--list", "train", "val", "--num_classes", 2)[0].code == 0
    shutil.copy("train/class1/v1.mp4", "val/class1/same.mp4")
    done, found = check(run_tool, "--list", "train", "val", "--num_classes", 2)
    assert done.code == 1 and {f["kind"] for f in found["findings"] if f["level"] == "error"} == {"leak"}
    shutil.copytree("train/class0", "val/class9")
    assert "'class9' is none of the 2 classes" in check(run_tool, "--list", "train", "val")[0].out


def test_the_flags_must_say_what_to_check(run_tool):
    assert run_tool("check_dataset").code == 2
    assert run_tool("check_dataset", "-c", "x.yaml", "--list", "y.list").code == 2


def test_several_processes_find_the_same(place, run_tool):
    lists("v0.mp4 0\nnowhere.mp4 0\n", "v1.mp4 0\nv0.mp4 0\n")
    arguments = ("--list", "train.list", "val.list")
    alone = check(run_tool, *arguments)[1]
    assert check(run_tool, *arguments, "--jobs", 2)[1] == alone


def test_the_index_of_the_videos_is_written(place, run_tool):
    """Training then knows each file's frames without opening it; what is unreadable is not in it."""
    from paddlevideo.loader.decode.index import VideoIndex, place_of

    cut("videos/v4.mp4", "videos/cut.mp4", 0.6)
    lists("v0.mp4 0\ncut.mp4 1\n", "v2.mp4 0\nv3.mp4 1\n")
    done, _ = check(run_tool, "--list", "train.list", "val.list")
    assert "index of 1 video: train.list.videoindex\nindex of 2 videos: val.list.videoindex" in done.out
    index, status = VideoIndex(*place_of("val.list", "videos")), Path("videos/v2.mp4").stat()
    assert index.find("videos/v2.mp4", status.st_size, status.st_mtime_ns).num_frames == 12
    assert index.find("videos/v2.mp4", status.st_size, status.st_mtime_ns + 1) is None
    done, _ = check(run_tool, "--list", "val.list", "--index", "none")
    assert "index of" not in done.out
    Path("other").mkdir()
    done, _ = check(run_tool, "--list", "val.list", "--index", "other")
    assert "index of 2 videos: other/val.list.videoindex" in done.out
    done, _ = check(run_tool, "--list", "val.list", "--index", "train.list")  # no folder
    assert done.code == 0 and "no index of the videos" in done.out and "--index" in done.out


def test_one_index_holds_a_list_used_with_two_roots_and_lists_of_one_name(place, run_tool):
    """Of the files of both, whichever set is read: else a check writes what the next data set finds missing."""
    from paddlevideo.loader.decode.index import VideoIndex, place_of
    from paddlevideo.preparation.check_dataset import CheckSettings, ListSource, check_lists

    def missing(index, root, name):
        status = Path(root, name).stat()
        return index.find(f"{root}/{name}", status.st_size, status.st_mtime_ns) is None

    for root, number in (("ra", 0), ("rb", 1)):
        Path(root).mkdir()
        shutil.copy(f"videos/v{number}.mp4", f"{root}/a.mp4")
    Path("a.list").write_text("a.mp4 0\n")
    sources = [ListSource(split, "a.list", root) for split, root in (("train", "ra"), ("valid", "rb"))]
    assert check_lists(sources, CheckSettings()).indexes.write() == ["index of 2 videos: a.list.videoindex"]
    for root in ("ra", "rb"):
        assert not missing(VideoIndex(*place_of("a.list", root)), root, "a.mp4")
    Path("other").mkdir()
    for root in ("ra", "rb"):
        shutil.copy("a.list", f"{root}/a.list")
    sources = [ListSource(split, f"{root}/a.list", root, index="other") for split, root in (("x", "ra"), ("y", "rb"))]
    assert check_lists(sources, CheckSettings()).indexes.write() == ["index of 2 videos: other/a.list.videoindex"]
    for root in ("ra", "rb"):
        assert not missing(VideoIndex(*place_of(f"{root}/a.list", root, "other")), root, "a.mp4")
