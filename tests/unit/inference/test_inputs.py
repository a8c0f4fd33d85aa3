"""The inputs of many predictions, and the lines of their file."""

import json
import os

import numpy as np
import pytest

from paddlevideo.errors import UserError
from paddlevideo.inference.inputs import VideoInputs, key_of
from paddlevideo.inference.many import ManyRun, Output
from paddlevideo.inference.predictions import Prediction
from paddlevideo.inference.result_lines import ResultLines, heads_of, line_of, part_path, parts_of
from paddlevideo.video_files import find_videos

RUN = {"format": "paddlevideo.predictions", "top_k": 1}


def test_paths_are_those_of_find_videos(tmp_path):
    for name in ("a clip.mp4", "b.mp4", "c 7", "folder/d.mp4", "folder/e.mp4", "folder/note.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "list.csv").write_text('\ufeffa clip.mp4 3,4\r\nb.mp4\nc 7\n\n"c 7" 1\nb.mp4,2\nb.mp4 0;3', "utf-8")
    given, reported = [tmp_path / "list.csv", "b.mp4", tmp_path / "folder", "~/none.mp4"], ([], [])
    videos = VideoInputs(given, reported[0].append)
    assert list(videos) == [str(path) for path in find_videos(given, reported[1].append)] and reported[0] == reported[1]
    assert [videos.at(i).label for i in range(6)] == [[3, 4], None, None, 1, 2, [0, 3]]
    assert videos.at(9).text == "~/none.mp4" and "~" not in videos[9]


def test_a_text_that_is_listed_again_is_another_input(tmp_path):
    (tmp_path / "a.list").write_text("x.mp4\ny.mp4\nx.mp4\nx.mp4 1\nx.mp4\n")
    videos = VideoInputs([tmp_path / "a.list", "y.mp4"], lambda line: None)
    assert [videos.at(i).occurrence for i in range(6)] == [1, 1, 2, 1, 3, 1]
    assert videos.keys().tolist() == [
        key_of(b"x.mp4"), key_of(b"y.mp4"), key_of(b"x.mp4", 2), key_of(b"x.mp4 1"), key_of(b"x.mp4", 3),
        key_of(b"y.mp4"),
    ]  # fmt: skip


@pytest.mark.parametrize("content, text", [(b"\n \n", "an empty list"), (b"\xff.mp4\n", "not a UTF-8 text file")])
def test_lists_that_are_none_are_refused(tmp_path, content, text):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(UserError, match=text):
        VideoInputs([tmp_path / "a.txt"], lambda line: None)
    with pytest.raises(UserError, match="address"):
        VideoInputs(["http://example.com/a.mp4"], lambda line: None)


def test_any_name_is_found_again_in_its_line(tmp_path):
    names = ['"q" \\.mp4', "a\tb\n.mp4", "猫.mp4", "latin\udce9.mp4", '", "error": "x.mp4', "{}.mp4"]
    videos = VideoInputs([*names, names[2]], lambda line: None)
    file = ResultLines(tmp_path / "r.jsonl", RUN)
    for i in range(len(videos)):
        scores = np.array([0.25, 0.75], np.float32) if i % 2 else None
        prediction = Prediction(videos[i], scores, error=None if i % 2 else 'no "video"')
        file.append(line_of(videos.at(i), prediction, 1, None, True))
    assert list(file.heads()) == [(key, videos[i], bool(i % 2)) for i, key in enumerate(videos.keys().tolist())]
    file.close()
    records = [json.loads(line) for line in (tmp_path / "r.jsonl").read_bytes().splitlines()]
    assert records[0] == {"run": RUN} and [record["path"] for record in records[1:]] == [*names, names[2]]
    assert records[-1]["occurrence"] == 2 and records[2]["scores"] == [0.25, 0.75]


def test_parts_of_ranks_are_found_by_name(tmp_path):
    out = tmp_path / "r.jsonl"
    assert parts_of(out) == {} and part_path(out, 0, 1) == out
    for name in ("r.jsonl", part_path(out, 11, 12).name, "r.rank-0-of-2.jsonl.bak", "rr.rank-0-of-2.jsonl", "r.json"):
        (tmp_path / name).touch()
    assert parts_of(out) == {out: 1, tmp_path / "r.rank-11-of-12.jsonl": 12}


def test_a_line_that_is_no_result_is_named(tmp_path):
    (tmp_path / "r.jsonl").write_text(json.dumps({"run": RUN}) + '\n{"path": "a.mp4", "error": "x"}\n{"path"}\n')
    with pytest.raises(UserError, match="r.jsonl, line 3: not a result"):
        list(ResultLines(tmp_path / "r.jsonl", RUN).heads())


FOREIGN = [b'{"mine": 1}', b'{"mine":1}\n{"mine":2}', b"a note", b'{"run": {"format": "other', b'{"run": {}}\n{"pa']


@pytest.mark.parametrize("content", [*FOREIGN, json.dumps({"run": {**RUN, "top_k": 2}}).encode() + b'\n{"path'])
def test_a_file_of_others_is_left_as_it_is(tmp_path, content):
    file = tmp_path / "r.jsonl"
    file.write_bytes(content)
    for _ in range(2):  # the first refusal has freed the file
        with pytest.raises(UserError, match="give another --out"):
            ResultLines(file, RUN)
        with pytest.raises(UserError, match="give another --out"):
            list(heads_of(file, RUN, others_write=False))
    assert file.read_bytes() == content


@pytest.mark.parametrize("size", [0, 5, 55])
def test_half_a_first_line_is_written_again(tmp_path, size):
    ResultLines(tmp_path / "r.jsonl", RUN).close()
    whole = (tmp_path / "r.jsonl").read_bytes()
    (tmp_path / "r.jsonl").write_bytes(whole[:size])
    ResultLines(tmp_path / "r.jsonl", RUN).close()
    assert (tmp_path / "r.jsonl").read_bytes() == whole and size < len(whole) - 1


def test_a_file_is_written_once_at_a_time(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    file = ResultLines(tmp_path / "r.jsonl", RUN)
    with pytest.raises(UserError, match="another run is writing it"):
        ResultLines(tmp_path / "link" / "r.jsonl", RUN)
    with pytest.raises(UserError, match="another number of ranks is writing it"):
        list(heads_of(tmp_path / "r.jsonl", RUN, others_write=False))
    file.close()
    ResultLines(tmp_path / "r.jsonl", RUN).close()


def test_a_full_disk_is_named_with_the_file(tmp_path, monkeypatch):
    file = ResultLines(tmp_path / "r.jsonl", RUN)
    with open("/dev/full", "r+b", buffering=0) as full:
        stream, file._stream = file._stream, full
        with pytest.raises(UserError, match="r.jsonl: cannot be written .No space left.*the same command continues"):
            file.append(b"{}\n")
        monkeypatch.setattr(os, "fsync", lambda number: os.write(number, b"x"))
        with pytest.raises(UserError, match="r.jsonl: cannot be written .No space left"):
            file.close()
    stream.close()
    (tmp_path / "full").touch()
    with pytest.raises(UserError, match="x/r.jsonl: cannot be written .*give another --out"):
        ResultLines(tmp_path / "full" / "x" / "r.jsonl", RUN)
    (tmp_path / "d.jsonl").symlink_to("/dev/full")
    with pytest.raises(UserError, match="d.jsonl: .*give another --out"):
        ResultLines(tmp_path / "d.jsonl", RUN)


def test_equal_lines_of_lists_in_two_folders_are_two_inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in "AB":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.mp4").touch()
        (tmp_path / folder / "l.txt").write_text("a.mp4 7\n")
    (tmp_path / "A" / "again.txt").write_text("a.mp4 7\n")

    def todo(*lists):
        videos = VideoInputs(lists, lambda line: None)
        run = ManyRun(videos, tmp_path / "r.jsonl", RUN, Output(), lambda line: None)
        made = [videos.at(i) for i in run.todo]
        predictions = (Prediction(each.path, np.zeros(2, np.float32)) for each in made)
        run.write((line_of(each, prediction, 1, None, False), True) for each, prediction in zip(made, predictions))
        return [(each.path, each.occurrence) for each in made]

    assert todo("A/l.txt") == [("A/a.mp4", 1)]
    assert todo("B/l.txt", "A/l.txt") == [("B/a.mp4", 1)]
    assert todo("A/l.txt", "B/l.txt", "A/again.txt") == [("A/a.mp4", 2)]
    assert todo(tmp_path / "A" / "l.txt", "./B/l.txt") == []


def test_a_result_counts_more_than_an_error_after_it(tmp_path):
    """``cat`` of the files of several runs puts them in any order."""
    videos = VideoInputs(["a.mp4", "b.mp4"], lambda line: None)
    lines = b'{"path": "a.mp4", "top": []}\n{"path": "a.mp4", "error": "x"}\n{"path": "b.mp4", "error": "x"}\n'
    (tmp_path / "r.jsonl").write_bytes(json.dumps({"run": RUN}).encode() + b"\n" + lines)
    run = ManyRun(videos, tmp_path / "r.jsonl", RUN, Output(retry_failed=True), lambda line: None)
    assert run.todo.tolist() == [1]
    run.write([(b'{"path": "b.mp4", "error": "x"}\n', False)])
