"""What stands in a list is what is trained on: lines that do not fit, formats, missing files, class names."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from paddlevideo.engine.data_summary import data_summary
from paddlevideo.errors import ConfigError, UserError
from paddlevideo.loader.build import build_loader
from paddlevideo.loader.datasets.frame import FrameDataset
from paddlevideo.loader.datasets.lists import read_named_rows
from paddlevideo.loader.datasets.video import VideoDataset
from tests.clips import write_clip

NAMES = ["jump", "run", "wave hands"]
PIPELINE = {
    "decode": {"name": "VideoDecoder"},
    "sample": {"name": "Sampler", "num_seg": 2, "seg_len": 1, "valid_mode": True},
    "transform": [{"CenterCrop": {"target_size": 16}}],
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with files of these names, which is the current one; ``write`` gives a list in it."""

    class Place:
        root = tmp_path

        def files(self, *names):
            for name in names:
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name).write_bytes(b"x")

        def list(self, text, name="train.list"):
            (tmp_path / name).write_text(text)
            return str(tmp_path / name)

    monkeypatch.chdir(tmp_path)
    return Place()


def read(dataset):
    return [(r.get("filename") or r["frame_dir"], label_of(r["label"])) for r in dataset.records]


def label_of(label):
    return np.flatnonzero(label).tolist() if isinstance(label, np.ndarray) else label


def mistakes(make):
    with pytest.raises(ConfigError) as caught:
        make()
    return str(caught.value)


@pytest.mark.parametrize(
    "files, line, path",
    [
        (["a 7.mp4"], "a 7.mp4 1", "a 7.mp4"),
        (["a 7"], "a 7 1", "a 7"),  # 'a' is not there
        (["a 7", "a"], '"a 7" 1', "a 7"),
        (["a 7", "a"], '"a 7",1', "a 7"),
        (["a,7"], "a,7,1", "a,7"),
    ],
)
def test_paths_with_spaces_and_numbers(place, files, line, path):
    place.files(*files, "b")
    assert read(VideoDataset(place.list(f"{line}\nb{',' if line.endswith(',1') else ' '}0\n"))) == [(path, 1), ("b", 0)]


@pytest.mark.parametrize(
    "files, line, parts",
    [
        (["a.mp4"], "a.mp4 0 1", ("2 labels (0, 1)", "multi_label: True")),
        (["a.mp4"], "a.mp4,0,1", ("2 labels (0, 1)", "multi_label: True")),
        (["a.mp4"], "a.mp4 0;1", ("2 labels (0, 1)", "multi_label: True")),
        (["a.mp4", "a.mp4 0"], "a.mp4 0 1", ("'a.mp4 0' with the label 1", "'a.mp4' with the labels 0, 1", "quotes")),
        ([], "a.mp4 0 1", ("'a.mp4 0' with the label 1", "'a.mp4' with the labels 0, 1", "neither", "quotes")),
        ([], "a.mp4 0,1", ("label '0,1'",)),
    ],
    ids=["spaces", "csv", "semicolon", "both-there", "none-there", "one-csv-line"],
)
def test_a_line_that_does_not_fit_is_named(place, files, line, parts):
    place.files(*files, "b.mp4")
    other = "b.mp4,0" if line.startswith("a.mp4,") else "b.mp4 0"
    text = mistakes(lambda: VideoDataset(place.list(f"{other}\n{line}\n")))
    assert "train.list:2: " in text and ":1: " not in text
    assert all(part in text for part in parts), text


def test_the_whole_file_decides_on_the_format(place):
    text = mistakes(lambda: VideoDataset(place.list("a.mp4 0,1\nb.mp4 1\nc.mp4 2\n")))
    assert "train.list:1: " in text and ":2: " not in text and ":3: " not in text
    assert "white space" in text and "2 of 3 lines" in text
    text = mistakes(lambda: VideoDataset(place.list("a.mp4 0\nb.mp4,1\nc.mp4,2\n")))
    assert "train.list:1: " in text and "CSV" in text
    assert "white space" in VideoDataset(place.list("a.mp4 0\n")).remarks[0]
    assert "CSV" in VideoDataset(place.list("a.mp4,0\n")).remarks[0]


def test_two_columns_of_one_meaning(place):
    with pytest.raises(UserError, match="label.*class"):
        VideoDataset(place.list("path,label,class\na.mp4,0,1\n"))
    text = mistakes(lambda: VideoDataset(place.list("path,label\na.mp4,0,1\n")))
    assert "train.list:2: " in text and "3 fields" in text


def test_annotations_of_kinetics_name_their_command(place):
    with pytest.raises(UserError, match="train.list:1: .*paddlevideo prepare kinetics"):
        VideoDataset(place.list("label,youtube_id,time_start,time_end,split\nabseiling,a1b2,1,11,train\n"))


