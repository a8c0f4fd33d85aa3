"""List files as people write them, and every mistake reported at once."""

from __future__ import annotations

import pytest

from paddlevideo.errors import ConfigError, UserError
from paddlevideo.loader.datasets.frame import FrameDataset
from paddlevideo.loader.datasets.video import VideoDataset
from paddlevideo.registry import DATASETS


def write(tmp_path, text, name="train.list"):
    file = tmp_path / name
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(file)


def pairs(dataset):
    return [(record["filename"], record["label"]) for record in dataset.records]


@pytest.mark.scorecard(34)
@pytest.mark.parametrize(
    "text",
    [
        "a.mp4 0\nmy clip 2.mp4 1\n",
        "a.mp4 0\r\nmy clip 2.mp4 1\r\n",
        b"\xef\xbb\xbfa.mp4 0\nmy clip 2.mp4\t1",
        "\n\na.mp4   0  \n\n  my clip 2.mp4 1\n\n",
        "a.mp4,0\nmy clip 2.mp4,1\n",
        "path,label\r\na.mp4,0\r\nmy clip 2.mp4,1\r\n",
        'label,Path\n0,a.mp4\n1,"my clip 2.mp4"\n',
        "id,path,label\n7,a.mp4,0\n8,my clip 2.mp4,1\n",
        "a.mp4, 0\nmy clip 2.mp4, 1\n",
    ],
    ids=["spaces", "crlf", "bom-tab", "blank", "csv", "csv-header", "csv-order", "csv-more", "csv-space"],
)
def test_forms_of_a_list(tmp_path, text):
    dataset = VideoDataset(write(tmp_path, text))
    assert pairs(dataset) == [("a.mp4", 0), ("my clip 2.mp4", 1)]
    assert [record["index"] for record in dataset.records] == [0, 1]
    assert dataset.class_names is None


def test_commas_in_paths(tmp_path):
    assert pairs(VideoDataset(write(tmp_path, "a,b.mp4 3\nc.mp4 0\n"))) == [("a,b.mp4", 3), ("c.mp4", 0)]
    assert pairs(VideoDataset(write(tmp_path, 'a,b.mp4,3\n"c,d.mp4",0\n'))) == [("a,b.mp4", 3), ("c,d.mp4", 0)]


def test_prefix_and_suffix(tmp_path):
    dataset = VideoDataset(write(tmp_path, "run/a 3\n"), data_prefix="data/clips", suffix=".mp4")
    assert pairs(dataset) == [("data/clips/run/a.mp4", 3)]
    assert pairs(VideoDataset(write(tmp_path, "/abs/a.mp4 3\n../b.mp4 1\n"))) == [("/abs/a.mp4", 3), ("../b.mp4", 1)]


@pytest.mark.scorecard(32, times=3)
def test_all_bad_lines_at_once(tmp_path):
    file = write(tmp_path, "a.mp4 x\nb.mp4 -1\n\nc.mp4 9\nd.mp4 0\n")
    with pytest.raises(ConfigError) as caught:
        VideoDataset(file, num_classes=4)
    text = str(caught.value)
    assert f"{file}:1: label 'x'" in text and f"{file}:2: label -1" in text
    assert f"{file}:4: label 9" in text and "0..3" in text and "num_classes" in text
    assert len(caught.value.problems) == 3


def test_missing_label_and_many_mistakes(tmp_path):
    with pytest.raises(ConfigError, match=r"train.list:2: needs 2 fields \(path label\), parted by"):
        VideoDataset(write(tmp_path, "a.mp4 0\nb.mp4\n"))
    with pytest.raises(ConfigError) as caught:
        VideoDataset(write(tmp_path, "".join(f"{n}.mp4 bad\n" for n in range(50))))
    assert "50 mistakes" in str(caught.value) and "and 30 more" in str(caught.value)
    assert len(str(caught.value).splitlines()) < 25


