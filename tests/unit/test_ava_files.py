"""AVA's files: what is read is what was written, and every mistake is named with its line."""

import json
import os
import pickle
import random
import time
from pathlib import Path

import numpy as np
import pytest

from paddlevideo import ava_files
from paddlevideo.ava_files import (
    AVARows,
    img_key,
    read_ava_csv,
    read_ava_labels,
    read_excluded,
    read_proposals,
    split_key,
    write_ava_csv,
    write_proposals,
)
from paddlevideo.errors import UserError

FILES = Path(os.environ.get("AVA_SAMPLE_FILES", Path(__file__).parents[3] / "shared/media/ava"))


def _write(folder, text, name="a.csv"):
    (folder / name).write_text(text)
    return folder / name


_NUMBERS = [
    "0",
    "1",
    "0.333",
    "0.12345678901234567",
    "5.",
    ".5",
    "1e-1",
    " 0.5",
    "0.1 ",
    "-0.0",
    "0902",
    "12345.678901234",
]
_ODD = ["", "x", "nan", "1_0", "1.2.3", ".", "-", '"1"', "0x1", "\u0663", "3.5"]


def _random_csv(rng):
    """Lines of eight fields, and sometimes others."""
    odd, lines = (
        rng.choice([0.0, 0.0, 0.01]),
        [rng.choice(["video_id,timestamp", "video", "VIDEO_ID,a"])] * rng.choice([0, 1]),
    )
    for _ in range(rng.choice([1, 30, 3000])):
        cells = [rng.choice(["a", "b c", "\u00e9" * 40, "_-x"]), *(rng.choice(_NUMBERS) for _ in range(5))]
        cells += [str(rng.randint(1, 80)), str(rng.randint(0, 9))]
        if rng.random() < odd:
            cells[rng.randrange(8)] = rng.choice(_ODD)
        if rng.random() < odd:
            cells = cells[: rng.randint(0, 7)]
        lines.append(",".join(cells))
    end = rng.choice(["\n", "\r\n", "\r"])
    return rng.choice(["", "\ufeff"]) + end.join(lines) + rng.choice(["", end, end + end])


def test_the_table_of_a_csv_equals_the_reader_of_its_lines(tmp_path, monkeypatch):
    tables, real = [], ava_files.read_table
    for seed in range(60):
        text = _random_csv(random.Random(seed))
        path = _write(tmp_path, text)
        found = []
        for table in (lambda data: tables.append(real(data)) or tables[-1], lambda data: None):
            monkeypatch.setattr(ava_files, "read_table", table)
            try:
                rows = read_ava_csv(path, scored=seed % 3 == 0)
                arrays = [rows.video, rows.timestamp, rows.boxes, rows.label, rows.entity, rows.score, rows.line]
                found.append(
                    [rows.videos, *(a if a is None else (a.dtype, a.tobytes()) for a in arrays), rows.keys()[0]]
                )
            except UserError:
                found.append("error")
        assert found[0] == found[1], (seed, text[:300])
    assert sum(table is not None for table in tables) > 30


def test_keys():
    assert img_key("v", 902) == img_key("v", 902.0) == "v,0902"
    assert img_key("v", 3.25) == "v,0003.25" and img_key("v", 12345) == "v,12345"
    assert split_key("a,b,0902") == ("a,b", 902) == split_key("a,b,902.0")
    for bad in ("0902", ",0902", "v,", "v,x", "v,-1", "v,nan"):
        with pytest.raises(ValueError, match="video,second"):
            split_key(bad)


