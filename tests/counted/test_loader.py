"""What a training batch costs beside decoding: one sample of each clip, and no pass over a file that is indexed."""

from __future__ import annotations

import os
import shutil

import pytest

from paddlevideo.loader.build import build_loader
from paddlevideo.loader.datasets.video import VideoDataset
from paddlevideo.loader.decode import open_video, pyav
from paddlevideo.loader.decode.index import packed, place_of, write_index
from paddlevideo.loader.decode.packets import OpenVideo

PIPELINE = {
    "decode": {"name": "VideoDecoder"},
    "sample": {"name": "Sampler", "num_seg": 2, "seg_len": 1},
    "transform": [{"RandomCrop": {"target_size": 32}}],
}


@pytest.fixture
def folder(clips, tmp_path, monkeypatch):
    """Class folders of eight clips of one's own, and no cached packets."""
    monkeypatch.setattr(pyav, "_cache", {})
    for number, file in enumerate(sorted(clips.parent.glob("*.mp4"))):
        (tmp_path / "videos" / str(number % 2)).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, tmp_path / "videos" / str(number % 2))
    return tmp_path / "videos"


def loader_of(folder):
    return build_loader({"format": "VideoDataset", "file_path": str(folder)}, PIPELINE, "train", seed=3,
                        num_classes=2, batch_size=2, num_workers=0, shuffle=True, drop_last=False)  # fmt: skip


def read(loader):
    return [int(i) for batch in loader.epoch(0) for i in batch["index"]]


def test_a_clip_is_one_sample(folder, monkeypatch):
    loader, sample, taken = loader_of(folder), VideoDataset.sample, []

    def counted(dataset, index):
        taken.append(index)
        return sample(dataset, index)

    monkeypatch.setattr(VideoDataset, "sample", counted)
    assert read(loader) == taken and sorted(taken) == list(range(8))


@pytest.mark.parametrize("with_index", [False, True])
def test_an_indexed_video_is_not_passed_over(folder, monkeypatch, with_index):
    if with_index:
        entries = {}
        for file in sorted(folder.rglob("*.mp4")):
            status = os.stat(file)
            with open_video(file) as reader:
                entries[str(file)] = status.st_size, status.st_mtime_ns, packed(reader.known())
        file, root = place_of(str(folder), None)
        write_index(file, {root: entries})
        monkeypatch.setattr(pyav, "_cache", {})
    table, passes = OpenVideo.table, []

    def counted(video, *arguments):
        passes.append(video)
        return table(video, *arguments)

    monkeypatch.setattr(OpenVideo, "table", counted)
    assert len(read(loader_of(folder))) == 8
    assert len(passes) == (0 if with_index else 8)
