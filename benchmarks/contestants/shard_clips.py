"""TSM's training clips from this project's data sets: loose files, shards, and shards at an address."""

from __future__ import annotations

import itertools
import zlib
from typing import Any

import numpy as np

CONFIG = "configs/recognition/tsm/tsm_k400_videos.yaml"


def _loader(section: dict[str, Any], batch: int, split: str) -> Any:
    from paddlevideo.config import load_config
    from paddlevideo.loader.build import build_loader

    pipeline = load_config(CONFIG, ["DATASET.label_names=null"]).section("PIPELINE")["train"]
    return build_loader(
        section, pipeline, split, seed=0, num_classes=2, batch_size=batch, num_workers=0,
        shuffle=split == "train", drop_last=False,
    )  # fmt: skip


def batches(section: dict[str, Any], count: int, batch: int = 8, split: str = "train") -> Any:
    """The first batches of an epoch; the number of clips and, of their labels and pixels, a checksum."""
    loader = _loader(section, batch, split)

    def run() -> list[int]:
        number, checksum = 0, 0
        epoch = loader.epoch(0)
        for found in itertools.islice(epoch, count):
            number += len(found["index"])
            checksum = zlib.crc32(memoryview(found["imgs"]).cast("B"), zlib.crc32(found["label"].tobytes(), checksum))
        epoch.close()
        return [number, checksum]

    return run


def contents(section: dict[str, Any], batch: int = 8, worker: int = 0, num_workers: int = 4) -> Any:
    """Reading, without decoding, what one of several workers reads in an epoch; the number of clips and bytes."""
    loader = _loader(section, batch, "train")
    dataset, order = loader.dataset, np.concatenate(loader._plan.batches(0)[worker::num_workers])

    def run() -> list[int]:
        dataset.expect(order)
        return [len(order), sum(len(dataset.sample(k)["content"]) for k in order.tolist())]

    return run


def first_batch(section: dict[str, Any], batch: int = 8, start: int = 0) -> Any:
    """Building the loader and its first batch, from batch ``start`` of the epoch on."""

    def run() -> None:
        batches = _loader(section, batch, "train").epoch(0, start)
        next(batches)
        batches.close()

    return run
