"""TSM's training clips from this project's data sets: loose files, shards, and shards at an address."""

from __future__ import annotations

import zlib
from typing import Any

CONFIG = "configs/recognition/tsm/tsm_k400_videos.yaml"


def _loader(section: dict[str, Any], batch: int, split: str, num_workers: int) -> Any:
    from paddlevideo.config import load_config
    from paddlevideo.loader.build import build_loader

    pipeline = load_config(CONFIG, ["DATASET.label_names=null"]).section("PIPELINE")["train"]
    return build_loader(
        section, pipeline, split, seed=0, num_classes=2, batch_size=batch, num_workers=num_workers,
        shuffle=split == "train", drop_last=False,
    )  # fmt: skip


def epoch(section: dict[str, Any], batch: int = 8, split: str = "train", num_workers: int = 0) -> Any:
    """One epoch; the number of clips and, of the labels and pixels in the order of the data set, a checksum."""
    loader = _loader(section, batch, split, num_workers)

    def run() -> list[int]:
        clips = {}
        for found in loader.epoch(0):
            for index, label, imgs in zip(found["index"], found["label"], found["imgs"]):
                clips[int(index)] = zlib.crc32(memoryview(imgs).cast("B"), int(label)) if num_workers == 0 else 0
        return [len(clips), zlib.crc32(str(sorted(clips.items())).encode())]

    return run


def first_batch(section: dict[str, Any], batch: int = 8, start: int = 0) -> Any:
    """Building the loader and its first batch, from batch ``start`` of the epoch on."""

    def run() -> None:
        batches = _loader(section, batch, "train", 0).epoch(0, start)
        next(batches)
        batches.close()

    return run
