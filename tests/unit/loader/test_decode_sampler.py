"""PaddleVideo's decoder and sampler in one, and what a file gives its data set for it."""

import numpy as np
import pytest

from paddlevideo.config import load_config
from paddlevideo.errors import ConfigError
from paddlevideo.loader.datasets.slowfast_video import SFVideoDataset
from paddlevideo.loader.decode.array import ArrayReader
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.loader.pipelines.sampling import DecodeSampler
from paddlevideo.multigrid import ClipShape
from tests.tiny import save, tsm_config


def rng(seed=0):
    return np.random.default_rng(seed)


def test_a_clip_spans_the_same_time_at_every_rate():
    op = DecodeSampler(4, 10, test_mode=True)
    assert op.indices(400, 30.0, rng()).tolist() == [[0, 13, 26, 39]]
    assert op.indices(400, 60.0, rng()).tolist() == [[0, 26, 52, 79]]


def test_views_of_a_test_begin_evenly_and_none_ends_with_the_video():
    views = DecodeSampler(4, 10, test_mode=True, num_clips=4).indices(140, 30.0, rng())
    assert views[:, 0].tolist() == [0, 25, 50, 75] and views.max() == 114


def test_a_drawn_clip_lies_anywhere_in_the_video():
    starts = [DecodeSampler(4, 10).indices(60, 30.0, rng(seed))[0, 0] for seed in range(200)]
    assert (min(starts), max(starts)) == (0, 19)


def test_a_short_video_repeats_its_last_frame():
    """The reference asks for frame 10 of 10, fails, and takes another video."""
    assert DecodeSampler(4, 10).indices(10, 30.0, rng()).tolist() == [[0, 9, 9, 9]]


def test_frames_of_a_small_clip_are_up_to_as_much_farther_apart():
    op, shape = DecodeSampler(32, 2), ClipShape(8, 112, longest_interval=4)
    spans = {int(np.ptp(op.indices(400, 30.0, rng(seed), shape))) for seed in range(200)}
    assert min(spans) in (15, 16) and max(spans) in (63, 64) and len(spans) > 6


def test_labels_beyond_the_classes_are_refused(clips):
    with pytest.raises(ConfigError, match="label 1"):
        SFVideoDataset(str(clips), num_classes=1)
    assert not SFVideoDataset(str(clips), num_classes=2).allow_empty_classes


def test_a_file_is_opened_without_sampling(clips):
    pipeline = Pipeline({"sample": {"name": "DecodeSampler", "num_frames": 4, "sampling_rate": 1}}, "PIPELINE.test")
    sample = SFVideoDataset(str(clips)).sample(0)
    pipeline.open(sample)
    assert pipeline(sample, rng())["imgs"].shape == (1, 4, 40, 40, 3)


def test_a_clip_in_memory_is_sampled():
    pipeline = Pipeline(
        {"sample": {"name": "DecodeSampler", "num_frames": 4, "sampling_rate": 2, "test_mode": True, "num_clips": 3}},
        "PIPELINE.test",
    )
    reader = ArrayReader(np.zeros((40, 20, 20, 3), "uint8"), fps=30.0)
    assert pipeline({"reader": reader}, rng())["imgs"].shape == (3, 4, 20, 20, 3)


def views_config(clips, tmp_path):
    config = tsm_config(clips, tmp_path)
    config["DATASET"]["test"] = {
        "format": "SFVideoDataset", "file_path": str(clips), "num_ensemble_views": 10, "num_spatial_crops": 3,
    }  # fmt: skip
    config["PIPELINE"]["test"] = {
        "sample": {"name": "DecodeSampler", "num_frames": 4, "sampling_rate": 2, "test_mode": True},
        "transform": [{"MultiCrop": {"target_size": 32, "test_mode": True}}],
    }
    config["METRIC"] = {"name": "MultiCropMetric", "num_ensemble_views": 10, "num_cls": 2}
    return config


def test_the_views_of_the_data_set_are_written_into_the_pipeline(clips, tmp_path):
    file = save(views_config(clips, tmp_path), tmp_path / "views.yaml")
    config = load_config(file, ["DATASET.test.num_ensemble_views=5", "METRIC.num_ensemble_views=5"])
    steps = config.section("PIPELINE")["test"]
    assert steps["sample"]["num_clips"] == 5 and steps["transform"][0]["MultiCrop"]["num_crops"] == 3


def test_numbers_of_views_that_differ_are_named(clips, tmp_path):
    config = views_config(clips, tmp_path)
    config["PIPELINE"]["test"]["sample"]["num_clips"] = 4
    config["METRIC"] = {"name": "MultiCropMetric", "num_ensemble_views": 9, "num_cls": 3}
    with pytest.raises(ConfigError) as caught:
        load_config(save(config, tmp_path / "views.yaml"))
    text = str(caught.value)
    assert "PIPELINE.test.sample.num_clips: is 4, DATASET.test.num_ensemble_views is 10" in text
    assert "METRIC.num_ensemble_views: is 9" in text and "METRIC.num_cls: is 3, MODEL.head.num_classes is 2" in text
