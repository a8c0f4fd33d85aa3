"""Differences of frames: what stands still is black, and clips keep the number of pictures that the network takes."""

import numpy as np
import pytest

from paddlevideo.config import load_config
from paddlevideo.errors import ConfigError, UserError
from paddlevideo.loader.decode.array import ArrayReader
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.loader.pipelines.differences import FrameDifference

FILE = "tsm_mv2_motion"


def of(frames, **arguments):
    """The pictures [T] of a clip of one pixel."""
    imgs = np.array(frames, np.uint8).reshape(1, -1, 1, 1, 1).repeat(3, -1)
    return FrameDifference(**arguments)({"imgs": imgs}, None)["imgs"][0, :, 0, 0, 0].tolist()


def test_a_picture_is_the_difference_of_the_first_and_last_frame_of_its_run():
    assert of([10, 90, 30, 200, 0, 195], run=3, gain=2.0) == [40, 10]
    assert of([10, 90, 30, 200], run=2, gain=1.5) == [120, 255]


def test_what_stands_still_is_black_whatever_it_is():
    stands = np.random.default_rng(0).integers(0, 256, (60, 160, 128, 3), dtype=np.uint8)
    stands[:] = stands[0]
    moves = stands.copy()
    for t in range(60):
        moves[t, 60:80, 40 + t : 50 + t] = 255
    steps = Pipeline(load_config(FILE).section("PIPELINE")["test"], "PIPELINE.test")
    still, moving = (steps({"reader": ArrayReader(x), "index": 0}, None)["imgs"] for x in (stands, moves))
    assert still.shape == (1, 8, 112, 112, 3) and not still.any()
    assert all(picture.max() > 128 for picture in moving[0])


def test_frames_that_are_no_whole_runs_are_refused():
    with pytest.raises(UserError, match=r"clips of 8 frames, expected runs of 3; set .* seg_len to 3"):
        of(range(8), run=3)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (["sample.seg_len=1"], "PIPELINE.train.sample.seg_len: is 1, run of FrameDifference is 3; set both alike"),
        (["sample.num_seg=24", "sample.seg_len=1"], "PIPELINE.train.sample.seg_len: is 1, run of"),
        (["sample.num_seg=4", "sample.seg_len=6"], "PIPELINE.train.sample.seg_len: is 6, run of"),
        (["sample.num_seg=4"], "PIPELINE.train.sample.num_seg: gives 4 frames, MODEL.backbone.num_seg takes 8"),
    ],
)
def test_a_sampler_that_does_not_fit_is_found_before_training(changes, line):
    with pytest.raises(ConfigError) as error:
        load_config(FILE, [f"PIPELINE.train.{change}" for change in changes])
    assert line in str(error.value)


def test_a_run_of_one_frame_is_the_only_mistake_that_is_named():
    with pytest.raises(ConfigError) as error:
        load_config(FILE, ["PIPELINE.test.transform.2.FrameDifference.run=1"])
    assert len(str(error.value).splitlines()) <= 2 and "num_seg" not in str(error.value)


def test_one_key_changes_the_number_of_pictures_everywhere():
    config = load_config(FILE, ["num_seg=4"])
    assert config["MODEL"]["backbone"]["num_seg"] == 4
    assert [config["PIPELINE"][split]["sample"]["num_seg"] for split in ("train", "valid", "test")] == [4, 4, 4]


@pytest.mark.parametrize("level", ["none", "light", "strong"])
def test_levels_of_augmentation_keep_the_differences(level):
    steps = Pipeline(load_config(FILE, [f"augment={level}"]).section("PIPELINE")["train"], "PIPELINE.train")
    frames = np.full((60, 160, 128, 3), 90, np.uint8)
    assert not steps({"reader": ArrayReader(frames), "label": 0, "index": 0}, np.random.default_rng(0))["imgs"].any()