def test_csv_columns_by_the_fast_and_by_the_careful_path(tmp_path):
    plain = read_ava_csv(_write(tmp_path, "a,0902,.1,.2,.3,.4,12,0\nb,902.0,0,0,1,1,17,3\na,903.5,0,0,1,1,80,1\n"))
    assert plain.videos == ["a", "b"] and plain.video.tolist() == [0, 1, 0]
    assert plain.timestamp.tolist() == [902, 902, 903.5] and plain.boxes[0].tolist() == [0.1, 0.2, 0.3, 0.4]
    assert plain.label.tolist() == [12, 17, 80] and plain.entity.tolist() == [0, 3, 1] and plain.score is None
    assert plain.keys()[0] == ["a,0902", "b,0902", "a,0903.5"] and plain.keys()[1].tolist() == [0, 1, 2]
    text = '\ufeffvideo_id,second,x1,y1,x2,y2,action,person\n\n"a",0902, .1,.2,.3,.4,,\r\nb,1,0,0,1,1,7\n'
    careful = read_ava_csv(_write(tmp_path, text))
    assert careful.videos == ["a", "b"] and careful.line.tolist() == [3, 4]
    assert careful.label.tolist() == [-1, 7] and careful.entity.tolist() == [-1, -1]
    scored = read_ava_csv(_write(tmp_path, "a,902,0,0,1,1,3,0.25\n"), scored=True)
    assert scored.score.tolist() == [0.25] and scored.entity is None
    of_detect = read_ava_csv(_write(tmp_path, "a,902,0,0,1,1,3,0.25,7\na,902,0,0,1,1,4,0.5,7\n"), scored=True)
    assert of_detect.score.tolist() == [0.25, 0.5] and of_detect.label.tolist() == [3, 4]
    assert len(read_ava_csv(_write(tmp_path, ""), scored=True)) == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a,902,0,0,1,1,3", r"a\.csv:2: 7 fields, expected 8"),
        ("a,902,0,,1,1,3,1", r"a\.csv:2: field 4 of .* is '', not a number"),
        ("a,later,0,0,1,1,3,1", r"a\.csv:2: field 2 of .* is 'later'"),
        ("a,902,nan,0,1,1,3,1", r"a\.csv:2: x1 is nan"),
        ("a,902,0,0,1,1,3.5,1", r"a\.csv:2: action id 3\.5 is not a whole number"),
        ("a,-1,0,0,1,1,3,1", r"a\.csv:2: second -1\.0 is out of range"),
        (",902,0,0,1,1,3,1", r"a\.csv:2: the video id is empty"),
        ('a,902,0,0,1,1,3,"1\n', r"a\.csv:"),
        ("a,902,0,0,1,1,3,1,9,0", r"a\.csv:2: 10 fields"),
    ],
)
def test_bad_lines_are_named(tmp_path, line, message):
    file = _write(tmp_path, f"a,902,0,0,1,1,3,0.5\n{line}\na,902,0,0,1,1,4,0.5\n")
    with pytest.raises(UserError, match=message):
        read_ava_csv(file, scored=True)


def test_many_bad_lines_are_counted(tmp_path):
    with pytest.raises(UserError, match=r"a.csv: 100 mistakes\n(.*\n)+.*a.csv:20: .*\n  ... and 80 more$"):
        read_ava_csv(_write(tmp_path, "a,902,0,0,1,1,3.5,0\n" * 100))
    with pytest.raises(UserError, match="no such annotation file"):
        read_ava_csv(tmp_path / "none.csv")


def test_csv_round_trip_and_speed(tmp_path):
    n, rng = 100_000, np.random.default_rng(0)
    rows = AVARows(
        "",
        ["v0", "v1", "v2"],
        rng.integers(0, 3, n).astype(np.int32),
        rng.integers(902, 1799, n).astype(float),
        rng.integers(0, 1001, (n, 4)) / 1000,
        rng.integers(1, 81, n).astype(np.int32),
        score=rng.integers(0, 1001, n) / 1000,
    )
    write_ava_csv(tmp_path / "a.csv", rows)
    start = time.process_time()
    again = read_ava_csv(tmp_path / "a.csv", scored=True)
    assert time.process_time() - start < 3  # 0.2 s; a million and a half lines must stay a matter of seconds
    assert [again.videos[i] for i in again.video[:99]] == [rows.videos[i] for i in rows.video[:99]]
    for name in ("timestamp", "boxes", "label", "score"):
        np.testing.assert_array_equal(getattr(again, name), getattr(rows, name))
    with pytest.raises(UserError, match="holds a comma"):
        write_ava_csv(tmp_path / "b.csv", AVARows("", ["a,b"], np.zeros(1, np.int32)))


def test_labels(tmp_path):
    pbtxt = 'item { name: "a \\"b\\" {c} id: 9" id: 3 }\nitem {\n  label_id: 5\n  name: \'stand\'\n  label_type: X\n}\n'
    assert read_ava_labels(_write(tmp_path, pbtxt)) == {3: 'a "b" {c} id: 9', 5: "stand"}
    assert read_ava_labels(_write(tmp_path, "1: bend/bow (at the waist)\n12: a: b\n")) == {
        1: "bend/bow (at the waist)",
        12: "a: b",
    }
    assert read_ava_labels(_write(tmp_path, "walk\n\nitem in hand\n")) == {1: "walk", 2: "item in hand"}
    for text, message in [
        ('item {\n name: "x"\n}\n', r"a\.csv:1: no name or no id"),
        ('item { name: "x" id: 0 }', "ids count from 1"),
        ('item { name: "x" id: 1 }\nitem { name: "y" id: 1 }', r"a\.csv:2: id 1 is given twice: 'x' and 'y'"),
        ('item { name: "x id: 1 }', "no name or no id"),
        ("1: x\ny\n", r"a\.csv:2: no name or no id"),
        ("\n", "no labels"),
    ]:
        with pytest.raises(UserError, match=message):
            read_ava_labels(_write(tmp_path, text))