@pytest.mark.scorecard(33)
@pytest.mark.parametrize(
    "text, message", [("", "list is empty"), ("\n \n", "list is empty"), ("path,label\n", "no samples")]
)
def test_empty_lists(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        VideoDataset(write(tmp_path, text))


def test_no_list(tmp_path):
    with pytest.raises(UserError, match="no such list file"):
        VideoDataset(str(tmp_path / "nowhere.list"))
    with pytest.raises(UserError, match="not a UTF-8 text file"):
        VideoDataset(write(tmp_path, b"\xff\xfe\x00\x80"))


@pytest.mark.scorecard(9, times=3)
def test_paths_that_leave_the_prefix(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    file = write(tmp_path, f"../out.mp4 0\n/etc/passwd 0\nok.mp4 0\n{root}/ok.mp4 0\n")
    with pytest.raises(ConfigError) as caught:
        VideoDataset(file, data_prefix=str(root))
    assert len(caught.value.problems) == 2 and "allow_outside_root: True" in str(caught.value)
    assert len(VideoDataset(file, data_prefix=str(root), allow_outside_root=True)) == 4
    with pytest.raises(ConfigError, match="NUL"):
        VideoDataset(write(tmp_path, "a\0b.mp4 0\n"))


@pytest.mark.scorecard(9)
def test_link_that_leaves_the_prefix(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "secret.mp4"
    root.mkdir()
    outside.write_bytes(b"x")
    (root / "link.mp4").symlink_to(outside)
    file = write(tmp_path, "link.mp4 0\n")
    with pytest.raises(UserError, match="outside data_prefix"):
        VideoDataset(file, data_prefix=str(root)).sample(0)
    assert VideoDataset(file, data_prefix=str(root), allow_outside_root=True).sample(0)["label"] == 0
    # a root that is itself a link is nobody's escape
    (tmp_path / "alias").symlink_to(root)
    (root / "a.mp4").write_bytes(b"x")
    VideoDataset(write(tmp_path, "a.mp4 0\n"), data_prefix=str(tmp_path / "alias")).sample(0)


def test_folder_of_class_folders(tmp_path):
    for name in ("run/b.mp4", "run/a.MP4", "run/notes.txt", "jump/deep/c.avi", ".hidden/x.mp4"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(b"x")
    root = str(tmp_path / "data")
    dataset = VideoDataset(root, num_classes=2)
    assert dataset.class_names == ["jump", "run"]
    assert pairs(dataset) == [(f"{root}/jump/deep/c.avi", 0), (f"{root}/run/a.MP4", 1), (f"{root}/run/b.mp4", 1)]
    with pytest.raises(ConfigError, match="'run' is beyond MODEL.head.num_classes = 1"):
        VideoDataset(root, num_classes=1)
    (tmp_path / "data" / "empty").mkdir()
    with pytest.raises(UserError, match="empty: no videos"):
        VideoDataset(root)


def test_frame_lists(tmp_path):
    dataset = FrameDataset(write(tmp_path, "run/my clip 8 3\n/abs/x 12 0\n"))
    assert dataset.records[0] == {
        "frame_dir": "run/my clip", "total_frames": 8, "suffix": "img_{:05}.jpg", "label": 3, "index": 0,
    }  # fmt: skip
    assert FrameDataset(write(tmp_path, "dir,num_frames,label\nx,9,2\n")).records[0]["total_frames"] == 9
    with pytest.raises(ConfigError) as caught:
        FrameDataset(write(tmp_path, "a 0 1\nb 2.5 1\nc 3 7\n"), num_classes=2)
    assert len(caught.value.problems) == 3
    with pytest.raises(ConfigError, match="needs 3 fields"):
        FrameDataset(write(tmp_path, "a 1\n"))


@pytest.mark.parametrize("suffix", ["img.jpg", "img_{", "{}_{}.jpg", "{name}.jpg"])
def test_bad_frame_suffix(tmp_path, suffix):
    with pytest.raises(ValueError, match="suffix"):
        FrameDataset(write(tmp_path, "a 1 1\n"), suffix=suffix)


def test_registry_reads_the_arguments():
    for name in ("VideoDataset", "FrameDataset"):
        arguments = {p.name: p for p in DATASETS.entry(name).parameters}
        assert arguments["file_path"].required and not arguments["data_prefix"].required
        assert {"suffix", "num_retries", "allow_outside_root"} <= set(arguments)


@pytest.mark.scorecard(12)
def test_names_cannot_write_to_a_terminal(tmp_path):
    with pytest.raises(ConfigError) as caught:
        VideoDataset(write(tmp_path, "a\x1b[31m.mp4 x\x07\n"))
    assert "\x1b" not in str(caught.value) and "\x07" not in str(caught.value)
