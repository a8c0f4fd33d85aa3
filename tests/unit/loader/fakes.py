"""A small stand-in for a pipeline, so that loader tests do not depend on transforms; picklable and deterministic."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from paddlevideo.loader.build import ClipLoader
from paddlevideo.loader.collate import BatchSource
from paddlevideo.loader.datasets.video import VideoDataset
from paddlevideo.loader.decode import VideoReadError, open_video
from paddlevideo.loader.fetch import SampleSource
from paddlevideo.loader.sampler import BatchPlan


class FakePipeline:
    """Frames and noise drawn from the generator; files whose name begins with a word misbehave in that way."""

    normalization = None

    def __init__(self, section=None, where=""):
        pass

    def deviations(self):
        return {}

    def prepare(self):
        pass

    def __call__(self, sample, rng):
        word = Path(sample["filename"]).stem.partition("_")[0]
        if word == "unreadable":
            raise VideoReadError(sample["filename"], "corrupt", "a test")
        if word == "bug":
            raise KeyError("scale")
        if word == "slow":
            time.sleep(30)
        noise = rng.integers(0, 256, (1, 2, 4, 4, 3), dtype=np.uint8)
        return {"imgs": noise, "label": sample["label"], "index": sample["index"], "reader": None}


class DecodingPipeline(FakePipeline):
    """Two random frames of a real file."""

    def __call__(self, sample, rng):
        with open_video(sample["filename"]) as reader:
            imgs = reader.get(rng.integers(0, len(reader), 2))[None]
        return {"imgs": imgs, "label": sample["label"], "index": sample["index"]}


def dataset_of(tmp_path, names, num_classes=3):
    """A VideoDataset over names; the files are not made."""
    file = tmp_path / "some.list"
    file.write_text("".join(f"{tmp_path}/{name} {n % num_classes}\n" for n, name in enumerate(names)))
    return VideoDataset(str(file))


def loader_of(
    dataset,
    batch_size=4,
    num_workers=0,
    *,
    seed=5,
    on_error="skip",
    timeout_s=20.0,
    pipeline=None,
    plan=None,
    mix=None,
    **kwargs,
):
    """A ClipLoader; further arguments go to BatchPlan."""
    plan = plan or BatchPlan(len(dataset.records), batch_size, seed, **{"shuffle": True, "pad": True, **kwargs})
    samples = SampleSource(dataset, pipeline or FakePipeline(), seed, on_error, timeout_s)
    return ClipLoader(BatchSource(samples, mix, 3, plan.rank), plan, num_workers)


def arrays(batches):
    """Batches with every value as a numpy array."""
    return [{key: np.asarray(value) for key, value in batch.items()} for batch in batches]


def assert_same(left, right):
    """Bit for bit."""
    assert len(left) == len(right)
    for a, b in zip(left, right):
        assert a.keys() == b.keys()
        for key in a:
            assert a[key].dtype == b[key].dtype and np.array_equal(a[key], b[key]), key