def test_large_and_damaged_labels_take_no_longer_than_their_size(tmp_path):
    start = time.process_time()
    many = "".join(f'item {{\n  name: "action number {n}"\n  id: {n}\n}}\n' for n in range(1, 60_001))
    assert len(read_ava_labels(_write(tmp_path, many))) == 60_000
    open_items = r'"item{"' + r'\"item{"' * 60_000  # each goes on to the end of the file, and has none
    with pytest.raises(UserError, match="no name or no id"):
        read_ava_labels(_write(tmp_path, "item{" + open_items))
    assert time.process_time() - start < 4


def test_excluded(tmp_path):
    found = read_excluded(_write(tmp_path, "a,0903\nb,902\r\n\nb,3.5\n"))
    assert found == {("a", 903), ("b", 902), ("b", 3.5)} and ("a", 903.0) in found
    with pytest.raises(UserError, match=r"a\.csv:2: 'b' is not"):
        read_excluded(_write(tmp_path, "a,0903\nb\n"))


@pytest.mark.parametrize("suffix", [".pkl", ".npz", ".json"])
def test_proposals_round_trip(tmp_path, suffix):
    boxes = {
        "a,0902": np.array([[0.125, 0.25, 0.5, 1, 0.75], [0, 0, 1, 1, 0.5]]),
        "a,0903": np.zeros((0, 5)),
        "b,0003.5": np.array([[0, 0, 1, 1, 1.0]]),
    }
    file = tmp_path / f"p{suffix}"
    write_proposals(file, boxes)
    again = read_proposals(file)
    assert list(again) == list(boxes)
    for key, value in boxes.items():
        assert again[key].dtype == np.float32
        np.testing.assert_array_equal(again[key], value.astype(np.float32))
    if suffix == ".pkl":  # an ordinary unpickler reads it too, and no version of numpy is named in it
        assert b"multiarray" not in file.read_bytes()
        np.testing.assert_array_equal(pickle.loads(file.read_bytes())["a,0902"], boxes["a,0902"])


def test_proposals_of_every_origin(tmp_path):
    for protocol in (2, 4):
        (tmp_path / "p.pkl").write_bytes(pickle.dumps({"v,0902": np.eye(2, 5), "w,0902": [[0, 0, 1, 1]]}, protocol))
        found = read_proposals(tmp_path / "p.pkl")
        assert found["v,0902"].shape == (2, 5) and found["w,0902"].shape == (1, 4)
    np.savez(tmp_path / "p.npz", **{"v,902": np.eye(1, 4)})
    assert list(read_proposals(tmp_path / "p.npz")) == ["v,0902"]
    (tmp_path / "p.json").write_text(json.dumps({"v,902.0": []}))
    assert read_proposals(tmp_path / "p.json")["v,0902"].shape == (0, 5)


def test_bad_proposals(tmp_path):
    for content, message in [
        ({"v": [[0, 0, 1, 1]]}, "the key 'v' is not"),
        ({"v,1": [[0, 0, 1]]}, r"'v,0001' holds an array \[1, 3\]|'v,1' holds an array \[1, 3\]"),
        ({"v,1": [["x"]]}, "expected"),
        ([1], "holds a list"),
    ]:
        (tmp_path / "p.json").write_text(json.dumps(content))
        with pytest.raises(UserError, match=message):
            read_proposals(tmp_path / "p.json")
    (tmp_path / "p.json").write_text("{")
    (tmp_path / "p.npz").write_bytes(b"PK")
    (tmp_path / "p.pkl").write_bytes(pickle.dumps({"v,1": Path("x")}))
    for name, message in [
        ("p.json", "not JSON"),
        ("p.npz", "damaged"),
        ("p.pkl", "refused"),
        ("none.pkl", "no such file of person boxes"),
        ("p.txt", "not .txt"),
    ]:
        with pytest.raises(UserError, match=message):
            read_proposals(tmp_path / name)


@pytest.mark.skipif(not FILES.is_dir(), reason="MMAction2's small AVA sample files are not on this machine")
def test_the_references_sample_files():
    rows = read_ava_csv(FILES / "ava_sample.csv")
    assert rows.keys()[0] == ["0f39OWEqJ24,0902", "0f39OWEqJ24,0903", "_-Z6wFjXtGQ,0902"]
    assert list(read_ava_labels(FILES / "action_list.txt")) == [12, 17, 79, 80]
    assert read_excluded(FILES / "ava_excluded_timestamps_sample.csv") == {("0f39OWEqJ24", 903), ("_-Z6wFjXtGQ", 902)}
    boxes = read_proposals(FILES / "ava_proposals_sample.pkl")
    assert {key: value.shape for key, value in boxes.items()} == {
        "0f39OWEqJ24,0902": (1, 5),
        "0f39OWEqJ24,0903": (1, 5),
        "_-Z6wFjXtGQ,0902": (3, 5),
    }