def test_class_names_for_numbers(place):
    for text in ("a.mp4,jump\nb.mp4,wave hands\n", "a.mp4 jump\nb.mp4 wave hands\n", "path,class\na.mp4,0\nb.mp4,2\n"):
        assert read(VideoDataset(place.list(text), class_names=NAMES)) == [("a.mp4", 0), ("b.mp4", 2)]
    text = mistakes(lambda: VideoDataset(place.list("a.mp4 jmp\n"), class_names=NAMES))
    assert "'jmp'" in text and "did you mean 'jump'" in text
    text = mistakes(lambda: VideoDataset(place.list("a.mp4,jump\n")))
    assert "DATASET.label_names" in text
    frames = FrameDataset(place.list("x 8 wave hands\ny 8 run\n"), class_names=NAMES)
    assert read(frames) == [("x", 2), ("y", 1)]


@pytest.mark.parametrize(
    "lines",
    [
        ['"a.mp4" "sit down"', '"b c.mp4" "lie down"', 'd.mp4 "sit down"'],
        ["a.mp4,sit down", "b c.mp4,lie down", "d.mp4,sit down"],
        ['"a.mp4","sit down"', '"b c.mp4","lie down"', '"d.mp4","sit down"'],
        ["a.mp4\tsit down", "b c.mp4\tlie down", "d.mp4\tsit down"],
        ["a.mp4 sit down", "b c.mp4 lie down", "d.mp4 sit down"],
        ["label,path", "sit down,a.mp4", "lie down,b c.mp4", "sit down,d.mp4"],
    ],
    ids=["quotes", "csv", "quoted csv", "tabs", "spaces", "header"],
)
@pytest.mark.parametrize("are_there", [True, False])
def test_labels_of_several_words_that_nothing_declares(place, lines, are_there):
    place.files(*["a.mp4", "b c.mp4", "d.mp4"] if are_there else [])
    found = read_named_rows(Path(place.list("\n".join(lines))), os.path.exists)
    assert found.names == ["lie down", "sit down"]
    assert [(row.fields["path"], row.fields["label"]) for row in found.rows] == [
        ("a.mp4", "sit down"), ("b c.mp4", "lie down"), ("d.mp4", "sit down"),
    ]  # fmt: skip


def test_words_that_are_labels_of_other_lines_are_several_labels(place):
    place.files("a.mp4", "b.mp4", "c.mp4")
    file = Path(place.list("a.mp4 walk\nb.mp4 run\nc.mp4 walk run"))
    with pytest.raises(UserError, match=r"train.list:3: expected one label per clip, has walk;run"):
        read_named_rows(file, os.path.exists)
    file.write_text('a.mp4 walk\nb.mp4 run\nc.mp4 "walk run"')
    assert read_named_rows(file, os.path.exists).names == ["run", "walk", "walk run"]


def test_declared_names_in_quotes(place):
    place.files("a b.mp4", "c.mp4")
    file = place.list('"a b.mp4" "wave hands"\nc.mp4 "jump"')
    assert read(VideoDataset(file, num_classes=3, class_names=NAMES)) == [("a b.mp4", 2), ("c.mp4", 0)]


def test_one_clip_on_two_lines(place):
    file = place.list("a.mp4 0\nb.mp4 1\n./a.mp4 1\nb.mp4 1\n")
    text = mistakes(lambda: VideoDataset(file))
    assert "train.list:3: " in text and "line 1" in text and ":2: " not in text and ":4: " not in text
    several = VideoDataset(file, multi_label=True, num_classes=3)
    assert len(several) == 4 and len(several.remarks) == 3
    assert "1 line" in several.remarks[1] and "the same label" in several.remarks[1] and "line 4" in several.remarks[1]
    assert "1 line" in several.remarks[2] and "other labels" in several.remarks[2] and "line 3" in several.remarks[2]


@pytest.mark.parametrize("separator", [" ", ","])
@pytest.mark.parametrize("several", [False, True])
def test_a_line_of_any_length(place, separator, several):
    text = mistakes(
        lambda: VideoDataset(place.list(separator.join(["0"] * 100_000)), multi_label=several, num_classes=2)
    )
    assert "train.list:1: has more than 256 fields" in text and len(text) < 500


MULTI = [("a.mp4", [0, 1, 3]), ("b c.mp4", [2]), ("d.mp4", [])]


@pytest.mark.parametrize(
    "text",
    [
        "a.mp4 0 3 1\nb c.mp4 2\nd.mp4 ;\n",
        "a.mp4 0;3;1;\nb c.mp4 2\nd.mp4 ;\n",
        "a.mp4,0,3,1\nb c.mp4,2\nd.mp4,\n",
        "path,label\na.mp4,0;3;1\nb c.mp4,2\nd.mp4,\n",
        "a.mp4 jump;3;run\nb c.mp4 wave hands\nd.mp4 ;\n",
    ],
    ids=["mmaction2", "semicolons", "csv", "csv-header", "names"],
)
def test_several_labels_per_clip(place, text):
    dataset = VideoDataset(place.list(text), multi_label=True, class_names=[*NAMES, "sit"], num_classes=4)
    assert read(dataset) == MULTI
    label = dataset.sample(0)["label"]
    assert label.dtype == np.float32 and label.tolist() == [1, 1, 0, 1]


