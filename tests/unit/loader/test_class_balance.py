"""Rare classes: weights from counts, and which samples an epoch draws, whatever the data are read from."""

import numpy as np
import pytest

from paddlevideo.errors import ConfigError, UserError
from paddlevideo.loader.build import build_dataset, build_loader
from paddlevideo.loader.class_balance import (
    balanced_chances,
    class_weights,
    counts_of,
    read_class_weights,
    write_class_weights,
)
from paddlevideo.preparation.write_shards import ShardSettings, write_shards
from tests.tiny import make_clips, tsm_config


def test_weights_by_hand():
    assert class_weights([1, 4, 0], 1.0) == [2.5, 0.625, 1.0]
    assert class_weights([1, 4, 0], 0.5) == pytest.approx([2.5**0.5, 0.625**0.5, 1.0], rel=1e-3)
    assert class_weights([3, 1, 4, 0], 1.0, of_boxes=True) == [0.0, 1.6, 0.4, 0.0]


def test_a_file_of_weights(tmp_path):
    write_class_weights(tmp_path / "w.yml", [2.5, 0.625], [1, 4], 1.0)
    assert read_class_weights(tmp_path / "w.yml") == [2.5, 0.625]
    for text in ("class_weights: [1, x]", "[1, 2]", "class_weights: []", "class_weights: [-1.0]", "a: ["):
        (tmp_path / "bad.yml").write_text(text)
        with pytest.raises(UserError, match=r"bad\.yml.*prepare class-weights"):
            read_class_weights(tmp_path / "bad.yml")
    with pytest.raises(UserError, match="no such file of class weights"):
        read_class_weights(tmp_path / "absent.yml")


@pytest.fixture(scope="module")
def sections(tmp_path_factory):
    """Six clips of class 0 and two of class 1 in every form of data; one form has several labels."""
    root = tmp_path_factory.mktemp("data")
    make_clips(root / "c")
    labels = [0, 0, 0, 1, 0, 0, 1, 0]
    lines = [f"{root}/c/clip {i}.mp4" for i in range(len(labels))]
    (root / "l.list").write_text("".join(f"{path} {k}\n" for path, k in zip(lines, labels)))
    (root / "l.csv").write_text("path,label\n" + "".join(f"{path},{k}\n" for path, k in zip(lines, labels)))
    (root / "m.list").write_text("".join(f"{path} {'0 1' if k else ';' if i == 7 else 0}\n"
                                         for i, (path, k) in enumerate(zip(lines, labels))))  # fmt: skip
    (root / "s.csv").write_text(
        "video,start_s,end_s,label\n" + "".join(f"{p},0,1,{k}\n" for p, k in zip(lines, labels))
    )
    for path, k in zip(lines, labels):
        folder = root / "folders" / "ab"[k]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / path.rpartition("/")[2]).symlink_to(path)
    source = {"format": "VideoDataset", "file_path": str(root / "l.list")}
    write_shards(build_dataset(source, "train", 2), None, root / "shards", ShardSettings("train", jobs=1))
    return {
        "shards": {"format": "ShardDataset", "file_path": str(root / "shards")},
        "list": {"format": "VideoDataset", "file_path": str(root / "l.list")},
        "csv": {"format": "VideoDataset", "file_path": str(root / "l.csv")},
        "folders": {"format": "VideoDataset", "file_path": str(root / "folders")},
        "spans": {"format": "SpanDataset", "file_path": str(root / "s.csv")},
        "several": {"format": "VideoDataset", "file_path": str(root / "m.list"), "multi_label": True},
    }


@pytest.mark.parametrize("kind", ["list", "csv", "folders", "spans", "shards"])
def test_every_form_of_data(sections, kind):
    dataset = build_dataset(sections[kind], "train", 3)
    assert counts_of(dataset, 3).tolist() == [6, 2, 0]
    labels = np.array([record["label"] for record in dataset.records])
    chances = balanced_chances(dataset, 0.0)
    assert chances[labels == 0] == pytest.approx(1 / 12) and chances[labels == 1] == pytest.approx(1 / 4)
    assert balanced_chances(dataset, 1.0) == pytest.approx(1 / 8)


def test_clips_without_a_label_are_a_class_of_their_own(sections):
    dataset = build_dataset(sections["several"], "train", 2)
    assert counts_of(dataset, 2).tolist() == [7, 2]
    chances = balanced_chances(dataset, 0.0)
    assert chances[7] == pytest.approx(1 / 3) and chances[3] == pytest.approx((1 / 7 + 1 / 2) / 3)


def indices(loader, epoch, start=0):
    return [batch["index"].tolist() for batch in loader.epoch(epoch, start)]


def test_epochs_are_drawn_anew_and_alike_for_ranks_workers_and_resumed_runs(sections, tmp_path):
    steps = tsm_config(tmp_path, tmp_path)["PIPELINE"]["train"]
    section = {**sections["list"], "sample_by_class": True, "power": 0.0}

    def loader(batch_size=4, num_workers=0, **more):
        return build_loader(section, steps, "train", seed=3, num_classes=2, batch_size=batch_size,
                            num_workers=num_workers, shuffle=True, drop_last=True, **more)  # fmt: skip

    one = loader()
    assert "sample_by_class, power 0: an epoch draws 8 samples" in one.dataset.remarks[-1]
    first = indices(one, 0)
    assert first != indices(one, 1) and indices(loader(num_workers=2), 0) == first and indices(one, 0, 1) == first[1:]
    ranks = [indices(loader(2, rank=rank, world_size=2), 0) for rank in (0, 1)]
    assert [a + b for a, b in zip(*ranks)] == first
    drawn = np.concatenate([np.concatenate(one._plan.batches(epoch)) for epoch in range(50)])
    assert 0.42 < np.isin(drawn, [3, 6]).mean() < 0.58


def test_other_splits_are_not_drawn(sections, tmp_path):
    steps = tsm_config(tmp_path, tmp_path)["PIPELINE"]["valid"]
    section = {**sections["list"], "sample_by_class": True}
    with pytest.raises(ConfigError, match=r"DATASET\.valid\.sample_by_class: draws samples of training"):
        build_loader(section, steps, "valid", seed=0, num_classes=2, batch_size=2, num_workers=0, shuffle=False,
                     drop_last=False)  # fmt: skip
