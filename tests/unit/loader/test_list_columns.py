"""Lists as columns: equal to reading every line by itself, whatever is in them."""

from __future__ import annotations

import hashlib
import json
import random

import numpy as np
import pytest

from paddlevideo.errors import ConfigError, UserError
from paddlevideo.loader.build import build_dataset
from paddlevideo.loader.datasets import list_content
from paddlevideo.loader.datasets.frame import FrameDataset
from paddlevideo.loader.datasets.list_lines import Fields
from paddlevideo.loader.datasets.list_table import read_table
from paddlevideo.loader.datasets.missing import drop_missing
from paddlevideo.loader.datasets.records import Numbers, Records, Texts, digest_of, multi_hot, paths_of, values_of
from paddlevideo.loader.datasets.video import VideoDataset
from tests.random_lists import random_list


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with some of the files that random lists name."""
    for name in ("a.mp4", "c 7", "c", "run/a.mp4", "data/a.mp4", "data/b.mp4", "data/c 7", "data/run/a.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def content(file, kind, options):
    """Everything that a list gives, or its error."""
    try:
        data = kind(str(file), **options)
    except UserError as error:
        return type(error), str(error)
    records = [
        {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in record.items()}
        for record in data.records
    ]
    return records, list(data.lines), list(data.remarks), digest_of(data.records)


def test_random_lists_equal_the_way_line_by_line(folder, monkeypatch):
    tables = []
    monkeypatch.setattr(list_content, "read_table", lambda *given: tables.append(read_table(*given)) or tables[-1])
    for seed in range(400):
        rng = random.Random(seed)
        counted = rng.random() < 0.4
        (folder / "x.list").write_bytes(random_list(rng, counted))
        options = {
            "data_prefix": rng.choice([None, None, "data", "data/", ".", "./data"]),
            "allow_outside_root": rng.random() < 0.2,
            "class_names": rng.choice([None, ["jump", "run", "wave hands", "sit"]]),
            "num_classes": rng.choice([4, 10]),
            "multi_label": rng.random() < 0.3,
        }
        if not counted:
            options["suffix"] = rng.choice(["", "", ".mp4", "/img", ".."])
        kind = FrameDataset if counted else VideoDataset
        found = content("x.list", kind, options)
        with monkeypatch.context() as patch:
            patch.setattr(list_content, "read_table", lambda *_: None)
            assert found == content("x.list", kind, options), (seed, options)
    used = [table for table in tables if table is not None]
    assert len(used) > 100 and sum(bool(table.others) for table in used) > 30
    assert sum(len(table.line) for table in used) > 2000


def test_regular_lines_of_many_blocks(folder):
    names = [f"class_{k % 7}/clip {k}.mp4" if k % 1000 == 5 else f"class_{k % 7}/clip_{k}.mp4" for k in range(20_000)]
    (folder / "x.list").write_text("\ufeff" + "".join(f"{name} {k % 400}\r\n\n" for k, name in enumerate(names)))
    table = read_table("x.list", Fields(("path", "label")), 400, relative=True)
    assert len(table.line) == 19_980 and len(table.others) == 20
    data = VideoDataset("x.list", data_prefix="data", suffix=".x", num_classes=400)
    assert list(paths_of(data.records)) == [f"data/{name}.x" for name in names]
    assert list(values_of(data.records, "label")) == [k % 400 for k in range(20_000)]
    assert data.lines == [2 * k + 1 for k in range(20_000)]
    assert data.records[-1] == {"filename": f"data/{names[-1]}.x", "label": 399, "index": 19_999}
    with pytest.raises(IndexError):
        data.records[20_000]


@pytest.mark.parametrize("several", [False, True])
def test_the_digest_is_that_of_the_records_as_json(folder, several):
    lines = [f"é/{k}\"x'\\.mp4 {k % 5}" if k % 3 else f"v_{k}.mp4 {k % 5}" for k in range(9000)]
    (folder / "x.list").write_text("\n".join(lines))
    data = VideoDataset("x.list", num_classes=5, multi_label=several)
    plain = [dict(record) for record in data.records]
    text = json.dumps(plain, default=str, sort_keys=True)
    assert digest_of(data.records) == digest_of(plain) == hashlib.sha256(text.encode()).hexdigest()
    assert digest_of([]) == hashlib.sha256(b"[]").hexdigest()


def test_a_change_of_a_record_is_refused(folder):
    (folder / "x.list").write_text("a.mp4 1\nc 0\n")
    data = VideoDataset("x.list")
    for change in (
        lambda record: record.update(label=3),
        lambda record: record.__setitem__("label", 3),
        lambda record: record.pop("label"),
        lambda record: record.setdefault("more", 1),
    ):
        with pytest.raises(TypeError, match="self.records = "):
            change(data.records[0])
    assert data.sample(0) == {"filename": "a.mp4", "label": 1, "index": 0}
    data.sample(0)["label"] = 3  # a sample is the pipeline's own


def test_labels_of_any_size(folder):
    (folder / "x.list").write_text(f"a.mp4 {10**30}\nb.mp4 -0\nc.mp4 {2**40}\n")
    assert [record["label"] for record in VideoDataset("x.list").records] == [10**30, 0, 2**40]
    assert Numbers([1, 2]) == [1, 2] and Numbers([1, 2]) != [1, 3] and Numbers([2**31]).array.dtype == np.int64
    (folder / "x.list").write_text("a.mp4 0;4\n")
    with pytest.raises(ConfigError, match=r"0\.\.1, since the number of class_names is 2"):
        VideoDataset("x.list", class_names=["x", "y"], multi_label=True)


def test_missing_files_of_many_folders(folder):
    names = [f"data/f{k % 9}/v{k}.mp4" for k in range(300)] + ["a.mp4", "./c", "run/../c 7"]
    for k, name in enumerate(names[:300]):
        (folder / name).parent.mkdir(exist_ok=True)
        if k % 50 == 7:
            (folder / name).symlink_to(folder / ("nowhere" if k % 100 == 7 else "a.mp4"))
        elif k % 11:
            (folder / name).write_bytes(b"x")
    (folder / "x.list").write_text(
        "".join(f'"{name}" {k % 2}\n' if " " in name else f"{name} {k % 2}\n" for k, name in enumerate(names))
    )
    there = [name for name in names if (folder / name).exists()]
    assert 200 < len(there) < 300
    data = VideoDataset("x.list")
    plain = VideoDataset("x.list")
    plain.records, plain.lines = [dict(record) for record in plain.records], list(plain.lines)
    assert drop_missing(data, "skip", "DATASET.train") == drop_missing(plain, "skip", "DATASET.train")
    assert list(paths_of(data.records)) == there and list(data.records) == plain.records
    assert [record["index"] for record in data.records] == list(range(len(there)))
    assert list(data.lines) == plain.lines
    errors = []
    for records in (VideoDataset("x.list").records, [dict(record) for record in VideoDataset("x.list").records]):
        broken = VideoDataset("x.list")
        broken.records = records
        with pytest.raises(ConfigError) as caught:
            drop_missing(broken, "raise", "DATASET.train")
        errors.append(str(caught.value))
    assert errors[0] == errors[1] and "and 11 more" in errors[0]
    stripped = [name.removesuffix(".mp4") for name in names[:300]]
    (folder / "x.list").write_text("".join(f"{name.removeprefix('data/')} 0\n" for name in stripped))
    data = VideoDataset("x.list", data_prefix="data", suffix=".mp4")
    drop_missing(data, "skip", "DATASET.train")
    assert list(paths_of(data.records)) == [name for name in there if name.startswith("data/f")]


def test_paths_of_one_hash_are_compared(monkeypatch):
    texts = Texts.of(["a", "b", "./a", "c/../b", "d", "a"])
    wanted = [2, 3, 5], [0, 1, 0]
    assert tuple(part.tolist() for part in texts.repeated()) == wanted
    texts = texts.take(np.arange(6))
    monkeypatch.setattr(Texts, "_hashed", lambda self: np.zeros(len(self), np.int64))
    assert tuple(part.tolist() for part in texts.repeated()) == wanted


def test_other_classes_and_an_order_of_them(folder):
    (folder / "x.list").write_text("a.mp4 0 2\nc 1\n")
    several = VideoDataset("x.list", num_classes=3, multi_label=True).records.relabelled([2, 0, 1])
    assert [record["label"].tolist() for record in several] == [[0, 1, 1], [1, 0, 0]]
    assert several[0]["label"].dtype == np.float32 and not several[0]["label"].flags.writeable
    (folder / "x.list").write_text("a.mp4 0\nc 1\n")
    assert [record["label"] for record in VideoDataset("x.list").records.relabelled([2, 0, 1])] == [2, 0]
    assert multi_hot([1], 2).tolist() == [0, 1]


def test_class_folders_are_columns(tmp_path):
    for name in ("run/b.mp4", "jump/\udcff.mp4"):
        (tmp_path / "d" / name).parent.mkdir(parents=True)
        (tmp_path / "d" / name).write_bytes(b"x")
    data = build_dataset({"format": "VideoDataset", "file_path": str(tmp_path / "d")}, "train", None)
    assert isinstance(data.records, Records)
    assert [record["filename"] for record in data.records] == [
        f"{tmp_path}/d/jump/\udcff.mp4",
        f"{tmp_path}/d/run/b.mp4",
    ]
    assert drop_missing(data, "raise", "DATASET.train") is None


def test_a_quoted_path_alone_is_one_mistake_of_its_line(folder):
    """Frames have a count after the path; in quotes it may have nothing after it."""
    for line in ('"run/a.mp4"', '"run/a.mp4" '):
        (folder / "x.list").write_text(f"run/a.mp4,4,0\n{line}\n")
        with pytest.raises(UserError, match=r"x\.list:2|line 2"):
            FrameDataset("x.list", num_classes=4, multi_label=True, class_names=["jump", "run", "wave hands", "sit"])
