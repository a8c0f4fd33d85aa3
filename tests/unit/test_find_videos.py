from pathlib import Path

import pytest

from paddlevideo.errors import UserError
from paddlevideo.inference.inputs import VideoInputs
from paddlevideo.video_files import find_videos, lines_of_videos, read_line


def touch(folder, *names):
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths


def test_a_folder_gives_its_own_videos_sorted_and_counted(tmp_path):
    touch(tmp_path, "b.MP4", "a.avi", "notes.txt", "deeper/c.mp4", "d.webm")
    reported = []
    assert [p.name for p in find_videos([tmp_path], reported.append)] == ["a.avi", "b.MP4", "d.webm"]
    assert reported == [
        f"3 videos found in {tmp_path}; 1 file is left out: 1 .txt; sub-folders are not searched: 1 folder"
    ]


def test_a_list_file_is_read_as_data_sets_write_them(tmp_path):
    touch(tmp_path, "a clip.mp4", "b.mp4", "c.mp4", "d 7")
    content = "\ufeffa clip.mp4\r\nb.mp4 4\r\n\r\n" + f"{tmp_path / 'c.mp4'},2\nd 7\na clip.mp4 3,4"
    content += '\nb.mp4 0;3;17\n"d 7" 1\nc.mp4 ;'
    touch(tmp_path, "a\u2028b\x0c.mp4")
    content += "\na\u2028b\x0c.mp4 3"  # separators of str.splitlines, not of lines
    (tmp_path / "list.txt").write_text(content, encoding="utf-8", newline="")
    names = [p.name for p in find_videos([tmp_path / "list.txt"])]
    assert names.pop() == "a\u2028b\x0c.mp4"
    assert names == [
        "a clip.mp4",
        "b.mp4",
        "c.mp4",
        "d 7",
        "a clip.mp4",
        "b.mp4",
        "d 7",
        "c.mp4",
    ]


@pytest.mark.parametrize(
    "lines",
    [
        ["path,label", "a.mp4,walk", "b c.mp4,sit down"],
        ["label,path", "walk,a.mp4", "sit down,b c.mp4"],
        ["id,video,class", "1,a.mp4,walk", "2,b c.mp4,sit down"],
        ["path label", "a.mp4 walk", "b c.mp4 sit down"],
        ["a.mp4 walk", '"b c.mp4" "sit down"'],
        ["a.mp4\twalk", "b c.mp4\tsit down"],
        ["video", "a.mp4", "b c.mp4"],
    ],
)
def test_headers_and_labels_of_any_kind_are_passed_over(tmp_path, lines):
    touch(tmp_path, "a.mp4", "b c.mp4", "b", "walk")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    assert [path.name for path in find_videos([tmp_path / "list.csv"])] == ["a.mp4", "b c.mp4"]
    assert [Path(path).name for path in VideoInputs([tmp_path / "list.csv"], lambda line: None)] == ["a.mp4", "b c.mp4"]


@pytest.mark.parametrize(
    ("header", "line", "label"),
    [
        ("thumb,path,label", "v1.mp4,v2.mp4,1", 1),
        ("path,fps,label", "v2.mp4,25,1", 1),
        ("label,path", "0,v2.mp4", 0),
        ("path,label,note", "v2.mp4,1,3", 1),
        ("path,label", "v2.mp4,0,3", [0, 3]),
        ("name,Path", 'x,"v2.mp4"', None),
    ],
)
def test_a_header_names_the_columns(tmp_path, header, line, label):
    touch(tmp_path, "v1.mp4", "v2.mp4")
    (tmp_path / "l.csv").write_text(f"{header}\n{line}\n")
    ((_, text),) = lines_of_videos(tmp_path / "l.csv")
    found = read_line(text, tmp_path / "l.csv")
    assert found.path == tmp_path / "v2.mp4" and found.label == label


@pytest.mark.parametrize("line", ["a, b.mp4,1", "v1.mp4", "v1.mp4 0", "v1.mp4\t0", "v1.mp4,0,x," + "y" * 200_000])
def test_lines_of_other_columns_than_the_header_are_read_as_without_one(tmp_path, line):
    touch(tmp_path, "v1.mp4", "a, b.mp4")
    (tmp_path / "l.csv").write_text(f"path,label\n{line}\n")
    assert find_videos([tmp_path / "l.csv"]) == [tmp_path / ("a, b.mp4" if line[0] == "a" else "v1.mp4")]


def test_a_video_of_a_headers_name_is_a_video(tmp_path):
    touch(tmp_path, "video", "a.mp4")
    (tmp_path / "list.txt").write_text("video\na.mp4")
    assert [path.name for path in find_videos([tmp_path / "list.txt"])] == ["video", "a.mp4"]


def test_a_shorter_name_is_not_taken_for_a_missing_video(tmp_path):
    touch(tmp_path, "clip")
    (tmp_path / "list.txt").write_text("clip 7.mp4 run")
    with pytest.raises(UserError, match="line 1: there is no video clip 7.mp4, neither from .* run this there"):
        find_videos([tmp_path / "list.txt"])


def test_what_a_list_lacks_is_named_with_its_line(tmp_path):
    touch(tmp_path, "a.mp4")
    (tmp_path / "list.txt").write_text("a.mp4 0\nb.mp4 1\n")
    with pytest.raises(UserError, match="line 2: there is no video b.mp4"):
        find_videos([tmp_path / "list.txt"])
    reported = []
    kept = find_videos([tmp_path / "list.txt"], reported.append, keep_missing=True)
    assert [path.name for path in kept] == ["a.mp4", "b.mp4"] and "1 of them not there" in reported[0]


def test_a_folder_of_pictures_is_named_as_one(tmp_path):
    touch(tmp_path, "frames/img_00001.jpg", "frames/img_00002.jpg")
    with pytest.raises(UserError, match="frames: a folder of 2 pictures, where videos are expected; test reads"):
        find_videos([tmp_path / "frames"])
    (tmp_path / "list.txt").write_text("frames 2 0")
    with pytest.raises(UserError, match="frames: a folder of 2 pictures"):
        find_videos([tmp_path / "list.txt"])


def test_empty_folder_and_empty_list_are_errors(tmp_path):
    with pytest.raises(UserError, match="no videos directly in this folder"):
        find_videos([tmp_path])
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(UserError, match="an empty list"):
        find_videos([tmp_path / "list.txt"])


def test_inputs_keep_their_order_and_missing_files_are_left_to_the_reader(tmp_path):
    (a,) = touch(tmp_path / "folder", "a.mp4")
    assert find_videos(["x.mp4", tmp_path / "folder", "none.txt"]) == [type(a)("x.mp4"), a, type(a)("none.txt")]


def test_addresses_are_not_fetched_and_their_passwords_are_not_shown(tmp_path):
    address = "http://user:secret@127.0.0.1:9/a.mp4"
    listed = tmp_path / "list.txt"
    listed.write_text(f"{address} 3\n")
    for given, named in (
        (address, "http://127.0.0.1:9/a.mp4: an address"),
        (listed, "line 1: http://127.0.0.1:9/a.mp4"),
    ):
        with pytest.raises(UserError, match=named) as raised:
            find_videos([given])
        assert "secret" not in str(raised.value) and "download it first" in str(raised.value)