def test_several_labels_of_frames(place):

    place.files("clip/x", "clip 2/x")
    frames = FrameDataset(place.list('clip 163 1 3\n"clip 2" 12 2\n'), multi_label=True, num_classes=4)
    assert read(frames) == [("clip", [1, 3]), ("clip 2", [2])]
    assert [r["total_frames"] for r in frames.records] == [163, 12]


def test_several_labels_are_ambiguous_where_both_files_are_there(place):
    place.files("v 0", "v")
    text = mistakes(lambda: VideoDataset(place.list("v 0 1\n"), multi_label=True, num_classes=4))
    assert "'v 0' with the label 1" in text and "'v' with the labels 0, 1" in text and "quotes" in text
    (place.root / "v").unlink()
    assert read(VideoDataset(place.list("v 0 1\n"), multi_label=True, num_classes=4)) == [("v 0", [1])]


def test_several_labels_need_classes_and_a_list(place):
    with pytest.raises(UserError, match="multi_label.*num_classes"):
        VideoDataset(place.list("a.mp4 0 1\n"), multi_label=True)
    place.files("data/run/a.mp4")
    with pytest.raises(UserError, match="multi_label.*list"):
        VideoDataset("data", multi_label=True, num_classes=2)
    text = mistakes(lambda: VideoDataset(place.list("a.mp4 0 4\n"), multi_label=True, num_classes=4))
    assert "label 4 is out of range" in text


def loader(split="train", order=None, num_classes=4, **section):
    return build_loader(
        {"format": "VideoDataset", **section}, PIPELINE, split, seed=0, num_classes=num_classes, batch_size=1,
        num_workers=0, shuffle=False, drop_last=False, label_order=order,
    )  # fmt: skip


def test_missing_is_not_unreadable(place, caplog):
    write_clip(place.root / "clips" / "a.mp4", np.full((4, 32, 32, 3), 90, "uint8"), fps=4)
    file = place.list("a.mp4 0\nb.mp4 1\nc.mp4 1\n")
    for split in ("train", "valid", "test"):
        text = mistakes(lambda split=split: loader(split, file_path=file, data_prefix="clips"))
        assert "train.list:2: " in text and "train.list:3: " in text and "c.mp4 does not exist" in text
        assert f"DATASET.{split}.missing=skip" in text
    with caplog.at_level("WARNING", "paddlevideo"):
        some = loader(file_path=file, data_prefix="clips", missing="skip")
    assert "2 of 3" in caplog.text and "b.mp4" in caplog.text
    assert [r["index"] for r in some.dataset.records] == [0] and some.dataset.lines == [1]
    with pytest.raises(UserError, match="not one"):
        loader(file_path=place.list("x.mp4 0\n"), missing="skip")
    with pytest.raises(ConfigError, match="missing.*raise, skip"):
        loader(file_path=file, data_prefix="clips", missing="ignore")


def test_home_and_backslashes(place, monkeypatch):
    monkeypatch.setenv("HOME", str(place.root))
    write_clip(place.root / "clips" / "run" / "a.mp4", np.full((4, 32, 32, 3), 90, "uint8"), fps=4)
    file = place.list("run/a.mp4 0\n")
    assert len(loader(file_path="~/train.list", data_prefix="~/clips").dataset) == 1
    assert len(loader(file_path=place.list("~/clips/run/a.mp4 0\n")).dataset) == 1
    assert len(loader(file_path="~/clips").dataset) == 1
    text = mistakes(lambda: loader(file_path=place.list("run\\a.mp4 0\n"), data_prefix="clips"))
    assert "backslash" in text and "/" in text
    with pytest.raises(UserError, match="backslash"):
        loader(file_path=file.replace("/", "\\"))


def test_what_is_trained_on_is_reported(place):
    for name in ("a", "b", "c"):
        write_clip(place.root / f"{name}.mp4", np.full((4, 32, 32, 3), 90, "uint8"), fps=4)
    from paddlevideo.classes import UNKNOWN

    some = loader(file_path=place.list("a.mp4 0;3\nb.mp4 3\nc.mp4 ;\n"), multi_label=True, order=[3, 1, 2, 0])
    text = "\n".join(data_summary(some, "train", UNKNOWN))
    assert "3 videos, 2 classes" in text and "samples per class: 0 2, 3 1" in text
    assert "white space" in text and "1 sample without a label" in text
    (batch, *_) = some.epoch(0)
    assert batch["label"].dtype == np.float32 and batch["label"].tolist() == [[1, 0, 0, 1]]
