"""Lists and folders of frames: no dict per line, few bytes per line, each file opened once."""

from __future__ import annotations

import builtins
import os
import tracemalloc

import cv2
import numpy as np
import pytest

from paddlevideo.engine.data_summary import data_summary
from paddlevideo.loader.build import build_loader
from paddlevideo.loader.datasets import lists, records
from paddlevideo.loader.datasets.ava import AVADataset
from paddlevideo.loader.datasets.frame import FrameDataset
from paddlevideo.loader.datasets.records import digest_of
from paddlevideo.loader.decode import FrameFolder

PIPELINE = {
    "decode": {"name": "FrameDecoder"},
    "sample": {"name": "Sampler", "num_seg": 2, "seg_len": 1},
    "transform": [{"CenterCrop": {"target_size": 16}}],
}
LINES = 20_000


@pytest.fixture
def frame_list(tmp_path):
    """A list of folders, most of which are there several times."""
    for k in range(50):
        (tmp_path / "frames" / f"class_{k % 5}" / f"clip_{k:02}").mkdir(parents=True)
    names = [f"class_{k % 5}/clip_{k % 50:02}" for k in range(LINES)]
    file = tmp_path / "train.list"
    file.write_text("".join(f"{name} {8 + k % 90} {k % 5}\n" for k, name in enumerate(names)))
    return file


def test_no_dict_and_no_row_is_made_per_line(frame_list, monkeypatch):
    made = {"records": 0, "rows": 0}

    class Record(records.Record):
        def __init__(self, *given):
            made["records"] += 1
            super().__init__(*given)

    class Row(lists.Row):
        def __init__(self, *given):
            made["rows"] += 1
            super().__init__(*given)

    monkeypatch.setattr(records, "Record", Record)
    monkeypatch.setattr(lists, "Row", Row)
    loader = build_loader(
        {"format": "FrameDataset", "file_path": str(frame_list), "data_prefix": str(frame_list.parent / "frames")},
        PIPELINE, "train", seed=0, num_classes=5, batch_size=2, num_workers=0, shuffle=True, drop_last=True,
    )  # fmt: skip
    digest_of(loader.dataset.records)
    from paddlevideo.classes import UNKNOWN

    assert len(data_summary(loader, "train", UNKNOWN)) > 2
    assert made["rows"] == 0 and made["records"] < 10
    assert loader.dataset.records[7]["index"] == 7


def test_no_dict_is_made_per_key_frame(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(records, "Record", lambda *given: made.append(1) or dict(*given))
    (tmp_path / "a.csv").write_text(
        "".join(f"v{k % 7},{902 + k // 7},0.1,0.2,0.5,{0.6 + k % 3 / 10:.1f},{1 + k % 80},0\n" for k in range(6000))
    )
    data = AVADataset(str(tmp_path / "a.csv"), data_prefix=str(tmp_path))
    digest_of(data.records)
    assert len(data) == 6000 and not made
    assert data.records[5999]["index"] == 5999 and len(made) == 1


def test_bytes_per_line(tmp_path):
    file = tmp_path / "train.list"
    file.write_text("".join(f"class_{k % 9}/clip_{k:06}.mp4 100 {k % 5}\n" for k in range(LINES)))
    tracemalloc.start()
    try:
        data = FrameDataset(str(file), num_classes=5)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(data.records) == LINES
    assert held < LINES * 100 and peak < LINES * 160
    objects = [column for column in data.records.columns.values() if isinstance(column, list | dict)]
    assert not objects  # whose references a worker would count, and so copy their pages


def test_each_picture_is_opened_once(tmp_path, monkeypatch):
    for number in range(1, 11):
        cv2.imwrite(str(tmp_path / f"img_{number:05}.jpg"), np.full((16, 24, 3), number * 20, np.uint8))
    opened, read = [], []
    real_open, real_read = builtins.open, cv2.imread

    def open_counted(file, *given, **named):
        if str(file).startswith(str(tmp_path)):
            opened.append(os.path.basename(file))
        return real_open(file, *given, **named)

    monkeypatch.setattr(builtins, "open", open_counted)
    monkeypatch.setattr(cv2, "imread", lambda *given: read.append(given[0]) or real_read(*given))
    frames = FrameFolder(tmp_path, 10).get([8, 2, 2, 5, 8])
    assert frames[:, 0, 0, 0].tolist() == pytest.approx([180, 60, 60, 120, 180], abs=3)
    assert opened == ["img_00003.jpg", "img_00006.jpg", "img_00009.jpg"] and not read
